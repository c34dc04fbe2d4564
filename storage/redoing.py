"""Videos that are on record as done and made again: by `--force`, or since their result is not in place any more.

By `--force` results and their record stay until they are replaced.

What is being made again is marked, and an interrupted run goes on by the plain command:

    1. a mark for each video that is done       from now on the record does not keep it from being made
    2. removal of failures and working objects  no shard is believed to be done any more
    3. the video is made, its result and rows replaced
    4. removal of its mark                      a crash before it: it is joined again, over itself

A video whose result was lost is marked too, before anything is made of it: otherwise its record would tell `status`
that it is done, and `clean` that its working objects are of no use.
"""

from __future__ import annotations

from collections.abc import Sequence

from storage.catalogue import Source
from storage.receipts import WorkArea, receipts_apart
from storage.store import Store


def begin_again(area: WorkArea, sources: Sequence[Source], store: Store) -> None:
    """Forget what a job has done, but not what it has found out about its sources, nor its results."""
    recorded = frozenset(store.list_files(area.all_parts("videos")))
    for source in sources:
        if area.parts(source, "videos") in recorded:
            mark_again(area, source, store)
    probes = {area.probe(source) for source in sources}
    working = [url for url in store.list_files(area.work) if url not in probes]
    store.remove(store.list_files(area.failures), *receipts_apart(working))


def mark_again(area: WorkArea, source: Source, store: Store) -> None:
    """From now on a video's record does not tell that it is done."""
    store.commit_bytes(b"", area.redo(source), keep=True)


def being_redone(area: WorkArea, store: Store) -> frozenset[str]:
    """The marks of a job, as `WorkArea.redo` names them."""
    return frozenset(store.list_files(area.redone))
