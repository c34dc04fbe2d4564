"""Verdicts of `facemill verify`, told: a table on a terminal, or JSON. docs/verification.md describes both."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from storage.checks import Check, State
from storage.words import counted, printable

Outcome = Literal["equal", "allowed", "differs", "no result"]

_JSON_FORMAT = 1
_STYLES: dict[State | Outcome, str] = {
    "equal": "green",
    "allowed": "yellow",
    "loss": "red",
    "fault": "red bold",
    "differs": "red bold",
    "no result": "red",
}


@dataclass(frozen=True)
class Verdict:
    """All that came out of the comparison of one result with its source."""

    video: str
    """Path of the source relative to SRC."""
    source: str
    result: str
    checks: tuple[Check, ...]
    """Empty when there is no result to check."""
    notes: tuple[str, ...]
    """How it was compared, and what else a person should know."""

    @property
    def outcome(self) -> Outcome:
        if not self.checks:
            return "no result"
        if not all(check.passed for check in self.checks):
            return "differs"
        return "allowed" if any(check.state == "allowed" for check in self.checks) else "equal"

    @property
    def counts(self) -> str:
        """How many checks ended how, such as `20 equal, 1 allowed`."""
        states: tuple[State, ...] = ("equal", "allowed", "loss", "fault")
        found = Counter(check.state for check in self.checks)
        return ", ".join(f"{found[state]} {state}" for state in states if found[state]) or "none"

    @property
    def passed(self) -> bool:
        return self.outcome in ("equal", "allowed")


def as_json(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as one JSON document."""
    videos = [
        {
            "video": verdict.video,
            "source": verdict.source,
            "result": verdict.result,
            "outcome": verdict.outcome,
            "notes": verdict.notes,
            "checks": [asdict(check) for check in verdict.checks],
        }
        for verdict in verdicts
    ]
    passed = all(verdict.passed for verdict in verdicts)
    return json.dumps({"format": _JSON_FORMAT, "passed": passed, "videos": videos}, indent=2, ensure_ascii=False)


def print_verdicts(verdicts: Sequence[Verdict], console: Console) -> None:
    """One video's checks as a table; of many, a line each, and the checks of those that differ."""
    if len(verdicts) == 1:
        _print_checks(verdicts[0], console)
        return
    for verdict in verdicts:
        if verdict.outcome == "differs":
            _print_checks(verdict, console)
    table = Table(box=None, pad_edge=False)
    for header in ("video", "outcome", "checks", "notes"):
        table.add_column(header, overflow="fold")
    for verdict in verdicts:
        table.add_row(_text(verdict.video), _coloured(verdict.outcome), verdict.counts, _text("; ".join(verdict.notes)))
    console.print(table)
    _print_allowed(verdicts, console)
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    told = f"{outcomes['equal']} of {len(verdicts)} results hold everything of their sources"
    if outcomes["allowed"]:
        told += f", {outcomes['allowed']} more all but what is allowed"
    if outcomes["differs"]:
        told += f"; {counted(outcomes['differs'], 'differs', 'differ')}"
    if outcomes["no result"]:
        told += f"; of {counted(outcomes['no result'], 'source')} there is no result"
    console.print(told, highlight=False)


def _print_allowed(verdicts: Sequence[Verdict], console: Console) -> None:
    """What differs and may, each once with the videos that it is true of: in an archive it is the same of many."""
    videos: dict[str, list[str]] = {}
    for verdict in verdicts:
        for check in verdict.checks:
            if check.state == "allowed" and verdict.outcome == "allowed":
                videos.setdefault(str(check), []).append(verdict.video)
    for told, of in videos.items():
        more = f" and {len(of) - 1} more" if len(of) > 1 else ""
        console.print(_text(f"allowed: {told}: {of[0]}{more}"))


def _print_checks(verdict: Verdict, console: Console) -> None:
    console.print(_text(f"{verdict.source} -> {verdict.result}"))
    table = Table(box=None, pad_edge=False)
    for header in ("subject", "check", "", "what was found"):
        table.add_column(header, overflow="fold")
    for check in verdict.checks:
        table.add_row(_text(check.subject), _text(check.what), _coloured(check.state), _text(check.told))
    console.print(table)
    for note in verdict.notes:
        console.print(_text(f"note: {note}"))
    console.print(
        Text.assemble("verdict: ", _coloured(verdict.outcome), f" ({verdict.counts})" if verdict.checks else "")
    )


def _text(told: str) -> Text:
    """Names are no markup, and do not steer the terminal."""
    return Text(printable(told))


def _coloured(state: State | Outcome) -> Text:
    return Text(state, style=_STYLES[state])
