"""`facemill verify` finds nothing in a whole result, and every fault that is planted in it.

The faults are planted in a real result by PyAV or the ffmpeg binary: a packet taken out, moved or changed, a tag lost.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg
import imageio_ffmpeg
import pytest
from av.packet import Packet
from av.stream import Disposition
from rich.console import Console

from flows.cli import main
from flows.config import load_config
from flows.pairing import pairs_of
from flows.restore import restore
from flows.verdicts import Verdict, print_verdicts
from storage.assembly import assemble_video
from storage.catalogue import find_sources
from storage.checks import Check, State
from storage.containers import choose_container
from storage.encoding import EncodeSettings, SizeSettings
from storage.finishing import variant_path
from storage.manifest import commit_part, done_video_row, join_tables
from storage.receipts import Variant, WorkArea
from storage.store import Store
from tests.conftest import S3Server
from tests.media import Audio, Clip, encode_segments, make_video, shards_of, source_of
from tests.zoo.specimen import write

SOUND = (
    Audio(seconds=1.2, language="eng", title="English", disposition=Disposition.default),
    Audio(seconds=1.2, language="deu", title="Deutsch"),
)
CLIP = Clip(
    frames=30,
    b_frames=2,
    audio=SOUND,
    language="fra",
    metadata={"title": "a talk"},
    chapters=((0, 0.5, "first"), (0.5, 1, "second")),
    sample_aspect_ratio=Fraction(16, 11),
)
PICTURE, ENGLISH, GERMAN = 0, 1, 2

Edit = Callable[[list[Packet]], list[Packet]]


def turned(source: Path, target: Path, degrees: int = 90) -> Path:
    """Copy every stream, with a display matrix in the header of the picture."""
    picture = ffmpeg.input(str(source), **{"display_rotation:v:0": degrees})
    command = ffmpeg.output(picture["v"], picture["a"], str(target), c="copy", movie_timescale=614400)
    command.run(cmd=imageio_ffmpeg.get_ffmpeg_exe(), quiet=True)
    return target


def restored(source: Path, folder: Path, variant: Variant = "restored") -> Path:
    """The source cut, encoded and joined, without pools; as its comparison, twice as wide."""
    folder.mkdir(exist_ok=True)
    settings = EncodeSettings(preset="veryfast", crf=30)
    shards = shards_of(source, Fraction(1, 2))
    probe = shards[0].probe
    if variant == "compare":
        wider = replace(probe, sample_aspect_ratio=probe.sample_aspect_ratio * Fraction(136, 64))
        shards = [replace(shard, probe=wider) for shard in shards]
    size = SizeSettings(size="136x48") if variant == "compare" else None
    segments = encode_segments(shards, folder.parent / f"segments-{variant}", settings, size)
    choice = choose_container(probe, source.name, "h264")
    target = folder / variant_path(choice.relative_path, variant)
    same_shape = variant != "compare"
    assemble_video(str(source), source.name, probe, segments, target, choice, same_shape=same_shape)
    return target


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source with everything, and its result."""
    folder = tmp_path_factory.mktemp("pair")
    source = turned(make_video(folder / "upright.mp4", CLIP), folder / "a.mp4")
    return source, restored(source, folder / "out")


def rewritten(source: Path, target: Path, edit: Edit | None = None, **changes: Any) -> Path:
    """Copy a result with its packets, in coding order of each stream, edited; `changes` are lost tags.

    Args:
        changes: `order` of the streams; `languages`, `chapters` or `rotation` False when they are to be lost.
    """
    written = target.with_name(f"written-{target.name}")
    with (
        av.open(str(source)) as container,
        av.open(
            str(written),
            "w",
            format="mp4",
            options={"movie_timescale": "614400", "video_track_timescale": "12800", "movflags": "+faststart"},
        ) as out,
    ):
        out.metadata.update(container.metadata)
        chapters = container.chapters()
        out.set_chapters(chapters if changes.get("chapters", True) else chapters[:-1])
        streams = {}
        for index in changes.get("order", (PICTURE, ENGLISH, GERMAN)):
            stream = container.streams[index]
            streams[index] = out.add_stream_from_template(stream)
            streams[index].metadata.update(stream.metadata)
            streams[index].disposition = stream.disposition
            if not changes.get("languages", True):
                streams[index].metadata["language"] = "und"
        packets = [packet for packet in container.demux() if packet.size and packet.stream_index in streams]
        kept = edit(packets) if edit else packets
        for packet in sorted(kept, key=lambda each: (each.dts or 0) * (each.time_base or 1)):
            packet.stream = streams[packet.stream_index]
            out.mux_one(packet)
    if changes.get("rotation", True):
        return written.rename(target)
    return turned(written, target, 0)


def of_stream(packets: Sequence[Packet], index: int) -> list[Packet]:
    return [packet for packet in packets if packet.stream_index == index]


def last_shown(packets: Sequence[Packet]) -> Packet:
    return max(of_stream(packets, PICTURE), key=lambda packet: packet.pts or 0)


def without(packet_of: Callable[[list[Packet]], Packet]) -> Edit:
    def edit(packets: list[Packet]) -> list[Packet]:
        lost = packet_of(packets)
        return [packet for packet in packets if packet is not lost]

    return edit


def a_frame_that_no_other_needs(packets: list[Packet]) -> Packet:
    """A slice, behind its length of four bytes, whose header says that it is no reference."""
    return next(packet for packet in of_stream(packets, PICTURE)[5:] if bytes(packet)[4] & 0x7F == 1)


def twice(packets: list[Packet]) -> list[Packet]:
    """A frame that no other needs comes a second time, half a frame later."""
    packet = a_frame_that_no_other_needs(packets)
    again = Packet(bytes(packet))
    again.time_base, again.stream = packet.time_base, packet.stream
    assert packet.pts is not None
    assert packet.dts is not None
    again.pts, again.dts = packet.pts + 256, packet.dts + 256
    return [*packets, again]


def a_tick_late(packets: list[Packet]) -> list[Packet]:
    packet = of_stream(packets, PICTURE)[8]
    assert packet.pts is not None
    packet.pts += 1
    return packets


def sound_a_packet_late(packets: list[Packet]) -> list[Packet]:
    for packet in of_stream(packets, GERMAN):
        assert packet.pts is not None
        assert packet.dts is not None
        packet.pts, packet.dts = packet.pts + 1024, packet.dts + 1024
    return packets


def without_tail(packets: list[Packet]) -> list[Packet]:
    end = Fraction(6, 10)
    return [packet for packet in packets if packet.pts is not None and packet.pts * (packet.time_base or 1) < end]


FAULTS: dict[str, tuple[Edit | None, dict[str, Any], str]] = {
    "a dropped frame": (without(a_frame_that_no_other_needs), {}, "picture: timestamps: frame"),
    "the last frame dropped": (
        without(last_shown),
        {},
        "picture: timestamps: the result ends after 29 frames; the source goes on at 1.160000 s",
    ),
    "a duplicated frame": (twice, {}, "picture: frames: 31 frames instead of 30"),
    "one pts off by a tick": (a_tick_late, {}, " s, +0.078 ms (pts "),
    "an audio packet missing": (without(lambda packets: of_stream(packets, ENGLISH)[20]), {}, "packets: "),
    "the last audio packet missing": (
        without(lambda packets: of_stream(packets, GERMAN)[-1]),
        {},
        "packets: 57 packets instead of 58",
    ),
    "a truncated tail": (without_tail, {}, "file: duration: "),
    "a lost rotation": (None, {"rotation": False}, "picture: rotation: 0 degrees instead of 90"),
    "swapped audio streams": (None, {"order": (0, 2, 1)}, "those of stream 2 (audio, aac) of the source"),
    "a lost language": (None, {"languages": False}, "tag language: 'und' instead of 'deu'"),
    "a lost language of the picture": (None, {"languages": False}, "picture: tag language: 'und' instead of 'fra'"),
    "a lost chapter": (
        None,
        {"chapters": False},
        "chapters: 1 instead of 2; missing: 'second' from 0.500 to 1.000 s",
    ),
    "a lost stream": (
        lambda packets: [packet for packet in packets if packet.stream_index != GERMAN],
        {"order": (0, 1)},
        "audio:aac instead of the picture, audio:aac, audio:aac; missing: stream 2 (audio, aac, deu)",
    ),
    "sound a packet late": (sound_a_packet_late, {}, "offset to the picture: "),
}


def verified(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object
) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of the command."""
    monkeypatch.setattr("sys.argv", ["facemill", "verify", *map(str, arguments), "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0), json.loads(capsys.readouterr().out)


def differences(told: dict[str, Any]) -> list[str]:
    (video,) = told["videos"]
    return [
        f"{check['subject']}: {check['what']}: {check['told']}"
        for check in video["checks"]
        if check["state"] not in ("equal", "allowed")
    ]


def test_a_whole_result_is_equal_in_everything(capsys, monkeypatch, pair: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    code, told = verified(capsys, monkeypatch, *pair)
    assert (code, told["passed"], told["format"]) == (0, True, 1)
    assert told["videos"][0]["outcome"] == "equal"
    assert {check["state"] for check in told["videos"][0]["checks"]} == {"equal"}
    assert {"frames", "timestamps", "decodes from start to end", "rotation", "shape", "chapters", "packets"} <= {
        check["what"] for check in told["videos"][0]["checks"]
    }


def test_a_result_that_was_only_rewritten_is_equal(
    capsys, monkeypatch, pair: tuple[Path, Path], tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    """The faults below are in what is changed, not in the rewriting."""
    code, told = verified(capsys, monkeypatch, pair[0], rewritten(pair[1], tmp_path / "b.mp4"))
    assert differences(told) == []
    assert code == 0


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(  # type: ignore[no-untyped-def]
    capsys, monkeypatch, pair: tuple[Path, Path], tmp_path: Path, fault: str
) -> None:
    edit, changes, told_as = FAULTS[fault]
    code, told = verified(capsys, monkeypatch, pair[0], rewritten(pair[1], tmp_path / "b.mp4", edit, **changes))
    assert code == 1
    assert not told["passed"]
    assert any(told_as in line for line in differences(told)), differences(told)


def test_a_stream_that_is_missing_is_one_fault(  # type: ignore[no-untyped-def]
    capsys, monkeypatch, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """The ones behind it are still what they were: they are known by what they are, not by their numbers."""

    def without_english(packets: list[Packet]) -> list[Packet]:
        return [packet for packet in packets if packet.stream_index != ENGLISH]

    lost = rewritten(pair[1], tmp_path / "b.mp4", without_english, order=(PICTURE, GERMAN))
    _, told = verified(capsys, monkeypatch, pair[0], lost)
    (fault,) = [check["told"] for check in told["videos"][0]["checks"] if check["state"] == "fault"]
    assert fault.endswith("; missing: stream 1 (audio, aac, eng)")


@pytest.mark.parametrize("index", [PICTURE, ENGLISH])
def test_a_packet_of_zeros_is_found(capsys, monkeypatch, pair: tuple[Path, Path], tmp_path: Path, index: int) -> None:  # type: ignore[no-untyped-def]
    with av.open(str(pair[1])) as container:
        packets = [packet for packet in container.demux(container.streams[index]) if packet.size]
        position, size = packets[9].pos, packets[9].size
    assert position is not None
    content = bytearray(pair[1].read_bytes())
    content[position : position + size] = bytes(size)
    damaged = tmp_path / "b.mp4"
    damaged.write_bytes(content)
    code, told = verified(capsys, monkeypatch, pair[0], damaged)
    assert code == 1
    expected = "decodes from start to end" if index == PICTURE else "from packet 9 on they are others"
    assert any(expected in line for line in differences(told)), differences(told)


def test_a_file_cut_off_is_found(capsys, monkeypatch, pair: tuple[Path, Path], tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    content = pair[1].read_bytes()
    for part in (0.7, 0.2, 0):
        cut = tmp_path / f"{part}.mp4"
        cut.write_bytes(content[: int(len(content) * part)])
        code, told = verified(capsys, monkeypatch, pair[0], cut)
        assert code == 1
        assert differences(told)


def test_an_archive_is_verified_with_its_manifest(capsys, monkeypatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """What the manifest names is allowed; what it does not name is not, nor is a result that is gone."""
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    make_video(source / "deep" / "a.avi", Clip(frames=12, codec="mpeg4", audio=(Audio("libmp3lame", seconds=0.5),)))
    make_video(source / "b.mp4", Clip(frames=12))
    moments = ffmpeg.input("testsrc2=size=96x64:rate=50:duration=0.4", f="lavfi").filter("interlace", scan="tff")
    write(source / "fields.mp4", [moments], vcodec="libx264", flags="+ildct+ilme", **{"x264-params": "tff=1"})
    (source / "broken.mkv").write_bytes(b"no video")
    flags = {"sources": [str(source)], "out": str(out), "experts": "none", "preset": "ultrafast", "deinterlace": True}
    restore(load_config(None, flags), Console(quiet=True))

    code, told = verified(capsys, monkeypatch, source, out)
    outcomes = {video["video"]: video["outcome"] for video in told["videos"]}
    assert outcomes == {
        "b.mp4": "equal",
        "broken.mkv": "no result",
        "deep/a.avi": "allowed",
        "fields.mp4": "allowed",
    }
    assert code == 1
    (fields,) = [video for video in told["videos"] if video["video"] == "fields.mp4"]
    found = {check["what"]: check["told"] for check in fields["checks"]}
    assert found["field order"] == "progressive instead of top first (named in the manifest)"
    assert found["frames"] == "10 frames"
    (broken,) = [video for video in told["videos"] if video["video"] == "broken.mkv"]
    assert "cannot be opened as media" in broken["notes"][0]

    size = (out / "b.mp4").stat().st_size
    monkeypatch.chdir(out / "deep")
    for place in (out / "deep" / "a.avi.mp4", "a.avi.mp4", f"file://{out}/deep/a.avi.mp4", "../deep/a.avi.mp4"):
        code, told = verified(capsys, monkeypatch, source / "deep" / "a.avi", place)
        assert (code, told["videos"][0]["outcome"]) == (0, "allowed"), place
    shutil.copy(source / "b.mp4", out / "deep" / "a.avi.mp4")
    assert verified(capsys, monkeypatch, source / "deep" / "a.avi", out / "deep" / "a.avi.mp4")[0] == 1
    (out / "b.mp4").write_bytes((source / "b.mp4").read_bytes())  # holds everything, and is not what was restored
    code, told = verified(capsys, monkeypatch, source / "b.mp4", out)
    faults = [check["told"] for check in told["videos"][0]["checks"] if check["state"] == "fault"]
    assert code == 1
    assert faults == [f"{(source / 'b.mp4').stat().st_size} bytes instead of {size}: not the file that facemill wrote"]
    (out / "b.mp4").unlink()
    for place in (out, out / "b.mp4"):
        code, told = verified(capsys, monkeypatch, source / "b.mp4", place)
        assert (code, told["videos"][0]["outcome"]) == (1, "no result")
        assert told["videos"][0]["notes"] == [f"there is no file {out}/b.mp4"]
    code, told = verified(capsys, monkeypatch, source / "broken.mkv", out / "broken.mkv")
    assert (code, told["videos"][0]["outcome"]) == (1, "no result")
    assert "cannot be opened as media" in told["videos"][0]["notes"][0]


@pytest.mark.parametrize("out_as", ["last argument", "option"])
def test_several_sources_have_their_results_in_one_folder(  # type: ignore[no-untyped-def]
    capsys, monkeypatch, pair: tuple[Path, Path], tmp_path: Path, out_as: str
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    (out / "deep").mkdir(parents=True)
    for name in ("deep/a.mp4", "b.mp4"):
        shutil.copy(pair[0], (source if "/" in name else tmp_path) / name)
        shutil.copy(pair[1], out / name)
    named = (source, tmp_path / "b.mp4", *((out,) if out_as == "last argument" else ("--out", out)))
    code, told = verified(capsys, monkeypatch, *named)
    assert {video["video"]: video["outcome"] for video in told["videos"]} == {"b.mp4": "equal", "deep/a.mp4": "equal"}
    assert code == 0


def test_a_comparison_is_verified_as_what_it_is(capsys, monkeypatch, pair: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    """Two pictures side by side have another shape than the source, but every frame, sound and tag of it."""
    comparison = restored(pair[0], pair[1].parent / "compared", "compare")
    code, told = verified(capsys, monkeypatch, pair[0], comparison)
    assert differences(told) == []
    assert (code, told["videos"][0]["outcome"]) == (0, "equal")
    assert any("comparison" in note for note in told["videos"][0]["notes"])
    cut = rewritten(comparison, comparison.with_name("a.compare.mkv"), without(last_shown))
    assert verified(capsys, monkeypatch, pair[0], cut)[0] == 1
    renamed = shutil.copy(comparison, comparison.with_name("b.mp4"))
    assert "picture: shape" in differences(verified(capsys, monkeypatch, pair[0], renamed)[1])[0]


def test_a_comparison_is_known_by_the_manifest_too(tmp_path: Path) -> None:
    """A source may be called like another's comparison."""
    for name in ("a.mp4", "a.compare.mp4"):
        (tmp_path / name).write_bytes(b"")
    out = tmp_path / "out"

    def variant_of(name: str, result: str) -> str:
        (pair,) = pairs_of([str(tmp_path / name)], str(out / result), Store())
        return pair.variant

    assert variant_of("a.mp4", "a.compare.mp4") == "compare"
    assert variant_of("a.compare.mp4", "a.compare.mp4") == "restored"
    assert variant_of("a.mp4", "a.mp4.baseline.nut") == "baseline"
    source = source_of(tmp_path / "a.mp4")
    row = done_video_row(source, {"output": "other.mp4"})
    area = WorkArea(str(out / "_facemill" / "job"))
    commit_part(area, source, "videos", [row], Store())
    join_tables(area, [source], {}, Store())
    assert variant_of("a.mp4", "other.compare.mp4") == "compare"


def test_of_two_jobs_that_made_a_result_the_later_one_is_gone_by(tmp_path: Path) -> None:
    """It has other settings, and its result took the place of the earlier one's."""
    source, store = source_of(make_video(tmp_path / "a.mp4", Clip(frames=2))), Store()
    out = tmp_path / "out"
    for number, job in enumerate(("later in the alphabet", "first", "last of all")):
        area = WorkArea(str(out / "_facemill" / job))
        commit_part(area, source, "videos", [done_video_row(source, {"output": "a.mp4", "output_size": number})], store)
        for file in area_files(area):
            os.utime(file, (1000 + number, 1000 + number))
    for named in (out, out / "a.mp4"):
        (pair,) = pairs_of([source.url], str(named), store)
        assert pair.row is not None
        assert pair.row["output_size"] == 2


def test_what_lies_behind_a_folder_that_was_refused_has_its_reason(tmp_path: Path) -> None:
    outside, folder, out = tmp_path / "outside", tmp_path / "in", tmp_path / "out"
    outside.mkdir()
    make_video(outside / "x.mp4", Clip(frames=2))
    folder.mkdir()
    (folder / "more").symlink_to(outside)
    (refused,) = find_sources([str(folder)], Store())
    area = WorkArea(str(out / "_facemill" / "job"))
    join_tables(area, [refused], {refused.key: refused.refusal}, Store())
    (pair,) = pairs_of([str(folder)], str(out), Store())
    assert pair.source.relative_path == "more/x.mp4"
    assert pair.row is not None
    assert "is a link out of" in pair.row["reason"]


def area_files(area: WorkArea) -> list[Path]:
    return [path for path in Path(area.url).rglob("*") if path.is_file()]


def test_a_source_that_cannot_be_read_costs_no_other_its_verdict(  # type: ignore[no-untyped-def]
    capsys, monkeypatch, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for folder, file in ((source, pair[0]), (out, pair[1])):
        folder.mkdir()
        shutil.copy(file, folder / "b.mp4")
        (folder / "a.mp4").write_bytes(b"no video")
    (source / "c.mp4").symlink_to("gone")
    shutil.copy(pair[1], out / "c.mp4")
    code, told = verified(capsys, monkeypatch, source, out)
    assert code == 1
    assert {video["video"]: video["outcome"] for video in told["videos"]} == {
        "a.mp4": "differs",
        "b.mp4": "equal",
        "c.mp4": "differs",
    }
    unreadable = [
        check["told"] for video in told["videos"] for check in video["checks"] if check["subject"] == "source"
    ]
    assert "cannot be opened as media" in unreadable[0]
    assert "not found" in unreadable[1]


def test_a_table_is_printed(capsys, monkeypatch, pair: tuple[Path, Path]) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("sys.argv", ["facemill", "verify", str(pair[0]), str(pair[1])])
    with pytest.raises(SystemExit) as left:
        main()
    assert not left.value.code
    printed = capsys.readouterr().out
    assert "verdict: equal (" in printed
    assert "every pts to the tick of 1/12800 s" in printed


def test_what_is_allowed_is_counted_apart() -> None:
    """A line a video, where there are many."""

    def verdict(*states: State) -> Verdict:
        return Verdict("a.mp4", "/a.mp4", "/out", tuple(Check("file", "tags", each, "x") for each in states), ())

    console = Console(file=io.StringIO(), width=120)
    allowed = verdict("equal", "allowed")
    many = [verdict("equal", "equal"), allowed, allowed, verdict("equal", "loss", "fault")]
    print_verdicts(many, console)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    for told in ("2 equal", "1 equal, 1 allowed", "1 equal, 1 loss, 1 fault"):
        assert told in printed
    assert "1 of 4 results hold everything of their sources, 2 more all but what is allowed; 1 differs" in printed
    assert printed.count("allowed: file: tags: x: a.mp4 and 1 more\n") == 1


@pytest.mark.parametrize("missing", ["source", "result", "folder", "results"])
def test_what_cannot_be_carried_out_is_told_in_one_line(  # type: ignore[no-untyped-def]
    capsys, monkeypatch, pair: tuple[Path, Path], tmp_path: Path, missing: str
) -> None:
    arguments: list[object] = {
        "source": [tmp_path / "none.mp4", pair[1]],
        "folder": [pair[0], tmp_path / "none"],
        "results": [pair[0], tmp_path / "empty"],
        "result": [pair[0]],
    }[missing]
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr("sys.argv", ["facemill", "verify", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    told = capsys.readouterr().err.strip()
    assert "\n" not in told
    assert {
        "source": "no such source",
        "folder": "no such result",
        "results": "there is nothing here",
        "result": "against what?",
    }[missing] in told


def test_both_may_lie_in_s3(capsys, monkeypatch, pair: tuple[Path, Path], s3: S3Server) -> None:  # type: ignore[no-untyped-def]
    bucket, filesystem = s3.make_bucket(), s3.filesystem()
    filesystem.put_file(str(pair[0]), f"{bucket}/in/a.mp4")
    filesystem.put_file(str(pair[1]), f"{bucket}/out/a.mp4")
    code, told = verified(capsys, monkeypatch, f"{bucket}/in", f"{bucket}/out", "--s3-endpoint", s3.endpoint)
    assert (code, told["videos"][0]["outcome"]) == (0, "equal")
