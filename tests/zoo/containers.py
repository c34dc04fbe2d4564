"""Containers: specimens that are special in how the file is laid out."""

from __future__ import annotations

from tests.media import Audio
from tests.zoo.specimen import Specimen, clip, pattern

SPECIMENS: tuple[Specimen, ...] = (
    Specimen("plain.mp4", "container", "MP4 with B-frames and sound", clip(frames=60, b_frames=2, audio=(Audio(),))),
    Specimen(
        "fragmented.mp4",
        "container",
        "MP4 in fragments",
        clip(frames=60, b_frames=2, muxer_options={"movflags": "frag_keyframe+empty_moov"}),
    ),
    Specimen("vp9.webm", "container", "WebM of VP9", clip(frames=50, codec="libvpx-vp9")),
    Specimen(
        "mpeg2.ts", "container", "MPEG-TS of MPEG-2", pattern(vcodec="mpeg2video", bf=2, acodec="mp2", sound=True)
    ),
)
