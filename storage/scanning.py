"""One walk over all packets of a source, nothing decoded: what its clock does, and how long it really is.

A header tells neither. The walk costs one reading of the file, before a video that is decoded twice is planned.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from storage.clocks import OutlierFilter
from storage.counted_walk import CountedWalk
from storage.demuxing import demuxed
from storage.scan import Scan
from storage.stamped_walk import StampedWalk
from storage.timeline import Timeline
from storage.words import counted


def scan_packets(
    container: InputContainer,
    stream: VideoStream,
    frame_ticks: Fraction,
    *,
    counted: bool = False,
    reorder: int = 0,
    lead: int = 0,
) -> Scan:
    """Walk over the packets from where the demuxer stands, the beginning of the file, to its end.

    Args:
        container: of the source; it is left at its end.
        stream: the main video.
        frame_ticks: nominal duration of a frame.
        counted: whether its frames have to be counted.
        reorder: for that, `Timeline.reorder`.
        lead: `stamping.measured_lead`, where frames are not counted.

    What cannot be demuxed is not looked at: the timeline describes what lies before.
    """
    walk: CountedWalk | StampedWalk
    walk = CountedWalk(stream, frame_ticks, reorder) if counted else StampedWalk(container, stream, frame_ticks, lead)
    streams: set[int] = set()
    outliers = OutlierFilter(container.format.name, stream)
    packets = demuxed(container)
    try:
        for packet in packets if counted else outliers.applied(packets):
            if packet.size and packet.time_base is not None:
                streams.add(packet.stream_index)
                walk.take(packet)
    except av.error.FFmpegError:
        pass  # damage: the reader tells of it
    scan = replace(walk.scan(), streams=frozenset(streams))
    return scan if not outliers.found else replace(scan, timeline=_with_outliers(scan.timeline, outliers.found))


def _with_outliers(timeline: Timeline, found: int) -> Timeline:
    have = counted(found, "video packet has", "video packets have")
    told = f"{have} a wrong timestamp, far from those around: it was not believed"
    return replace(timeline, has_outliers=True, remarks=(*timeline.remarks, told))
