"""Files, folders, globs, prefixes and lists become sources; whatever names nothing is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.catalogue import find_sources
from storage.errors import SourceError, UsageError
from storage.store import Store
from tests.conftest import S3Server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.mp4, B.MKV, notes.txt (no list of videos), deep/er/c d.mov, deep/a.mp4."""
    for name in ("a.mp4", "B.MKV", "notes.md", "deep/er/c d.mov", "deep/a.mp4"):
        path = tmp_path / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "videos"


def found(*arguments: object) -> list[str]:
    return [source.relative_path for source in find_sources([str(each) for each in arguments], Store())]


def test_a_file_is_a_source_by_its_name(folder: Path) -> None:
    (source,) = find_sources([str(folder / "a.mp4")], Store())
    assert (source.url, source.relative_path) == (str(folder / "a.mp4"), "a.mp4")
    assert source.identity.size == 5


def test_a_named_file_is_taken_whatever_its_suffix(folder: Path) -> None:
    assert found(folder / "notes.md") == ["notes.md"]


def test_a_folder_gives_its_videos_with_their_paths(folder: Path) -> None:
    assert found(folder) == ["B.MKV", "a.mp4", "deep/a.mp4", "deep/er/c d.mov"]


def test_a_folder_named_with_a_slash_or_file_url_is_the_same(folder: Path) -> None:
    assert found(f"{folder}/") == found(f"file://{folder}") == found(folder)


def test_earlier_results_inside_a_folder_are_no_sources(folder: Path) -> None:
    (folder / "_facemill" / "job" / "work").mkdir(parents=True)
    (folder / "_facemill" / "job" / "work" / "0_9.restored.mp4").write_text("x")
    assert found(folder) == ["B.MKV", "a.mp4", "deep/a.mp4", "deep/er/c d.mov"]


def test_a_glob_gives_paths_below_its_fixed_part(folder: Path) -> None:
    assert found(folder / "*.mp4") == ["a.mp4"]
    assert found(folder / "**" / "*.mp4") == ["a.mp4", "deep/a.mp4"]
    assert found(folder / "de*" / "er" / "*") == ["deep/er/c d.mov"]


def test_a_file_whose_name_looks_like_a_glob_is_a_file(folder: Path) -> None:
    (folder / "talk [1].mp4").write_text("x")
    assert found(folder / "talk [1].mp4") == ["talk [1].mp4"]


def test_a_list_names_sources_relative_to_itself(folder: Path) -> None:
    listing = folder / "list.txt"
    listing.write_text(f"# a comment\n\na.mp4\ndeep/er\n{folder / 'B.MKV'}\n")
    assert found(listing) == ["B.MKV", "a.mp4", "c d.mov"]


def test_the_same_video_named_twice_is_one_source(folder: Path) -> None:
    assert found(folder / "a.mp4", folder / "a.mp4", folder / "*.mp4") == ["a.mp4"]


def test_two_videos_with_one_name_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"two sources would both become a\.mp4"):
        found(folder / "a.mp4", folder / "deep" / "a.mp4")


def test_keys_differ_between_videos_and_versions(folder: Path) -> None:
    before = {source.relative_path: source.key for source in find_sources([str(folder)], Store())}
    assert len(set(before.values())) == 4
    (folder / "a.mp4").write_text("longer than before")
    after = {source.relative_path: source.key for source in find_sources([str(folder)], Store())}
    assert {path for path in before if before[path] != after[path]} == {"a.mp4"}


def test_nothing_given_is_refused() -> None:
    with pytest.raises(UsageError, match="no source given"):
        found()


def test_an_absent_source_is_named(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"no such source: .*absent\.mp4"):
        found(folder / "a.mp4", folder / "absent.mp4")


def test_a_folder_without_videos_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(SourceError, match="no video found in"):
        found(tmp_path)


def test_a_glob_that_matches_nothing_is_named(folder: Path) -> None:
    with pytest.raises(SourceError, match="no file matches"):
        found(folder / "*.avi")


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "the list is empty"), (b"# only a comment\n", "the list is empty"), (b"\xff\xfe\x00", "must be UTF-8")],
)
def test_a_bad_list_is_named(folder: Path, content: bytes, says: str) -> None:
    (folder / "list.txt").write_bytes(content)
    with pytest.raises(SourceError, match=says):
        found(folder / "list.txt")


def test_a_list_that_names_an_absent_file_is_refused(folder: Path) -> None:
    (folder / "list.txt").write_text("a.mp4\nabsent.mp4\n")
    with pytest.raises(SourceError, match=r"no such source.*absent\.mp4"):
        found(folder / "list.txt")


def test_a_list_that_names_itself_is_refused(folder: Path) -> None:
    (folder / "list.txt").write_text("a.mp4\nlist.txt\n")
    with pytest.raises(SourceError, match=r"list\.txt"):
        found(folder / "list.txt")


@pytest.fixture
def prefix(folder: Path, s3: S3Server) -> str:
    """The same files below `videos/` of a new bucket."""
    bucket = s3.make_bucket()
    for path in folder.rglob("*.*"):
        if path.is_file():
            s3.filesystem().put_file(str(path), f"{bucket}/videos/{path.relative_to(folder)}")
    return f"{bucket}/videos"


def found_in_s3(s3: S3Server, *arguments: str) -> list[str]:
    return [source.relative_path for source in find_sources(arguments, Store(s3.endpoint))]


def test_a_prefix_gives_what_a_folder_gives(prefix: str, folder: Path, s3: S3Server) -> None:
    assert found_in_s3(s3, prefix) == found_in_s3(s3, f"{prefix}/") == found(folder)
    bucket = prefix.removesuffix("/videos")
    assert found_in_s3(s3, bucket) == [f"videos/{path}" for path in found(folder)]


def test_an_object_is_a_source_by_its_name(prefix: str, s3: S3Server) -> None:
    (source,) = find_sources([f"{prefix}/deep/er/c d.mov"], Store(s3.endpoint))
    assert (source.url, source.relative_path) == (f"{prefix}/deep/er/c d.mov", "c d.mov")
    assert source.identity.version


def test_a_remote_glob_gives_paths_below_its_fixed_part(prefix: str, s3: S3Server) -> None:
    assert found_in_s3(s3, f"{prefix}/*.mp4") == ["a.mp4"]
    assert found_in_s3(s3, f"{prefix}/**/*.mp4") == ["a.mp4", "deep/a.mp4"]


def test_a_prefix_does_not_take_its_neighbours(prefix: str, s3: S3Server) -> None:
    s3.filesystem().pipe_file(f"{prefix}-old/x.mp4", b"x")
    assert "x.mp4" not in " ".join(found_in_s3(s3, prefix))


@pytest.mark.parametrize("name", ["absent.mp4", "absent/"])
def test_an_empty_prefix_is_told(prefix: str, name: str, s3: S3Server) -> None:
    with pytest.raises(SourceError, match="no video found in s3://"):
        found_in_s3(s3, f"{prefix}/{name}")


def test_a_bucket_that_does_not_exist_is_told(s3: S3Server) -> None:
    for argument in ("s3://no-such-bucket/videos", "s3://no-such-bucket/videos/*.mp4"):
        with pytest.raises(SourceError, match=r"no-such-bucket.*: no such bucket"):
            found_in_s3(s3, argument)


def test_a_list_may_name_remote_and_local_sources(prefix: str, folder: Path, s3: S3Server) -> None:
    (folder / "list.txt").write_text(f"{prefix}/B.MKV\na.mp4\n")
    assert found_in_s3(s3, str(folder / "list.txt")) == ["B.MKV", "a.mp4"]
