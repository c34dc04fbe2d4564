"""``facemill verify``: whether results hold everything of their sources, from the files alone.

The source is decoded as any player would, and that is the truth. Where its timestamps alone do not tell when frames are
shown, or its packets are damaged, what facemill's reader says is the truth, and the verdict tells so.
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from flows.verdicts import Verdict, as_json, print_verdicts
from storage.catalogue import Source, find_sources
from storage.checks import Check, Side, Terms
from storage.errors import FacemillError, SourceError, UsageError, explain
from storage.manifest import read_all_video_rows
from storage.media_index import FrameIndex, MediaIndex, index_media
from storage.probe import VideoProbe, probe_video
from storage.reader import read_frames
from storage.shards import PtsRange, Shard
from storage.store import Store, absolute, join, storage_errors_as
from storage.verification import compare

_PRINTED_COLUMNS = 160
"""Where there is no terminal."""

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


def verify(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="What was restored: a file, folder, glob, s3:// prefix or list file.")
    ],
    result: Annotated[str, typer.Argument(metavar="DST", help="A result, or the folder or s3:// prefix of results.")],
    json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON: docs/verification.md.")] = False,
    s3_endpoint: Annotated[str | None, typer.Option(metavar="URL", help="URL of an S3-compatible server.")] = None,
) -> None:
    """Compare results with their sources: frames, times, packets, tags, and that the result decodes."""
    store = Store(s3_endpoint)
    progress = Console(stderr=True)
    verdicts = []
    for pair in pairs_of(source, result, store):
        with progress.status(f"verifying {pair.source.relative_path}"):
            verdicts.append(_verdict_of(pair, store))
    if json:
        typer.echo(as_json(verdicts))
    else:
        print_verdicts(verdicts, Console(width=None if sys.stdout.isatty() else _PRINTED_COLUMNS))
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


def pairs_of(source: str, result: str, store: Store) -> Iterator[Pair]:
    """Every source with its result and its row of the manifest.

    Raises:
        SourceError: no source is there.
        UsageError: there is no result, or one for several sources.
    """
    sources = find_sources([source], store)
    result = absolute(result)  # as the manifest's folder is named, below
    with storage_errors_as(UsageError, result):
        is_file = _is_file(result, store)
        if not is_file and not _is_folder(result, store):
            raise UsageError(f"no such result: {result}. Give a result, or the folder that results were written to")
        if is_file and len(sources) > 1:
            raise UsageError(
                f"{result} is one file, {source} are {len(sources)} videos. Give the folder of their results"
            )
        out = _manifest_folder(result, store) if is_file else result
        rows = read_all_video_rows(out, store) if out else []
    for each in sources:
        if is_file:
            row = _row_of(each, [row for row in rows if join(out or "", row["output"] or "") == result])
            yield Pair(each, result, row)
        else:
            row = _row_of(each, rows)
            yield Pair(each, join(result, (row and row["output"]) or each.relative_path), row)


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
    """The row that speaks of this source; one of a finished result, and of this very version, before others."""
    mine = [row for row in rows if row["source"] == source.url or row["video"] == source.relative_path]

    def fit(row: Row) -> tuple[bool, bool]:
        return row["source_version"] == source.identity.version, row["status"] == "done"

    return max(mine, key=fit, default=None)


def _verdict_of(pair: Pair, store: Store) -> Verdict:
    """`verify_pair`, where a source that cannot be read is a verdict too: it costs no other file its own."""
    try:
        with storage_errors_as(SourceError, pair.source.url):
            return verify_pair(pair, store)
    except FacemillError as error:
        unreadable = (Check("source", "can be read", "fault", explain(error)),)
        return Verdict(pair.source.relative_path, pair.source.url, pair.result, unreadable, ())


def verify_pair(pair: Pair, store: Store) -> Verdict:
    """Read both files of a pair to their ends, and compare them.

    Raises:
        SourceError: the source cannot be read.
    """
    row, url = pair.row, pair.source.url
    if row is not None and row["status"] != "done":
        return Verdict(pair.source.relative_path, url, pair.result, (), (f"the manifest says why: {row['reason']}",))
    probe = probe_video(url, store)
    try:
        with storage_errors_as(FacemillError, pair.result):
            result_probe = probe_video(pair.result, store)
            bare = probe.container != result_probe.container
            result = Side(_index(pair.result, store, bare=bare), result_probe)
    except FacemillError as error:
        unreadable = (Check("file", "can be read", "fault", explain(error)),)
        return Verdict(pair.source.relative_path, url, pair.result, unreadable, ())
    before = Side(_index(url, store, bare=bare, probe=probe), probe)
    expected, notes = _expected_frames(pair.source, before, store)
    checks = tuple(compare(before, expected, result, _terms(row)))
    notes += _version_notes(pair.source, row) + before.index.messages
    return Verdict(pair.source.relative_path, url, pair.result, checks, tuple(notes))


def _index(url: str, store: Store, *, bare: bool, probe: VideoProbe | None = None) -> MediaIndex:
    threads = os.cpu_count() or 1
    with store.open_media(url) as media:
        return index_media(media, url, bare=bare, threads=threads, timeline=probe.timeline if probe else None)


def _expected_frames(source: Source, side: Side, store: Store) -> tuple[FrameIndex, list[str]]:
    """The frames that a result must hold, and what to tell about how they were found."""
    plain = side.index.frames
    assert plain is not None
    if plain.rises and not plain.not_decoded and side.probe.timeline.regular:
        return plain, []
    shard = Shard(source, side.probe, PtsRange(None, None))
    frames = read_frames(shard, store, threads=os.cpu_count() or 1)
    pts = np.fromiter((frame.pts for frame in frames if frame.pts is not None), dtype=np.int64)
    why = (
        f"{plain.not_decoded} packets or frames of the source are damaged"
        if plain.not_decoded
        else "the source's timestamps alone do not tell when its frames are shown"
    )
    return FrameIndex(pts, side.probe.time_base), [
        f"{why}: the result was compared with what facemill's reader makes of it"
    ]


def _terms(row: Row | None) -> Terms:
    if row is None:
        return Terms()
    left_out = frozenset(int(name.partition(":")[0]) for name in row["streams_left_out"] or ())
    return Terms(left_out=left_out, named=frozenset(row["allowed"] or ()))


def _version_notes(source: Source, row: Row | None) -> list[str]:
    if row is None:
        return ["no manifest speaks of it: nothing is allowed to differ"]
    identity = source.identity
    if (row["source_size"], row["source_version"]) != (identity.size, identity.version):
        return ["the source is not the very file that was restored: its size, time or ETag is another now"]
    return []
