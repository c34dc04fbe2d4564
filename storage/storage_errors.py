"""What disks and S3 answer, as one line that says what to do."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from storage.errors import FacemillError, causes

_S3_HINTS = {
    "NoSuchBucket": "no such bucket. Create it, or check the name and --s3-endpoint",
    "404": "no such bucket or key. Check the name and --s3-endpoint",
    "InvalidAccessKeyId": "the access key is not known. Check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong. Check AWS_SECRET_ACCESS_KEY",
    "AccessDenied": "access denied. Check that these credentials may use this bucket",
    "403": "access denied. Check the credentials and that they may use this bucket",
    "ExpiredToken": "the credentials have expired. Renew them and run the same command again",
}


_BAD_ENDPOINT = ("Invalid endpoint", "Invalid IPv6 URL")
"""How botocore and urllib begin the plain ValueError that an endpoint of the wrong form gets them to raise."""


_OF_A_DISK = (errno.ENOSPC, errno.EDQUOT)
_OBJECT_STORES = ("s3://", "s3a://")


@contextmanager
def storage_errors_as(kind: type[FacemillError], url: str) -> Iterator[None]:
    """Turn what a filesystem raises into one line of `kind` that says what to do about `url`.

    Timeouts are OSError. An error of any other type is a fault of the program and passes.
    """
    try:
        yield
    except (ClientError, BotoCoreError, OSError) as error:
        raise kind(" ".join(f"{_place_of(error, url)}: {_storage_hint(error)}".split())) from error
    except ValueError as error:
        if not str(error).startswith(_BAD_ENDPOINT):
            raise
        raise kind(f"{url}: {error}. Check --s3-endpoint: it must look like http://host:8333") from error


def _place_of(error: BaseException, url: str) -> str:
    """What is full: an object store has no disk, so it is the temporary folder, where its copies are made."""
    is_answered = any(isinstance(cause, ClientError) for cause in causes(error))
    is_of_a_disk = isinstance(error, OSError) and error.errno in _OF_A_DISK and not is_answered
    return tempfile.gettempdir() if is_of_a_disk and url.startswith(_OBJECT_STORES) else url


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
    if isinstance(error, OSError) and error.errno in _OF_A_DISK:
        return f"{error.strerror}. Make room, or choose another place; TMPDIR names the one for what is under way"
    if isinstance(error, PermissionError):
        return f"permission denied ({error}). Check the rights, or choose another place"
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "a part of this path is a file, not a folder. Choose another place"
    if isinstance(error, FileNotFoundError):
        return "not found. Check the name"
    return f"{type(error).__name__}: {error}"
