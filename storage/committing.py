"""How bytes become visible: at once and whole; over what is there, or only where nothing is.

    on disks   a `.facemill-partial-*` file in the folder of the final name, flushed, then renamed over it; or linked to
               it, which fails where something is. Then the folder is flushed.
    in S3      one PUT, or the parts of an upload and one CompleteMultipartUpload; with `If-None-Match: *` where what is
               there shall stay. A server that does not know this header writes over it.

A crash before the rename, the link or the last request leaves nothing at the final name: at most a partial file, or an
upload that was never completed. `storage.cleaning` removes both.
"""

from __future__ import annotations

import fcntl
import mimetypes
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from fsspec.spec import AbstractFileSystem

from storage.errors import causes

PARTIAL_MARK = ".facemill-partial-"
"""How the names of files begin that are still being written."""

_PART_BYTES = 16 << 20
_PARTS_AT_A_TIME = 4
"""An upload holds so many parts in memory: 64 MB. s3fs alone takes ten parts of 50 MB."""
_MOST_PARTS = 10_000
"""Of an upload to S3."""

_FOLDER_TRIES = 100
_CONFLICT_TRIES = 5

_STANDS = frozenset(("PreconditionFailed", "412"))
_NO_CONDITIONS = frozenset(("NotImplemented", "501"))
_CONFLICT = frozenset(("ConditionalRequestConflict", "409"))
"""Another conditional write to the same name is not decided yet."""


@contextmanager
def partial_file(folder: Path, owner: str = "") -> Iterator[Path]:
    """A new, empty file in `folder`, which is made if need be; removed at the end, unless it was renamed.

    It is locked as long as the block lasts, which tells it from one that a crash left: see `is_abandoned`.

    Args:
        owner: becomes part of its name.
    """
    path, descriptor = _new_partial(folder, f"{PARTIAL_MARK}{owner}{uuid.uuid4().hex}")
    try:
        with suppress(OSError):  # not every filesystem can lock
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield path
    finally:
        os.close(descriptor)
        path.unlink(missing_ok=True)


def _new_partial(folder: Path, name: str) -> tuple[Path, int]:
    for _ in range(_FOLDER_TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            if folder.is_file():
                raise
            continue  # it was there, and was removed before mkdir looked whether it is a folder
        with suppress(FileNotFoundError):  # another run removed the folder, which was empty between the two calls
            return folder / name, os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    raise FileNotFoundError(f"{folder}: the folder is removed again and again while it is written to")


def is_abandoned(partial: Path) -> bool:
    """Whether no process of this machine writes a partial file; one on another machine may, on a shared disk."""
    try:
        descriptor = os.open(partial, os.O_RDWR)
    except OSError:
        return False  # gone meanwhile, or not ours to touch
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # locks are unknown here: only its age can tell
    finally:
        os.close(descriptor)
    return True


def publish_on_disk(written: Path, final: Path, *, keep: bool) -> bool:
    """Give a flushed copy of `written`, which lies in the same folder, its final name.

    Args:
        keep: leave what is at `final` already.

    Returns:
        Whether `final` is now what was written.
    """
    with open(written, "rb") as file:
        os.fsync(file.fileno())
    if keep and not _linked(written, final):
        return False
    if not keep:
        written.replace(final)
    _flush_folder(final.parent)
    return True


def _linked(written: Path, final: Path) -> bool:
    try:
        os.link(written, final)
    except FileExistsError:
        return False
    except FileNotFoundError:
        raise
    except OSError:  # no links on this filesystem: between the question and the rename another may come first
        if final.exists():
            return False
        written.replace(final)
    return True


def _flush_folder(folder: Path) -> None:
    """Make names in `folder` outlast a loss of power."""
    with suppress(OSError):  # not every filesystem can, and the folder may be gone by now
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def publish_to_s3(filesystem: AbstractFileSystem, written: Path, path: str, *, keep: bool) -> bool:
    """Send a file in parts; arguments and result as of `publish_on_disk`."""

    def send(mode: str) -> None:
        content_type, _ = mimetypes.guess_type(path)
        filesystem.put_file(
            str(written),
            path,
            chunksize=part_bytes(written.stat().st_size),
            max_concurrency=_PARTS_AT_A_TIME,
            mode=mode,
            **({"ContentType": content_type} if content_type else {}),
        )

    return _sent(send, keep=keep)


def publish_bytes_to_s3(filesystem: AbstractFileSystem, content: bytes, path: str, *, keep: bool) -> bool:
    """Send bytes by one request; arguments and result as of `publish_on_disk`."""
    return _sent(lambda mode: filesystem.pipe_file(path, content, mode=mode), keep=keep)


def part_bytes(size: int) -> int:
    """Length of the parts in which a file of so many bytes is sent."""
    return max(_PART_BYTES, -(-size // _MOST_PARTS))


def _sent(send: Callable[[str], Any], *, keep: bool) -> bool:
    """Send with If-None-Match when what is there shall stay; whether it was taken.

    A request that was repeated after its answer was lost is refused for its own first copy. So whoever is refused
    reads back what stands there.
    """
    if not keep:
        send("overwrite")
        return True
    for trial in range(_CONFLICT_TRIES):
        try:
            send("create")
            return True
        except (OSError, ClientError) as error:
            code = s3_code(error)
            if code in _STANDS:
                return False
            if code in _NO_CONDITIONS:
                break
            if code not in _CONFLICT or trial == _CONFLICT_TRIES - 1:
                raise
        time.sleep(0.1 * 2**trial)
    send("overwrite")
    return True


def s3_code(error: BaseException) -> str:
    """The S3 error code behind an exception; empty when there is none."""
    for cause in causes(error):
        if isinstance(cause, ClientError):
            return str(cause.response.get("Error", {}).get("Code", ""))
    return ""
