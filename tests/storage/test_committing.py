"""First writers, partial files and parts: how bytes become visible, on disks and in a real S3 server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storage.committing import PARTIAL_MARK, is_abandoned, part_bytes, partial_file
from storage.store import Store, join
from tests.conftest import S3Server

UPLOAD_BYTES = 80_000_000
MOST_MEMORY_OF_AN_UPLOAD = 65_000_000
"""Twice as many parts as are sent at a time, and some to spare: each is copied once on its way."""

UPLOAD = """
import sys, threading, time
from pathlib import Path
from storage import committing
from storage.store import Store
committing._PART_BYTES = 5 << 20  # the least that S3 takes
store = Store(sys.argv[1])
store.commit_bytes(b"", sys.argv[2] + ".before")
def memory(): return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
before = peak = memory()
ended = threading.Event()
def watch():
    global peak
    while not ended.wait(0.005): peak = max(peak, memory())
watching = threading.Thread(target=watch)
watching.start()
store.commit_file(Path(sys.argv[3]), sys.argv[2])
ended.set()
watching.join()
print(peak - before)
"""


def test_the_first_writer_stands_where_that_is_asked_for(place: tuple[Store, str]) -> None:
    store, out = place
    url = join(out, "a.bin")
    assert store.commit_bytes(b"first", url, keep=True)
    assert not store.commit_bytes(b"second", url, keep=True)
    assert store.read_bytes(url) == b"first"
    assert store.commit_bytes(b"third", url)
    assert store.read_bytes(url) == b"third"
    assert store.list_files(out) == [url]


def test_the_first_of_two_large_files_stands(place: tuple[Store, str]) -> None:
    """In S3 that is an upload of several parts, of which nothing is left open."""
    store, out = place
    url = join(out, "a.bin")
    for content in (b"first", b"second"):
        with store.scratch(out) as path:
            path.write_bytes(content * 8_000_000)
            assert store.commit_file(path, url, keep=True) == (content == b"first")
    assert store.identity(url).size == 40_000_000
    assert store.list_files(out) == [url]
    if url.startswith("s3://"):
        filesystem, path = store.filesystem(out)
        assert not filesystem.call_s3("list_multipart_uploads", Bucket=path.partition("/")[0]).get("Uploads")


def test_of_many_writers_at_once_one_stands(place: tuple[Store, str]) -> None:
    store, out = place
    url = join(out, "a.bin")
    taken: list[int] = []

    def write(number: int) -> None:
        if store.commit_bytes(b"%d" % number, url, keep=True):
            taken.append(number)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [b"%d" % number for number in taken] == [store.read_bytes(url)]


def test_a_disk_without_links_keeps_the_first_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    url = str(tmp_path / "a.bin")
    assert Store().commit_bytes(b"first", url, keep=True)
    assert not Store().commit_bytes(b"second", url, keep=True)
    assert Store().read_bytes(url) == b"first"


def test_a_folder_that_another_run_removes_is_made_again(tmp_path: Path) -> None:
    """Finishing a video removes its folder, in which the other run begins a file at that moment."""
    folder, ended = tmp_path / "work", threading.Event()

    def remove_again_and_again() -> None:
        while not ended.is_set():
            shutil.rmtree(folder, ignore_errors=True)

    removing = threading.Thread(target=remove_again_and_again)
    removing.start()
    try:
        for _ in range(200):
            with partial_file(folder):
                pass
    finally:
        ended.set()
        removing.join()


def test_a_partial_file_is_abandoned_when_its_writer_is_gone(tmp_path: Path) -> None:
    with partial_file(tmp_path, "owner-") as path:
        assert path.name.startswith(f"{PARTIAL_MARK}owner-")
        assert not is_abandoned(path)
    assert not path.exists()
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom storage.committing import partial_file\n"
        "with partial_file(Path(sys.argv[1])): os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=120)
    (left,) = tmp_path.iterdir()
    assert is_abandoned(left)


def test_parts_grow_where_there_would_be_too_many() -> None:
    for size in (1, 100 << 20, 1 << 40, 5 << 40):
        assert -(-size // part_bytes(size)) <= 10_000
    assert part_bytes(1 << 30) == 16 << 20


def test_an_upload_holds_a_few_parts_in_memory_however_large_the_file_is(s3: S3Server, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(UPLOAD_BYTES)
    command = [sys.executable, "-c", UPLOAD, s3.endpoint, f"{s3.make_bucket()}/large.bin", str(path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=250)
    assert 0 < int(told.stdout) < MOST_MEMORY_OF_AN_UPLOAD
