"""Which videos a job restores: files, folders, globs, `s3://` prefixes and list files become a list of sources."""

from __future__ import annotations

import glob
import hashlib
import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from storage.errors import SourceError, UsageError
from storage.storage_errors import storage_errors_as
from storage.store import FileIdentity, Store, absolute, is_remote, join

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
    refusal: str = ""
    """Why it may not be restored; empty when it may."""

    @property
    def key(self) -> str:
        """16 hex digits that stand for this version of this source in names of working objects."""
        told = f"{self.url}\0{self.relative_path}\0{self.identity.size}\0{self.identity.version}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def __post_init__(self) -> None:
        if not self.relative_path or ".." in self.relative_path.split("/"):
            raise SourceError(f"{self.url}: '{self.relative_path}' is no place below a destination. Rename it")


UNREADABLE = FileIdentity(-1, "unreadable")
"""Of a file that was found but cannot be looked at: it fails by itself when it is probed."""


def find_sources(arguments: Sequence[str], store: Store, *, follow_links: bool = False) -> list[Source]:
    """Every video that `arguments` name, sorted by relative path.

    Args:
        arguments: files, folders, globs, `s3://` prefixes or objects, or text files that list such, one a line
            (`#` starts a comment; relative paths are relative to the list file, and so is what they become below the
            destination).
        follow_links: also restore files outside of a folder or glob that links in it lead to. Who may put files there
            could otherwise have any file of this machine restored.

    Returns:
        Sources; one that was found below a folder, prefix or glob and cannot be read has the identity UNREADABLE, one
        that is a link out of there a refusal.

    Raises:
        SourceError: an argument names nothing, a file named itself cannot be read, or nothing was found at all.
        UsageError: two different files would have the same relative path, or an argument is empty.
    """
    if not arguments:
        raise UsageError("no source given. Name at least one file, folder, glob, s3:// prefix or list file")
    found: dict[str, Source] = {}
    for argument in arguments:
        expanded = _expand(argument, store, follow_links)
        if not expanded:
            looked_for = ", ".join(sorted(VIDEO_SUFFIXES))
            raise SourceError(f"no video found in {argument}. Looked for files ending in {looked_for}")
        for source in expanded:
            other = found.setdefault(source.relative_path, source)
            if other.url != source.url:
                raise UsageError(
                    f"two sources would both become {source.relative_path}: {other.url} and {source.url}. "
                    "Restore them in two runs with two destinations"
                )
    return [found[path] for path in sorted(found)]


def searched_folders(arguments: Iterable[str]) -> list[str]:
    """Folders and prefixes that `arguments` search to any depth: a file put there later would become a source."""
    folders = []
    for argument in arguments:
        path = absolute(argument)
        if glob.has_magic(path) and not os.path.exists(path):
            folders += [posixpath.dirname(path[: _first_magic(path)])] if "**" in path else []
        elif os.path.isfile(path) and os.path.splitext(path)[1].lower() in LIST_SUFFIXES:
            folders += searched_folders(_list_entries(path))
        elif os.path.isdir(path) or (is_remote(path) and not is_video(path)):
            folders.append(path)
    return folders


def _expand(argument: str, store: Store, follow_links: bool) -> list[Source]:
    """Every video behind one argument."""
    if not argument.strip():
        raise UsageError("an empty source was given: a shell variable that is not set? Name a file, folder or prefix")
    if is_remote(argument):
        return _expand_remote(argument, store)
    path = store.filesystem(argument)[1]
    if os.path.isdir(path):
        found = _inside(path, _below(path, store.list_files(path), store), follow_links)
        return [*found, *_behind_linked_folders(path, store, follow_links)]
    if os.path.isfile(path):
        if os.path.splitext(path)[1].lower() in LIST_SUFFIXES:
            return _expand_list_file(path, store, follow_links)
        return [_named(path, store)]
    if glob.has_magic(path):
        return _expand_glob(path, store, follow_links)
    raise SourceError(f"no such source: {argument}. Give a file, folder, glob, s3:// prefix or list file")


def _named(url: str, store: Store) -> Source:
    """The source of a file that was named itself.

    Raises:
        SourceError: it cannot be read.
    """
    with storage_errors_as(SourceError, url):
        return Source(url, posixpath.basename(url), store.identity(url))


def _below(base: str, urls: Iterable[str], store: Store) -> list[Source]:
    """The sources of the videos among `urls`, which lie below the folder or prefix `base`."""
    return [_found_below(base, url, store) for url in urls if is_video(url)]


def _found_below(base: str, url: str, store: Store) -> Source:
    """A source of its own path below `base`; one whose path is none, as a key in S3 may be, is refused by itself."""
    path = url.removeprefix(join(base, ""))
    parts = path.split("/")
    if not {"", ".", ".."} & set(parts):
        return Source(url, path, _identity(url, store))
    safe = "/".join(part.replace(".", "%2E") if part in (".", "..") else part or "%" for part in parts)
    reason = f"{url}: '{path}' is no place below a destination. Copy it to another name"
    return Source(url, safe, UNREADABLE, reason)


def _inside(base: str, sources: Iterable[Source], follow_links: bool) -> list[Source]:
    """The sources found below a folder of this machine, with a refusal for each that a link makes lie elsewhere."""
    if follow_links:
        return list(sources)
    folder = join(os.path.realpath(base), "")
    return [source if os.path.realpath(source.url).startswith(folder) else _refused(source, base) for source in sources]


def _behind_linked_folders(base: str, store: Store, follow_links: bool) -> list[Source]:
    """What lies behind links to folders below `base`: its videos, or a refusal for each such link.

    Of folders that are reached already, by the way they lie or by another link, nothing is taken again.
    """
    sources: list[Source] = []
    waiting, reached = [base], [os.path.realpath(base)]
    while waiting:
        for link in _linked_folders(waiting.pop()):
            target = os.path.realpath(link)
            if any(join(target, "").startswith(join(each, "")) for each in reached):
                continue
            if not follow_links:
                sources.append(_refused(Source(link, posixpath.relpath(link, base), UNREADABLE), base))
                continue
            reached.append(target)
            waiting.append(link)
            sources += _below(base, store.list_files(link), store)
    return sources


def _linked_folders(base: str) -> list[str]:
    """Links to folders below a folder, at any depth but not behind a link."""
    below = [Path(folder) / name for folder, names, _ in os.walk(base) for name in names]
    return sorted(str(path) for path in below if path.is_symlink())


def _refused(source: Source, base: str) -> Source:
    reason = f"{source.url}: is a link out of {base}. Name the file itself, or give --follow-links"
    return replace(source, identity=UNREADABLE, refusal=reason)


def _identity(url: str, store: Store) -> FileIdentity:
    try:
        with storage_errors_as(SourceError, url):
            return store.identity(url)
    except SourceError:  # a broken link, say: one file among many does not end the job, and its probe will name it
        return UNREADABLE


def _expand_remote(url: str, store: Store) -> list[Source]:
    url = absolute(url)
    filesystem, path = store.filesystem(url)
    if "/" in path and not url.endswith("/") and filesystem.isfile(path):
        return [_named(url, store)]  # before any listing, which the credentials may not allow
    if glob.has_magic(url):
        return _expand_remote_glob(url, store)
    store.check_readable(url)
    with storage_errors_as(SourceError, url):
        base = url.rstrip("/")
        return _below(base, store.list_files(join(base, "")), store)


def _expand_remote_glob(url: str, store: Store) -> list[Source]:
    fixed = url[: _first_magic(url)]
    base = posixpath.dirname(fixed)
    filesystem, path = store.filesystem(url)
    store.check_readable(base, prefix=fixed.removeprefix("s3://").partition("/")[2])
    with storage_errors_as(SourceError, url):
        return _below(base, sorted(filesystem.unstrip_protocol(name) for name in filesystem.glob(path)), store)


def _expand_glob(pattern: str, store: Store, follow_links: bool) -> list[Source]:
    base = os.path.dirname(pattern[: _first_magic(pattern)])
    names = sorted(name for name in glob.glob(pattern, recursive=True) if not os.path.isdir(name))
    if not names:
        raise SourceError(f"no file matches {pattern}. Check the pattern, and quote it so that the shell leaves it")
    return _inside(base, _below(base, names, store), follow_links)


def _expand_list_file(path: str, store: Store, follow_links: bool) -> list[Source]:
    folder = os.path.dirname(path)
    sources = (source for entry in _list_entries(path) for source in _expand(entry, store, follow_links))
    return [_relative_to(folder, source) for source in sources]


def _list_entries(path: str) -> list[str]:
    """The sources that a list file names: URLs as they are, paths from the file's folder.

    Raises:
        SourceError: it is not UTF-8 text, names nothing, or names another list.
    """
    try:
        with storage_errors_as(SourceError, path), open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: a list file must be UTF-8 text, one source a line ({error})") from error
    entries = [line for line in lines if line and not line.startswith("#")]
    if not entries:
        raise SourceError(f"{path}: the list is empty. Write one source a line")
    for entry in entries:
        if os.path.splitext(entry)[1].lower() in LIST_SUFFIXES:
            raise SourceError(f"{path}: names another list, {entry}. Write the sources themselves into one list")
    folder = os.path.dirname(path)
    return [entry if "://" in entry else os.path.join(folder, os.path.expanduser(entry)) for entry in entries]


def _relative_to(folder: str, source: Source) -> Source:
    """The source with its path below `folder`, when it lies there: cam1/00.mp4 and cam2/00.mp4 are two results."""
    inside = join(folder, "")
    return replace(source, relative_path=source.url.removeprefix(inside)) if source.url.startswith(inside) else source


def is_video(name: str) -> bool:
    """Whether a file is called as videos are, and is none of facemill's own working objects."""
    return posixpath.splitext(name)[1].lower() in VIDEO_SUFFIXES and "/_facemill/" not in name


def _first_magic(pattern: str) -> int:
    return min(pattern.index(sign) for sign in "*?[" if sign in pattern)
