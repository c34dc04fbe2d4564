"""Why videos failed, on record: a small JSON object a video, beside the rows of those that are done.

A failure and a commit record never share a name. So a run in which a video fails takes nothing from another run, at the
same time or before, in which it did not.
"""

from __future__ import annotations

import posixpath
from contextlib import suppress
from datetime import UTC, datetime

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ConfigDict, ValidationError

from storage.catalogue import Source
from storage.errors import ChangedSourceError, NoRoomError, SourceError, explain
from storage.receipts import WorkArea
from storage.store import Store


class Failure(BaseModel):
    """Why a video was given up."""

    model_config = ConfigDict(frozen=True)

    reason: str
    of_source: bool = False
    """Whether it is the source itself, which the same run would find again; otherwise whatever came in the way."""
    no_room: bool = False
    """Whether a disk was full. That ends the job and is put on record for no video."""
    at: datetime | None = None
    """When it was put on record."""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """What an error says of the source that raised it.

        Storage that does not answer says nothing of a source, and one that changed may be whole a moment later.
        """
        storage_failed = isinstance(error.__cause__, OSError | ClientError | BotoCoreError)
        passes = storage_failed or isinstance(error, ChangedSourceError)
        of_source = isinstance(error, SourceError) and not passes
        return cls(reason=explain(error), of_source=of_source, no_room=isinstance(error, NoRoomError))


def commit_failure(area: WorkArea, source: Source, failure: Failure, store: Store) -> None:
    """Put a failure on record, over an earlier one of the same video."""
    dated = failure.model_copy(update={"at": datetime.now(UTC)})
    store.commit_bytes(dated.model_dump_json(exclude={"no_room"}).encode(), area.failure(source))


def read_failures(area: WorkArea, store: Store) -> dict[str, Failure]:
    """Every failure of a job, by `Source.key`."""
    found = {}
    for url in store.list_files(area.failures):
        with suppress(FileNotFoundError, ValidationError):  # gone meanwhile, or of another facemill: then it is tried
            key = posixpath.basename(url).removesuffix(".json")
            found[key] = Failure.model_validate_json(store.read_bytes(url))
    return found
