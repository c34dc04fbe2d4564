"""Text files that name sources, one a line."""

from __future__ import annotations

import os
from dataclasses import dataclass

from storage.errors import SourceError
from storage.storage_errors import storage_errors_as

_SUFFIXES = frozenset((".txt", ".lst", ".list"))


@dataclass(frozen=True)
class ListedSource:
    """A line of a list."""

    where: str
    """The list and the line, as a person is told."""
    line: int
    """From 1 on."""
    source: str
    """A URL as it is, or a path that begins at the list's folder."""


def is_list(name: str) -> bool:
    """Whether a file is called as lists are."""
    return os.path.splitext(name)[1].lower() in _SUFFIXES


def listed_sources(path: str) -> list[ListedSource]:
    """The sources that a list file names; empty lines and those that begin with `#` say nothing.

    Raises:
        SourceError: it is not UTF-8 text, names nothing, or names another list.
    """
    try:
        with storage_errors_as(SourceError, path), open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: a list file must be UTF-8 text, one source a line ({error})") from error
    folder = os.path.dirname(path)
    listed = []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        where = f"{path}, line {number}"
        if is_list(line):
            raise SourceError(f"{where}: names another list, {line}. Write the sources themselves into one list")
        source = line if "://" in line else os.path.join(folder, os.path.expanduser(line))
        listed.append(ListedSource(where, number, source))
    if not listed:
        raise SourceError(f"{path}: the list is empty. Write one source a line")
    return listed
