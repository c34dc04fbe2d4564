"""What is written appears whole or not at all, on disks and in a real S3 server; what fails says what to do."""

from __future__ import annotations

import errno
import os
import pickle
import tempfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.catalogue import find_sources
from storage.errors import DestinationError, SourceError, UsageError
from storage.storage_errors import storage_errors_as
from storage.store import Store, absolute, is_remote, join
from tests.conftest import S3Server


class InterruptedWriteError(Exception):
    """Stands for whatever may end a write early."""


def write_half(store: Store, url: str) -> Path:
    """Begin to write to `url` and be interrupted; returns the local path that was written."""
    with suppress(InterruptedWriteError), store.staged(url) as path:
        path.write_bytes(b"half")
        raise InterruptedWriteError
    return path


def test_what_is_staged_appears_with_its_content(place: tuple[Store, str]) -> None:
    store, out = place
    with store.staged(join(out, "deep", "a.bin")) as path:
        path.write_bytes(b"content")
        assert not store.exists(join(out, "deep", "a.bin"))
    assert store.read_bytes(join(out, "deep", "a.bin")) == b"content"
    assert store.list_files(out) == [join(out, "deep", "a.bin")]


def test_an_interrupted_write_leaves_nothing(place: tuple[Store, str]) -> None:
    store, out = place
    path = write_half(store, join(out, "a.bin"))
    assert not path.exists()
    assert store.list_files(out) == []


def test_an_interrupted_write_leaves_what_was_there(place: tuple[Store, str]) -> None:
    store, out = place
    store.commit_bytes(b"old", join(out, "a.bin"))
    write_half(store, join(out, "a.bin"))
    assert store.read_bytes(join(out, "a.bin")) == b"old"
    assert store.list_files(out) == [join(out, "a.bin")]


def test_writing_again_replaces(place: tuple[Store, str]) -> None:
    store, out = place
    store.commit_bytes(b"old and longer", join(out, "a.bin"))
    store.commit_bytes(b"new", join(out, "a.bin"))
    assert store.read_bytes(join(out, "a.bin")) == b"new"


@pytest.mark.parametrize(
    "name", ["Größe 100% & mehr.bin", "with spaces.bin", "a+b=c.bin", "日本.bin", "a::b.bin", "s3::b.bin"]
)
def test_odd_names_are_names(place: tuple[Store, str], name: str) -> None:
    store, out = place
    store.commit_bytes(b"x", join(out, name))
    assert store.list_files(out) == [join(out, name)]
    assert store.read_bytes(join(out, name)) == b"x"
    assert store.identity(join(out, name)).size == 1


def test_a_large_file_arrives_whole(place: tuple[Store, str]) -> None:
    store, out = place
    content = os.urandom(1 << 20) * 60  # more than one part of a multipart upload
    with store.staged(join(out, "large.bin")) as path:
        path.write_bytes(content)
    assert store.read_bytes(join(out, "large.bin")) == content


def test_identity_changes_with_the_content(place: tuple[Store, str]) -> None:
    store, out = place
    store.commit_bytes(b"one", join(out, "a.bin"))
    first = store.identity(join(out, "a.bin"))
    assert store.identity(join(out, "a.bin")) == first
    store.commit_bytes(b"two", join(out, "a.bin"))
    assert store.identity(join(out, "a.bin")) != first


def test_what_is_not_there_is_not_found(place: tuple[Store, str]) -> None:
    store, out = place
    assert not store.exists(join(out, "a.bin"))
    assert store.list_files(out) == []
    with pytest.raises(FileNotFoundError):
        store.identity(join(out, "a.bin"))
    with pytest.raises(FileNotFoundError):
        store.read_bytes(join(out, "a.bin"))


def test_removing_twice_is_no_error(place: tuple[Store, str]) -> None:
    store, out = place
    urls = [join(out, "work", "a.bin"), join(out, "work", "b.bin")]
    for url in urls:
        store.commit_bytes(b"x", url)
    store.remove(urls)
    store.remove(urls)
    assert store.list_files(out) == []


def test_only_folders_without_files_are_removed(tmp_path: Path) -> None:
    for name in ("out/work/a/b", "out/work/c", "out/done"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "out/work/c/kept").write_bytes(b"content")
    Store().remove_empty_folders(str(tmp_path / "out" / "work"))
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["c", "done", "kept", "work"]
    (tmp_path / "out/work/c/kept").unlink()
    Store().remove_empty_folders(str(tmp_path / "out" / "work"))
    Store().remove_empty_folders(str(tmp_path / "out" / "work"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["done"]


def test_a_local_copy_has_the_content(place: tuple[Store, str]) -> None:
    store, out = place
    store.commit_bytes(b"content", join(out, "a.bin"))
    with store.local_copy(join(out, "a.bin")) as path:
        assert path.read_bytes() == b"content"
    assert store.exists(join(out, "a.bin"))


def test_media_can_be_read_at_any_place(place: tuple[Store, str]) -> None:
    store, out = place
    store.commit_bytes(bytes(range(256)), join(out, "a.bin"))
    with store.open_media(join(out, "a.bin")) as media:
        file = open(media, "rb") if isinstance(media, str) else media  # noqa: SIM115
        file.seek(200)
        assert file.read(3) == bytes([200, 201, 202])
        file.seek(0)
        assert file.read(1) == b"\0"
        file.close()


def test_a_writable_place_is_left_empty(place: tuple[Store, str]) -> None:
    store, out = place
    store.check_writable(out)
    assert store.list_files(out) == []


def test_a_store_travels_with_its_settings_only(s3: S3Server) -> None:
    content = pickle.dumps(Store(s3.endpoint))
    assert pickle.loads(content) == Store(s3.endpoint)
    assert s3.secret_key.encode() not in content


def test_a_file_in_the_way_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DestinationError, match=r"file.*Choose another place") as caught:
        Store().check_writable(str(tmp_path / "file" / "out"))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_rights_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DestinationError, match="permission denied"):
        Store().check_writable(str(tmp_path / "out"))
    tmp_path.chmod(0o700)


def test_an_absent_local_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such source"):
        Store().check_readable(str(tmp_path / "absent"))


def assert_one_line(error: BaseException, *, says: str) -> None:
    assert "\n" not in str(error)
    assert says in str(error)
    assert len(str(error)) < 400


def test_a_bad_secret_is_named(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.make_bucket()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    Store(s3.endpoint).filesystem(bucket)[0].clear_instance_cache()
    try:
        with pytest.raises(SourceError) as read:
            Store(s3.endpoint).check_readable(bucket)
        with pytest.raises(DestinationError) as written:
            Store(s3.endpoint).check_writable(f"{bucket}/out")
    finally:
        Store(s3.endpoint).filesystem(bucket)[0].clear_instance_cache()
    assert_one_line(read.value, says="Check AWS_SECRET_ACCESS_KEY")
    assert_one_line(written.value, says="Check AWS_SECRET_ACCESS_KEY")


def test_an_unknown_access_key_is_named(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.make_bucket()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    Store(s3.endpoint).filesystem(bucket)[0].clear_instance_cache()
    try:
        with pytest.raises(SourceError) as caught:
            Store(s3.endpoint).check_readable(bucket)
    finally:
        Store(s3.endpoint).filesystem(bucket)[0].clear_instance_cache()
    assert_one_line(caught.value, says="Check AWS_ACCESS_KEY_ID")


def test_an_absent_bucket_is_named(s3: S3Server) -> None:
    with pytest.raises(SourceError) as read:
        Store(s3.endpoint).check_readable("s3://no-such-bucket/videos")
    with pytest.raises(DestinationError) as written:
        Store(s3.endpoint).check_writable("s3://no-such-bucket/out")
    assert_one_line(read.value, says="no such bucket. Create it")
    assert_one_line(written.value, says="no such bucket. Create it")


def test_an_absent_bucket_is_not_made_by_writing(s3: S3Server) -> None:
    with pytest.raises(DestinationError), storage_errors_as(DestinationError, "s3://no-such-bucket"):
        Store(s3.endpoint).commit_bytes(b"x", "s3://no-such-bucket/a.bin")
    assert "no-such-bucket" not in s3.filesystem().ls("")


def test_an_unreachable_server_is_named(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(SourceError) as caught:
        Store("http://127.0.0.1:9").check_readable("s3://bucket/videos")
    assert_one_line(caught.value, says="cannot be reached")


@pytest.mark.parametrize(
    "endpoint", ["host:8333", "http://", "http://a b", "ftp://host", "http://host:99999", "http://[::"]
)
def test_an_endpoint_of_the_wrong_form_is_named(endpoint: str, s3: S3Server) -> None:
    with pytest.raises((UsageError, SourceError)) as read:
        Store(endpoint).check_readable("s3://bucket/videos")
    with pytest.raises((UsageError, DestinationError)) as written:
        Store(endpoint).check_writable("s3://bucket/out")
    assert_one_line(read.value, says="Check --s3-endpoint")
    assert_one_line(written.value, says="Check --s3-endpoint")


def test_an_endpoint_with_credentials_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="without credentials") as refused:
        Store("https://me:secret@host:8333")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["s3://", "s3:///videos", "s3://no such bucket/videos"])
def test_what_is_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no name of a bucket") as caught:
        Store().check_readable(url)
    assert_one_line(caught.value, says="s3://bucket/prefix")


@pytest.mark.parametrize("url", ["gs://bucket/out", "http://host/out", "memory://out", "S3://bucket/out"])
def test_only_disks_and_s3_are_written(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Store().check_writable(url)
    assert_one_line(caught.value, says="only paths on this machine, file:// and s3://")


def test_a_fault_of_the_program_is_not_put_down_to_the_storage() -> None:
    with pytest.raises(ValueError, match="wrong count"), storage_errors_as(SourceError, "/data/in"):
        raise ValueError("wrong count")


def test_a_message_of_many_lines_becomes_one() -> None:
    with pytest.raises(SourceError) as caught, storage_errors_as(SourceError, "/data/in"):
        raise OSError("first line\nsecond line")
    assert_one_line(caught.value, says="first line second line")


def test_links_to_files_are_listed_and_folders_are_not(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.bin").write_bytes(b"x")
    (tmp_path / "link.bin").symlink_to(tmp_path / "a.bin")
    (tmp_path / "link-to-folder").symlink_to(tmp_path / "folder")
    (tmp_path / "broken.bin").symlink_to(tmp_path / "absent")
    names = [Path(url).name for url in Store().list_files(str(tmp_path))]
    assert names == ["a.bin", "broken.bin", "link.bin"]


def test_remote_and_local_are_told_apart() -> None:
    assert is_remote("s3://bucket/key")
    assert not is_remote("/data/in")
    assert not is_remote("file:///data/in")
    assert not is_remote("/data/s3://bucket")
    assert join("s3://bucket/", "a", "b") == "s3://bucket/a/b"
    assert join("/", "a") == "/a"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3a://bucket/a b/c", "s3://bucket/a b/c"),
        ("s3://bucket/s3a://c", "s3://bucket/s3a://c"),
        ("file:///a/b", "/a/b"),
        ("/a/../b/", "/b"),
        ("~/a", f"{Path.home()}/a"),
        ("a", f"{Path.cwd()}/a"),
    ],
)
def test_a_place_has_one_name(url: str, name: str) -> None:
    assert absolute(url) == name


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's device that is always full")
@pytest.mark.parametrize(("url", "place"), [("/data/out", "/data/out"), ("s3://b/out", tempfile.gettempdir())])
def test_a_full_disk_is_told_as_the_one_that_is_full(url: str, place: str) -> None:
    """An object store has none: then it is where its copies are made."""
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 - closing it is what fails
    full.write("x")
    told = pytest.raises(DestinationError, match=rf"^{place}: no space is left on the disk. Make room")
    with told, storage_errors_as(DestinationError, url):
        full.close()


@pytest.mark.parametrize(
    "url", ["s3://me:secret@bucket/a.mp4", "https://me:secret@host/a.mp4", "s3://me:sec@ret@b", "s3://me:a/secret@b"]
)
def test_a_password_in_an_address_is_refused_and_not_told(url: str) -> None:
    for asked in (lambda: find_sources([url], Store()), lambda: Store().check_writable(url)):
        with pytest.raises(UsageError, match="credentials belong into the environment") as refused:
            asked()
        assert "sec" not in str(refused.value)
        assert "me:" not in str(refused.value)


def test_the_time_of_a_disk_that_takes_no_writes_is_this_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mock: to mount one needs rights."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refused)
    assert abs(Store().now(str(tmp_path)) - datetime.now(UTC)) < timedelta(seconds=9)


def test_a_folder_that_another_run_makes_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.setattr(Path, "exists", lambda path: path != folder and os.path.exists(path))
    Store().check_writable(str(folder))
    assert not list(folder.iterdir())
