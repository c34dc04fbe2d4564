"""One full frame of the two fields of each interlaced frame, at its own pts, whatever range is read.

FFmpeg's bwdif looks at one frame on either side, so a range is read with its neighbours and only its own frames are
given on: where a shard begins shows in no pixel.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from itertools import chain

import av
from av.filter import Graph
from av.video.frame import VideoFrame

from storage.encoding import SizeSettings
from storage.picture_tags import FieldOrder
from storage.probe import VideoProbe
from storage.reader import ReadingLosses, read_frames
from storage.shards import PtsRange, Shard
from storage.store import Store

_PARITY: dict[FieldOrder, str] = {"progressive": "auto", "top first": "tff", "bottom first": "bff"}
"""Not each frame's own flag: where only the container knows the order, frames have none."""
_LOOK_BACK_FRAMES = 2
"""Nominal frames before a range in which its neighbour is looked for at first; it may be farther away."""


def read_pictures(
    shard: Shard,
    store: Store,
    size: SizeSettings,
    *,
    wanted: PtsRange | None = None,
    threads: int = 1,
    losses: ReadingLosses | None = None,
) -> Iterator[VideoFrame]:
    """`storage.reader.read_frames`, with interlaced frames made whole when `size` asks for it.

    Raises:
        SourceError: as `read_frames`.
    """
    wanted = wanted or shard.range
    losses = losses if losses is not None else ReadingLosses()
    if not (size.deinterlace and shard.probe.tags.interlaced):
        yield from read_frames(shard, store, wanted=wanted, threads=threads, losses=losses)
        return
    read = partial(read_frames, shard, store, counted=wanted, threads=threads, losses=losses)
    around = _with_neighbours(read, shard.probe, wanted, losses)
    for frame in deinterlaced(around, shard.probe.tags.field_order):
        assert frame.pts is not None
        if frame.pts in wanted:
            yield frame


def deinterlaced(frames: Iterable[VideoFrame], field_order: FieldOrder) -> Iterator[VideoFrame]:
    """As many frames, at the same pts, each without the lines of its later field.

    The first and the last one see no neighbour on one side.
    """
    graph: Graph | None = None
    waiting: deque[int | None] = deque()
    for frame in frames:
        if graph is None:
            graph = _graph_for(frame, field_order)
        waiting.append(frame.pts)
        graph.vpush(frame)
        yield from _pulled(graph, waiting)
    if graph is not None:
        graph.vpush(None)
        yield from _pulled(graph, waiting)


def _graph_for(frame: VideoFrame, field_order: FieldOrder) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1)
    )
    filled = graph.add("bwdif", f"mode=send_frame:parity={_PARITY[field_order]}:deint=all")
    graph.link_nodes(source, filled, graph.add("buffersink")).configure()
    return graph


def _pulled(graph: Graph, waiting: deque[int | None]) -> Iterator[VideoFrame]:
    """What the filter has ready; it counts time in halves of a tick, so each frame gets its own pts again."""
    while True:
        try:
            frame = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        frame.pts = waiting.popleft()
        yield frame


def _with_neighbours(
    read: Callable[..., Iterator[VideoFrame]], probe: VideoProbe, wanted: PtsRange, losses: ReadingLosses
) -> Iterator[VideoFrame]:
    """The frames of `wanted` with one before and one after them, where there is one."""
    for frame in _from_one_before(read, probe, wanted.start, losses):
        yield frame
        if wanted.end is not None and frame.pts is not None and frame.pts >= wanted.end:
            return


def _from_one_before(
    read: Callable[..., Iterator[VideoFrame]], probe: VideoProbe, start: int | None, losses: ReadingLosses
) -> Iterator[VideoFrame]:
    if start is not None:
        step = math.ceil(_LOOK_BACK_FRAMES * probe.frame_ticks)
        while start - step > probe.first_pts:
            before = losses.copy()
            frames = read(wanted=PtsRange(start - step, None))
            first = next(frames, None)
            if first is None or (first.pts is not None and first.pts < start):
                return chain([first] if first is not None else [], frames)
            losses.go_back_to(before)
            step *= 2
    return read(wanted=PtsRange(None, None))
