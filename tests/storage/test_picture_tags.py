"""What a picture says about itself is read from any container, and said again by the result."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg
import pytest

from storage.encoding import Codec, EncodeSettings
from storage.errors import MediaError
from storage.mp4_tags import picture_boxes, with_boxes
from storage.picture_tags import Cropping, MasteringDisplay, PictureTags
from storage.probe import probe_video
from storage.store import Store
from tests.media import Clip, make_video
from tests.storage.test_assembly import Joined, join_again
from tests.zoo.specimen import from_pattern, write

HDR10 = PictureTags(
    mastering_display=MasteringDisplay(
        ((34000, 16000), (13250, 34500), (7500, 3000)), (15635, 16450), (10_000_000, 50)
    ),
    content_light=(1000, 400),
)
HEVC_HDR10 = (
    "log-level=error:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):"
    "max-cll=1000,400:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:chromaloc=2"
)
MIRRORED = (-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


def tags_of(path: Path) -> PictureTags:
    return probe_video(str(path), Store()).tags


def lost(joined: Joined) -> list[str]:
    """What of the picture's tags the report says is not in the result."""
    told = [line.removeprefix("picture: ") for line in joined.report.allowed if line.startswith("picture: ")]
    return [line.split(":")[0] for line in told if "otherwise or not at all" in line or "no result" in line]


def made(path: Path, **options: Any) -> Path:
    write(path, from_pattern(0.4, "64x64"), **options)
    return path


def tagged(path: Path, tags: PictureTags) -> Path:
    """An MP4 with boxes for `tags` in its header, and in its picture no word of them."""
    plain = make_video(path.with_name("plain.mp4"), Clip(frames=10, size=(64, 64)))
    return with_boxes(plain, picture_boxes(tags, (64, 64)), path)


def copied(source: Path, target: Path, matrix: tuple[int, ...] = ()) -> Path:
    """A copy in another container, or with a display matrix."""
    options = {"strict": "unofficial"} if target.suffix in (".mp4", ".mov") else {}
    with av.open(str(source)) as container, av.open(str(target), "w", options=options) as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        if matrix:
            stream.set_display_matrix(matrix)
        for packet in container.demux():
            if packet.dts is not None:
                packet.stream = stream
                out.mux_one(packet)
    return target


@pytest.mark.parametrize(
    "encode", [EncodeSettings(preset="ultrafast"), EncodeSettings(codec="hevc", preset="ultrafast")]
)
def test_hdr10_goes_through_both_encoders(encode: EncodeSettings, tmp_path: Path) -> None:
    source = made(tmp_path / "a.mp4", vcodec="libx265", pix_fmt="yuv420p10le", **{"x265-params": HEVC_HDR10})
    joined = join_again(source, encode=encode)
    found = tags_of(joined.path)
    assert (found.mastering_display, found.content_light) == (HDR10.mastering_display, HDR10.content_light)
    assert found.chroma_location == "topleft"
    assert lost(joined) == []
    for header_only in (True, False):
        assert _says_hdr10(joined, header_only=header_only)


def _says_hdr10(joined: Joined, *, header_only: bool) -> bool:
    """Whether the header, or else the coded picture alone, has the metadata."""
    content = joined.path.read_bytes()
    if header_only:
        return b"mdcv" in content and b"clli" in content
    raw = joined.path.with_name("raw.ts")
    return tags_of(copied(joined.path, raw)).mastering_display == HDR10.mastering_display


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_tags_that_only_the_container_has_are_kept(suffix: str, tmp_path: Path) -> None:
    tags = replace(HDR10, cropping=Cropping(2, 4, 6, 8), ambient_light=(3140000, 15635, 16450))
    source = copied(tagged(tmp_path / "t.mp4", tags), tmp_path / f"a{suffix}")
    before = tags_of(source)
    assert (before.mastering_display, before.content_light) == (HDR10.mastering_display, HDR10.content_light)
    assert before.cropping == Cropping(2, 4, 6, 8)
    assert (before.ambient_light is None) == (suffix == ".mkv")
    joined = join_again(source)
    assert joined.choice.relative_path == source.name
    assert before.unlike(tags_of(joined.path)) == []
    assert lost(joined) == []


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_a_level_of_light_that_no_result_holds_is_named(codec: Codec, tmp_path: Path) -> None:
    """Matroska's may have more than 16 bits."""
    source = copied(tagged(tmp_path / "t.mp4", HDR10), tmp_path / "a.mkv")
    content = source.read_bytes()
    plain, large = bytes.fromhex("55bc8203e8 55bd820190"), bytes.fromhex("55bc83011170 55bd81ff")
    assert content.count(plain) == 1
    source.write_bytes(content.replace(plain, large))
    assert tags_of(source).content_light == (70000, 255)
    joined = join_again(source, encode=EncodeSettings(codec=codec, preset="ultrafast"))
    assert lost(joined) == ["content light level"]
    assert tags_of(joined.path).content_light in (None, (0, 0))  # which x265 writes for unknown
    assert tags_of(joined.path).mastering_display == HDR10.mastering_display


def test_numbers_without_room_are_left_out_one_by_one() -> None:
    display = HDR10.mastering_display
    assert display is not None
    tags = replace(HDR10, ambient_light=(3140000, 15635, 16450))
    assert tags.storable() == tags
    outside = replace(display, white_point=(65536, 16450))
    assert replace(tags, mastering_display=outside).storable() == replace(tags, mastering_display=None)
    assert replace(tags, ambient_light=(1, -1, 2)).storable() == replace(tags, ambient_light=None)
    assert picture_boxes(replace(tags, mastering_display=outside), (64, 64)).count(b"mdcv") == 0


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_spherical_picture_stays_spherical(suffix: str, tmp_path: Path) -> None:
    spherical = bytes(36)
    joined = join_again(copied(tagged(tmp_path / "t.mp4", PictureTags(spherical=spherical)), tmp_path / f"a{suffix}"))
    assert tags_of(joined.path).spherical == spherical
    assert lost(joined) == []


def test_the_pose_of_a_spherical_picture_is_kept_or_named(tmp_path: Path) -> None:
    """FFmpeg writes it into MP4, and beside it a box without it that it reads instead."""
    turned = struct.pack("=4i5I", 0, 90 << 16, -45 << 16, 10 << 16, 0, 0, 0, 0, 0)
    mp4 = tagged(tmp_path / "a.mp4", PictureTags(spherical=turned))
    assert tags_of(join_again(copied(mp4, tmp_path / "b.mkv")).path).spherical == turned
    (tmp_path / "c").mkdir()
    assert lost(join_again(mp4.rename(tmp_path / "c" / "a.mp4"))) == ["spherical projection"]


@pytest.mark.parametrize("kind", [1, 2], ids=["side by side", "one above the other"])
def test_a_stereoscopic_picture_stays_stereoscopic(kind: int, tmp_path: Path) -> None:
    stereo = struct.pack("=9i", kind, 0, 0, 0, 0, 0, 1, 0, 1)
    joined = join_again(tagged(tmp_path / "a.mp4", PictureTags(stereo_3d=stereo)))
    assert tags_of(joined.path).stereo_3d[:8] == stereo[:8]
    assert lost(joined) == []


@pytest.mark.parametrize(
    ("matrix", "rotation"),
    [
        ((0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30), -90),
        ((0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30), 90),
        ((-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30), 180),
        (MIRRORED, 0),
        ((65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30), 180),
        ((0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30), -90),
        ((0, -65536, 0, -65536, 0, 0, 0, 0, 1 << 30), 90),
    ],
)
def test_the_display_matrix_is_kept_with_its_flips(matrix: tuple[int, ...], rotation: int, tmp_path: Path) -> None:
    plain = make_video(tmp_path / "plain.mp4", Clip(frames=10))
    source = copied(plain, tmp_path / "a.mp4", matrix)
    assert tags_of(source).display_matrix == matrix
    assert probe_video(str(source), Store()).rotation == rotation
    joined = join_again(source)
    assert tags_of(joined.path).display_matrix == matrix
    assert lost(joined) == []


def test_what_a_result_does_not_say_is_named() -> None:
    tags = replace(HDR10, display_matrix=MIRRORED, field_order="top first")
    assert tags.unlike(tags) == []
    assert tags.unlike(replace(tags, display_matrix=())) == ["display matrix"]
    assert len(tags.unlike(PictureTags())) == 4


@pytest.mark.parametrize("order", ["tff", "bff"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_the_field_order_is_kept(order: str, suffix: str, tmp_path: Path) -> None:
    source = tmp_path / f"a{suffix}"
    write(
        source,
        [ffmpeg.input("testsrc2=size=64x64:rate=50:duration=0.6", f="lavfi").filter("interlace", scan=order)],
        vcodec="libx264",
        flags="+ildct+ilme",
        preset="ultrafast",
        **{"x264-params": f"{order}=1"},
    )
    expected = {"tff": "top first", "bff": "bottom first"}[order]
    assert tags_of(source).field_order == expected
    joined = join_again(source)
    assert tags_of(joined.path).field_order == expected
    assert lost(joined) == []
    with av.open(str(joined.path)) as container:
        assert all(frame.interlaced_frame for frame in container.decode(video=0))


def test_cropping_of_the_coded_picture_is_honoured_to_the_pixel(tmp_path: Path) -> None:
    crop = "h264_metadata=crop_left=4:crop_right=6:crop_top=2:crop_bottom=8"
    source = made(tmp_path / "a.mp4", vcodec="libx264", **{"bsf:v": crop})
    probe = probe_video(str(source), Store())
    assert (probe.width, probe.height) == (54, 54)
    joined = join_again(source)
    with av.open(str(joined.path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == (54, 54)


def test_cropping_grows_with_the_picture() -> None:
    assert Cropping(2, 4, 6, 8).scaled(Fraction(2), Fraction(3, 2)) == Cropping(4, 8, 9, 12)


def test_a_file_without_a_header_of_samples_takes_no_boxes(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(struct.pack(">I4s", 8, b"free"))
    with pytest.raises(MediaError, match="has no moov box"):
        with_boxes(tmp_path / "a.mp4", b"12345678", tmp_path / "b.mp4")


def test_a_comparison_is_upright_and_flat() -> None:
    tags = PictureTags(display_matrix=MIRRORED, cropping=Cropping(1), stereo_3d=b"12345678", spherical=b"1")
    assert tags.of_two_side_by_side() == PictureTags()
    turned = replace(tags, display_matrix=(0, 65536, 0, 65536, 0, 0, 0, 0, 1 << 30)).of_two_side_by_side()
    assert (turned.rotation, turned.display_matrix[1], turned.display_matrix[3]) == (-90, 65536, -65536)
