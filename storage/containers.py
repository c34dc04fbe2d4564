"""Which container a result goes into: the source's own when it can hold the result, else the nearest that can."""

from __future__ import annotations

import io
import posixpath
from dataclasses import dataclass
from functools import cache

import av

from storage.encoding import Codec
from storage.probe import TIME_CODE, OtherStream, VideoProbe

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
    "nut": (".nut",),
}
"""Suffixes a result may keep; the first is the one a converted file gets."""

_NEAREST = ("mp4", "mov", "matroska", "nut")
"""Tried in this order. Matroska comes late because its ticks are milliseconds, so most pts would be rounded; NUT, which
takes any codec and any clock, comes last because few players but FFmpeg's, mpv and VLC know it."""

_MPEGTS_CODECS = frozenset(
    "h264 hevc mpeg1video mpeg2video mpeg4 aac aac_latm mp1 mp1float mp2 mp2float mp3 mp3float ac3 eac3 dts dca truehd "
    "opus dvb_subtitle dvbsub dvb_teletext hdmv_pgs_subtitle pgssub smpte_klv klv timed_id3 scte_35 bin_data".split()
)
"""FFmpeg's MPEG-TS muxer does not answer which codecs it takes; these have a stream type in ISO 13818-1 or ETSI.

Some by two names: the codec's, and its decoder's. `bin_data` is private data, which stays such."""

_TELEMETRY = ("bin_data", "mov,mp4,m4a,3gp,3g2,mj2")
"""Codec and demuxer of tracks that cameras write (`gpmd`). FFmpeg has no coder of that name, so no muxer lists it."""

_TAKEN_FOR_ANOTHER = {"mp4": frozenset(("mp1", "mp2"))}
"""Codecs that a muxer takes, and writes so that readers take them for another: MPEG layers I and II for III."""


@dataclass(frozen=True)
class ContainerChoice:
    """Where a result goes."""

    muxer: str
    """FFmpeg's muxer name."""
    relative_path: str
    """Of the result: the source's own, or with the new suffix appended when the container had to change."""
    left_out: tuple[OtherStream, ...]
    """Streams that no container at hand can hold, or that cannot be read; named in the manifest."""
    reason: str
    """Why the container is not the source's own; empty when it is."""


def choose_container(probe: VideoProbe, relative_path: str, codec: Codec) -> ContainerChoice:
    """Container and name of the result of one source."""
    suffix = posixpath.splitext(relative_path)[1].lower()
    own = _OWN_MUXER.get(probe.container, {}).get(suffix, _DEFAULT_MUXER.get(probe.container))
    candidates = [own, *_NEAREST] if own else list(_NEAREST)
    able = [name for name in candidates if codec in _codecs_of(name)]
    muxer = min(able, key=lambda name: len(_left_out(name, probe)))  # of several alike, the first
    left_out = _left_out(muxer, probe)
    if muxer in ("mp4", "mov"):  # which have no track without a packet
        left_out += tuple(other for other in probe.other_streams if other.is_empty)
    keeps_name = suffix in _SUFFIXES[muxer]
    return ContainerChoice(
        muxer=muxer,
        relative_path=relative_path if keeps_name else relative_path + _SUFFIXES[muxer][0],
        left_out=left_out,
        reason="" if muxer == own else f"{probe.container} cannot hold {codec} with exact timestamps and every stream",
    )


def possible_paths(relative_path: str) -> set[str]:
    """Every path that the result of a source at `relative_path` may have, whatever is in it."""
    return {relative_path, *(relative_path + suffixes[0] for suffixes in _SUFFIXES.values())}


def demuxer_of(muxer: str) -> str:
    """FFmpeg's name of the demuxer that reads what `muxer` writes."""
    return {"mp4": "mov,mp4,m4a,3gp,3g2,mj2", "mov": "mov,mp4,m4a,3gp,3g2,mj2", "matroska": "matroska,webm"}.get(
        muxer, muxer
    )


def _left_out(muxer: str, probe: VideoProbe) -> tuple[OtherStream, ...]:
    return tuple(other for other in probe.other_streams if not _holds(muxer, other, probe.container))


def _holds(muxer: str, other: OtherStream, source: str) -> bool:
    if other.is_late:
        return False
    if other.kind == "attachment":
        return muxer == "matroska"
    if other.codec == TIME_CODE:
        return muxer in ("mp4", "mov")
    if other.is_empty:
        return True
    if (other.codec, source) == _TELEMETRY and muxer in ("mp4", "mov"):
        return True
    return other.codec in _codecs_of(muxer)


@cache
def _codecs_of(muxer: str) -> frozenset[str]:
    if muxer == "mpegts":
        return _MPEGTS_CODECS
    with av.open(io.BytesIO(), "w", format=muxer) as container:
        return frozenset(container.supported_codecs) - _TAKEN_FOR_ANOTHER.get(muxer, frozenset())
