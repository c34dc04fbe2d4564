"""A server that is busy, broken or far away: what passes is waited out, what does not is told in one line."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from storage import committing, s3_requests
from storage.errors import DestinationError
from storage.probe import probe_video
from storage.reader import read_frames
from storage.shards import plan_shards
from storage.storage_errors import storage_errors_as
from storage.store import Store
from tests.conftest import S3Server
from tests.faulty_s3 import STALL_SECONDS, Fault, FaultyS3, faulty_s3, first, now_and_then
from tests.media import Clip, make_video, planes_digest, shards_of, source_of

PASSING: tuple[Fault, ...] = ("500", "503", "reset", "stall", "cut", "lost")
CONTENT = bytes(range(256)) * 1024
PART_BYTES = 5 << 20
"""The least that S3 takes."""


@pytest.fixture
def proxy(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    monkeypatch.setattr(s3_requests, "READ_TIMEOUT_SECONDS", STALL_SECONDS / 3)
    with faulty_s3(s3.endpoint) as running:
        yield running


@pytest.mark.parametrize("fault", PASSING)
def test_reading_waits_out_what_passes(fault: Fault, proxy: FaultyS3, s3: S3Server) -> None:
    url = f"{s3.make_bucket()}/a.bin"
    Store(s3.endpoint).commit_bytes(CONTENT, url)
    proxy.choose = first(2, fault, "GET", "a.bin")
    assert Store(proxy.endpoint).read_bytes(url) == CONTENT
    assert len(proxy.happened) == 2


@pytest.mark.parametrize("fault", ["500", "503", "reset", "stall"])
def test_writing_waits_out_what_passes(fault: Fault, proxy: FaultyS3, s3: S3Server) -> None:
    url = f"{s3.make_bucket()}/a.bin"
    proxy.choose = first(2, fault, "PUT", "a.bin")
    with Store(proxy.endpoint).staged(url) as path:
        path.write_bytes(CONTENT)
    assert Store(s3.endpoint).read_bytes(url) == CONTENT
    assert len(proxy.happened) == 2


@pytest.mark.parametrize("keep", [False, True])
def test_a_request_whose_answer_is_lost_has_written_what_it_should(keep: bool, proxy: FaultyS3, s3: S3Server) -> None:
    """It is repeated. With `keep` the second is refused for the first, so it may be told that another was there."""
    url = f"{s3.make_bucket()}/a.bin"
    proxy.choose = first(1, "lost", "PUT", "a.bin")
    assert Store(proxy.endpoint).commit_bytes(CONTENT, url, keep=keep) is not keep
    assert Store(s3.endpoint).read_bytes(url) == CONTENT
    assert len(proxy.happened) == 1


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(("method", "part"), [("POST", "uploads"), ("PUT", "partNumber"), ("POST", "uploadId")])
def test_a_file_in_parts_is_whole_though_an_answer_is_lost(
    method: str, part: str, keep: bool, proxy: FaultyS3, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its begin, of a part, at its end."""
    monkeypatch.setattr(committing, "_PART_BYTES", PART_BYTES)
    url, written = f"{s3.make_bucket()}/a.bin", tmp_path / "a.bin"
    written.write_bytes(random.Random(5).randbytes(2 * PART_BYTES + 1))
    proxy.choose = first(1, "lost", method, part)
    told = Store(proxy.endpoint).commit_file(written, url, keep=keep)
    assert told is not (keep and part == "uploadId")
    assert [fault for fault, *_ in proxy.happened] == ["lost"]
    assert Store(s3.endpoint).read_bytes(url) == written.read_bytes()


@pytest.mark.parametrize("fault", PASSING)
def test_listing_waits_out_what_passes(fault: Fault, proxy: FaultyS3, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    for name in ("a", "b/c"):
        Store(s3.endpoint).commit_bytes(b"x", f"{bucket}/{name}")
    proxy.choose = first(2, fault, "GET", "list-type")
    assert Store(proxy.endpoint).list_files(bucket) == [f"{bucket}/a", f"{bucket}/b/c"]
    assert len(proxy.happened) == 2


def test_a_video_reads_the_same_through_a_server_that_fails_now_and_then(
    proxy: FaultyS3, s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "a.mp4", Clip(frames=100, size=(160, 120)))
    url = f"{s3.make_bucket()}/a.mp4"
    Store(s3.endpoint).commit_bytes(path.read_bytes(), url)
    monkeypatch.setattr(s3_requests, "READ_BLOCK_BYTES", 1 << 14)  # many requests for a small file
    proxy.choose = now_and_then(0.2, PASSING, seed=3)
    wanted = [(frame.pts, planes_digest(frame)) for frame in read_frames(shards_of(path, 10)[0], Store())]
    source = replace(source_of(path), url=url, identity=Store(proxy.endpoint).identity(url))
    probe = probe_video(url, Store(proxy.endpoint))
    shards = plan_shards(source, probe, Fraction(1))
    read = [(f.pts, planes_digest(f)) for shard in shards for f in read_frames(shard, Store(proxy.endpoint))]
    assert read == wanted
    assert len(proxy.happened) >= 3


@pytest.mark.parametrize(
    ("fault", "told"), [("503", "SlowDown"), ("reset", "cannot be reached"), ("expired", "credentials have expired")]
)
def test_what_does_not_pass_is_told_in_one_line(
    fault: Fault, told: str, proxy: FaultyS3, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_requests, "ATTEMPTS", 2)
    url = f"{s3.make_bucket()}/out"
    proxy.choose = lambda method, path: fault
    with pytest.raises(DestinationError, match=told), storage_errors_as(DestinationError, url):
        Store(proxy.endpoint).commit_bytes(b"x", f"{url}/a.bin")


def test_a_server_that_never_answers_is_not_waited_for_without_end(
    proxy: FaultyS3, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_requests, "ATTEMPTS", 2)
    url = f"{s3.make_bucket()}/out/a.bin"
    proxy.choose = lambda method, path: "500"
    with pytest.raises(DestinationError), storage_errors_as(DestinationError, url):
        Store(proxy.endpoint).commit_bytes(b"x", url)
    assert len(proxy.happened) == 2
    proxy.happened.clear()
    proxy.choose = lambda method, path: "reset"
    with pytest.raises(DestinationError), storage_errors_as(DestinationError, url):
        Store(proxy.endpoint).commit_bytes(b"x", url)
    assert len(proxy.happened) <= 2 * s3_requests.ROUNDS
