"""Containers: specimens that are special in how the file is laid out."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import ffmpeg

from tests.media import Audio, Clip, make_video
from tests.zoo.specimen import Specimen, clip, from_pattern, pattern, remuxed, write

X264 = {"vcodec": "libx264", "preset": "veryfast", "bf": 2, "g": 12, "pix_fmt": "yuv420p"}
FRAME = Fraction(1, 25)


def _cut_by_an_edit_list(path: Path) -> None:
    """Begins in the middle of a GOP: the frames before are in the file, and an edit list leaves them out."""
    full = path.with_name(f"full-{path.name}")
    write(full, from_pattern(3, sound=True), **X264, acodec="aac")
    write(path, [ffmpeg.input(str(full), ss=1.2)], c="copy")
    full.unlink()


def _starts_late(path: Path) -> None:
    """An edit list that begins with an empty edit of one second."""
    make_video(path, Clip(b_frames=2, pts=range(25, 75), audio=(Audio(seconds=2),)))


def _with_an_empty_track(path: Path) -> None:
    """A sound track that is announced and has not one packet."""
    with av.open(str(path), "w", options={"movflags": "empty_moov+frag_keyframe"}) as out:
        video = out.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = out.add_stream("aac", rate=48000)
        sound.codec_context.layout = "mono"
        out.start_encoding()
        with av.open("testsrc2=size=64x48:rate=25:duration=2", format="lavfi") as made:
            for number, frame in enumerate(made.decode(video=0)):
                frame = frame.reformat(format="yuv420p")
                frame.pts, frame.time_base, frame.pict_type = number, FRAME, 0
                out.mux(video.encode(frame))
        out.mux(video.encode(None))


def _moov_first(path: Path) -> None:
    write(path, from_pattern(2, sound=True), **X264, acodec="aac", movflags="+faststart")


def _packed_bitstream(path: Path) -> None:
    """MPEG-4 as DivX wrote it: a B-frame travels in one packet with the frame after it, and an empty one follows."""
    plain = path.with_name(f"plain-{path.name}")
    write(plain, from_pattern(2), vcodec="mpeg4", bf=1, g=12, vtag="DX50")
    with av.open(str(plain)) as container, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0])
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        chunks: list[bytes] = []
        waiting = b""
        for content in packets:
            if _vop_type(content) == _B_VOP:
                chunks[-1] += content
                waiting = content
            else:
                if waiting:
                    chunks.append(_NOT_CODED)
                    waiting = b""
                chunks.append(content)
        chunks += [_NOT_CODED] if waiting else []
        chunks[0] = _as_divx(chunks[0])
        for number, content in enumerate(chunks):
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, FRAME
            packet.pts = packet.dts = number
            packet.is_keyframe = _vop_type(content) == _I_VOP
            out.mux_one(packet)
    plain.unlink()


_I_VOP, _B_VOP = 0, 2
_NOT_CODED = b"\x00\x00\x01\xb6\x53\x00"
"""A VOP that says it is not coded, of type P."""


def _vop_type(content: bytes) -> int:
    return content[content.index(b"\x00\x00\x01\xb6") + 4] >> 6


def _as_divx(content: bytes) -> bytes:
    """The first packet with the user data by which decoders know a packed bitstream."""
    at = content.index(b"\x00\x00\x01\xb6")
    return content[:at] + b"\x00\x00\x01\xb2DivX503b1393p" + content[at:]


def _by_count(rate: Fraction, frames: int) -> list[Fraction]:
    return [Fraction(int(number * 1200000 / rate), 1200000) for number in range(frames)]


def _avi_by_count(path: Path) -> list[Fraction]:
    """AVI counts packets, and FFmpeg begins at 1 where B-frames make the decoder wait."""
    with av.open(str(path)) as container:
        return [(number + 1) * FRAME for number, _ in enumerate(container.decode(video=0))]


def _rewrapped(path: Path) -> None:
    """From AVI into MP4 by copying: each packet has the time of its place in coding order."""
    source = path.with_name(f"{path.stem}.avi")
    write(source, from_pattern(2, sound=True), vcodec="mpeg4", bf=2, g=12, acodec="mp3")
    remuxed(source, path)
    source.unlink()


def _rewrapped_times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as container:
        return [number * FRAME for number, _ in enumerate(container.decode(video=0))]


def _blu_ray(path: Path) -> None:
    """192 bytes a packet, as cameras and discs write it."""
    write(path, from_pattern(2, sound=True), **X264, acodec="ac3", f="mpegts", mpegts_m2ts_mode=1)


def _flv_with_gap(path: Path) -> None:
    make_video(path, Clip(b_frames=2, audio=(Audio("libmp3lame", rate=44100),), frames=50))


def _theora(path: Path) -> None:
    write(path, from_pattern(2, sound=True), vcodec="libtheora", acodec="libvorbis", ac=2)


def _without_index(path: Path) -> None:
    """Written to a pipe: neither duration nor index."""
    content, _ = ffmpeg.output(*from_pattern(2, sound=True), "pipe:1", f="matroska", acodec="aac", **X264).run(
        cmd=_ffmpeg(), capture_stdout=True, quiet=True
    )
    path.write_bytes(content)


def _ffmpeg() -> str:
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def _hidden_alt_ref(codec: str, **options: object) -> object:
    return pattern(
        seconds=3,
        vcodec=codec,
        g=50,
        **{"auto-alt-ref": 1, "lag-in-frames": 12, "b:v": "80k", "cpu-used": 4, **options},
    )


def _mp4_of_two_edits(path: Path) -> None:
    """An edit list that shows 0.4 to 1.2 s of the media, then 1.6 to 2.4 s: what lies between is left out."""
    plain = path.with_name(f"plain-{path.name}")
    write(plain, from_pattern(3), **{**X264, "bf": 0}, video_track_timescale=12800)
    content = plain.read_bytes()
    plain.unlink()
    edits = [(800, 5120), (800, 20480)]  # (duration in ms of the movie's clock, begin in ticks of the media's)
    path.write_bytes(_with_edit_list(content, edits))


def _trimmed_at_its_end(path: Path) -> None:
    """The edit ends among B-frames: the frames that they refer to are hidden, and needed."""
    make_video(path, Clip(frames=60, b_frames=3, gop=12))
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 12
    content[at : at + 4] = struct.pack(">I", 1760)
    path.write_bytes(content)


def _with_edit_list(content: bytes, edits: list[tuple[int, int]]) -> bytes:
    """Replace the edit list of an MP4 whose moov is the last box."""
    at = content.index(b"elst") - 4
    (old_size,) = struct.unpack(">I", content[at : at + 4])
    body = struct.pack(">II", 0, len(edits))
    body += b"".join(struct.pack(">IiI", duration, begin, 1 << 16) for duration, begin in edits)
    box = struct.pack(">I", 8 + len(body)) + b"elst" + body
    grown = len(box) - old_size
    content = content[:at] + box + content[at + old_size :]
    result = bytearray(content)
    for name in (b"moov", b"trak", b"edts"):
        box_at = content.index(name) - 4
        (size,) = struct.unpack(">I", content[box_at : box_at + 4])
        result[box_at : box_at + 4] = struct.pack(">I", size + grown)
    return bytes(result)


def _copied_into(suffix: str, **options: object) -> object:
    def make(path: Path) -> None:
        plain = path.with_name(f"plain-{path.stem}.mkv")
        write(plain, from_pattern(2, sound=True), **X264, acodec="aac")
        remuxed(plain, path, **options)
        plain.unlink()

    return make


SPECIMENS: tuple[Specimen, ...] = (
    Specimen("plain.mp4", "container", "MP4 with B-frames and sound", clip(frames=60, b_frames=2, audio=(Audio(),))),
    Specimen("moov first.mp4", "container", "MP4 with its index in front", _moov_first),
    Specimen(
        "fragmented.mp4",
        "container",
        "MP4 in fragments",
        clip(frames=60, b_frames=2, muxer_options={"movflags": "frag_keyframe+empty_moov"}),
    ),
    Specimen(
        "edit list.mp4",
        "container",
        "MP4 cut without encoding: an edit list leaves out the first frames",
        _cut_by_an_edit_list,
    ),
    Specimen("two edits.mp4", "container", "MP4 with an edit list that skips the middle", _mp4_of_two_edits),
    Specimen(
        "trimmed.mp4", "container", "MP4 whose edit list ends among B-frames and hides the last", _trimmed_at_its_end
    ),
    Specimen("late.mov", "container", "MOV whose edit list begins with an empty second", _starts_late),
    Specimen(
        "empty track.mp4",
        "container",
        "MP4 with a sound track without packets",
        _with_an_empty_track,
        lost={"stream": "1:audio:aac"},
    ),
    Specimen(
        "phone.3gp",
        "container",
        "3GP of H.263 and AAC",
        pattern(size="176x144", vcodec="h263", sound=True, acodec="aac", ar=8000),
    ),
    Specimen("no index.mkv", "container", "Matroska from a pipe: no duration, no index", _without_index),
    Specimen("vp8 alt-ref.webm", "container", "WebM of VP8 with hidden reference frames", _hidden_alt_ref("libvpx")),
    Specimen("vp9.webm", "container", "WebM of VP9", clip(frames=50, codec="libvpx-vp9")),
    Specimen(
        "vp9 alt-ref.webm",
        "container",
        "WebM of VP9 with hidden reference frames",
        _hidden_alt_ref("libvpx-vp9", **{"row-mt": 0}),
    ),
    Specimen(
        "av1.webm",
        "container",
        "WebM of AV1 with hidden reference frames",
        pattern(vcodec="libsvtav1", preset=12, g=25),
    ),
    Specimen(
        "av1.mp4", "container", "MP4 of AV1", pattern(vcodec="libsvtav1", preset=12, g=25, sound=True, acodec="aac")
    ),
    Specimen("ffv1.mkv", "container", "Matroska of FFV1, without loss", pattern(vcodec="ffv1", pix_fmt="yuv420p")),
    Specimen(
        "prores.mov",
        "container",
        "MOV of ProRes, 10 bit 4:2:2",
        pattern(seconds=1, vcodec="prores_ks", sound=True, acodec="pcm_s16le"),
    ),
    Specimen(
        "dnxhr.mov",
        "container",
        "MOV of DNxHR",
        pattern(seconds=1, size="256x120", vcodec="dnxhd", profile="dnxhr_sq", pix_fmt="yuv422p"),
    ),
    Specimen(
        "mpeg2.ts", "container", "MPEG-TS of MPEG-2", pattern(vcodec="mpeg2video", bf=2, acodec="mp2", sound=True)
    ),
    Specimen("hevc.ts", "container", "MPEG-TS of HEVC", clip(frames=60, codec="libx265", b_frames=3)),
    Specimen("camera.m2ts", "container", "MPEG-TS with 192 bytes a packet", _blu_ray),
    Specimen(
        "mpeg2.vob",
        "container",
        "MPEG-PS of MPEG-2 and AC-3",
        pattern(vcodec="mpeg2video", bf=2, acodec="ac3", sound=True),
    ),
    Specimen(
        "still.mpg",
        "container",
        "MPEG-PS with many frames in a packet, of which only the first has a timestamp",
        clip(frames=70, codec="mpeg2video", muxer="vob"),
    ),
    Specimen(
        "mpeg1.mpg", "container", "MPEG-PS of MPEG-1", pattern(vcodec="mpeg1video", bf=2, acodec="mp2", sound=True)
    ),
    Specimen(
        "h264.avi",
        "container",
        "AVI of H.264 with B-frames: stamps in coding order",
        pattern(**X264, acodec="mp3", sound=True),
        times=_avi_by_count,
    ),
    Specimen(
        "mpeg4.avi",
        "container",
        "AVI of MPEG-4 part 2 with B-frames",
        pattern(vcodec="mpeg4", bf=2, g=12, acodec="mp3", sound=True),
    ),
    Specimen(
        "asp rewrapped.mp4",
        "container",
        "MP4 of MPEG-4 part 2 with B-frames, copied from an AVI: stamps in coding order",
        _rewrapped,
        times=_rewrapped_times,
    ),
    Specimen(
        "packed.avi",
        "container",
        "AVI of MPEG-4 as a packed bitstream",
        _packed_bitstream,
        times=_avi_by_count,
    ),
    Specimen(
        "mjpeg.avi",
        "container",
        "AVI of motion JPEG and PCM",
        pattern(vcodec="mjpeg", acodec="pcm_s16le", sound=True),
    ),
    Specimen("stream.flv", "container", "FLV of H.264 and MP3", _flv_with_gap),
    Specimen(
        "old.flv", "container", "FLV of Sorenson H.263", pattern(vcodec="flv", acodec="mp3", ar=44100, sound=True)
    ),
    Specimen(
        "windows.wmv",
        "container",
        "ASF of WMV 2",
        pattern(vcodec="wmv2", acodec="wmav2", sound=True),
    ),
    Specimen("theora.ogv", "container", "OGG of Theora and Vorbis", _theora),
    Specimen("animation.gif", "container", "GIF", clip(codec="gif", pix_fmt="rgb8", frames=30), lost={"samples": ""}),
    Specimen(
        "raw.h264",
        "container",
        "raw H.264 of 29.97 frames a second: no timestamps",
        pattern(rate="30000/1001", **X264),
        times=lambda path: _by_count(Fraction(30000, 1001), 60),
    ),
    Specimen(
        "raw.hevc",
        "container",
        "raw HEVC: no timestamps",
        pattern(vcodec="libx265", **{"x265-params": "log-level=error:keyint=12:bframes=3:pools=1"}),
        times=lambda path: _by_count(Fraction(25), 50),
    ),
    Specimen("elementary.m1v", "container", "MPEG-1 elementary stream", pattern(vcodec="mpeg1video", bf=2)),
    Specimen("elementary.m2v", "container", "MPEG-2 elementary stream", pattern(vcodec="mpeg2video", bf=2)),
)
