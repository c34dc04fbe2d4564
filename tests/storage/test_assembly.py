"""A joined video holds every frame of its segments and everything else of its source.

Source and result are compared packet by packet through PyAV alone (`tests.media.story_of`), never through assembly's
own check.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import ffmpeg
import imageio_ffmpeg
import pytest
from av.stream import Disposition

from storage import assembly, long_mp4, result_file, temporary
from storage.assembly import AssemblyReport, assemble_video
from storage.clocks import PacketPlacer
from storage.containers import ContainerChoice, choose_container
from storage.encoding import EncodeSettings
from storage.errors import MediaError
from storage.probe import VideoProbe
from storage.programs import Program, programs
from storage.shards import Shard
from storage.timeline import Timeline
from tests.media import Audio, Clip, FileStory, encode_segments, make_video, shards_of, story_of
from tests.zoo.specimen import from_pattern, write
from tests.zoo.streams import unsorted_subtitles

FAST = EncodeSettings(preset="ultrafast", crf=30)
WITH_B_FRAMES = EncodeSettings(preset="veryfast", crf=30)
HEVC = EncodeSettings(codec="hevc", preset="ultrafast", crf=30)


@dataclass(frozen=True)
class Joined:
    """A source, its result, and what was said about it."""

    source: FileStory
    result: FileStory
    report: AssemblyReport
    choice: ContainerChoice
    time_base: Fraction
    path: Path


def join_again(
    path: Path, seconds: Fraction | float = Fraction(3, 10), encode: EncodeSettings = WITH_B_FRAMES
) -> Joined:
    """Cut, encode and join a file as it is, without facemill's pools."""
    shards = shards_of(path, seconds)
    probe = shards[0].probe
    segments = encode_segments(shards, path.parent / "segments", encode)
    choice = choose_container(probe, path.name, encode.codec)
    folder = path.parent / "result"
    folder.mkdir()
    target = folder / choice.relative_path
    report = assemble_video(str(path), path.name, probe, segments, target, choice)
    return Joined(story_of(path), story_of(target), report, choice, probe.time_base, target)


def assert_frames_equal(joined: Joined) -> None:
    """Every pts of the source is in the result, exactly, and dts is sound."""
    source, result = sorted(joined.source.video.times), sorted(joined.result.video.times)
    assert result == source
    assert joined.report.frames == len(source)
    assert (joined.report.frames_not_decoded, joined.report.frames_unpacked) == (0, 0)
    decoding = joined.result.video.decoding_times
    assert all(before < after for before, after in pairwise(decoding))
    if joined.choice.muxer != "matroska":  # which stores no dts: there they are the demuxer's guesses
        assert all(dts <= pts for dts, pts in zip(decoding, joined.result.video.times, strict=True))
    with av.open(str(joined.path)) as container:
        shown = [frame.pts for frame in container.decode(video=0)]
    assert len(shown) == len(source)
    assert shown == sorted(set(shown))


def assert_everything_else_equal(joined: Joined) -> None:
    """The other streams arrive packet by packet, at their times, with their tags; so do the file's own."""
    left_out = len(joined.report.streams_left_out)
    assert len(joined.result.others) == len(joined.source.others) - left_out
    for before, after in zip(joined.source.others, joined.result.others, strict=True):
        assert after.packets == before.packets
        assert after.times == before.times
        assert (after.kind, after.codec) == (before.kind, before.codec)
        assert (after.language, after.title) == (before.language, before.title)
        assert after.disposition == before.disposition
    assert joined.report.streams_copied == len(joined.result.others)
    assert joined.report.packets_copied == sum(len(other.packets) for other in joined.result.others)
    assert joined.result.video.language == joined.source.video.language
    assert joined.result.chapters == joined.source.chapters
    assert joined.result.rotation == joined.source.rotation
    assert joined.result.attachments == joined.source.attachments
    own = {"encoder", "major_brand", "minor_version", "compatible_brands", "duration"}
    for key, text in joined.source.metadata.items():
        if key.lower() not in own:
            assert joined.result.metadata.get(key) == text, key


TWO_VOICES = (
    Audio(seconds=1.2, language="eng", title="English", disposition=Disposition.default),
    Audio(seconds=1.1, language="deu", title="Deutsch"),
)
KEPT = {
    "mp4": ("a.mp4", Clip(b_frames=2, audio=(Audio(),))),
    "mp4 with VFR": ("a.mp4", Clip(pts=[0, 1, 3, 4, 9, 10, 50, 51, 52], time_base=Fraction(1, 90))),
    "mp4 with two voices": ("a.mp4", Clip(audio=TWO_VOICES, language="fra")),
    "mp4 whose sound starts late": ("a.mp4", Clip(audio=(Audio(start=0.35),))),
    "mp4 whose picture starts late": ("a.mp4", Clip(pts=list(range(8, 33)), audio=(Audio(),))),
    "mp4 with MP3": ("a.mp4", Clip(audio=(Audio("libmp3lame", rate=44100),))),
    "mp4 with tags and chapters": (
        "a.mp4",
        Clip(
            metadata={"title": "Größe: 100 %", "artist": "A", "comment": "c"},
            chapters=((0, 0.5, "first"), (0.5, 1, "second")),
        ),
    ),
    "mp4 turned left": ("a.mp4", Clip(rotation=90)),
    "mp4 turned right": ("a.mp4", Clip(rotation=-90)),
    "mp4 upside down": ("a.mp4", Clip(rotation=180, audio=(Audio(),))),
    "mp4 of 29.97": ("a.mp4", Clip(rate=Fraction(30000, 1001), b_frames=2, audio=(Audio(),))),
    "mov with PCM": ("a.mov", Clip(audio=(Audio("pcm_s16le"),))),
    "mov of VFR with PCM": ("a.mov", Clip(pts=[2, 3, 7, 20], audio=(Audio("pcm_s16le"),))),
    "mkv with everything": (
        "a.mkv",
        Clip(
            b_frames=2,
            audio=(*TWO_VOICES, Audio("flac", seconds=0.9, language="jpn")),
            subtitles=((0.1, 0.4, "hello"), (0.5, 0.9, "there")),
            chapters=((0, 0.5, "first"), (0.5, 1, "second")),
            attachment=b"a font, say",
            metadata={"title": "everything"},
            language="deu",
        ),
    ),
    "mkv of 29.97": ("a.mkv", Clip(rate=Fraction(30000, 1001), b_frames=2, audio=(Audio("libopus"),))),
    "mkv whose picture starts late": ("a.mkv", Clip(pts=list(range(8, 33)), audio=(Audio(),))),
    "mpegts": ("a.ts", Clip(b_frames=2, audio=(Audio("mp2"),))),
    "mpegts with two voices": ("a.ts", Clip(audio=(Audio("mp2", language="eng"), Audio("ac3", language="deu")))),
    "mpegts far from zero": (
        "a.ts",
        Clip(
            b_frames=2,
            time_base=Fraction(1, 90000),
            pts=[2**32 + 3600 * at for at in range(25)],
            audio=(Audio("mp2", start=2**32 / 90000),),
        ),
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_nothing_is_lost_in_the_sources_own_container(name: str, tmp_path: Path) -> None:
    file_name, clip = KEPT[name]
    joined = join_again(make_video(tmp_path / file_name, clip))
    assert joined.choice.relative_path == file_name
    assert joined.choice.reason == ""
    assert_frames_equal(joined)
    assert_everything_else_equal(joined)
    assert joined.report.streams_left_out == []


def test_a_result_of_many_packets_is_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_video(tmp_path / "a.mp4", Clip(b_frames=2, audio=(Audio(),), chapters=((0, 1, "all"),)))
    short = join_again(source)
    monkeypatch.setattr(result_file, "LONG_PACKETS", 0)
    for name in ("_FIRST_PACKETS", "_LAST_PACKETS"):
        monkeypatch.setattr(long_mp4, name, 2)
    segments, probe = sorted((tmp_path / "segments").iterdir()), shards_of(source)[0].probe
    long = tmp_path / "long.mp4"
    assemble_video(str(source), source.name, probe, segments, long, short.choice)
    assert long.read_bytes() == short.path.read_bytes()


CONVERTED = {
    "avi": ("a.avi", Clip(codec="mpeg4", audio=(Audio("libmp3lame"),))),
    "mpeg-ps": ("a.mpg", Clip(codec="mpeg2video", b_frames=2, muxer="vob", audio=(Audio("ac3"),))),
    "gif": ("a.gif", Clip(codec="gif", pix_fmt="rgb8")),
    "flv": ("a.flv", Clip(b_frames=2, audio=(Audio(rate=44100),))),
    "webm": ("a.webm", Clip(codec="libvpx-vp9", audio=(Audio("libopus"),))),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_nothing_is_lost_in_another_container(name: str, tmp_path: Path) -> None:
    file_name, clip = CONVERTED[name]
    joined = join_again(make_video(tmp_path / file_name, clip))
    assert joined.choice.relative_path.startswith(file_name + ".")
    if name != "webm":
        assert joined.choice.muxer == "mp4"
        assert joined.choice.reason
    assert_frames_equal(joined)
    for before, after in zip(joined.source.others, joined.result.others, strict=True):
        assert after.packets == before.packets
        half_a_sample = Fraction(1, 2 * 44100)  # a clock of milliseconds becomes one of samples
        assert all(abs(new - old) <= half_a_sample for new, old in zip(after.times, before.times, strict=True))


@pytest.mark.parametrize("seconds", [Fraction(1, 10), Fraction(1, 2), Fraction(9)], ids=str)
@pytest.mark.parametrize("encode", [FAST, WITH_B_FRAMES, HEVC], ids=["plain", "B-frames", "hevc"])
def test_joints_do_not_show_at_any_shard_length(encode: EncodeSettings, seconds: Fraction, tmp_path: Path) -> None:
    joined = join_again(make_video(tmp_path / "a.mp4", Clip(frames=30, audio=(Audio(),))), seconds, encode)
    assert_frames_equal(joined)
    times = sorted(joined.result.video.times)
    assert {after - before for before, after in pairwise(times)} == {Fraction(1, 25)}
    assert float(joined.result.duration or 0) == pytest.approx(float(joined.source.duration or -1), abs=0.05)


def test_streams_that_no_container_holds_are_named(tmp_path: Path) -> None:
    shards = shards_of(make_video(tmp_path / "a.mkv", Clip(audio=(Audio(), Audio("mp2")))))
    segments = encode_segments(shards, tmp_path / "segments", FAST)
    probe = shards[0].probe
    choice = choose_container(probe, "a.mkv", "h264")
    choice = replace(choice, left_out=(probe.other_streams[0],))
    report = assemble_video(str(tmp_path / "a.mkv"), "a.mkv", probe, segments, tmp_path / "b.mkv", choice)
    assert report.streams_left_out == ["1:audio:aac"]
    assert [other.codec for other in story_of(tmp_path / "b.mkv").others] == ["mp2"]


def _pieces(tmp_path: Path, encode: EncodeSettings = FAST) -> tuple[Shard, list[Path]]:
    shards = shards_of(make_video(tmp_path / "a.mp4", Clip(audio=(Audio(),))), Fraction(1, 4))
    return shards[0], encode_segments(shards, tmp_path / "segments", encode)


def _assemble(shard: Shard, segments: list[Path], target: Path) -> AssemblyReport:
    choice = choose_container(shard.probe, "a.mp4", "h264")
    return assemble_video(shard.source.url, "a.mp4", shard.probe, segments, target, choice)


def test_overlapping_segments_are_refused(tmp_path: Path) -> None:
    shard, segments = _pieces(tmp_path)
    with pytest.raises(MediaError, match="two segments hold a frame"):
        _assemble(shard, [*segments, segments[1]], tmp_path / "b.mp4")


def test_segments_of_another_encoder_configuration_are_refused(tmp_path: Path) -> None:
    shard, segments = _pieces(tmp_path)
    other = encode_segments(
        shards_of(tmp_path / "a.mp4", Fraction(1, 4)), tmp_path / "others", EncodeSettings(preset="medium")
    )
    with pytest.raises(MediaError, match="another encoder configuration"):
        _assemble(shard, [segments[0], *other[1:]], tmp_path / "b.mp4")


def test_a_missing_segment_is_told_in_the_report(tmp_path: Path) -> None:
    shard, segments = _pieces(tmp_path)
    report = _assemble(shard, [segments[0], *segments[2:]], tmp_path / "b.mp4")
    assert report.frames_not_decoded == 25 - report.frames > 0


def test_frames_that_reading_in_one_go_does_not_give_are_told_in_the_report(tmp_path: Path) -> None:
    """Behind damage shards may reach what it does not; here the source has become shorter."""
    shard, segments = _pieces(tmp_path)
    make_video(tmp_path / "a.mp4", Clip(frames=20))
    report = _assemble(shard, segments, tmp_path / "b.mp4")
    assert (report.frames, report.frames_unpacked) == (25, 5)


def test_what_a_killed_join_leaves_lies_where_the_next_process_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, segments = _pieces(tmp_path)
    tagged, held = assembly.tagged_template, []

    def seen(segment: Path, probe: VideoProbe, folder: Path) -> Path:
        held.append((folder.name.startswith(temporary._PREFIX), temporary._locked(folder)))
        return tagged(segment, probe, folder)

    monkeypatch.setattr(assembly, "tagged_template", seen)
    _assemble(shard, segments, tmp_path / "b.mp4")
    assert held == [(True, None)]  # and while the join lives, no sweep gets the lock


def test_no_segment_at_all_is_an_error(tmp_path: Path) -> None:
    shard, _ = _pieces(tmp_path)
    with pytest.raises(MediaError, match="not one frame"):
        _assemble(shard, [], tmp_path / "b.mp4")


def test_the_source_may_be_an_open_file(tmp_path: Path) -> None:
    shard, segments = _pieces(tmp_path)
    with (tmp_path / "a.mp4").open("rb") as file:
        report = assemble_video(
            file, "a.mp4", shard.probe, segments, tmp_path / "b.mp4", choose_container(shard.probe, "a.mp4", "h264")
        )
    assert report.frames == 25
    assert story_of(tmp_path / "b.mp4").others[0].packets == story_of(tmp_path / "a.mp4").others[0].packets


def test_the_sample_aspect_ratio_is_kept(tmp_path: Path) -> None:
    joined = join_again(make_video(tmp_path / "a.mp4", Clip(sample_aspect_ratio=Fraction(16, 11))))
    assert joined.source.sample_aspect_ratio == joined.result.sample_aspect_ratio == Fraction(16, 11)


@pytest.mark.parametrize("encode", [WITH_B_FRAMES, HEVC])
def test_a_transport_stream_may_begin_at_zero(encode: EncodeSettings, tmp_path: Path) -> None:
    joined = join_again(make_video(tmp_path / "a.ts"), encode=encode)
    assert joined.source.video.times[0] == 0
    assert_frames_equal(joined)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_titles_of_tracks_are_kept(name: str, tmp_path: Path) -> None:
    titles = {"metadata:s:v:0": "title=The hall", "metadata:s:a:0": "title=Kommentar"}
    path = tmp_path / name
    write(path, from_pattern(0.5, sound=True), **{"c:v": "libx264", "c:a": "aac", **titles})
    joined = join_again(path)
    with av.open(str(joined.path)) as container:
        assert [stream.metadata.get("name") for stream in container.streams] == ["The hall", "Kommentar"]
    assert not [told for told in joined.report.allowed if "tag " in told]


def _program(path: Path, **options: str) -> Path:
    inputs = from_pattern(0.5, sound=True)
    write(path, inputs, **{"c:v": "mpeg2video", "c:a": "mp2", **options})
    return path


@pytest.mark.parametrize("name", ["a.ts", "a.m2ts"])
def test_a_transport_streams_program_is_kept(name: str, tmp_path: Path) -> None:
    named = {"metadata": "service_name=BBC Zürich", "metadata:g": "service_provider=a, b", "mpegts_service_id": "7"}
    joined = join_again(_program(tmp_path / name, **named))
    with av.open(str(joined.path)) as container:
        (program,) = programs(container)
    assert program == Program(7, "BBC Zürich", "a, b", frozenset({0, 1}))
    assert "file: programs: 7 'BBC Zürich' of 'a, b'" in joined.report.verified


def test_a_program_without_a_name_gets_none(tmp_path: Path) -> None:
    path = _program(tmp_path / "a.ts")
    path.write_bytes(path.read_bytes().replace(b"Service01", b"another!!"))  # by its checksum, the table is damaged
    joined = join_again(path)
    with av.open(str(joined.path)) as container:
        assert programs(container) == (Program(1, streams=frozenset({0, 1})),)


def test_of_two_programs_the_picture_stays_in_its_own_and_the_report_names_both(tmp_path: Path) -> None:
    two = {"program": "title=One:program_num=3:st=1", "program:1": "title=Two:program_num=4:st=0"}
    joined = join_again(_program(tmp_path / "a.ts", **two))
    lost = "file: programs: 4 'Two' of 'FFmpeg' instead of 3 'One' of 'FFmpeg', 4 'Two' of 'FFmpeg'"
    assert lost in joined.report.allowed


def test_the_length_of_the_last_packet_of_flac_is_told_where_matroska_changes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    tone = ffmpeg.input("sine=sample_rate=44100:duration=1", f="lavfi")
    write(path, [*from_pattern(1), tone], **{"c:v": "libx264", "c:a": "flac"})
    told = [line for line in join_again(path).report.allowed if "durations" in line]
    assert told == ["stream 1 (audio, flac): durations: packet 43 lasts 1 ms instead of 2 ms"]


def codes_of(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.codec_context.codec_tag for stream in container.streams.video]


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_hevc_has_the_code_that_every_player_takes(suffix: str, tmp_path: Path) -> None:
    joined = join_again(make_video(tmp_path / f"a.{suffix}", Clip(codec="libx265")), encode=HEVC)
    assert codes_of(joined.path) == ["hvc1"]


def test_a_copied_picture_keeps_the_code_of_its_codec(tmp_path: Path) -> None:
    source = tmp_path / "a.mov"
    codecs = {
        "c:v:1": "prores_ks",
        "profile:v:1": "1",
        "c:v:2": "libx265",
        "tag:v:2": "hvc1",
        "x265-params": "log-level=1",
    }
    pictures = ffmpeg.input("testsrc2=size=64x48:rate=25:duration=0.6", f="lavfi")
    write(source, [pictures, pictures, pictures], **{"c:v:0": "libx264", **codecs})
    assert codes_of(join_again(source).path) == codes_of(source) == ["avc1", "apcs", "hvc1"]


@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_a_copied_picture_may_be_of_a_codec_that_nothing_here_encodes_by_its_name(suffix: str, tmp_path: Path) -> None:
    av1 = ffmpeg.input(str(make_video(tmp_path / f"plain.{suffix}", Clip(frames=15, codec="libsvtav1"))))
    write(tmp_path / f"a.{suffix}", [av1["v"]] * 2, c="copy")
    joined = join_again(tmp_path / f"a.{suffix}")
    (copied,) = joined.result.others
    assert (copied.codec, copied.packets) == ("libdav1d", joined.source.others[0].packets)


def test_matroska_tells_how_long_a_frame_lasts(tmp_path: Path) -> None:
    joined = join_again(make_video(tmp_path / "a.mkv", Clip(rate=Fraction(30000, 1001))))
    with av.open(str(joined.path)) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)


def _with_telemetry(path: Path) -> None:
    """A track as cameras keep it, made from one of subtitles."""
    folder = path.parent
    (folder / "a.srt").write_text("1\n00:00:00,100 --> 00:00:00,400\nGPS\n\n2\n00:00:00,500 --> 00:00:00,900\nA\n")
    film, texts = ffmpeg.input(str(make_video(folder / "plain.mp4"))), ffmpeg.input(str(folder / "a.srt"))
    output = ffmpeg.output(film, texts, str(folder / "texts.mp4"), vcodec="copy", scodec="mov_text")
    output.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True)
    path.write_bytes((folder / "texts.mp4").read_bytes().replace(b"tx3g", b"gpmd").replace(b"sbtl", b"meta"))


@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_a_cameras_telemetry_is_kept(tmp_path: Path, name: str) -> None:
    _with_telemetry(tmp_path / name)
    joined = join_again(tmp_path / name)
    (before,), (after,) = joined.source.others, joined.result.others
    with av.open(str(joined.path)) as container:
        assert container.streams[1].name == "bin_data"
    assert (after.kind, after.packets, after.times) == ("data", before.packets, before.times)
    assert joined.choice.left_out == ()


def test_a_subtitle_that_steps_back_in_time_goes_with_the_one_before(tmp_path: Path) -> None:
    source = tmp_path / "a.mkv"
    unsorted_subtitles(source)
    with av.open(str(source)) as container:
        assert [packet.pts for packet in container.demux(subtitles=0) if packet.size] == [100, 50]
    joined = join_again(source)
    assert joined.result.others[0].packets == joined.source.others[0].packets
    with av.open(str(joined.path)) as container:
        assert [packet.pts for packet in container.demux(subtitles=0) if packet.size] == [100, 100]
    assert joined.report.messages == [
        "stream 1 (subtitle): the time of 1 packet was before that of the one before: moved behind it"
    ]


def test_a_second_picture_that_steps_back_in_time_goes_behind_the_one_before(tmp_path: Path) -> None:
    source = make_video(tmp_path / "plain.mp4", Clip(codec="mpeg4"))
    two = tmp_path / "a.mkv"
    write(two, [ffmpeg.input(str(source))["v"]] * 2, c="copy")
    with av.open(str(two)) as container:
        placer = PacketPlacer(container, Timeline(), 0, "mp4")
        times = []
        for number, packet in enumerate(container.demux(video=1)):
            assert packet.dts is not None or not packet.size
            if number == 9 and packet.dts is not None:
                packet.pts = packet.dts = packet.dts - 90
            placer.apply(packet)
            times.append((packet.pts, packet.dts))
    assert times[8:11] == [(320, 320), (321, 321), (400, 400)]
    assert placer.pushed == {1: 1}


@pytest.mark.parametrize(("into", "kept"), [("mp4", False), ("matroska", True), ("matroska,webm", True)])
def test_packets_at_one_time_stay_there_where_the_container_takes_them(into: str, kept: bool, tmp_path: Path) -> None:
    """TrueHD has 1200 frames a second, and Matroska counts milliseconds."""
    source = make_video(tmp_path / "a.mkv", Clip(audio=(Audio("pcm_s16le", rate=8000),)))
    with av.open(str(source)) as container:
        placer = PacketPlacer(container, Timeline(), 0, into)
        packets = [packet for packet in container.demux(audio=0) if packet.size]
        packets[1].pts, packets[1].dts = packets[0].pts, packets[0].dts
        for packet in packets[:2]:
            placer.apply(packet)
        first, second = ((packet.pts, packet.dts) for packet in packets[:2])
    assert (first == second) is kept
    assert placer.pushed == ({} if kept else {1: 1})


def test_a_packet_that_the_result_does_not_take_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.mkv"
    unsorted_subtitles(source)
    monkeypatch.setattr(PacketPlacer, "apply", lambda self, packet: None)
    with pytest.raises(MediaError, match=r"a\.mkv: stream 1 \(subtitle\): .* of pts 50, dts 50, "):
        join_again(source)


def test_sound_of_a_codec_that_ffmpeg_does_not_know_costs_itself_only(tmp_path: Path) -> None:
    """Damage to two words of the header is enough."""
    good = make_video(tmp_path / "good.mp4", Clip(frames=20, audio=(Audio("mp2", seconds=0.8),)))
    content = good.read_bytes()
    path = tmp_path / "a.mp4"
    path.write_bytes(content.replace(b"mp4a", b"zzzz").replace(b"esds", b"zzzz"))
    shards = shards_of(path, Fraction(1, 2))
    with av.open(str(path)) as container:
        assert [stream.codec_context for stream in container.streams.audio] == [None]
    probe = shards[0].probe
    choice = choose_container(probe, path.name, "h264")
    segments = encode_segments(shards, tmp_path / "segments")
    report = assemble_video(str(path), path.name, probe, segments, tmp_path / "out", choice)
    assert report.frames == 20
    assert [name.partition(":")[0] for name in report.streams_left_out] == ["1"]
