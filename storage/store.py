"""One code path over fsspec for files on disk (`/data/in`, `file://`) and objects in S3 (`s3://bucket/prefix`)."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.spec import AbstractFileSystem

from storage.committing import PARTIAL_MARK, partial_file, publish_bytes_to_s3, publish_on_disk, publish_to_s3
from storage.errors import DestinationError, SourceError, UsageError
from storage.requests import answer_each
from storage.s3_requests import s3_filesystem
from storage.storage_errors import S3_SCHEMES, room_in, storage_errors_as
from storage.temporary import temporary_folder
from storage.words import is_utf8, printable

ENDPOINT = r"^https?://[^@]*$"
"""What the URL of a server looks like. One with a password would carry it into records and logs."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}|arn:.*")


def is_remote(url: str) -> bool:
    """Whether `url` names an object store rather than a file on this machine."""
    return _SCHEME.match(url) is not None and not url.startswith("file://")


_MEDIA_BLOCKS = 4
"""Of 5 MB, kept of a remote media file: a demuxer goes to and fro between its index and where its streams are."""

NOT_UTF8 = "its name is not UTF-8. Rename it, with convmv for example"


def absolute(url: str) -> str:
    """The one name of a place: an absolute path, or an `s3://` URL, which is how listings name objects.

    Raises:
        UsageError: its name is no text.
    """
    if not is_utf8(url):
        raise UsageError(f"{printable(url)}: {NOT_UTF8}")
    if is_remote(url):
        return url.replace("s3a://", "s3://", 1) if url.startswith("s3a://") else url
    return os.path.abspath(os.path.expanduser(url.removeprefix("file://")))


def join(base: str, *names: str) -> str:
    """Join path parts with `/`, for a local folder and an `s3://` prefix alike."""
    return posixpath.join(base.rstrip("/") or "/", *names)


@dataclass(frozen=True)
class FileIdentity:
    """What tells one version of a file from another without reading it."""

    size: int
    """Bytes."""
    version: str
    """ETag of an S3 object, modification time in ns of a file."""


@dataclass(frozen=True)
class StoredFile:
    """What a listing tells of a file."""

    url: str
    size: int
    """Bytes."""
    modified: datetime
    """Timezone-aware."""


@dataclass(frozen=True)
class Store:
    """Reads and writes by URL. Holds settings only, so it can travel to any worker.

    Credentials are never held here: S3 takes them from the environment or the instance, as boto3 does.
    """

    s3_endpoint: str | None = None
    """URL of an S3-compatible server; None for the one that the AWS environment names."""

    def __post_init__(self) -> None:
        """Raises:
        UsageError: the endpoint is no `http://` or `https://` URL, or holds credentials.
        """
        if self.s3_endpoint is not None and not re.fullmatch(ENDPOINT, self.s3_endpoint):
            raise UsageError(
                "Check --s3-endpoint: it must look like http://host:8333, without credentials, which belong into the "
                "environment"
            )

    def filesystem(self, url: str) -> tuple[AbstractFileSystem, str]:
        """The filesystem that holds `url`, and the path of `url` inside it.

        Never through fsspec's own parsing of URLs: it takes `::`, which may be part of any name, for a chain of
        filesystems.

        Raises:
            UsageError: `url` is neither a path nor `file://` nor `s3://bucket`, or holds credentials.
        """
        if not is_remote(url):
            return fsspec.filesystem("file"), absolute(url)
        scheme, _, rest = url.partition("://")
        if "@" in (authority := rest.partition("/")[0]):
            place = authority.rpartition("@")[2]  # without what may be a password: this line ends up in logs
            raise UsageError(f"{scheme}://...@{place}: credentials belong into the environment, not into an address")
        if ":" in authority and not authority.startswith("arn:"):  # the slash before its @ may be the secret's own
            raise UsageError(
                f"{scheme}://...: no bucket's name has a colon, and nothing else than buckets and files can be read; "
                "credentials belong into the environment, not into an address"
            )
        if not url.startswith(S3_SCHEMES):
            told = url.partition("?")[0]  # what follows may be a signature
            raise UsageError(f"{told}: only paths on this machine, file:// and s3:// can be read and written")
        filesystem = s3_filesystem(self.s3_endpoint)
        path = str(filesystem._strip_protocol(url))
        bucket = path.partition("/")[0]
        if not _BUCKET.fullmatch(bucket):
            raise UsageError(f"{url}: '{bucket}' is no name of a bucket. Write s3://bucket or s3://bucket/prefix")
        return filesystem, path

    def require_folder(self, url: str) -> None:
        """Raise UsageError when `url` is no address, or that of a file of this machine."""
        _, path = self.filesystem(url)
        if not is_remote(url) and os.path.isfile(path):
            raise UsageError(f"{url}: is a file. Give the folder of results, the --out of `facemill restore`")

    def exists(self, url: str) -> bool:
        filesystem, path = self.filesystem(url)
        return bool(filesystem.exists(path))

    def is_folder(self, url: str) -> bool:
        """Whether a folder of a disk is there; S3 has none."""
        return not is_remote(url) and os.path.isdir(self.filesystem(url)[1])

    def identity(self, url: str) -> FileIdentity:
        """Size and version of the file at `url`.

        Raises:
            FileNotFoundError: nothing is there.
        """
        filesystem, path = self.filesystem(url)
        found = filesystem.info(path)
        if is_remote(url):
            return FileIdentity(int(found["size"]), str(found.get("ETag", "")).strip('"'))
        return FileIdentity(int(found["size"]), str(os.stat(path).st_mtime_ns))

    def list_files(self, url: str) -> list[str]:
        """URLs of all files below the folder or prefix `url`, sorted; empty when there is none.

        Links to files are files, also those that lead nowhere.
        """
        return [file.url for file in self.list_details(url)]

    def list_details(self, url: str) -> list[StoredFile]:
        """As `list_files`, with what the listing tells of each."""
        filesystem, path = self.filesystem(url)
        found = filesystem.find(path, detail=True)
        # A prefix that was emptied may stay as a marker, which find() gives as an object of that name.
        files = [
            StoredFile(
                filesystem.unstrip_protocol(name) if is_remote(url) else name, int(told["size"]), _modified(told)
            )
            for name, told in found.items()
            if not _is_folder(name, told) and name != path.rstrip("/")
        ]
        return sorted(files, key=lambda file: file.url)

    def list_folders(self, url: str) -> list[str]:
        """URLs of the folders or prefixes right below `url`, sorted; empty when there is none."""
        filesystem, path = self.filesystem(url)
        try:
            found = filesystem.ls(path, detail=True)
        except FileNotFoundError:
            return []
        folders = [str(told["name"]).rstrip("/") for told in found if told["type"] == "directory"]
        return sorted(filesystem.unstrip_protocol(name) if is_remote(url) else name for name in folders)

    def modified(self, url: str) -> datetime | None:
        """When a file was written, by the clock that dates it; None when there is none."""
        filesystem, path = self.filesystem(url)
        try:
            return _modified(filesystem.info(path))
        except FileNotFoundError:
            return None

    def now(self, url: str) -> datetime:
        """The time by the clock that dates the files below `url`, to tell their age by.

        That is another machine's, where a disk is shared, and in S3; this one's may be off by hours.
        """
        filesystem, path = self.filesystem(url)
        if is_remote(url):
            bucket, key, _ = filesystem.split_path(path)
            answer = filesystem.call_s3(
                "list_objects_v2", Bucket=bucket, Prefix=join(key, "") if key else "", MaxKeys=1
            )
            return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        before = os.stat(path)
        try:
            os.utime(path)  # to the present, as the machine with the disk takes it
        except OSError:  # not the user's own, or read-only: then nothing below it can be removed, however old it is
            return datetime.now(UTC)
        present = os.stat(path).st_mtime
        with suppress(PermissionError):  # who may write into a folder may set it to the present; back only its owner
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return datetime.fromtimestamp(present, UTC)

    @contextmanager
    def open_media(self, url: str) -> Iterator[str | IO[bytes]]:
        """What a demuxer can open: the path of a local file, a seekable binary file for a remote one."""
        filesystem, path = self.filesystem(url)
        if not is_remote(url):
            yield path
            return
        with filesystem.open(path, "rb", cache_type="blockcache", cache_options={"maxblocks": _MEDIA_BLOCKS}) as file:
            yield file

    def sha256(self, url: str) -> str:
        """Of a file, 64 hex digits; it is read piece by piece."""
        filesystem, path = self.filesystem(url)
        with filesystem.open(path, "rb", cache_type="readahead") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read_bytes(self, url: str) -> bytes:
        filesystem, path = self.filesystem(url)
        return bytes(filesystem.cat_file(path))

    @contextmanager
    def scratch(self, folder: str, owner: str = "") -> Iterator[Path]:
        """A new local file for `commit_file` to make visible in `folder`; what was not made visible is removed.

        On disks it lies in that folder already, as `.facemill-partial-<owner>*`; for S3 in the temporary folder.
        """
        if not is_remote(folder):
            with room_in(folder), partial_file(Path(self.filesystem(folder)[1]), owner) as partial:
                yield partial
            return
        with temporary_folder() as temporary:
            yield temporary / "content"

    def commit_file(self, written: Path, url: str, *, keep: bool = False) -> bool:
        """Make a file from `scratch` appear at `url`, in its folder, at once and whole.

        Args:
            keep: leave what is at `url` already: the first of several writers wins. Not every S3 server can tell.

        Returns:
            Whether what was written is at `url` now. It may be so even when it is not told, so read back what counts.
        """
        filesystem, path = self.filesystem(url)
        if is_remote(url):
            return publish_to_s3(filesystem, written, path, keep=keep)
        return publish_on_disk(written, Path(path), keep=keep)

    @contextmanager
    def staged(self, url: str) -> Iterator[Path]:
        """A local path to write; when the block ends without an error, its content is at `url`, whatever was there.

        A reader sees the old object or the new one, never a part; so does whoever comes after a crash.
        """
        with self.scratch(posixpath.dirname(url)) as written:
            yield written
            self.commit_file(written, url)

    def commit_bytes(self, content: bytes, url: str, *, keep: bool = False) -> bool:
        """Make `content` appear at `url` at once and whole; `keep` and the result as of `commit_file`."""
        if is_remote(url):
            filesystem, path = self.filesystem(url)
            return publish_bytes_to_s3(filesystem, content, path, keep=keep)
        with self.scratch(posixpath.dirname(url)) as written:
            written.write_bytes(content)
            return self.commit_file(written, url, keep=keep)

    @contextmanager
    def local_copy(self, url: str) -> Iterator[Path]:
        """A path of this machine with the content of `url`: the file itself on disks, a temporary copy from S3."""
        filesystem, path = self.filesystem(url)
        if not is_remote(url):
            yield Path(path)
            return
        with temporary_folder() as temporary:
            local = temporary / posixpath.basename(path)
            filesystem.get_file(path, str(local))
            yield local

    def remove(self, *groups: Iterable[str]) -> None:
        """Remove files; one that is gone already is no error. On disks, folders left empty go too.

        Args:
            groups: URLs; of one group in any order, each group when the one before is gone.
        """
        for group in groups:
            answer_each(self._remove_one, group)  # a request of S3 removes one object

    def _remove_one(self, url: str) -> None:
        filesystem, path = self.filesystem(url)
        with suppress(FileNotFoundError):
            filesystem.rm_file(path)
            if not is_remote(url):
                self._remove_if_empty(Path(path).parent)

    def remove_empty_folders(self, url: str) -> None:
        """Remove, on disks, the folder `url` and those below it as far as they hold no file; S3 has no folders."""
        if not is_remote(url):
            for folder, _, _ in os.walk(self.filesystem(url)[1], topdown=False):
                self._remove_if_empty(Path(folder))

    @staticmethod
    def _remove_if_empty(folder: Path) -> None:
        try:
            folder.rmdir()
        except OSError:
            return  # not empty, or another process was first: both are fine

    def check_readable(self, url: str, prefix: str | None = None) -> None:
        """Raise SourceError when the bucket or the path behind `url` cannot be reached.

        A local path is checked for existence; S3 is asked for one key below `prefix`, with the credentials at hand,
        which may be good for no more than that prefix.

        Args:
            url: a path, `s3://bucket` or `s3://bucket/prefix`.
            prefix: what the keys begin with; those below `url` unless given.
        """
        filesystem, path = self.filesystem(url)
        with storage_errors_as(SourceError, url):
            if is_remote(url):
                bucket, key, _ = filesystem.split_path(path)
                below = prefix if prefix is not None else join(key, "") if key else ""
                filesystem.call_s3("list_objects_v2", Bucket=bucket, Prefix=below, MaxKeys=1)
            elif not filesystem.exists(path):
                raise SourceError(f"no such source: {url}. Give a file, folder, glob, s3:// prefix or list file")

    def check_writable(self, url: str) -> None:
        """Write and remove a probe file below `url`.

        Raises:
            DestinationError: the folder or bucket does not take it.
        """
        probe = join(url, f"{PARTIAL_MARK}probe-{uuid.uuid4().hex}")
        existed = is_remote(url) or Path(self.filesystem(url)[1]).exists()
        with storage_errors_as(DestinationError, url):
            if not existed:
                self._make_folder(url)
            filesystem, path = self.filesystem(probe)
            try:
                filesystem.pipe_file(path, b"facemill")
            finally:
                with suppress(FileNotFoundError):
                    filesystem.rm_file(path)

    def _make_folder(self, url: str) -> None:
        try:
            os.makedirs(self.filesystem(url)[1], exist_ok=True)  # another run may have made it meanwhile
        except FileNotFoundError as error:  # what a filesystem without room for folders answers, such as /proc
            raise DestinationError(f"{url}: the folder cannot be created here. Choose another place") from error


def _is_folder(name: str, told: dict[str, Any]) -> bool:
    """Whether fsspec's entry is a folder; a link, which it calls `other`, may lead to either."""
    return told["type"] == "directory" or (bool(told.get("islink")) and os.path.isdir(name))


def _modified(told: dict[str, Any]) -> datetime:
    """When fsspec's entry was written last: `LastModified` of S3, `mtime` of a disk."""
    at = told.get("LastModified")
    return at if isinstance(at, datetime) else datetime.fromtimestamp(told["mtime"], UTC)
