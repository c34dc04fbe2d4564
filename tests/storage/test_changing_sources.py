"""A source that is written to, replaced or removed while a job is at it fails by itself, and is never mixed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from storage import kept_probes
from storage.catalogue import Source, find_sources
from storage.errors import ChangedSourceError, SourceError
from storage.failures import Failure
from storage.finishing import finish_video
from storage.kept_probes import kept_probe
from storage.probe import VideoProbe, probe_video
from storage.reader import read_frames
from storage.receipts import WorkArea
from storage.shards import Shard, plan_shards
from storage.store import Store, join
from tests.media import Clip, make_video
from tests.storage.shard_work import commit_shard, finishing_order

Change = Callable[[Store, str, Path], None]


def grow(store: Store, url: str, other: Path) -> None:
    _put(store, url, store.read_bytes(url) + bytes(10))


def replace(store: Store, url: str, other: Path) -> None:
    _put(store, url, other.read_bytes())


def remove(store: Store, url: str, other: Path) -> None:
    store.remove([url])


def _put(store: Store, url: str, content: bytes) -> None:
    if url.startswith("s3://"):
        store.commit_bytes(content, url)
    else:
        Path(url).write_bytes(content)


CHANGES = [grow, replace, remove]


@pytest.fixture
def source(place: tuple[Store, str], tmp_path: Path) -> Source:
    """A video on a disk and in S3."""
    store, base = place
    content = make_video(tmp_path / "first.mp4", Clip(frames=30)).read_bytes()
    store.commit_bytes(content, join(base, "in", "a.mp4"))
    (found,) = find_sources([join(base, "in/")], store)
    return found


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another video of the same length in time."""
    return make_video(tmp_path / "other.mp4", Clip(frames=30, seed=7))


def shards(source: Source, store: Store) -> list[Shard]:
    return plan_shards(source, probe_video(source.url, store), Fraction(1, 2))


@pytest.mark.parametrize("change", CHANGES)
def test_no_shard_is_read_of_another_version(
    change: Change, source: Source, other: Path, place: tuple[Store, str]
) -> None:
    store, _ = place
    first, second, *_ = shards(source, store)
    assert sum(1 for _ in read_frames(first, store)) > 0
    change(store, source.url, other)
    with pytest.raises(ChangedSourceError, match=r"a\.mp4: the file (changed while the job ran|is gone)"):
        next(read_frames(second, store))


@pytest.mark.parametrize("change", CHANGES)
def test_a_shard_that_is_being_read_does_not_end_well(
    change: Change, source: Source, other: Path, place: tuple[Store, str]
) -> None:
    store, _ = place
    frames: Iterator[object] = read_frames(shards(source, store)[0], store)
    next(frames)
    change(store, source.url, other)
    with pytest.raises(ChangedSourceError):
        list(frames)


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_joined_with_another_versions_sound(
    change: Change, source: Source, other: Path, place: tuple[Store, str]
) -> None:
    store, base = place
    area, planned = WorkArea(join(base, "out", "_facemill", "job")), shards(source, store)
    receipts = [commit_shard(shard, area, store, reading=store) for shard in planned]
    change(store, source.url, other)
    with pytest.raises((SourceError, FileNotFoundError)):
        finish_video(finishing_order(planned, receipts, area, join(base, "out")), store)
    assert not store.exists(join(base, "out", "a.mp4"))


@pytest.mark.parametrize("change", CHANGES)
def test_a_probe_is_of_the_version_that_was_found_or_is_not_kept(
    change: Change, source: Source, other: Path, place: tuple[Store, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the version before, put back, would be read by the times of another."""
    store, base = place
    area = WorkArea(join(base, "job"))

    def changed_meanwhile(url: str, store: Store) -> VideoProbe:
        change(store, url, other)
        return probe_video(url, store)

    monkeypatch.setattr(kept_probes, "probe_video", changed_meanwhile)
    with pytest.raises(ChangedSourceError) as told:
        kept_probe(source, area, store)
    assert not store.exists(area.probe(source))
    assert not Failure.of(told.value).of_source  # the next run looks again


def test_a_new_version_is_another_source(source: Source, other: Path, place: tuple[Store, str]) -> None:
    store, base = place
    replace(store, source.url, other)
    (found,) = find_sources([join(base, "in/")], store)
    assert found.key != source.key
    assert sum(1 for shard in shards(found, store) for _ in read_frames(shard, store)) == 30


def test_a_file_of_the_same_size_and_another_time_is_another_version(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", Clip(frames=5))
    (before,) = find_sources([str(path)], Store())
    at = path.stat().st_mtime_ns
    os.utime(path, ns=(at, at + 1))
    (after,) = find_sources([str(path)], Store())
    assert after.key != before.key
