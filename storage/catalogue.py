"""Which videos a job restores: files, folders, globs, `s3://` prefixes and list files become a list of sources."""

from __future__ import annotations

import glob
import hashlib
import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storage.errors import SourceError, UsageError
from storage.store import FileIdentity, Store, is_remote, join, storage_errors_as

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .dv .f4v .flv .gif .h264 .h265 .hevc .ivf .m1v .m2t .m2ts .m2v .m4v .mjpeg .mjpg .mkv "
    ".mov .mp4 .mpe .mpeg .mpg .mts .mxf .nut .ogm .ogv .rm .rmvb .ts .vob .webm .wmv .y4m".split()
)
"""A folder or prefix is searched for these; a file that is named itself is taken whatever its suffix."""

LIST_SUFFIXES = frozenset((".txt", ".lst", ".list"))


@dataclass(frozen=True)
class Source:
    """One video of the job."""

    url: str
    """Absolute path, or `s3://bucket/key`."""
    relative_path: str
    """Where the result goes below the destination, `/` between parts."""
    identity: FileIdentity

    @property
    def key(self) -> str:
        """16 hex digits that stand for this version of this source in names of working objects."""
        told = f"{self.url}\0{self.relative_path}\0{self.identity.size}\0{self.identity.version}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]


def find_sources(arguments: Sequence[str], store: Store) -> list[Source]:
    """Every video that `arguments` name, sorted by relative path.

    Args:
        arguments: files, folders, globs, `s3://` prefixes or objects, or text files that list such, one a line
            (`#` starts a comment; relative paths are relative to the list file).

    Raises:
        SourceError: an argument names nothing, or nothing was found at all.
        UsageError: two different files would have the same relative path.
    """
    if not arguments:
        raise UsageError("no source given. Name at least one file, folder, glob, s3:// prefix or list file")
    found: dict[str, Source] = {}
    for argument in arguments:
        for url, relative_path in _expand(argument, store):
            with storage_errors_as(SourceError, url):
                source = Source(url, relative_path, store.identity(url))
            other = found.setdefault(relative_path, source)
            if other.url != url:
                raise UsageError(
                    f"two sources would both become {relative_path}: {other.url} and {url}. "
                    "Restore them in two runs with two destinations"
                )
    if not found:
        raise SourceError(
            f"no video found in {', '.join(arguments)}. Looked for files ending in {', '.join(sorted(VIDEO_SUFFIXES))}"
        )
    return [found[path] for path in sorted(found)]


def _expand(argument: str, store: Store) -> Iterable[tuple[str, str]]:
    """(url, relative path) of every video behind one argument."""
    if is_remote(argument):
        return _expand_remote(argument, store)
    path = os.path.abspath(os.path.expanduser(argument.removeprefix("file://")))
    if os.path.isdir(path):
        return _videos_below(path, store)
    if os.path.isfile(path):
        if os.path.splitext(path)[1].lower() in LIST_SUFFIXES:
            return _expand_list_file(path, store)
        return [(path, os.path.basename(path))]
    if glob.has_magic(path):
        return _expand_glob(path)
    raise SourceError(f"no such source: {argument}. Give a file, folder, glob, s3:// prefix or list file")


def _expand_remote(url: str, store: Store) -> list[tuple[str, str]]:
    store.check_readable(url)
    if glob.has_magic(url):
        base = posixpath.dirname(url[: _first_magic(url)])
        with storage_errors_as(SourceError, url):
            filesystem, path = store.filesystem(url)
            names = sorted(filesystem.unstrip_protocol(name) for name in filesystem.glob(path))
        return [(name, posixpath.relpath(name, base)) for name in names if _is_video(name)]
    with storage_errors_as(SourceError, url):
        filesystem, path = store.filesystem(url)
        if "/" in path.strip("/") and not url.endswith("/") and filesystem.isfile(path):
            return [(url, posixpath.basename(url))]
        return _videos_below(url, store)


def _videos_below(url: str, store: Store) -> list[tuple[str, str]]:
    base = url.rstrip("/")
    return [(name, posixpath.relpath(name, base)) for name in store.list_files(join(base, "")) if _is_video(name)]


def _expand_glob(pattern: str) -> list[tuple[str, str]]:
    base = os.path.dirname(pattern[: _first_magic(pattern)])
    names = sorted(name for name in glob.glob(pattern, recursive=True) if os.path.isfile(name))
    if not names:
        raise SourceError(f"no file matches {pattern}. Check the pattern, and quote it so that the shell leaves it")
    return [(name, os.path.relpath(name, base).replace(os.sep, "/")) for name in names if _is_video(name)]


def _expand_list_file(path: str, store: Store) -> list[tuple[str, str]]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: a list file must be UTF-8 text, one source a line ({error})") from error
    entries = [line for line in lines if line and not line.startswith("#")]
    if not entries:
        raise SourceError(f"{path}: the list is empty. Write one source a line")
    folder = os.path.dirname(path)
    pairs: list[tuple[str, str]] = []
    for entry in entries:
        if os.path.splitext(entry)[1].lower() in LIST_SUFFIXES:
            raise SourceError(f"{path}: names another list, {entry}. Write the sources themselves into one list")
        pairs += _expand(entry if is_remote(entry) else os.path.join(folder, os.path.expanduser(entry)), store)
    return pairs


def _is_video(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in VIDEO_SUFFIXES and "/_facemill/" not in name


def _first_magic(pattern: str) -> int:
    return min(pattern.index(sign) for sign in "*?[" if sign in pattern)


def searched_folders(arguments: Iterable[str]) -> list[str]:
    """Folders and prefixes that `arguments` search to any depth: a file put there later would become a source."""
    folders = []
    for argument in arguments:
        path = argument if is_remote(argument) else os.path.abspath(os.path.expanduser(argument))
        if glob.has_magic(path) and not os.path.exists(path):
            folders += [posixpath.dirname(path[: _first_magic(path)])] if "**" in path else []
        elif os.path.isfile(path) and os.path.splitext(path)[1].lower() in LIST_SUFFIXES:
            folders += searched_folders(_list_entries(path))
        elif os.path.isdir(path) or (is_remote(path) and not _is_video(path)):
            folders.append(path)
    return folders


def _list_entries(path: str) -> list[str]:
    """The sources that a list file names: URLs as they are, paths from its folder.

    Raises:
        SourceError: it is not UTF-8 text, or names nothing.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: a list file must be UTF-8 text, one source a line ({error})") from error
    entries = [line for line in lines if line and not line.startswith("#")]
    if not entries:
        raise SourceError(f"{path}: the list is empty. Write one source a line")
    folder = os.path.dirname(path)
    return [entry if is_remote(entry) else os.path.join(folder, os.path.expanduser(entry)) for entry in entries]
