"""Which result belongs to which source, and what the manifest beside the results says of it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from storage.catalogue import Source, find_sources, is_video
from storage.errors import UsageError
from storage.finishing import variant_path
from storage.receipts import VARIANTS, Variant
from storage.storage_errors import storage_errors_as
from storage.store import Store, absolute, join
from storage.video_rows import read_video_rows

Row = dict[str, Any]
"""A row of the manifest's videos table."""


@dataclass(frozen=True)
class Pair:
    """A source and what became of it."""

    source: Source
    result: str
    """Path or URL."""
    row: Row | None
    """Its row in the manifest beside the result, if there is one."""
    variant: Variant = "restored"
    """Which of the videos that are made of a source the result is."""


def pairs_of(arguments: Sequence[str], result: str, store: Store) -> Iterator[Pair]:
    """Every source with its result and its row of the manifest.

    Args:
        arguments: as of `find_sources`.
        result: the result of a single source, or the folder or `s3://` prefix of all results.

    Raises:
        SourceError: no source is there.
        UsageError: there is no such folder, or a single result for several sources.
    """
    sources = find_sources(arguments, store, follow_links=True)
    result = absolute(result)  # as the manifest's folder is named, below
    with storage_errors_as(UsageError, result):
        is_folder = _is_folder(result, store)
        if not is_folder and not _is_file(result, store) and not is_video(result):
            raise UsageError(f"no such result: {result}. Give a result, or the folder that results were written to")
        if not is_folder and len(sources) > 1:
            raise UsageError(
                f"{result} is one result, the sources are {len(sources)} videos. Give the folder of results"
            )
        out = result if is_folder else _manifest_folder(result, store)
        rows = read_video_rows(out, store) if out else []
        if is_folder and not rows and not store.list_files(result):
            raise UsageError(f"{result}: there is nothing here. Give the folder that results were written to")
    if is_folder:
        for source in sources:
            row = _row_of(source, rows)
            yield Pair(source, join(result, (row and row["output"]) or source.relative_path), row)
    else:
        yield _named_pair(sources[0], result, out or "", rows)


def _named_pair(source: Source, result: str, out: str, rows: list[Row]) -> Pair:
    """The pair of a source and of a file that is named itself; by the manifest, or by its name where that is silent."""
    for variant in VARIANTS:
        written = [row for row in rows if row["output"] and join(out, variant_path(row["output"], variant)) == result]
        row = _row_of(source, written)
        if row is not None:
            return Pair(source, result, row, variant)
    failed = _row_of(source, [row for row in rows if row["status"] != "done"])
    return Pair(source, result, failed, _variant_by_name(source, result))


def _variant_by_name(source: Source, result: str) -> Variant:
    """`talk.compare.mp4` is a comparison when the source is not called that itself."""
    name, own = posixpath.basename(result), posixpath.basename(source.relative_path)
    stems = {own, posixpath.splitext(own)[0]}  # the name of a source whose container changed is kept whole
    for variant in VARIANTS:
        suffix = posixpath.splitext(name)[1]
        if variant != "restored" and name != own and name in {f"{stem}.{variant}{suffix}" for stem in stems}:
            return variant
    return "restored"


def _is_file(url: str, store: Store) -> bool:
    filesystem, path = store.filesystem(url)
    return bool(filesystem.isfile(path))


def _is_folder(url: str, store: Store) -> bool:
    filesystem, path = store.filesystem(url)
    return bool(filesystem.isdir(path))


def _manifest_folder(result: str, store: Store) -> str | None:
    """The nearest folder above a result, by its absolute name, that has a manifest."""
    folder = posixpath.dirname(result)
    while posixpath.basename(folder):
        if _is_folder(join(folder, "_facemill"), store):
            return folder
        folder = posixpath.dirname(folder)
    return None


def _row_of(source: Source, rows: list[Row]) -> Row | None:
    """The row that speaks of this source; one of a finished result, and of this very version, before others.

    Of several such the last: rows come job by job, and a later job's result took the place of an earlier one's. Where
    none speaks of it, one of a folder above it that was refused as a whole.
    """
    mine = [row for row in rows if row["source"] == source.url or row["video"] == source.relative_path]
    if not mine:
        mine = [row for row in rows if row["status"] != "done" and source.url.startswith(join(row["source"], ""))]

    def fit(row: Row) -> tuple[bool, bool]:
        return row["source_version"] == source.identity.version, row["status"] == "done"

    return max(reversed(mine), key=fit, default=None)
