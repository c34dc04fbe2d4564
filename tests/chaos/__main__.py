"""`python -m tests.chaos --seed S --kills N [--store disk|s3] [--victims driver,actor,raylet]`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.disturbed import VICTIMS
from tests.chaos.trial import Plan, Report, Trial, told
from tests.conftest import running_s3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=sys.modules["tests.chaos"].__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--store", choices=("disk", "s3"), default="disk")
    parser.add_argument("--victims", default=",".join(VICTIMS), help="of driver, actor, raylet; commas between them")
    parser.add_argument("--frames", type=int, default=40, help="of each video")
    parser.add_argument("--experts", choices=("t", "f", "both"), default="both", help="that have a face to restore")
    parser.add_argument("--kills-a-job", type=int, default=8)
    parser.add_argument("--every", type=float, default=3.0, help="seconds of work between kills, on average")
    parser.add_argument("--json", type=Path, help="file that takes the figures")
    parser.add_argument("--keep", type=Path, help="folder for sources, results and logs, which then stay")
    given = parser.parse_args()
    given.victims = tuple(given.victims.split(","))
    if not set(given.victims) <= set(VICTIMS):
        parser.error(f"--victims: {','.join(given.victims)} is not made of {', '.join(VICTIMS)}")
    return given


def show(report: Report) -> None:
    """The figures for a person."""
    table = Table("job", "on", "killed", "runs", "in flight", "redone", "lost", "doubled", "pixels", "left", "seconds")
    for number, job in enumerate(report.jobs):
        cells = (number, job.ground, told(job.kills), job.runs, job.redone.in_flight, job.redone.redone, job.found.lost)
        more = (job.found.doubled, "equal" if job.found.same_pixels else "differ", len(job.found.left), job.seconds)
        table.add_row(*map(str, (*cells, *more)))
    console = Console(width=140)
    console.print(table)
    killed = f"{report.kills.total()} kills ({told(report.kills)})"
    console.print(f"seed {report.seed}, {report.store}: {killed} in {report.seconds:.0f} s")
    for promise in report.broken:
        console.print(f"BROKEN: {promise}", markup=False)


def main() -> int:
    given = arguments()
    plan = Plan(given.seed, given.kills, given.victims, given.frames, given.kills_a_job, given.every, given.experts)
    with ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="facemill-chaos-")))
        folder.mkdir(parents=True, exist_ok=True)
        if given.store == "s3":
            (folder / "seaweedfs").mkdir()
            s3 = stack.enter_context(running_s3(folder / "seaweedfs"))
            trial = Trial(plan, folder, bucket=s3.make_bucket(), endpoint=s3.endpoint)
        else:
            trial = Trial(plan, folder)
        report = trial.run(lambda line: print(line, file=sys.stderr, flush=True))
    show(report)
    if given.json:
        given.json.write_text(json.dumps(report.as_json(), indent=2, default=str))
    return bool(report.broken)


if __name__ == "__main__":
    sys.exit(main())
