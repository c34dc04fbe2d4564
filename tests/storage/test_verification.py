"""Each check tells what it found in words that a person knows, and of how much."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from av.stream import Disposition

from storage.checks import Check, Side
from storage.media_index import Chapter, StreamIndex, index_media
from storage.packet_log import PacketLog
from storage.probe import probe_video
from storage.programs import Program
from storage.store import Store
from storage.stream_pairs import paired_streams
from storage.verification import compare
from tests.media import Audio, Clip, make_video


@pytest.fixture(scope="module")
def side(tmp_path_factory: pytest.TempPathFactory) -> Side:
    """A video with sound; held against itself, everything is equal."""
    path = make_video(tmp_path_factory.mktemp("side") / "a.mp4", Clip(frames=10, audio=(Audio(seconds=0.5),)))
    return Side(index_media(str(path), path.name, bare=False, threads=1), probe_video(str(path), Store()))


def checks(source: Side, result: Side) -> dict[str, Check]:
    """By what was looked at; of the sound where the picture has the same."""
    assert source.index.frames is not None
    return {check.what: check for check in compare(source, source.index.frames, result)}


def with_sound(side: Side, **changes: object) -> Side:
    picture, sound = side.index.streams
    return replace(side, index=replace(side.index, streams=(picture, replace(sound, **changes))))  # type: ignore[arg-type]


def first_packets(log: PacketLog, count: int) -> PacketLog:
    kept = PacketLog()
    for row in next(log.chunks())[:count]:
        kept.add(*(int(value) for value in row))
    return kept


def test_a_file_holds_everything_of_itself(side: Side) -> None:
    assert {check.state for check in checks(side, side).values()} == {"equal"}


def test_colours_have_names(side: Side) -> None:
    tagged = replace(side, probe=replace(side.probe, colorspace=9, color_primaries=5, color_trc=16, color_range=2))
    found = checks(tagged, side)
    assert found["colour matrix"].told == "unspecified instead of bt2020nc"
    assert found["colour primaries"].told == "unspecified instead of bt470bg"
    assert found["transfer characteristics"].told == "unspecified instead of smpte2084"
    assert found["colour range"].told == "limited instead of full"
    assert {found[what].state for what in found if what.startswith(("colour", "transfer"))} == {"loss"}
    assert checks(tagged, tagged)["colour primaries"].told == "bt470bg"


def test_an_untagged_matrix_may_be_tagged_as_players_take_it(side: Side) -> None:
    def found(code: int) -> Check:
        return checks(side, replace(side, probe=replace(side.probe, colorspace=code)))["colour matrix"]

    assert found(6).state == "allowed"
    assert found(6).told.startswith("smpte170m instead of unspecified: ")
    assert found(1).state == "loss"  # of so small a picture, no player takes it


def test_dispositions_have_names(side: Side) -> None:
    told = int(Disposition.visual_impaired | Disposition.forced)
    check = checks(with_sound(side, disposition=told), side)["dispositions"]
    assert (check.state, check.told) == ("loss", "default instead of forced, visual_impaired")
    assert checks(side, with_sound(side, disposition=0))["dispositions"].told == "none instead of default"


def test_another_container_may_make_a_track_the_default_of_its_kind(side: Side) -> None:
    source = with_sound(side, disposition=0)
    assert checks(source, side)["dispositions"].state == "loss"
    elsewhere = replace(source, index=replace(source.index, container="avi"))
    assert checks(elsewhere, side)["dispositions"].state == "allowed"


def test_the_title_of_a_track_may_be_its_name_in_mp4(side: Side) -> None:
    titled = with_sound(side, metadata={"title": "Kommentar"})
    assert "tag title" not in checks(titled, with_sound(side, metadata={"name": "Kommentar"}))
    assert checks(titled, with_sound(side, metadata={"name": "other"}))["tag title"].state == "loss"


def test_another_container_has_no_programs(side: Side) -> None:
    program = Program(7, "BBC", "FFmpeg")
    source = replace(side, index=replace(side.index, container="mpegts", programs=(program,)))
    found = checks(source, side)["programs"]
    assert (found.state, found.told) == ("loss", "none instead of 7 'BBC' of 'FFmpeg': only MPEG-TS has programs")
    nameless = replace(source, index=replace(source.index, programs=(Program(7),)))
    assert "programs" not in checks(nameless, side)


def test_another_length_of_a_packet_is_told_with_both(side: Side) -> None:
    _, sound = side.index.streams
    longer = PacketLog()
    for number, row in enumerate(next(sound.packets.chunks())):
        longer.add(int(row["pts"]), int(row["dts"]), int(row["duration"]) + 48 * (number == 3), int(row["digest"]))
    found = checks(side, with_sound(side, packets=longer))["durations"]
    assert (found.state, found.told) == ("loss", "packet 3 lasts 22.3333 ms instead of 21.3333 ms")


def test_of_packets_that_one_side_lacks_no_time_is_told(side: Side) -> None:
    sound = side.index.streams[1].packets
    assert checks(side, side)["timestamps"].told == f"each of {len(sound)} packets, to the tick of 1/48000 s"
    found = checks(side, with_sound(side, packets=first_packets(sound, 20)))
    assert found["packets"].told == f"20 packets instead of {len(sound)}"
    assert found["timestamps"].told == "each of the 20 packets that both have, to the tick of 1/48000 s"
    assert found["durations"].told == found["decoding times"].told == "each of the 20 packets that both have"
    one = checks(side, with_sound(side, packets=first_packets(sound, 1)))
    assert one["packets"].told == f"1 packet instead of {len(sound)}"
    assert checks(side, with_sound(side, packets=PacketLog()))["timestamps"].told.startswith("no packet to compare")


def test_a_header_that_claims_too_much_is_told_with_what_is_there(side: Side) -> None:
    claimed = replace(side, index=replace(side.index, duration=Fraction(7)))
    check = checks(side, claimed)["duration in the header"]
    assert check.state == "loss"
    assert check.told.startswith("7.000 s instead of 0.5")


def test_a_chapter_that_is_another_is_told_with_both(side: Side) -> None:
    def chapters(*told: tuple[float, float, str]) -> Side:
        found = tuple(Chapter(Fraction(start), Fraction(end), Fraction(1, 1000), title) for start, end, title in told)
        return replace(side, index=replace(side.index, chapters=found))

    two = chapters((0, 1, "first"), (1, 2, "second"))
    assert checks(two, two)["chapters"].state == "equal"
    found = checks(two, chapters((0, 1, "first"), (1.5, 2, "")))["chapters"]
    told = "chapter 2 is without a title from 1.500 to 2.000 s instead of 'second' from 1.000 to 2.000 s"
    assert (found.state, found.told) == ("loss", told)
    assert checks(chapters((0, 1, "first")), two)["chapters"].told == "2 instead of 1"


def test_a_tag_that_is_not_there_is_told_without_quotes(side: Side) -> None:
    source = with_sound(side, metadata={"title": "Kommentar"})
    assert checks(source, with_sound(side, metadata={}))["tag title"].told == "nothing instead of 'Kommentar'"


def test_a_frame_on_a_wrong_clock_is_told_in_seconds(side: Side) -> None:
    assert side.index.frames is not None
    twice_as_slow = replace(side.index.frames, time_base=side.index.frames.time_base * 2)
    found = checks(side, replace(side, index=replace(side.index, frames=twice_as_slow)))["timestamps"]
    assert found.state == "equal"  # of the sound
    (picture,) = [
        check
        for check in compare(side, side.index.frames, replace(side, index=replace(side.index, frames=twice_as_slow)))
        if (check.subject, check.what) == ("picture", "timestamps")
    ]
    assert picture.told == "frame 1 is at 0.080000 s instead of 0.040000 s, +40.000 ms (pts 512, of the source 512)"


def test_other_streams_are_found_by_what_they_are(side: Side) -> None:
    """Of three alike, whichever is missing, the other two are compared with their own."""
    picture, sound = side.index.streams

    def voice(number: int, language: str = "und") -> StreamIndex:
        log = PacketLog()
        for row in next(sound.packets.chunks()):
            log.add(int(row["pts"]), int(row["dts"]), int(row["duration"]), int(row["digest"]) ^ number)
        return replace(sound, index=number, packets=log, metadata={"language": language})

    voices = [voice(1), voice(2), voice(3)]
    source = replace(side, index=replace(side.index, streams=(picture, *voices)))
    for lost in voices:
        kept = tuple(each for each in voices if each is not lost)
        result = replace(side.index, streams=(picture, *kept))
        assert paired_streams(source.index, result) == [(each, each) for each in kept]
    only = replace(side.index, streams=(picture, voice(9, "deu")))
    spoken = (voice(1, "eng"), voice(2, "deu"))
    assert paired_streams(replace(side.index, streams=(picture, *spoken)), only) == [(spoken[1], only.streams[1])]
