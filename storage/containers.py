"""Which container a result goes into: the source's own when it can hold the result, else the nearest that can."""

from __future__ import annotations

import io
import posixpath
from dataclasses import dataclass
from functools import cache

import av

from storage.encoding import Codec
from storage.probe import OtherStream, VideoProbe

_OWN_MUXER = {
    "mov,mp4,m4a,3gp,3g2,mj2": {".mov": "mov", ".qt": "mov"},
    "matroska,webm": {},
    "mpegts": {},
}
"""Demuxers whose container keeps every pts to the tick, with the muxer where the suffix decides it."""

_DEFAULT_MUXER = {"mov,mp4,m4a,3gp,3g2,mj2": "mp4", "matroska,webm": "matroska", "mpegts": "mpegts"}

_SUFFIXES = {
    "mp4": (".mp4", ".m4v"),
    "mov": (".mov", ".qt"),
    "matroska": (".mkv",),
    "mpegts": (".ts", ".m2ts", ".mts", ".m2t"),
}
"""Suffixes a result may keep; the first is the one a converted file gets."""

_NEAREST = ("mp4", "mov", "matroska")
"""Tried in this order. Matroska comes last because its ticks are milliseconds, so most pts would be rounded."""

_MPEGTS_CODECS = frozenset(
    "h264 hevc mpeg1video mpeg2video mpeg4 aac aac_latm mp1 mp2 mp3 ac3 eac3 dts truehd opus "
    "dvb_subtitle dvb_teletext hdmv_pgs_subtitle smpte_klv timed_id3 scte_35".split()
)
"""FFmpeg's MPEG-TS muxer does not answer which codecs it takes; these have a stream type in ISO 13818-1 or ETSI."""


@dataclass(frozen=True)
class ContainerChoice:
    """Where a result goes."""

    muxer: str
    """FFmpeg's muxer name."""
    relative_path: str
    """Of the result: the source's own, or with the new suffix appended when the container had to change."""
    left_out: tuple[OtherStream, ...]
    """Streams that no container at hand can hold; named in the manifest."""
    reason: str
    """Why the container is not the source's own; empty when it is."""


def choose_container(probe: VideoProbe, relative_path: str, codec: Codec) -> ContainerChoice:
    """Container and name of the result of one source."""
    suffix = posixpath.splitext(relative_path)[1].lower()
    own = _OWN_MUXER.get(probe.container, {}).get(suffix, _DEFAULT_MUXER.get(probe.container))
    candidates = [own, *_NEAREST] if own else list(_NEAREST)
    muxer = next((name for name in candidates if _holds_all(name, probe, codec)), None)
    left_out: tuple[OtherStream, ...] = ()
    if muxer is None:
        muxer = "matroska"
        left_out = tuple(other for other in probe.other_streams if not _holds(muxer, other))
    keeps_name = suffix in _SUFFIXES[muxer]
    return ContainerChoice(
        muxer=muxer,
        relative_path=relative_path if keeps_name else relative_path + _SUFFIXES[muxer][0],
        left_out=left_out,
        reason="" if muxer == own else f"{probe.container} cannot hold {codec} with exact timestamps and every stream",
    )


def demuxer_of(muxer: str) -> str:
    """FFmpeg's name of the demuxer that reads what `muxer` writes."""
    return {"mp4": "mov,mp4,m4a,3gp,3g2,mj2", "mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm"}.get(
        muxer, muxer
    )


def _holds_all(muxer: str, probe: VideoProbe, codec: Codec) -> bool:
    return codec in _codecs_of(muxer) and all(_holds(muxer, other) for other in probe.other_streams)


def _holds(muxer: str, other: OtherStream) -> bool:
    if other.kind == "attachment":
        return muxer == "matroska"
    return other.codec in _codecs_of(muxer)


@cache
def _codecs_of(muxer: str) -> frozenset[str]:
    if muxer == "mpegts":
        return _MPEGTS_CODECS
    with av.open(io.BytesIO(), "w", format=muxer) as container:
        return frozenset(container.supported_codecs)
