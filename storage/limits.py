"""What a media file may ask for. Sources come from anybody: a header must not cost more than the file is worth."""

from __future__ import annotations

from collections.abc import Mapping
from io import RawIOBase
from typing import IO

import av
from av.container import InputContainer

from storage.errors import SourceError

MAX_PIXELS = 8192 * 8192
"""Of a frame: 8K has half of them. A decoder takes some bytes for each, a dozen times over, however small the file."""

MAX_STREAMS = 128

MAX_SECONDS = 100 * 3600
"""Of a video. Shards are cut by time: two stamps a century apart would be 800 million of them."""

_DEMUXERS = frozenset(
    "apng asf av1 avi avs2 avs3 cavsvideo dhav dirac dnxhd dv evc flv gif gxf h261 h263 h264 hevc ivf ivr kux live_flv "
    "lmlm4 lxf m4v matroska mjpeg mov mpeg mpegts mpegtsraw mpegvideo mpjpeg mxf nsv nut nuv obu ogg rm ty vc1 "
    "vc1test vvc webm wtv yuv4mpegpipe".split()
)
"""FFmpeg's names of the formats in which one file is one video. Left out above all: playlists (hls, dash, concat, sdp),
which make a demuxer open whatever files and addresses they name."""

DEMUX_OPTIONS: Mapping[str, str] = {
    "format_whitelist": ",".join(sorted(_DEMUXERS)),
    "protocol_whitelist": "file",
    "max_pixels": str(MAX_PIXELS),
}
"""For every file that is opened, by a path or not: no format that names other files, no network, and no large frame,
which FFmpeg would decode already to see what is in the file."""

PLAYLIST_START_BYTES = 256
_PLAYLISTS = ((b"#EXTM3U", "an HLS playlist"), (b"ffconcat", "a list for FFmpeg's concat"))


def playlist_kind(start: bytes) -> str:
    """What a file is that begins with `start`, its first `PLAYLIST_START_BYTES`, if it lists others; empty if not."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if b"<MPD" in text:
        return "a DASH manifest"
    return next((kind for mark, kind in _PLAYLISTS if text.startswith(mark)), "")


def open_within_limits(source: str | IO[bytes] | RawIOBase) -> InputContainer:
    """A path or a seekable binary file, opened for demuxing by `DEMUX_OPTIONS`.

    Raises:
        FFmpegError: it is no media, or none that is opened.
    """
    return av.open(source, "r", options=dict(DEMUX_OPTIONS), metadata_errors="replace")


def bound_decoders(container: InputContainer) -> None:
    """Let the decoders of a container that was just opened refuse frames above `MAX_PIXELS`, wherever they come."""
    for stream in container.streams.video:
        context = stream.codec_context
        if context is not None:  # else FFmpeg does not know the codec, and nothing is decoded
            context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}


def require_modest(container: InputContainer, name: str) -> None:
    """Hold what a container announces against the limits.

    Raises:
        SourceError: more streams, or larger frames, than are taken.
    """
    if len(container.streams) > MAX_STREAMS:
        raise SourceError(f"{name}: has {len(container.streams)} streams, more than the {MAX_STREAMS} that are taken")
    for stream in container.streams.video:
        context = stream.codec_context
        width, height = (0, 0) if context is None else (context.width, context.height)
        if width * height > MAX_PIXELS:
            raise SourceError(
                f"{name}: has frames of {width}x{height}, more than the {MAX_PIXELS / 1e6:.0f} million pixels that are "
                "decoded"
            )


def require_bounded(seconds: float, name: str) -> None:
    """Raise SourceError when a video lasts longer than `MAX_SECONDS`, or its timestamps say so."""
    if seconds > MAX_SECONDS:
        raise SourceError(
            f"{name}: its timestamps span {seconds / 3600:.0f} hours, more than the {MAX_SECONDS // 3600} that are "
            "taken. Cut it into parts, or remux it if its timestamps are wrong"
        )
