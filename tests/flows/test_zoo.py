"""The zoo through the real command, at three shard lengths, held against its sources by PyAV alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.zoo import ALL, write_zoo
from tests.zoo.checks import (
    Frame,
    copied_streams,
    frames_of,
    is_part_of,
    is_same_tick,
    is_strictly_rising,
    joined,
    tags_of,
)
from tests.zoo.specimen import Specimen

pytestmark = pytest.mark.timeout(900)  # three jobs over a hundred files, on a machine that may be busy

SHARD_SECONDS = ("0.5", "600")
"""The last one makes every video a single shard."""

MORE_SHARD_SECONDS = ("3",)
"""With `--long`."""

LOSSLESS = ("--scale", "1", "--crf", "0", "--preset", "ultrafast", "--experts", "none")


@dataclass(frozen=True)
class Runs:
    """The zoo, and what one job at each shard length made of it."""

    zoo: Path
    outs: dict[str, Path]
    printed: dict[str, str]

    def rows(self, shard_seconds: str) -> dict[str, dict[str, Any]]:
        (path,) = self.outs[shard_seconds].glob("_facemill/*/videos.parquet")
        return {row["video"]: row for row in pq.read_table(path).to_pylist()}

    def result(self, specimen: Specimen, shard_seconds: str) -> Path:
        row = self.rows(shard_seconds)[specimen.name]
        assert row["status"] == "done", f"{specimen.name}: {row['reason']}"
        return self.outs[shard_seconds] / str(row["output"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test that takes a specimen takes those whose outcome its marker names."""
    if "specimen" in metafunc.fixturenames:
        (outcomes,) = (marker.args for marker in metafunc.definition.iter_markers("outcome"))
        chosen = [each for each in ALL if each.outcome in outcomes]
        metafunc.parametrize("specimen", chosen, ids=[each.name for each in chosen])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Runs:
    zoo = tmp_path_factory.mktemp("zoo")
    write_zoo(zoo)
    outs = {seconds: tmp_path_factory.mktemp(f"out-{seconds}") for seconds in SHARD_SECONDS}
    printed = {}
    for seconds, out in outs.items():
        command = ("restore", str(zoo), "--out", str(out), "--shard-seconds", seconds, *LOSSLESS)
        finished = subprocess.run(
            [sys.executable, "-m", "flows.cli", *command], capture_output=True, text=True, timeout=600, check=False
        )
        printed[seconds] = finished.stdout + finished.stderr
        assert finished.returncode == 1, printed[seconds]
    return Runs(zoo, outs, printed)


@cache
def _frames(path: Path) -> list[Frame]:
    return frames_of(path)


def test_the_zoo_has_no_name_twice() -> None:
    assert len({each.name for each in ALL}) == len(ALL)


@pytest.mark.outcome("exact")
def test_every_frame_is_shown_when_it_was(runs: Runs, specimen: Specimen, tmp_path: Path) -> None:
    source = runs.zoo / specimen.name
    if specimen.recordings is not None:
        expected = joined(specimen.recordings(tmp_path)).frames
    elif specimen.times is not None:
        expected = list(specimen.times(source))
    else:
        expected = [frame.seconds for frame in _frames(source)]
    assert is_strictly_rising(expected)
    for seconds in runs.outs:
        assert [frame.seconds for frame in _frames(runs.result(specimen, seconds))] == expected, seconds
        assert runs.rows(seconds)[specimen.name]["frames_not_decoded"] == 0, seconds


@pytest.mark.outcome("exact", "damaged")
def test_the_shard_length_shows_in_no_frame(runs: Runs, specimen: Specimen) -> None:
    one, *others = (_frames(runs.result(specimen, seconds)) for seconds in runs.outs)
    assert one
    assert is_strictly_rising([frame.seconds for frame in one])
    for other in others:
        if specimen.lossless and specimen.outcome == "exact":
            assert other == one
        else:  # what a decoder makes up for damage depends on what it decoded before
            assert [replace(each, digest="") for each in other] == [replace(each, digest="") for each in one]


@pytest.mark.outcome("exact")
def test_every_other_stream_is_there_packet_by_packet(runs: Runs, specimen: Specimen, tmp_path: Path) -> None:
    expected = copied_streams(runs.zoo / specimen.name)
    moved = specimen.moved_by(runs.zoo / specimen.name)
    times = [[None if at is None else at + moved for at in each.seconds] for each in expected]
    if specimen.recordings is not None:
        times = joined(specimen.recordings(tmp_path)).streams
    for seconds in runs.outs:
        row, found = runs.rows(seconds)[specimen.name], copied_streams(runs.result(specimen, seconds))
        if "stream" in specimen.lost:
            assert any(specimen.lost["stream"] in line for line in row["damage"])
            assert not found
            continue
        assert [(each.kind, each.codec, each.digests) for each in found] == [
            (each.kind, each.codec, each.digests) for each in expected
        ]
        for told, wanted in zip(found, times, strict=True):
            assert len(told.seconds) == len(wanted)
            assert all(is_same_tick(at, right, told.time_base) for at, right in zip(told.seconds, wanted, strict=True))
        assert [each.language for each in found] == [each.language for each in expected]
        if not row["container_reason"]:  # MP4 has a default track of each kind, whatever the source says
            assert [each.disposition for each in found] == [each.disposition for each in expected]


@pytest.mark.outcome("exact")
def test_every_tag_is_there(runs: Runs, specimen: Specimen) -> None:
    expected, found = tags_of(runs.zoo / specimen.name), tags_of(runs.result(specimen, "600"))
    told = " | ".join(runs.rows("600")[specimen.name]["allowed"])
    for name, words in specimen.lost.items():
        assert name == "stream" or words in told
        if name not in ("samples", "stream"):
            assert getattr(found, name) != getattr(expected, name)
            found = replace(found, **{name: getattr(expected, name)})
    if runs.rows("600")[specimen.name]["container_reason"]:
        found = replace(found, video_disposition=expected.video_disposition, programs=expected.programs)
    if "samples" in specimen.lost or not expected.chroma_location:  # unsaid is left, which H.264 decoders say
        found = replace(found, chroma_location=expected.chroma_location)
    assert found == expected


@pytest.mark.outcome("exact")
def test_the_picture_is_the_sources_to_the_bit(runs: Runs, specimen: Specimen) -> None:
    """At scale 1, with no expert and a lossless encoder, wherever the encoder has the source's pixel format."""
    source, result = _frames(runs.zoo / specimen.name), _frames(runs.result(specimen, "0.5"))
    kept = source[0].pix_fmt == result[0].pix_fmt
    assert kept == ("samples" not in specimen.lost)
    for before, after in zip(source, result, strict=True):
        assert (after.size, after.side_data, after.interlaced) == (before.size, before.side_data, before.interlaced)
        if kept and specimen.lossless:
            assert after.digest == before.digest


@pytest.mark.outcome("damaged")
def test_what_a_damaged_file_lost_is_told_and_the_rest_is_in_its_place(runs: Runs, specimen: Specimen) -> None:
    for seconds in runs.outs:
        result, row = runs.result(specimen, seconds), runs.rows(seconds)[specimen.name]
        assert any(specimen.note in line for line in row["damage"]), row["damage"]
        # Sorted, since behind a loss the decoder of MPEG-2 gives frames in another order than they are shown.
        expected = sorted(each.seconds for each in _frames(runs.zoo / specimen.name))
        assert [each.seconds for each in _frames(result)] == expected
        for found, source in zip(copied_streams(result), copied_streams(runs.zoo / specimen.name), strict=True):
            assert is_part_of(found.digests, source.digests)


@pytest.mark.outcome("damaged")
def test_what_a_damaged_file_lost_is_counted_the_same_at_every_shard_length(runs: Runs, specimen: Specimen) -> None:
    columns = ("corrupt_packets", "concealed_frames", "frames_not_decoded")
    one, *others = ({name: runs.rows(seconds)[specimen.name][name] for name in columns} for seconds in runs.outs)
    assert others == [one] * len(others)
    assert one == {**one, **specimen.counts}


@pytest.mark.outcome("refused")
def test_what_cannot_be_used_fails_alone_and_with_its_reason(runs: Runs, specimen: Specimen) -> None:
    for seconds in runs.outs:
        row = runs.rows(seconds)[specimen.name]
        assert row["status"] == "failed"
        assert specimen.note in row["reason"]
        assert f"failed: {specimen.name}: {row['reason']}" in runs.printed[seconds]
