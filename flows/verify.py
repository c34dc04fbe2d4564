"""``facemill verify``: whether results hold everything of their sources, from the files alone.

The source is decoded as any player would, and that is the truth. Where its timestamps alone do not tell when frames are
shown, or its packets are damaged, what facemill's reader says is the truth, and the verdict tells so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.console import Console

from flows.pairing import Pair, Row, pairs_of
from flows.verdicts import Verdict, as_json, print_verdicts
from storage.catalogue import Source
from storage.checks import Check, Side, Terms
from storage.errors import FacemillError, SourceError, UsageError, explain
from storage.media_index import FrameIndex, MediaIndex, index_media
from storage.probe import VideoProbe, probe_video
from storage.reader import read_frames
from storage.shards import PtsRange, Shard
from storage.storage_errors import storage_errors_as
from storage.store import Store
from storage.tick_list import TickList
from storage.verification import compare

_PRINTED_COLUMNS = 160
"""Where there is no terminal."""


def verify(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="SRC... DST",
            help="What was restored, as it was given to `facemill restore`, and last a result, or the folder or s3:// "
            "prefix of results.",
        ),
    ],
    out: Annotated[
        str | None, typer.Option("--out", metavar="DST", help="DST; then every argument is a source.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the verdicts as JSON: docs/verification.md.")] = False,
    s3_endpoint: Annotated[str | None, typer.Option(metavar="URL", help="URL of an S3-compatible server.")] = None,
) -> None:
    """Compare results with their sources: frames, times, packets, tags, and that the result decodes."""
    store = Store(s3_endpoint)
    progress = Console(stderr=True)
    verdicts = []
    for pair in pairs_of(*_sources_and_result(paths, out), store):
        with progress.status(f"verifying {pair.source.relative_path}"):
            verdicts.append(_verdict_of(pair, store))
    if json:
        typer.echo(as_json(verdicts))
    else:
        print_verdicts(verdicts, Console(width=None if sys.stdout.isatty() else _PRINTED_COLUMNS))
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


def _sources_and_result(paths: Sequence[str], out: str | None) -> tuple[Sequence[str], str]:
    if out is not None:
        return paths, out
    if len(paths) < 2:
        raise UsageError(
            f"verify {paths[0]} against what? Give the result, or the folder of results, behind the sources"
        )
    return paths[:-1], paths[-1]


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
        return _no_result(pair, f"the manifest says why: {row['reason']}")
    if not _is_there(pair.result, store):
        return _no_result(pair, f"there is no file {pair.result}")
    probe = probe_video(url, store)
    try:
        with storage_errors_as(FacemillError, pair.result):
            result_probe = probe_video(pair.result, store)
            bare = probe.container != result_probe.container
            result = Side(_index(pair.result, store, bare=bare), result_probe)
    except FacemillError as error:
        unreadable = (Check("file", "can be read", "fault", explain(error)),)
        return Verdict(pair.source.relative_path, url, pair.result, unreadable, ())
    before = Side(_index(url, store, bare=bare, probe=probe, into=result_probe.container), probe)
    expected, notes = _expected_frames(pair.source, before, store)
    checks = (*compare(before, expected, result, _terms(pair)), *_as_committed(pair, store))
    if pair.variant == "compare":
        notes.append("this is a comparison, two pictures side by side: its shape and what depends on it have no source")
    notes += _version_notes(pair.source, row) + before.index.messages
    return Verdict(pair.source.relative_path, url, pair.result, checks, tuple(notes))


def _as_committed(pair: Pair, store: Store) -> Iterator[Check]:
    """Whether a result is the file that its manifest speaks of: another may hold everything of the source, too."""
    row = pair.row
    if row is None or pair.variant != "restored" or not row["sha256"]:
        return
    found = store.identity(pair.result).size
    if found != row["output_size"]:
        told = f"{found} bytes instead of {row['output_size']}: not the file that facemill wrote"
        yield Check("file", "is what was committed", "fault", told)
        return
    same = store.sha256(pair.result) == row["sha256"]
    told = f"sha256 {row['sha256'][:12]}..." if same else "its sha256 is not the manifest's: it was changed since"
    yield Check("file", "is what was committed", "equal" if same else "fault", told)


def _no_result(pair: Pair, why: str) -> Verdict:
    return Verdict(pair.source.relative_path, pair.source.url, pair.result, (), (why,))


def _is_there(url: str, store: Store) -> bool:
    with storage_errors_as(FacemillError, url):
        return store.exists(url)


def _index(
    url: str, store: Store, *, bare: bool, probe: VideoProbe | None = None, into: str | None = None
) -> MediaIndex:
    threads, timeline = os.cpu_count() or 1, probe.timeline if probe else None
    with store.open_media(url) as media:
        return index_media(media, url, bare=bare, threads=threads, timeline=timeline, into=into)


def _expected_frames(source: Source, side: Side, store: Store) -> tuple[FrameIndex, list[str]]:
    """The frames that a result must hold, and what to tell about how they were found."""
    plain = side.index.frames
    assert plain is not None
    if plain.rises and not plain.not_decoded and side.probe.timeline.regular:
        return plain, []
    shard = Shard(source, side.probe, PtsRange(None, None))
    frames = read_frames(shard, store, threads=os.cpu_count() or 1)
    pts = TickList(frame.pts for frame in frames if frame.pts is not None)
    why = (
        f"the source has damaged packets or frames ({plain.not_decoded})"
        if plain.not_decoded
        else "the source's timestamps alone do not tell when its frames are shown"
    )
    return FrameIndex(pts, side.probe.time_base), [
        f"{why}: the result was compared with what facemill's reader makes of it"
    ]


def _terms(pair: Pair) -> Terms:
    same_shape = pair.variant != "compare"
    if pair.row is None:
        return Terms(same_shape=same_shape)
    left_out = frozenset(int(name.partition(":")[0]) for name in pair.row["streams_left_out"] or ())
    return Terms(left_out=left_out, named=frozenset(pair.row["allowed"] or ()), same_shape=same_shape)


def _version_notes(source: Source, row: Row | None) -> list[str]:
    if row is None:
        return ["no manifest speaks of it: nothing is allowed to differ"]
    identity = source.identity
    if (row["source_size"], row["source_version"]) != (identity.size, identity.version):
        return ["the source is not the very file that was restored: its size, time or ETag is another now"]
    return []
