"""What disks and S3 answer, as one line that says what to do."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

from botocore.exceptions import BotoCoreError, ClientError

from storage.errors import DestinationError, FacemillError, NoRoomError, causes

_S3_HINTS = {
    "NoSuchBucket": "no such bucket. Create it, or check the name and --s3-endpoint",
    "404": "no such bucket or key. Check the name and --s3-endpoint",
    "InvalidAccessKeyId": "the access key is not known. Check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong. Check AWS_SECRET_ACCESS_KEY",
    "AccessDenied": "access denied. Check that these credentials may use this bucket",
    "403": "access denied. Check the credentials and that they may use this bucket",
    "ExpiredToken": "the credentials have expired. Renew them and run the same command again",
    "RequestTimeTooSkewed": "the clock of this machine is wrong. Set it, and run the same command again",
}


_HINTS = {
    errno.EROFS: "the disk is mounted read-only. Choose another place, or mount it for writing",
    errno.ELOOP: "the link leads to itself. Remove it, or put the file there",
}

_FULL = (errno.ENOSPC, errno.EDQUOT)

_NO_ROOM_BYTES = 1 << 20
"""What is left of a full disk at most: a buffer that did not find room."""

_BAD_ENDPOINT = ("Invalid endpoint", "Invalid IPv6 URL")
"""How botocore and urllib begin the plain ValueError that an endpoint of the wrong form gets them to raise."""


S3_SCHEMES = ("s3://", "s3a://")
"""How an address in an object store begins."""


@contextmanager
def storage_errors_as(kind: type[FacemillError], url: str) -> Iterator[None]:
    """Turn what a filesystem raises into one line of `kind` that says what to do about `url`.

    Timeouts are OSError. An error of any other type is a fault of the program and passes.
    """
    try:
        yield
    except (ClientError, BotoCoreError, OSError) as error:
        if _is_full(error):
            raise NoRoomError(no_room(_place_of(url), error)) from error
        raise kind(" ".join(f"{url}: {_storage_hint(error)}".split())) from error
    except ValueError as error:
        if not str(error).startswith(_BAD_ENDPOINT):
            raise
        raise kind(f"{url}: {error}. Check --s3-endpoint: it must look like http://host:8333") from error


def _is_full(error: BaseException) -> TypeGuard[OSError]:
    """Whether it is a disk of this machine that has no room, rather than S3 that answers so."""
    is_answered = any(isinstance(cause, ClientError) for cause in causes(error))
    return isinstance(error, OSError) and error.errno in _FULL and not is_answered


def _place_of(url: str) -> str:
    """What is full: an object store has no disk, so it is the temporary folder, where its copies are made."""
    return tempfile.gettempdir() if url.startswith(S3_SCHEMES) else url


@contextmanager
def room_in(folder: str, *, alone: bool = True) -> Iterator[None]:
    """Tell that a disk is full, by the name of the folder that is written to in the block.

    Args:
        alone: whether nothing else is written to in the block. If not, only of a disk that now is full is told; what
            has filled another, or used up a quota, passes.

    Raises:
        NoRoomError: it is.
        DestinationError: it does not take a file that large.
    """
    try:
        yield
    except OSError as error:
        if not alone and (error.errno != errno.ENOSPC or shutil.disk_usage(folder).free >= _NO_ROOM_BYTES):
            raise
        if _is_full(error):
            raise NoRoomError(no_room(folder, error)) from error
        if error.errno == errno.EFBIG:
            raise DestinationError(f"{folder}: takes no file that large ({error}). Choose another place") from error
        raise


def no_room(folder: str, error: OSError) -> str:
    """What a person is told of a full disk."""
    what = "the quota is used up" if error.errno == errno.EDQUOT else "no space is left on the disk"
    return f"{folder}: {what}. Make room there and run the same command again: what is done stays done"


def _storage_hint(error: BaseException) -> str:
    for cause in causes(error):
        if isinstance(cause, ClientError):
            code = str(cause.response.get("Error", {}).get("Code", ""))
            return _S3_HINTS.get(code, f"the S3 server answered {code}: {cause}")
        if type(cause).__name__ == "NoCredentialsError":
            return "no S3 credentials found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or an instance role"
        if type(cause).__name__ == "EndpointResolutionError":
            return f"{cause}. Check --s3-endpoint: it must look like http://host:8333"
        if type(cause).__name__ == "EndpointConnectionError":
            return f"the S3 server cannot be reached ({cause}). Check --s3-endpoint and the network"
    if isinstance(error, PermissionError):
        return f"permission denied ({error}). Check the rights, or choose another place"
    if isinstance(error, OSError) and error.errno in _HINTS:
        return _HINTS[error.errno]
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a part of this path is a file, not a folder. Choose another place"
    if isinstance(error, FileNotFoundError):
        return "not found. Check the name"
    return f"{type(error).__name__}: {error}"
