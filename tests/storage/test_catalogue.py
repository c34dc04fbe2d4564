"""Files, folders, globs, prefixes and lists become sources; whatever names nothing is refused by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import s3fs

from storage.catalogue import UNREADABLE, Source, find_sources, search_sources, searched_folders
from storage.errors import SourceError, UsageError
from storage.kept_probes import kept_probe
from storage.receipts import WorkArea
from storage.store import FileIdentity, Store
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
    assert found(listing) == ["B.MKV", "a.mp4", "deep/er/c d.mov"]


def test_videos_of_one_name_in_two_folders_of_a_list_are_two_sources(tmp_path: Path) -> None:
    for name in ("cam1/00.mp4", "cam2/00.mp4", "list of/them.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    for listed in ("cam1/00.mp4\ncam2/00.mp4", "cam1\ncam2/", f"cam*/*.mp4\nfile://{tmp_path}/cam1/00.mp4"):
        (tmp_path / "list.txt").write_text(listed)
        assert found(tmp_path / "list.txt") == ["cam1/00.mp4", "cam2/00.mp4"]


def test_a_video_outside_the_folder_of_its_list_keeps_its_name(folder: Path) -> None:
    (folder / "deep" / "list.txt").write_text("../a.mp4\ner/c d.mov\n")
    assert found(folder / "deep" / "list.txt") == ["a.mp4", "er/c d.mov"]


def test_a_link_to_a_video_of_the_same_folder_is_a_video(folder: Path) -> None:
    (folder / "deep" / "b.mp4").symlink_to(folder / "a.mp4")
    (source,) = (source for source in find_sources([str(folder)], Store()) if source.relative_path == "deep/b.mp4")
    assert (source.identity.size, source.refusal) == (5, "")


@pytest.mark.parametrize("argument", ["linked", "linked/*.mp4", "list.txt"])
def test_a_link_out_of_a_folder_is_refused_unless_links_are_followed(
    argument: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "b.mp4").symlink_to(folder / "a.mp4")
    (tmp_path / "list.txt").write_text("linked")
    (source,) = find_sources([str(tmp_path / argument)], Store())
    assert f"is a link out of {tmp_path}/linked" in source.refusal
    with pytest.raises(SourceError, match="is a link out of"):
        kept_probe(source, WorkArea(str(tmp_path / "job")), Store())
    (source,) = find_sources([str(tmp_path / argument)], Store(), follow_links=True)
    assert (source.identity.size, source.refusal) == (5, "")


def test_a_link_to_a_folder_elsewhere_is_refused_unless_links_are_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linking" / "in").mkdir(parents=True)
    (tmp_path / "linking" / "in" / "far").symlink_to(folder)
    (folder / "back").symlink_to(tmp_path / "linking")
    (folder / "again").symlink_to(folder)
    (source,) = find_sources([str(tmp_path / "linking")], Store())
    assert source.relative_path == "in/far"
    assert "is a link out of" in source.refusal
    followed = find_sources([str(tmp_path / "linking")], Store(), follow_links=True)
    assert [source.relative_path for source in followed] == [
        "in/far/B.MKV",
        "in/far/a.mp4",
        "in/far/deep/a.mp4",
        "in/far/deep/er/c d.mov",
    ]
    assert not [source.refusal for source in followed if source.refusal]


@pytest.mark.parametrize("key", ["raw/../../x.mp4", "raw/sub/../a.mp4", "raw//a.mp4", "raw/./a.mp4"])
def test_a_key_that_is_no_place_below_a_destination_costs_no_other_video(key: str) -> None:
    class Listed(Store):
        def check_readable(self, url: str, prefix: str | None = None) -> None:
            pass

        def list_files(self, url: str) -> list[str]:
            return ["s3://b/raw/a.mp4", f"s3://b/{key}"]

        def identity(self, url: str) -> FileIdentity:
            return FileIdentity(1, "1")

    sources = find_sources(["s3://b/raw/"], Listed())
    assert {source.url: bool(source.refusal) for source in sources} == {
        "s3://b/raw/a.mp4": False,
        f"s3://b/{key}": True,
    }


def test_a_link_that_is_named_itself_is_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "b.mp4").symlink_to(folder / "a.mp4")
    (source,) = find_sources([str(tmp_path / "b.mp4")], Store())
    assert (source.identity.size, source.refusal) == (5, "")


def test_a_folder_that_is_a_link_itself_is_searched(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(folder)
    assert not [source.refusal for source in find_sources([str(tmp_path / "linked")], Store()) if source.refusal]


@pytest.mark.parametrize("argument", ["", "*.mp4", "list.txt"])
def test_a_broken_link_among_others_does_not_end_the_job(argument: str, folder: Path) -> None:
    (folder / "b.mp4").symlink_to(folder / "absent.mp4")
    (folder / "list.txt").write_text("*.mp4")
    sources = {source.relative_path: source for source in find_sources([str(folder / argument)], Store())}
    assert sources["b.mp4"].identity == UNREADABLE
    assert sources["a.mp4"].identity != UNREADABLE


def test_a_broken_link_named_itself_is_refused(folder: Path) -> None:
    (folder / "b.mp4").symlink_to(folder / "absent.mp4")
    with pytest.raises(SourceError, match=r"no such source.*b\.mp4"):
        found(folder / "b.mp4")


def test_a_pipe_is_refused_as_what_it_is(folder: Path) -> None:
    os.mkfifo(folder / "b.mp4")
    sources = {source.relative_path: source for source in find_sources([str(folder)], Store())}
    assert "b.mp4: is a pipe" in sources["b.mp4"].refusal
    assert not sources["a.mp4"].refusal
    with pytest.raises(SourceError, match=r"b\.mp4: is a pipe"):
        found(folder / "b.mp4")


@pytest.mark.parametrize("name", ["a::b.mp4", "s3::x.mp4", "~.mp4", "file:x.mp4", "100%.mp4"])
def test_odd_names_are_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).write_text("x")
    monkeypatch.chdir(tmp_path)
    assert found(name) == found(tmp_path / name) == found(tmp_path) == found(tmp_path / "*") == [name]


@pytest.mark.parametrize("argument", ["", "  "])
def test_an_empty_name_does_not_stand_for_the_current_folder(argument: str, folder: Path) -> None:
    with pytest.raises(UsageError, match="an empty source"):
        found(folder, argument)


@pytest.mark.parametrize("url", ["gs://bucket/a.mp4", "http://host/a.mp4", "https://host/*.mp4"])
def test_an_unknown_scheme_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"only paths on this machine, file:// and s3://"):
        found(url)


@pytest.mark.parametrize(
    ("argument", "searched"),
    [("", [""]), ("a.mp4", []), ("*.mp4", []), ("deep/**/*.mp4", ["deep"]), ("list.txt", ["deep/er"])],
)
def test_folders_that_are_searched_to_any_depth_are_known(argument: str, searched: list[str], folder: Path) -> None:
    (folder / "list.txt").write_text("a.mp4\ndeep/er\n")
    assert searched_folders([str(folder / argument)]) == [str(folder / name) for name in searched]


def test_a_prefix_is_searched_and_an_object_is_not() -> None:
    assert searched_folders(["s3://b/raw", "s3://b/a.mp4"]) == ["s3://b/raw"]


def test_a_path_that_leads_out_of_the_destination_is_refused() -> None:
    with pytest.raises(SourceError, match="no place below a destination"):
        Source("s3://b/v/../a.mp4", "../a.mp4", FileIdentity(1, "1"))


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


def test_a_line_of_a_list_that_gives_no_video_fails_by_itself(folder: Path) -> None:
    """Of ten thousand videos, one that was moved away since costs only itself, whatever it was called."""
    (folder / "empty").mkdir()
    lines = ("a.mp4", "", "old/a.mp4", "/elsewhere/a.mp4", "empty/", "x*.mkv", "y*.mkv", "old/..")
    (folder / "list.txt").write_text("\n".join(lines))
    sources = {source.relative_path: source.refusal for source in find_sources([str(folder / "list.txt")], Store())}
    refused = [3, 4, 5, 6, 7]
    assert set(sources) >= {"a.mp4", *(f"list.txt, line {line}" for line in refused)}
    assert sources["a.mp4"] == ""
    for line in refused:
        assert f"list.txt, line {line}: no " in sources[f"list.txt, line {line}"]


def test_a_list_of_which_no_line_gives_a_video_is_refused(folder: Path) -> None:
    (folder / "list.txt").write_text("absent.mp4\nother.mp4\n")
    with pytest.raises(SourceError, match=r"list\.txt, line 1: no such source.*absent\.mp4"):
        found(folder / "list.txt")


def test_a_list_that_names_itself_is_refused(folder: Path) -> None:
    (folder / "list.txt").write_text("a.mp4\nlist.txt\n")
    with pytest.raises(SourceError, match=r"list\.txt, line 2: names another list"):
        found(folder / "list.txt")


HIDDEN = ("._a.mp4", "deep/.old.mkv", ".Trashes/501/b.mp4")


def hide_some(folder: Path) -> None:
    """What macOS and others put beside videos, and a file of no video suffix."""
    for name in (*HIDDEN, ".DS_Store"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def test_hidden_files_of_a_folder_are_passed_over_and_counted(folder: Path) -> None:
    before = found(folder)
    hide_some(folder)
    searched = search_sources([str(folder)], Store())
    assert [source.relative_path for source in searched.sources] == before
    assert set(searched.hidden) == {str(folder / name) for name in HIDDEN}
    assert found(folder / "**" / "*") == before


def test_files_of_sound_alone_are_passed_over_and_told(folder: Path) -> None:
    before = found(folder)
    for name in ("talk.m4a", "deep/MUSIC.WAV", ".hidden.mp3", "_facemill/x/b.ogg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    searched = search_sources([str(folder)], Store())
    assert [source.relative_path for source in searched.sources] == before
    assert sorted(searched.sound) == [str(folder / "deep" / "MUSIC.WAV"), str(folder / "talk.m4a")]


def test_a_hidden_file_that_is_asked_for_is_a_source(folder: Path) -> None:
    hide_some(folder)
    assert found(folder / "._a.mp4") == ["._a.mp4"]
    assert found(folder / ".*" / "**" / "*.mp4") == [".Trashes/501/b.mp4"]
    assert found(folder / ".Trashes") == ["501/b.mp4"]


def test_a_folder_of_hidden_files_alone_says_so(tmp_path: Path) -> None:
    hide_some(tmp_path)
    with pytest.raises(SourceError, match=r"no video found in .* passed over 3 hidden ones"):
        found(tmp_path)


def test_a_folder_that_cannot_be_read_fails_by_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock: whoever may do everything, as in a container, may read every folder."""
    read = os.scandir

    def guarded(path: str) -> Any:
        if str(path).endswith(closed):
            raise PermissionError(13, "Permission denied", path)
        return read(path)

    monkeypatch.setattr(os, "scandir", guarded)
    closed = "/er"
    sources = {source.relative_path: source.refusal for source in find_sources([str(folder)], Store())}
    assert {path for path, refusal in sources.items() if refusal} == {"deep/er"}
    assert "the folder cannot be read (Permission denied)" in sources["deep/er"]
    closed = str(folder)
    with pytest.raises(SourceError, match="the folder cannot be read"):
        found(folder)
    for closed in ("/.Trashes", "/lost+found"):  # of the disk, and readable by nobody
        (folder / closed.strip("/")).mkdir()
        assert [source for source in find_sources([str(folder)], Store()) if source.refusal] == []


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
    s3.filesystem().pipe_file(f"{prefix}/._a.mp4", b"x")
    assert search_sources([prefix], Store(s3.endpoint)).hidden == [f"{prefix}/._a.mp4"]
    assert found_in_s3(s3, bucket) == [f"videos/{path}" for path in found(folder)]


def test_an_object_is_a_source_by_its_name(prefix: str, s3: S3Server) -> None:
    (source,) = find_sources([f"{prefix}/deep/er/c d.mov"], Store(s3.endpoint))
    assert (source.url, source.relative_path) == (f"{prefix}/deep/er/c d.mov", "c d.mov")
    assert source.identity.version


def test_a_remote_glob_gives_paths_below_its_fixed_part(prefix: str, s3: S3Server) -> None:
    assert found_in_s3(s3, f"{prefix}/*.mp4") == ["a.mp4"]
    assert found_in_s3(s3, f"{prefix}/**/*.mp4") == ["a.mp4", "deep/a.mp4"]


def test_a_remote_key_that_looks_like_a_glob_is_a_key(prefix: str, s3: S3Server) -> None:
    for name in ("talk [1].mp4", "talk 1.mp4", "a::b.mp4"):
        s3.filesystem().pipe_file(f"{prefix}/{name}", b"x")
        assert found_in_s3(s3, f"{prefix}/{name}") == [name]
    assert found_in_s3(s3, f"{prefix}/talk [0-9].mp4") == ["talk 1.mp4"]


def test_credentials_for_the_prefix_alone_are_enough(
    prefix: str, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = s3fs.S3FileSystem._call_s3

    async def guarded(self: s3fs.S3FileSystem, method: str, *args: Any, **kwargs: Any) -> Any:
        if method.startswith("list") and not kwargs.get("Prefix", "").startswith("videos/"):
            raise PermissionError("Access Denied.")
        return await call(self, method, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", guarded)
    assert len(found_in_s3(s3, prefix)) == 4
    assert found_in_s3(s3, f"{prefix}/*.mp4") == found_in_s3(s3, f"{prefix}/a.mp4") == ["a.mp4"]
    with pytest.raises(SourceError, match="permission denied"):
        found_in_s3(s3, prefix.removesuffix("/videos"))


def test_s3a_is_s3(prefix: str, s3: S3Server) -> None:
    assert found_in_s3(s3, prefix.replace("s3://", "s3a://")) == found_in_s3(s3, prefix)


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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets names be any bytes")
def test_a_name_that_is_no_text_is_refused_by_itself(folder: Path) -> None:
    """Any archive that was written under Latin-1 has such names."""
    (folder / os.fsdecode(b"caf\xe9.mp4")).write_text("x")
    there = folder / os.fsdecode(b"\xe9t\xe9")
    there.mkdir()
    (there / "talk.mp4").write_text("x")
    (folder / os.fsdecode(b"l\xfcnk")).symlink_to(folder.parent)
    sources = {source.relative_path: source for source in find_sources([str(folder)], Store())}
    refused = ["caf\\xe9.mp4", "l\\xfcnk", "\\xe9t\\xe9/talk.mp4"]
    assert sorted(sources) == sorted([*refused, "B.MKV", "a.mp4", "deep/a.mp4", "deep/er/c d.mov"])
    for path in refused:
        assert "is not UTF-8" in sources[path].refusal
        assert len(sources[path].key) == 16
    with pytest.raises(UsageError, match=r"caf\\xe9.mp4: its name is not UTF-8"):
        find_sources([str(folder / os.fsdecode(b"caf\xe9.mp4"))], Store())
