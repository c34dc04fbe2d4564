"""Streams: specimens that are special in what goes along with the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg

from tests.media import Audio, Clip, make_video
from tests.zoo.specimen import Specimen, clip, from_pattern, write

_VIDEO = {"c:v": "libx264", "preset": "veryfast", "g": 25, "bf": 2}
_SUBTITLES = "".join(
    f"{number}\n00:00:0{number},100 --> 00:00:0{number},900\nLine {number}\nof two\n\n" for number in range(2)
)


def _tones(count: int, seconds: float = 2, rate: int = 48000) -> list[Any]:
    return [
        ffmpeg.input(f"sine=frequency={300 + 70 * number}:sample_rate={rate}:duration={seconds}", f="lavfi")
        for number in range(count)
    ]


def _voices(*codecs: str, rate: int = 48000, **options: Any) -> Callable[[Path], object]:
    """A maker of a picture with a tone in each of the codecs."""
    chosen = {f"c:a:{number}": codec for number, codec in enumerate(codecs)}
    return lambda path: write(
        path,
        [*from_pattern(), *_tones(len(codecs), rate=rate)],
        **{**_VIDEO, **chosen, "strict": "experimental", **options},
    )


def _labelled(*labels: tuple[str, str, str]) -> dict[str, Any]:
    """Options that give each sound (language, title, dispositions)."""
    options: dict[str, Any] = {}
    for number, (language, title, disposition) in enumerate(labels):
        options[f"metadata:s:a:{number}"] = f"language={language}"
        options[f"metadata:s:{number + 1}"] = f"title={title}"
        options[f"disposition:a:{number}"] = disposition
    return options


def _with_text(*codecs: str, **options: Any) -> Callable[[Path], object]:
    """A maker of a picture with the same subtitles in each of the codecs."""

    def make(path: Path) -> None:
        text = path.with_name(f"{path.name}.srt")
        text.write_text(_SUBTITLES)
        inputs = [*from_pattern(), *(ffmpeg.input(str(text)) for _ in codecs)]
        chosen = {f"c:s:{number}": codec for number, codec in enumerate(codecs)}
        write(path, inputs, **{**_VIDEO, **chosen, **options})
        text.unlink()

    return make


def _with_packets(
    *streams: tuple[str, tuple[bytes, ...]], base: Clip | None = None, period: Fraction = Fraction(1, 2)
) -> Callable[[Path], object]:
    """A maker of a picture with streams that no encoder makes: codec, and packets that come every `period` seconds."""

    def make(path: Path) -> None:
        plain = make_video(path.with_name(f"plain-{path.stem}.mp4"), base or Clip(frames=50, b_frames=2))
        with av.open(str(plain)) as container, av.open(str(path), "w") as out:
            video = out.add_stream_from_template(container.streams.video[0])
            added = [_bare_stream(out, codec) for codec, _ in streams]
            packets = [packet for packet in container.demux() if packet.dts is not None]
            for packet in packets:
                packet.stream = video
            for stream, (_, contents) in zip(added, streams, strict=True):
                packets += list(_timed(stream, contents, period))
            for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
                out.mux_one(packet)
        plain.unlink()

    return make


def _bare_stream(out: av.container.OutputContainer, codec: str) -> Any:
    if codec in ("klv", "scte_35", "timed_id3"):
        return out.add_data_stream(codec)
    return out.add_mux_stream(codec)


def _timed(stream: Any, contents: Iterable[bytes], period: Fraction) -> Iterable[av.Packet]:
    for number, content in enumerate(contents):
        packet = av.Packet(content)
        packet.time_base = Fraction(1, 90000)
        packet.pts = packet.dts = round((number + 1) * period * 90000)
        packet.duration = round(period * 90000)
        packet.is_keyframe, packet.stream = True, stream
        yield packet


_PGS = tuple(
    # A display set that clears the screen: composition, window, end.
    bytes.fromhex("16000b0040003010" + f"{number:04x}" + "80000000" + "800000")
    for number in range(3)
)
_DVB = tuple(
    # A page composition segment without regions, which clears the screen, and an end of display set.
    bytes.fromhex(f"0f100001000205{number:x}0" + "0f8000010000")
    for number in range(3)
)
_DVD = tuple(bytes.fromhex("000a0004" + "0000") + bytes([0, 4, 2, 255]) for _ in range(3))
_KLV = tuple(bytes.fromhex("060e2b34020b01010e01030101000000") + bytes([2, number, 7]) for number in range(3))
_SCTE35 = tuple(bytes.fromhex("fc301100000000000000fff00000000000") + bytes(4) for _ in range(2))


def _two_videos(path: Path) -> None:
    second = ffmpeg.input("mandelbrot=size=48x32:rate=10", f="lavfi", t=2)
    write(path, [*from_pattern(), second, *_tones(1)], **{"c:v": "libx264", "preset": "veryfast", "c:a": "aac"})


def _cover(path: Path) -> None:
    picture = path.with_name(f"{path.name}.jpg")
    write(picture, from_pattern(1, "32x32"), **{"frames:v": 1, "update": 1})
    cover = ffmpeg.input(str(picture))
    options = {**_VIDEO, "c:v:1": "copy", "disposition:v:1": "attached_pic", "c:a": "aac"}
    write(path, [*from_pattern(), cover, *_tones(1)], **options)
    picture.unlink()


def _programs(path: Path) -> None:
    inputs = [*from_pattern(), *_tones(2)]
    write(path, inputs, **{**_VIDEO, "c:a": "mp2", "program": "title=Ch. 7:program_num=7:st=0:st=1:st=2"})


def _tagged(**metadata: str) -> dict[str, Any]:
    return {f"metadata:g:{number}": f"{key}={text}" for number, (key, text) in enumerate(metadata.items())}


def _metadata(path: Path, metadata: dict[str, str], **options: Any) -> None:
    with av.open(str(path), "w", options=options) as out:
        out.metadata.update(metadata)
        plain = make_video(path.with_name(f"plain-{path.stem}.mp4"), Clip(frames=50, b_frames=2))
        with av.open(str(plain)) as container:
            stream = out.add_stream_from_template(container.streams.video[0])
            for packet in container.demux():
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux_one(packet)
        plain.unlink()


_APPLE = {
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.model": "iPhone 15",
    "com.apple.quicktime.location.ISO6709": "+52.3702+004.8952/",
    "com.apple.quicktime.creationdate": "2025-05-04T10:11:12+0200",
    "creation_time": "2025-05-04T08:11:12.000000Z",
}
_COMMON = {
    "title": "Größe: 100 %",
    "artist": "A",
    "album": "B",
    "comment": "c",
    "date": "2025",
    "genre": "talk",
    "copyright": "nobody",
    "description": "what it is",
    "creation_time": "2025-05-04T08:11:12.000000Z",
}
_CHAPTERS = ((0, 0.5, "first"), (0.5, 1.2, "zweites Kapitel"), (1.2, 2, "last"))

SPECIMENS: tuple[Specimen, ...] = (
    Specimen(
        "eight-voices.mkv",
        "streams",
        "eight sounds: AAC, MP2, MP3, AC-3, E-AC-3, Opus, Vorbis, FLAC, with languages, titles and dispositions",
        _voices(
            *("aac", "mp2", "libmp3lame", "ac3", "eac3", "libopus", "libvorbis", "flac"),
            **_labelled(
                ("eng", "Original", "default+original"),
                ("deu", "Deutsch", "dub"),
                ("fra", "Commentaire", "comment"),
                ("jpn", "Effects", "clean_effects"),
                ("nld", "for the blind", "visual_impaired"),
                ("spa", "for the deaf", "hearing_impaired"),
                ("ita", "karaoke", "karaoke"),
                ("und", "none", "0"),
            ),
        ),
    ),
    Specimen(
        "alac-and-pcm.mov",
        "streams",
        "ALAC and four kinds of PCM",
        _voices("alac", "pcm_s16le", "pcm_s24le", "pcm_f32le", "pcm_s16be"),
    ),
    Specimen("dts.mkv", "streams", "DTS and TrueHD", _voices("dca", "truehd")),
    Specimen(
        "wma.wmv",
        "streams",
        "Windows Media sound: goes to NUT, the only container that takes it beside H.264",
        _voices("wmav2", **{"c:v": "wmv2", "bf": 0}),
    ),
    Specimen("amr.3gp", "streams", "AMR of a phone", _voices("libopencore_amrnb", rate=8000, ac=1, ar=8000)),
    Specimen(
        "two-sounds.ts",
        "streams",
        "MP2 and AC-3 in MPEG-TS, with languages",
        _voices("mp2", "ac3", **{"metadata:s:a:0": "language=eng", "metadata:s:a:1": "language=deu"}),
    ),
    Specimen("latm.ts", "streams", "AAC in LATM", _voices("aac", mpegts_flags="+latm")),
    Specimen(
        "subtitles.mkv",
        "streams",
        "SubRip, ASS and WebVTT, forced and for the hearing impaired, with a font attached",
        lambda path: _subtitles_and_font(path),
    ),
    Specimen(
        "unsorted subtitles.mkv",
        "streams",
        "a subtitle that is earlier than the one before",
        lambda path: unsorted_subtitles(path),
        "damaged",
        "the time of 1 packet was before that of the one before",
        counts={"corrupt_packets": 0, "concealed_frames": 0, "frames_not_decoded": 0},
    ),
    Specimen(
        "mov-text.mp4", "streams", "3GPP timed text", _with_text("mov_text", **{"metadata:s:s:0": "language=deu"})
    ),
    Specimen("pgs.mkv", "streams", "bitmap subtitles of Blu-ray (PGS)", _with_packets(("hdmv_pgs_subtitle", _PGS))),
    Specimen("dvb-subtitles.ts", "streams", "bitmap subtitles of DVB", _with_packets(("dvbsub", _DVB))),
    Specimen("dvd-subtitles.mkv", "streams", "bitmap subtitles of DVD", _with_packets(("dvdsub", _DVD))),
    Specimen("klv.ts", "streams", "KLV data", _with_packets(("klv", _KLV), base=Clip(frames=50, b_frames=2))),
    Specimen("scte35.ts", "streams", "SCTE-35 cues", _with_packets(("scte_35", _SCTE35))),
    Specimen(
        "chapters.mp4", "streams", "chapters in MP4", clip(frames=50, chapters=_CHAPTERS, audio=(Audio(seconds=2),))
    ),
    Specimen("chapters.mkv", "streams", "chapters in Matroska", clip(frames=50, chapters=_CHAPTERS)),
    Specimen("timecode.mov", "streams", "a time code track (tmcd)", _voices("aac", timecode="01:02:03:04")),
    Specimen("cover.mp4", "streams", "a cover picture in MP4", _cover),
    Specimen("cover.mkv", "streams", "a cover picture in Matroska", _cover),
    Specimen("two-videos.mkv", "streams", "two pictures: the first is restored, the other copied", _two_videos),
    Specimen("program.ts", "streams", "a program with a number and a name", _programs),
    Specimen(
        "phone.mov", "streams", "tags of an iPhone", lambda path: _metadata(path, _APPLE, movflags="use_metadata_tags")
    ),
    Specimen("tagged.mp4", "streams", "nine tags", lambda path: _metadata(path, _COMMON)),
    Specimen("tagged.mkv", "streams", "nine tags in Matroska", lambda path: _metadata(path, _COMMON)),
    Specimen("gapless.mp4", "streams", "AAC with its priming samples", _voices("aac")),
    Specimen("opus.mp4", "streams", "Opus with its pre-skip", _voices("libopus")),
    Specimen(
        "sound-late.mkv",
        "streams",
        "sound that starts 0.35 s after the picture",
        clip(frames=50, audio=(Audio(start=0.35),)),
    ),
    Specimen(
        "picture-late.mp4",
        "streams",
        "a picture that starts 0.32 s after the sound",
        clip(pts=list(range(8, 58)), audio=(Audio(seconds=2),)),
    ),
    Specimen(
        "sound-first.mkv",
        "streams",
        "the sound comes before the picture",
        lambda path: write(path, [*_tones(1), *from_pattern()], **{**_VIDEO, "c:a": "flac"}),
    ),
)


def unsorted_subtitles(path: Path) -> None:
    """Two subtitles at 0.1 and 1.1 s, of which the second is patched to stand at 0.05 s."""
    _with_text("srt")(path)
    content = bytearray(path.read_bytes())
    at = content.index(b"Line 1\n") - 3  # a block's time in its cluster: 16 bits, before the flags and the content
    earlier = int.from_bytes(content[at : at + 2], "big", signed=True) - 1050
    content[at : at + 2] = earlier.to_bytes(2, "big", signed=True)
    path.write_bytes(content)


def _subtitles_and_font(path: Path) -> None:
    font = path.with_name("font.ttf")
    font.write_bytes(b"\0\1\0\0" + bytes(200))
    _with_text(
        *("srt", "ass", "webvtt"),
        attach=str(font),
        **{
            "metadata:s:t": "mimetype=application/x-truetype-font",
            "metadata:s:s:0": "language=eng",
            "metadata:s:s:1": "language=deu",
            "disposition:s:0": "forced+default",
            "disposition:s:1": "hearing_impaired",
        },
    )(path)
    font.unlink()
