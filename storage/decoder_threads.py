"""How many threads a decoder gets where frames are read for a result.

Never such that what it makes of damage depends on their number. `facemill verify` decodes by as many as there are.
"""

from __future__ import annotations

from av.video.stream import VideoStream

_ON_ONE_THREAD = frozenset(("libdav1d", "vp9", "vp8"))
"""Decoders that get one. The threads of AV1's and VP9's decode several frames at once whatever they are asked for; with
more than one, VP8's refuses damaged frames that it takes with one."""


def decode_alike(stream: VideoStream, threads: int = 1) -> None:
    """Let a stream that was just opened be decoded by up to so many threads, to the same frames by any number of them.

    They share the slices of one frame. With a thread a frame, an error in one packet would surface packets later, and
    take whole frames of others with it: how many would depend on the number of threads.
    """
    context = stream.codec_context
    stream.thread_type = "SLICE"
    context.thread_count = 1 if context.name in _ON_ONE_THREAD else threads
