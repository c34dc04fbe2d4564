"""From sources to plans: probe each in a task of its own, cut it into shards, choose where its result goes.

Nothing here imports torch, so that the workers that probe start fast.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

import ray.data
from ray.util.annotations import RayDeprecationWarning

from actors.comparison import compared_picture
from actors.deadline import ends_process_after
from flows.job import Job, place
from flows.ledger import VideoPlan
from flows.patience import gives_up_after
from flows.steps import Step
from storage.catalogue import Source
from storage.containers import choose_container
from storage.encoding import output_picture, require_encodable
from storage.errors import DestinationError, FacemillError, NoRoomError, SourceError
from storage.failures import Failure
from storage.finishing import output_path
from storage.kept_probes import kept_probe
from storage.probe import VideoProbe
from storage.receipts import WorkArea
from storage.requests import answer_each
from storage.shards import plan_shards
from storage.storage_errors import storage_errors_as
from storage.store import Store, join
from storage.video_rows import KnownResults, known_results

_TASKS_THAT_ARE_NO_BURDEN = 256
_SOURCES_A_TASK = 16

_PROBE_RETRIES = 1
"""Of a probe whose worker died. Ray Data 2.60 repeats a task for ever unless it is told."""

_LONGEST_FLOOR_SECONDS = 1800

_PROBE_CPUS = 0.25
"""Share of a core: probing waits for storage more than it computes."""


def plan_videos(
    job: Job, sources: Sequence[Source], finished: Mapping[str, str], progress: Step
) -> tuple[list[VideoPlan], list[tuple[Source, Failure]]]:
    """A plan for every source that can be restored; the others come with the reason why not.

    Args:
        finished: paths below the destination of the results of sources that are not among these -> the source's path.
        progress: is told how many are probed.

    Raises:
        NoRoomError: what was found in a source cannot be kept at the destination.
    """
    probed = _probe_all(sources, job.area, job.store, progress)
    owners = {place(source.url): f"the source {source.url}" for source in job.sources}
    owners |= {place(join(job.out, output)): f"the result of {video}" for output, video in finished.items()}
    plans, unusable = [], []
    for source in sources:
        try:
            probe = _probe_in(probed.get(source.key))
            if isinstance(probe, Failure):
                if probe.no_room:
                    raise NoRoomError(probe.reason)
                unusable.append((source, probe))
                continue
            plan = _plan_video(job, source, probe)
            _claim_outputs(job, plan, owners)
            plans.append(plan)
        except NoRoomError:
            raise
        except FacemillError as error:
            unusable.append((source, Failure.of(error)))
    return _without_foreign(job, plans, unusable)


def _without_foreign(
    job: Job, plans: Sequence[VideoPlan], unusable: list[tuple[Source, Failure]]
) -> tuple[list[VideoPlan], list[tuple[Source, Failure]]]:
    """Those of `plans` whose results replace nothing but results; the others are unusable, too."""
    places = [(plan, output_path(plan.choice, each)) for plan in plans for each in job.config.variants]
    with storage_errors_as(DestinationError, job.out):
        there = answer_each(lambda place: job.store.exists(join(job.out, place[1])), places)
        taken = [place for place, is_there in zip(places, there, strict=True) if is_there]
        known = known_results(job.out, job.store) if taken and not job.config.force else KnownResults()
    refused: dict[str, Failure] = {}
    for plan, output in taken:
        reason = _why_not_replaced(job, plan.source, output, known)
        if reason:
            refused[plan.key] = Failure(reason=f"{join(job.out, output)}: {reason}")
    unusable = [*unusable, *((plan.source, refused[plan.key]) for plan in plans if plan.key in refused)]
    return [plan for plan in plans if plan.key not in refused], unusable


def _why_not_replaced(job: Job, source: Source, output: str, known: KnownResults) -> str:
    """Why what is at the place of a result must stay; empty when it is a result, or `--force` is given."""
    if job.store.is_folder(join(job.out, output)):
        return "is a folder, where the result belongs. Move it away, or choose another --out"
    if job.config.force or output in known.outputs or source.key in known.made_again:
        return ""
    return (
        "is there already, and no job has it on record as its result. Move it away, choose another --out, or have it "
        "replaced by --force"
    )


def _probe_all(sources: Sequence[Source], area: WorkArea, store: Store, progress: Step) -> dict[str, dict[str, Any]]:
    """Probe rows by `Source.key`; a source whose probing killed its worker has none.

    Of many sources several share a task, which costs more than to probe a small file. Those that were lost with
    another's are probed again by themselves.
    """
    probed: dict[str, dict[str, Any]] = {}
    tasks = probing_tasks(len(sources))
    for row in _probe_in_tasks(sources, area, store, tasks=tasks):
        probed[row["key"]] = row
        progress.reached(len(probed), len(sources))
    if tasks < len(sources):
        lost = [source for source in sources if source.key not in probed]
        probed |= {row["key"]: row for row in _probe_in_tasks(lost, area, store, tasks=len(lost))}
    return probed


def probing_tasks(sources: int) -> int:
    """In how many tasks so many sources are probed: one each, as long as that is no burden."""
    return max(min(sources, _TASKS_THAT_ARE_NO_BURDEN), -(-sources // _SOURCES_A_TASK))


def _probe_in_tasks(sources: Sequence[Source], area: WorkArea, store: Store, *, tasks: int) -> Iterator[dict[str, Any]]:
    """Probe rows, as they come."""
    if not sources:
        return
    items = [{"source": pickle.dumps(source)} for source in sources]
    longest = max(map(probing_seconds, sources)) * -(-len(sources) // tasks)
    rows = ray.data.from_items(items, override_num_blocks=tasks)
    with warnings.catch_warnings():
        # Ray 2.60 names no other way to bound a task's retries.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        probed = rows.map(partial(_probe_row, area=area, store=store), num_cpus=_PROBE_CPUS, max_retries=_PROBE_RETRIES)
    with gives_up_after(longest):
        yield from probed.iter_rows()


def probing_seconds(source: Source) -> float:
    """What the slowest plausible probing takes: it reads the file up to four times, from storage that gives 1 MB/s."""
    return max(_LONGEST_FLOOR_SECONDS, 4 * source.identity.size / 1e6)


def _probe_row(row: dict[str, Any], area: WorkArea, store: Store) -> dict[str, Any]:
    source: Source = pickle.loads(row["source"])
    try:
        with ends_process_after(probing_seconds(source)):
            return {"key": source.key, "probe": pickle.dumps(kept_probe(source, area, store)), "failure": ""}
    except Exception as error:  # a bad source costs itself only: it becomes a row with its reason
        return {"key": source.key, "probe": b"", "failure": Failure.of(error).model_dump_json()}


def _probe_in(row: dict[str, Any] | None) -> VideoProbe | Failure:
    if row is None:
        return Failure(
            reason="looking into it ended its worker time after time: the file is damaged or no video, or the machine "
            "has too little memory. Run the same command again to retry"
        )
    if row["failure"]:
        return Failure.model_validate_json(row["failure"])
    probe: VideoProbe = pickle.loads(row["probe"])
    return probe


def _plan_video(job: Job, source: Source, probe: VideoProbe) -> VideoPlan:
    config = job.config
    picture = output_picture(probe, config.output_size, config.codec)
    if "compare" in config.variants:
        asked = "--scale" if config.size is None else "--size"
        require_encodable(
            compared_picture(picture, probe.rotation), f"leave out --compare, or choose a smaller {asked}"
        )
    return VideoPlan(
        shards=tuple(plan_shards(source, probe, Fraction(config.shard_seconds).limit_denominator(1000))),
        picture=picture,
        choice=choose_container(probe, source.relative_path, config.codec),
    )


def _claim_outputs(job: Job, plan: VideoPlan, owners: dict[str, str]) -> None:
    """Enter a video's results among the owned places.

    Raises:
        SourceError: another video's result, or a source, is at one of them.
    """
    places = [place(join(job.out, output_path(plan.choice, variant))) for variant in job.config.variants]
    for taken in places:
        if taken in owners:
            raise SourceError(f"its result {taken} would write over {owners[taken]}. Restore one of the two elsewhere")
    owners.update(dict.fromkeys(places, f"the result of {plan.source.url}"))
