"""What a job was asked for, on record from its start: `DST/_facemill/<job>/job.json`.

With it, `facemill status` and `facemill clean` know the job's videos without being told the command again. There is
nothing in it that a command line or the environment keeps secret: no credentials, no address of a server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.catalogue import Source
from storage.receipts import WorkArea
from storage.store import FileIdentity, Store


class RecordedSource(BaseModel):
    """A source, as the job found it."""

    model_config = ConfigDict(frozen=True)

    url: str
    relative_path: str
    size: int
    version: str

    def source(self) -> Source:
        return Source(self.url, self.relative_path, FileIdentity(self.size, self.version))


class JobRecord(BaseModel):
    """What a job was asked for."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    """A record of another format is not read."""
    job: str
    begun: datetime
    sources: tuple[RecordedSource, ...]
    settings: dict[str, Any]
    """Those that results depend on."""
    weights: dict[str, str]
    """Name of each set of weights in use -> its sha256."""


def commit_job_record(
    area: WorkArea,
    name: str,
    sources: Sequence[Source],
    settings: Mapping[str, Any],
    weights: Mapping[str, str],
    store: Store,
) -> None:
    """Put a job on record, unless it is there already: the same name means the same job."""
    if store.exists(area.job_record):  # of a hundred thousand sources it is some MB, too much to send in vain
        return
    record = JobRecord(
        job=name,
        begun=datetime.now(UTC),
        sources=tuple(
            RecordedSource(
                url=source.url,
                relative_path=source.relative_path,
                size=source.identity.size,
                version=source.identity.version,
            )
            for source in sources
        ),
        settings=dict(settings),
        weights=dict(weights),
    )
    store.commit_bytes(record.model_dump_json().encode(), area.job_record, keep=True)


def read_job_record(area: WorkArea, store: Store) -> JobRecord | None:
    """A job's record; None when there is none, or one of another facemill."""
    try:
        return JobRecord.model_validate_json(store.read_bytes(area.job_record))
    except (FileNotFoundError, ValidationError):
        return None
