"""A probe is made once a job, and comes back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage import kept_probes
from storage.catalogue import find_sources
from storage.errors import SourceError
from storage.kept_probes import kept_probe
from storage.probe import VideoProbe, probe_video
from storage.receipts import WorkArea
from storage.store import Store
from tests.zoo import ALL


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that were really probed."""
    urls: list[str] = []

    def counted(url: str, store: Store) -> VideoProbe:
        urls.append(url)
        return probe_video(url, store)

    monkeypatch.setattr(kept_probes, "probe_video", counted)
    return urls


@pytest.mark.parametrize("name", ["raw.h264", "two recordings.ts", "hdr10.mp4", "sphere.mp4", "chapters.mkv"])
def test_the_next_run_finds_the_probe_as_it_was(name: str, tmp_path: Path, probed: list[str]) -> None:
    path, area = tmp_path / name, WorkArea(str(tmp_path / "job"))
    next(each for each in ALL if each.name == name).make(path)
    (source,) = find_sources([str(path)], Store())
    first, again = (kept_probe(source, area, Store()) for _ in range(2))
    assert first == again == probe_video(str(path), Store())
    assert probed == [str(path)]


def test_another_version_of_the_file_is_probed_again(tmp_path: Path, probed: list[str]) -> None:
    path, area = tmp_path / "a.mp4", WorkArea(str(tmp_path / "job"))
    for name in ("one frame.mp4", "phone.mp4"):
        next(each for each in ALL if each.name == name).make(path)
        (source,) = find_sources([str(path)], Store())
        assert kept_probe(source, area, Store()) == probe_video(str(path), Store())
    assert len(probed) == 2


def test_what_another_facemill_left_is_not_taken(tmp_path: Path, probed: list[str]) -> None:
    path, area = tmp_path / "a.mp4", WorkArea(str(tmp_path / "job"))
    next(each for each in ALL if each.name == "one frame.mp4").make(path)
    (source,) = find_sources([str(path)], Store())
    Store().commit_bytes(b'{"container": "mp4"}', area.probe(source))
    assert kept_probe(source, area, Store()) == kept_probe(source, area, Store())
    assert len(probed) == 1


def test_a_source_that_cannot_be_read_leaves_no_probe(tmp_path: Path) -> None:
    path, area = tmp_path / "a.mp4", WorkArea(str(tmp_path / "job"))
    path.write_bytes(b"no video")
    (source,) = find_sources([str(path)], Store())
    with pytest.raises(SourceError, match="cannot be opened"):
        kept_probe(source, area, Store())
    assert not Store().exists(area.probe(source))
