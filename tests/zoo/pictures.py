"""Pictures: specimens that are special in their pixels, sizes, colours, and in what they say about themselves."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import ffmpeg

from tests.media import Clip, make_video, with_aspect
from tests.zoo.specimen import Specimen, clip, from_pattern, write
from tests.zoo.specimen import pattern as long_pattern

_SECONDS = 1.2
pattern = partial(long_pattern, seconds=_SECONDS)

_HDR10 = (
    "log-level=error:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):"
    "max-cll=1000,400:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:chromaloc=2"
)
_HLG = "log-level=error:colorprim=bt2020:transfer=arib-std-b67:colormatrix=bt2020nc"
_INTERLACED = {"vcodec": "libx264", "flags": "+ildct+ilme", "preset": "veryfast", "g": 12, "bf": 2}


def _fields(order: str, *, size: str = "64x64", seconds: float = 1.2, **options: Any) -> Callable[[Path], object]:
    """A maker of interlaced video: 50 moments a second, two to a frame."""
    moments = ffmpeg.input(f"testsrc2=size={size}:rate=50:duration={seconds}", f="lavfi")
    return lambda path: write(path, [moments.filter("interlace", scan=order)], **options)


def _x264(order: str) -> dict[str, Any]:
    return {**_INTERLACED, "x264-params": f"{order}=1"}


def _rotated(degrees: int) -> Callable[[Path], object]:
    return clip(frames=30, b_frames=2, rotation=degrees)


def _then(make: Callable[[Path], object], change: Callable[[Path, Path], object]) -> Callable[[Path], object]:
    """A maker that makes one file and changes it into another."""

    def make_and_change(path: Path) -> None:
        before = path.with_name(f"before-{path.name}")
        make(before)
        change(before, path)
        before.unlink()

    return make_and_change


def _mirrored(source: Path, target: Path) -> None:
    _retagged(source, target, b"", matrix=(-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30))


def _retagged(source: Path, target: Path, boxes: bytes, *, matrix: tuple[int, ...] = ()) -> None:
    """Copy the picture of an MP4 into any container, with boxes added to its sample entry on the way."""
    tagged = target.with_name(f"tagged-{source.stem}.mp4")
    tagged.write_bytes(_with_boxes(source.read_bytes(), boxes))
    options = {"strict": "unofficial"} if target.suffix in (".mp4", ".mov") else {}
    with av.open(str(tagged)) as container, av.open(str(target), "w", options=options) as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        if matrix:
            stream.set_display_matrix(matrix)
        for packet in container.demux():
            if packet.dts is not None:
                packet.stream = stream
                out.mux_one(packet)
    tagged.unlink()


def _with_boxes(content: bytes, boxes: bytes) -> bytes:
    """An MP4 whose header comes last, with `boxes` at the end of its only sample entry."""
    begin = content.rindex(b"moov") - 4
    before, moov = content[:begin], bytearray(content[begin:])
    ends = [moov.index(kind) - 4 for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")]
    entry = ends[-1] + 16
    end = entry + struct.unpack_from(">I", moov, entry)[0]
    for at in (*ends, entry):
        struct.pack_into(">I", moov, at, struct.unpack_from(">I", moov, at)[0] + len(boxes))
    moov[end:end] = boxes
    return before + bytes(moov)


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


_MASTERING = _box(
    b"mdcv", struct.pack(">8H2I", 13250, 34500, 7500, 3000, 34000, 16000, 15635, 16450, 10_000_000, 50)
) + _box(b"clli", struct.pack(">2H", 1000, 400))
_CLEAN_APERTURE = _box(b"clap", struct.pack(">4IiIiI", 58, 1, 38, 1, 2, 2, -2, 2))
_SIDE_BY_SIDE = _box(b"st3d", b"\0\0\0\0\2")
_SPHERE = _box(
    b"sv3d",
    _box(b"svhd", b"\0\0\0\0zoo\0") + _box(b"proj", _box(b"prhd", bytes(16)) + _box(b"equi", bytes(20))),
)


def _boxed(boxes: bytes) -> Callable[[Path], object]:
    """A maker of H.264 that only its container says something about."""
    plain = clip(frames=30, b_frames=2, muxer="mp4")
    return _then(plain, lambda source, target: _retagged(source, target, boxes))


def _both_aspects(path: Path) -> None:
    """The coded stream says 16:11, the container 4:3 of the whole: a player goes by the container."""
    with_aspect(
        make_video(path.with_name("coded-aspect.mp4"), Clip(frames=30, sample_aspect_ratio=Fraction(16, 11))),
        "4:3",
        path,
    )
    path.with_name("coded-aspect.mp4").unlink()


def with_captions(path: Path) -> None:
    """H.264 in MPEG-TS with CEA-608 captions in the pictures (ATSC A/53), other bytes in every frame."""
    plain = make_video(path.with_name("plain.ts"), Clip(frames=30, b_frames=2))
    with av.open(str(plain)) as container, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        for number, packet in enumerate(container.demux()):
            if packet.dts is None:
                continue
            captioned = av.Packet(_caption_sei(number) + bytes(packet))
            captioned.pts, captioned.dts, captioned.time_base = packet.pts, packet.dts, packet.time_base
            captioned.is_keyframe, captioned.stream = packet.is_keyframe, stream
            out.mux_one(captioned)
    plain.unlink()


def _caption_sei(number: int) -> bytes:
    """A NAL unit with one triplet of field 1: two letters with odd parity, as CEA-608 has them."""
    letters = bytes(_odd_parity(65 + (number * step) % 26) for step in (1, 3))
    data = b"\xb5\x00\x31GA94\x03" + bytes([0x40 | 1, 0xFF, 0xFC]) + letters + b"\xff"
    return b"\0\0\0\1\x06\x04" + bytes([len(data)]) + data + b"\x80"


def _odd_parity(value: int) -> int:
    return value | (0 if value.bit_count() % 2 else 0x80)


def _lossless(pix_fmt: str, *, vcodec: str = "ffv1", size: str = "64x48", **options: Any) -> Callable[[Path], object]:
    return pattern(vcodec=vcodec, pix_fmt=pix_fmt, size=size, **options)


def _colour(matrix: str, **options: Any) -> Callable[[Path], object]:
    """H.264 converted with and tagged by a matrix."""
    tags = {"bt601": ("smpte170m",) * 3, "bt709": ("bt709",) * 3, "bt2020": ("bt2020nc", "bt2020", "bt2020-10")}[matrix]
    inputs = [each.filter("scale", out_color_matrix=matrix) for each in from_pattern(_SECONDS)]
    chosen = {"colorspace": tags[0], "color_primaries": tags[1], "color_trc": tags[2], "pix_fmt": "yuv420p"}
    return lambda path: write(path, inputs, vcodec="libx264", **{**chosen, **options})


_RGB = {"colour": "colour matrix", "samples": "RGB samples"}
_ALPHA = {"samples": "transparency"}

SPECIMENS: tuple[Specimen, ...] = (
    Specimen(
        "odd-sizes.mkv",
        "picture",
        "4:2:0 of 63x47, written as 4:4:4 at its own size",
        clip(frames=30, codec="ffv1", size=(63, 47)),
        lost={"samples": ""},
    ),
    Specimen(
        "odd-vp9.webm",
        "picture",
        "VP9 of 61x45",
        clip(frames=30, codec="libvpx-vp9", size=(61, 45)),
        lost={"samples": ""},
    ),
    Specimen("turned-left.mp4", "picture", "turned by matrix, 90 degrees left", _rotated(90)),
    Specimen("turned-right.mp4", "picture", "turned by matrix, 90 degrees right", _rotated(-90)),
    Specimen("upside-down.mp4", "picture", "turned by matrix, 180 degrees", _rotated(180)),
    Specimen("turned.mkv", "picture", "turned in Matroska", _rotated(90)),
    Specimen("mirrored.mov", "picture", "mirrored by matrix", _then(clip(frames=30, muxer="mp4"), _mirrored)),
    Specimen("sar.mp4", "picture", "pixels of 16:11", clip(frames=30, sample_aspect_ratio=Fraction(16, 11))),
    Specimen(
        "sar-in-container.mkv",
        "picture",
        "pixels that are not square, in the container alone",
        _then(clip(frames=30), lambda source, target: with_aspect(source, "16:9", target)),
    ),
    Specimen("sar-in-both.mp4", "picture", "two shapes of pixels: the container's counts", _both_aspects),
    Specimen(
        "cropped-h264.mp4",
        "picture",
        "H.264 that crops all four sides",
        pattern(vcodec="libx264", **{"bsf:v": "h264_metadata=crop_left=4:crop_right=6:crop_top=2:crop_bottom=8"}),
    ),
    Specimen(
        "cropped-hevc.mkv",
        "picture",
        "HEVC of 62x46, cropped by its conformance window",
        pattern(vcodec="libx265", size="62x46", **{"x265-params": "log-level=error"}),
    ),
    Specimen("cropped-by-container.mkv", "picture", "cropping in Matroska's header", _boxed(_CLEAN_APERTURE)),
    Specimen("clean-aperture.mp4", "picture", "a clean aperture (clap)", _boxed(_CLEAN_APERTURE)),
    Specimen("422.mkv", "picture", "H.264 4:2:2", pattern(vcodec="libx264", pix_fmt="yuv422p")),
    Specimen("444.mp4", "picture", "H.264 4:4:4", pattern(vcodec="libx264", pix_fmt="yuv444p")),
    Specimen("411.mkv", "picture", "4:1:1, written as 4:4:4", _lossless("yuv411p"), lost={"samples": ""}),
    Specimen("410.mkv", "picture", "4:1:0, written as 4:4:4", _lossless("yuv410p"), lost={"samples": ""}),
    Specimen("440.mkv", "picture", "4:4:0, written as 4:4:4", _lossless("yuv440p"), lost={"samples": ""}),
    Specimen("10-bit.mp4", "picture", "H.264 of 10 bits", pattern(vcodec="libx264", pix_fmt="yuv420p10le")),
    Specimen(
        "10-bit-422.mkv",
        "picture",
        "HEVC 4:2:2 of 10 bits",
        pattern(vcodec="libx265", pix_fmt="yuv422p10le", **{"x265-params": "log-level=error"}),
    ),
    Specimen(
        "12-bit.mkv",
        "picture",
        "HEVC of 12 bits: H.264 takes 10, `--codec hevc` all",
        pattern(vcodec="libx265", pix_fmt="yuv420p12le", **{"x265-params": "log-level=error"}),
        lost={"samples": "12 bits a sample (the result has 10)"},
    ),
    Specimen(
        "hdr10.mp4",
        "picture",
        "HEVC with PQ, mastering display and light level",
        pattern(vcodec="libx265", pix_fmt="yuv420p10le", **{"x265-params": _HDR10}),
    ),
    Specimen(
        "hlg.mkv",
        "picture",
        "HEVC with HLG and BT.2020",
        pattern(vcodec="libx265", pix_fmt="yuv420p10le", **{"x265-params": _HLG}),
    ),
    Specimen("hdr-in-container.mkv", "picture", "mastering display in the container alone", _boxed(_MASTERING)),
    Specimen("bt601.mp4", "picture", "BT.601, tagged", _colour("bt601")),
    Specimen("bt709.mp4", "picture", "BT.709, tagged", _colour("bt709")),
    Specimen("bt2020.mkv", "picture", "BT.2020, tagged", _colour("bt2020")),
    Specimen("full-range.mp4", "picture", "full range, tagged", _colour("bt709", color_range="pc")),
    Specimen("yuvj.mov", "picture", "full range of Motion JPEG", pattern(vcodec="mjpeg", pix_fmt="yuvj422p")),
    Specimen(
        "chroma-topleft.mp4",
        "picture",
        "chroma sited at the top left",
        pattern(vcodec="libx264", chroma_sample_location="topleft"),
    ),
    Specimen(
        "alpha-prores.mov",
        "picture",
        "transparency in ProRes 4444",
        _lossless("yuva444p10le", vcodec="prores_ks"),
        lost=_ALPHA,
    ),
    Specimen("alpha-ffv1.mkv", "picture", "transparency in FFV1", _lossless("yuva420p"), lost=_ALPHA),
    Specimen(
        "alpha-rgb.mov",
        "picture",
        "transparency in QuickTime Animation",
        _lossless("argb", vcodec="qtrle"),
        lost=_ALPHA,
    ),
    Specimen("grey.mkv", "picture", "grey of 8 bits", _lossless("gray"), lost={"samples": ""}),
    Specimen("grey-10.mkv", "picture", "grey of 10 bits", _lossless("gray10le"), lost={"samples": ""}),
    Specimen("grey-16.mkv", "picture", "grey of 16 bits", _lossless("gray16le"), lost={"samples": "16 bits a sample"}),
    Specimen("palette.mov", "picture", "256 colours from a palette", _lossless("pal8", vcodec="png"), lost=_RGB),
    Specimen("rgb.mkv", "picture", "RGB of 8 bits", _lossless("bgr0"), lost=_RGB),
    Specimen("rgb-h264.mkv", "picture", "RGB in H.264", _lossless("bgr24", vcodec="libx264rgb"), lost=_RGB),
    Specimen("rgb-10.mkv", "picture", "RGB of 10 bits, processed as 10 bits", _lossless("gbrp10le"), lost=_RGB),
    Specimen("side-by-side.mkv", "picture", "stereoscopic, side by side", _boxed(_SIDE_BY_SIDE)),
    Specimen("sphere.mp4", "picture", "a spherical picture", _boxed(_SPHERE)),
    Specimen(
        "interlaced-tff.mp4",
        "picture",
        "H.264 in fields (MBAFF), top first",
        _fields("tff", **_x264("tff")),
        lossless=False,
    ),
    Specimen(
        "interlaced-bff.mkv",
        "picture",
        "H.264 in fields (MBAFF), bottom first",
        _fields("bff", **_x264("bff")),
        lossless=False,
    ),
    Specimen(
        "interlaced-422.mov",
        "picture",
        "fields of 4:2:2 and 10 bits",
        _fields("tff", pix_fmt="yuv422p10le", **_x264("tff")),
        lossless=False,
    ),
    Specimen(
        "interlaced-mpeg2.ts",
        "picture",
        "MPEG-2 in fields",
        _fields("tff", vcodec="mpeg2video", flags="+ildct+ilme", g=12, bf=2, qscale=3),
        lossless=False,
    ),
    Specimen("captions.ts", "picture", "closed captions in the pictures (A/53)", with_captions),
    Specimen(
        "user-data.mp4",
        "picture",
        "user data in the pictures, as cameras write it",
        pattern(
            vcodec="libx264",
            **{"bsf:v": "h264_metadata=sei_user_data=086f3693-b7b3-4f2c-9653-21492feee5b8+exposure 1/50"},
        ),
    ),
)
