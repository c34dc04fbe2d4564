"""Which videos a job restores: files, folders, globs, `s3://` prefixes and list files become a list of sources."""

from __future__ import annotations

import glob
import hashlib
import os
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from storage.errors import FacemillError, SourceError, UsageError
from storage.source_lists import is_list, listed_sources
from storage.storage_errors import storage_errors_as
from storage.store import NOT_UTF8, FileIdentity, Store, absolute, is_remote, join
from storage.words import counted, is_utf8, printable

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .dv .f4v .flv .gif .h264 .h265 .hevc .ivf .m1v .m2t .m2ts .m2v .m4v .mjpeg .mjpg .mkv "
    ".mov .mp4 .mpe .mpeg .mpg .mts .mxf .nut .ogm .ogv .rm .rmvb .ts .vob .webm .wmv .y4m".split()
)
"""A folder or prefix is searched for these; a file that is named itself is taken whatever its suffix."""


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


SOUND_SUFFIXES = frozenset(".aac .ac3 .flac .m4a .mka .mp2 .mp3 .oga .ogg .opus .wav .wma".split())
"""What a folder may hold beside its videos: passed over, and told of, since an archive is more than its pictures."""

_OF_THE_FILESYSTEM = frozenset(("lost+found", "System Volume Information", "$RECYCLE.BIN"))

UNREADABLE = FileIdentity(-1, "unreadable")
"""Of a file that was found but cannot be looked at: it fails by itself when it is probed."""


@dataclass(frozen=True)
class Found:
    """What was found where sources were looked for."""

    sources: list[Source]
    """Sorted by relative path."""
    hidden: list[str]
    """Videos that were passed over, since their names or their folders' begin with a dot."""
    sound: list[str]
    """Files of sound alone, by their suffixes, that were passed over."""


@dataclass(frozen=True)
class _Search:
    """How sources are looked for, and what was passed over so far."""

    store: Store
    follow_links: bool
    hidden: list[str] = field(default_factory=list)
    sound: list[str] = field(default_factory=list)


def find_sources(arguments: Sequence[str], store: Store, *, follow_links: bool = False) -> list[Source]:
    """The sources of `search_sources`."""
    return search_sources(arguments, store, follow_links=follow_links).sources


def search_sources(arguments: Sequence[str], store: Store, *, follow_links: bool = False) -> Found:
    """Every video that `arguments` name.

    Hidden files of a folder or prefix are none, such as the `._talk.mp4` that macOS puts beside `talk.mp4`; one that is
    named itself, or by a glob that writes the dot, is.

    Args:
        arguments: files, folders, globs, `s3://` prefixes or objects, or text files that list such, one a line
            (`#` starts a comment; relative paths are relative to the list file, and so is what they become below the
            destination).
        follow_links: also restore files outside of a folder or glob that links in it lead to. Who may put files there
            could otherwise have any file of this machine restored.

    Returns:
        Among the sources, one that was found below a folder, prefix or glob and cannot be read has the identity
        UNREADABLE; one that is a link out of there, or a folder that cannot be read, a refusal.

    Raises:
        SourceError: an argument names nothing, a file named itself cannot be read, or nothing was found at all.
        UsageError: two different files would have the same relative path, or an argument is empty.
    """
    if not arguments:
        raise UsageError("no source given. Name at least one file, folder, glob, s3:// prefix or list file")
    search = _Search(store, follow_links)
    found: dict[str, Source] = {}
    for argument in arguments:
        for source in map(_named_in_text, _videos_of(argument, search)):
            other = found.setdefault(source.relative_path, source)
            if other.url != source.url:
                raise UsageError(
                    f"two sources would both become {source.relative_path}: {other.url} and {source.url}. "
                    "Restore them in two runs with two destinations"
                )
    return Found([found[path] for path in sorted(found)], search.hidden, search.sound)


def _named_in_text(source: Source) -> Source:
    """The source; refused when its name is no text, which neither a manifest nor a receipt could hold."""
    if is_utf8(source.url):
        return source
    url = printable(source.url)
    return Source(url, printable(source.relative_path), UNREADABLE, f"{url}: {NOT_UTF8}")


def _videos_of(argument: str, search: _Search) -> list[Source]:
    """The videos behind one argument, or one line of a list.

    Raises:
        SourceError: there is none.
    """
    passed_over = len(search.hidden)
    videos = _expand(argument, search)
    if not videos:
        hidden = len(search.hidden) - passed_over
        but = f", and passed over {counted(hidden, 'hidden one')}" if hidden else ""
        looked_for = ", ".join(sorted(VIDEO_SUFFIXES))
        raise SourceError(f"no video found in {argument}. Looked for files ending in {looked_for}{but}")
    return videos


def searched_folders(arguments: Iterable[str]) -> list[str]:
    """Folders and prefixes that `arguments` search to any depth: a file put there later would become a source."""
    folders = []
    for argument in arguments:
        path = absolute(argument)
        if glob.has_magic(path) and not os.path.exists(path):
            folders += [posixpath.dirname(path[: _first_magic(path)])] if "**" in path else []
        elif os.path.isfile(path) and is_list(path):
            folders += searched_folders(listed.source for listed in listed_sources(path))
        elif os.path.isdir(path) or (is_remote(path) and not is_video(path)):
            folders.append(path)
    return folders


def _expand(argument: str, search: _Search) -> list[Source]:
    if not argument.strip():
        raise UsageError("an empty source was given: a shell variable that is not set? Name a file, folder or prefix")
    if is_remote(argument):
        return _expand_remote(argument, search)
    path = search.store.filesystem(argument)[1]
    if os.path.isdir(path):
        return _expand_folder(path, search)
    if os.path.isfile(path):
        return _expand_list(path, search) if is_list(path) else [_named(path, search.store)]
    if glob.has_magic(path):
        return _expand_glob(path, search)
    if os.path.exists(path):
        raise SourceError(_no_file(path))
    raise SourceError(f"no such source: {argument}. Give a file, folder, glob, s3:// prefix or list file")


def _named(url: str, store: Store) -> Source:
    """The source of a file that was named itself.

    Raises:
        SourceError: it cannot be read.
    """
    with storage_errors_as(SourceError, url):
        return Source(url, posixpath.basename(url), store.identity(url))


def _below(base: str, urls: Iterable[str], search: _Search, *, hidden_too: bool = False) -> list[Source]:
    """The sources of the videos among `urls`, which lie below the folder or prefix `base`."""
    sources = []
    for url in urls:
        is_hidden = not hidden_too and _is_hidden(base, url)
        if _is_sound(url):
            search.sound.extend([] if is_hidden else [url])
        elif not is_video(url):
            continue
        elif is_hidden:
            search.hidden.append(url)
        else:
            sources.append(_found_below(base, url, search.store))
    return sources


def _is_hidden(base: str, url: str) -> bool:
    """Whether a name on the way from `base` to `url` begins with a dot, and is more than the way itself (`.`, `..`)."""
    parts = url.removeprefix(join(base, "")).split("/")
    return any(part.startswith(".") and part not in (".", "..") for part in parts)


def _found_below(base: str, url: str, store: Store) -> Source:
    """A source of its own path below `base`; one whose path is none, as a key in S3 may be, or
    that is no file, is refused by itself."""
    path = url.removeprefix(join(base, ""))
    parts = path.split("/")
    if not is_utf8(url):
        return Source(url, path, UNREADABLE)  # refused as a whole
    if not {"", ".", ".."} & set(parts):
        if not is_remote(url) and os.path.exists(url) and not os.path.isfile(url):
            return Source(url, path, UNREADABLE, _no_file(url))
        return Source(url, path, _identity(url, store))
    safe = "/".join(part.replace(".", "%2E") if part in (".", "..") else part or "%" for part in parts)
    reason = f"{url}: '{path}' is no place below a destination. Copy it to another name"
    return Source(url, safe, UNREADABLE, reason)


def _no_file(path: str) -> str:
    return f"{path}: is a pipe, a socket or a device. A source is read several times: copy it to a file"


def _inside(base: str, sources: Iterable[Source], search: _Search) -> list[Source]:
    """The sources found below a folder of this machine, with a refusal for each that a link makes lie elsewhere."""
    if search.follow_links:
        return list(sources)
    folder = join(os.path.realpath(base), "")
    return [source if os.path.realpath(source.url).startswith(folder) else _refused(source, base) for source in sources]


def _expand_folder(base: str, search: _Search) -> list[Source]:
    """The videos of a folder, and those behind links to folders in it, or a refusal for each such link.

    Of folders that are reached already, by the way they lie or by another link, nothing is taken again.
    """
    sources: list[Source] = []
    waiting, reached = [base], [os.path.realpath(base)]
    while waiting:
        files, links, unreadable = _walk(waiting.pop())
        sources += _below(base, files, search)
        sources += [_unreadable_folder(error, base) for error in unreadable if not _holds_no_sources(base, error)]
        for link in links:
            target = os.path.realpath(link)
            if _is_hidden(base, link) or any(join(target, "").startswith(join(each, "")) for each in reached):
                continue
            if not search.follow_links:
                sources.append(_refused(Source(link, posixpath.relpath(link, base), UNREADABLE), base))
                continue
            reached.append(target)
            waiting.append(link)
    return _inside(base, sources, search)


def _walk(folder: str) -> tuple[list[str], list[str], list[OSError]]:
    """What lies below a folder, at any depth but not behind a link.

    Returns:
        Files, links to files and to nothing among them; links to folders; the error of each folder that cannot be read.
    """
    files: list[str] = []
    links: list[str] = []
    errors: list[OSError] = []
    for at, folders, others in os.walk(folder, onerror=errors.append):
        files += [os.path.join(at, name) for name in others]
        links += [str(path) for path in (Path(at, name) for name in folders) if path.is_symlink()]
    return sorted(files), sorted(links), errors


def _holds_no_sources(base: str, unreadable: OSError) -> bool:
    """Whether a folder below `base` that cannot be read is hidden, or the filesystem's own."""
    folder = str(unreadable.filename)
    return folder != base and (_is_hidden(base, folder) or posixpath.basename(folder) in _OF_THE_FILESYSTEM)


def _unreadable_folder(error: OSError, base: str) -> Source:
    """What a folder that cannot be read is among the sources: it fails by itself.

    Raises:
        SourceError: it is `base`, so that there is nothing else.
    """
    folder = str(error.filename)
    reason = f"{folder}: the folder cannot be read ({error.strerror}). Check its rights"
    if folder == base:
        raise SourceError(reason) from error
    return Source(folder, posixpath.relpath(folder, base), UNREADABLE, reason)


def _refused(source: Source, base: str) -> Source:
    reason = f"{source.url}: is a link out of {base}. Name the file itself, or give --follow-links"
    return replace(source, identity=UNREADABLE, refusal=reason)


def _identity(url: str, store: Store) -> FileIdentity:
    try:
        with storage_errors_as(SourceError, url):
            return store.identity(url)
    except SourceError:  # a broken link, say: one file among many does not end the job, and its probe will name it
        return UNREADABLE


def _expand_remote(url: str, search: _Search) -> list[Source]:
    url, store = absolute(url), search.store
    filesystem, path = store.filesystem(url)
    if "/" in path and not url.endswith("/") and filesystem.isfile(path):
        return [_named(url, store)]  # before any listing, which the credentials may not allow
    if glob.has_magic(url):
        return _expand_remote_glob(url, search)
    store.check_readable(url)
    with storage_errors_as(SourceError, url):
        base = url.rstrip("/")
        return _below(base, store.list_files(join(base, "")), search)


def _expand_remote_glob(url: str, search: _Search) -> list[Source]:
    fixed = url[: _first_magic(url)]
    base = posixpath.dirname(fixed)
    filesystem, path = search.store.filesystem(url)
    search.store.check_readable(base, prefix=fixed.removeprefix("s3://").partition("/")[2])
    with storage_errors_as(SourceError, url):
        names = sorted(filesystem.unstrip_protocol(name) for name in filesystem.glob(path))
        return _below(base, names, search, hidden_too=_is_hidden(base, url))


def _expand_glob(pattern: str, search: _Search) -> list[Source]:
    base = os.path.dirname(pattern[: _first_magic(pattern)])
    names = sorted(name for name in glob.glob(pattern, recursive=True) if not os.path.isdir(name))
    if not names:
        raise SourceError(f"no file matches {pattern}. Check the pattern, and quote it so that the shell leaves it")
    return _inside(base, _below(base, names, search, hidden_too=_is_hidden(base, pattern)), search)


def _expand_list(path: str, search: _Search) -> list[Source]:
    """The sources of a list file. A line that gives none is one that fails by itself, with the line in its reason.

    Raises:
        FacemillError: no line gives one; or a line is no name of a source at all.
    """
    sources: list[Source] = []
    absent: list[Source] = []
    for listed in listed_sources(path):
        try:
            sources += _videos_of(listed.source, search)
        except SourceError as error:
            # Called by its line: a name it might share with a video that is there.
            name = f"{os.path.basename(path)}, line {listed.line}"
            absent.append(Source(listed.source, name, UNREADABLE, f"{listed.where}: {error}"))
        except FacemillError as error:
            raise type(error)(f"{listed.where}: {error}") from error
    if not sources:
        raise SourceError(absent[0].refusal)
    return [_relative_to(os.path.dirname(path), source) for source in sources] + absent


def _relative_to(folder: str, source: Source) -> Source:
    """The source with its path below `folder`, when it lies there: cam1/00.mp4 and cam2/00.mp4 are two results."""
    inside = join(folder, "")
    return replace(source, relative_path=source.url.removeprefix(inside)) if source.url.startswith(inside) else source


def is_video(name: str) -> bool:
    """Whether a file is called as videos are, and is none of facemill's own working objects."""
    return posixpath.splitext(name)[1].lower() in VIDEO_SUFFIXES and "/_facemill/" not in name


def _is_sound(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in SOUND_SUFFIXES and "/_facemill/" not in name


def _first_magic(pattern: str) -> int:
    return min(pattern.index(sign) for sign in "*?[" if sign in pattern)
