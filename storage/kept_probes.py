"""Probes that are kept among a job's working objects: to probe a video is to read all of it, once a job and no more.

JSON, since what comes from a bucket must not run.
"""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from storage.catalogue import UNREADABLE, Source
from storage.errors import SourceError
from storage.probe import VideoProbe, probe_video
from storage.reader import refuse_changed
from storage.receipts import WorkArea
from storage.store import Store

_JSON = TypeAdapter(VideoProbe)


def kept_probe(source: Source, area: WorkArea, store: Store) -> VideoProbe:
    """The probe of a source: the one that the job's earlier run left, or a new one, which is left for the next.

    Raises:
        SourceError: as `probe_video`, or the source may not be restored.
        ChangedSourceError: it is not the file any more that the job found. No probe of another version is left.
    """
    if source.refusal:
        raise SourceError(source.refusal)
    probe = left_probe(source, area, store)
    if probe is None:
        probe = _probe_of(source, store)
        store.commit_bytes(_JSON.dump_json(probe), area.probe(source))
    return probe


def _probe_of(source: Source, store: Store) -> VideoProbe:
    """The probe of the very version that the job found."""
    try:
        probe = probe_video(source.url, store)
    except SourceError:
        if source.identity != UNREADABLE:
            refuse_changed(source, store)  # what it says may be of a file that is half written
        raise
    refuse_changed(source, store)
    return probe


def left_probe(source: Source, area: WorkArea, store: Store) -> VideoProbe | None:
    """The probe that an earlier run left; None when none came so far, or one of another facemill."""
    try:
        return _JSON.validate_json(store.read_bytes(area.probe(source)))
    except (FileNotFoundError, ValidationError):
        return None
