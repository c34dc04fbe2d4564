"""A step that takes a while is told of, and how far it has come."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from flows import steps
from flows.steps import step


def log() -> Console:
    return Console(file=io.StringIO(), width=40)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def wait_for(console: Console, words: str) -> None:
    until = time.monotonic() + 10
    while words not in printed(console):
        assert time.monotonic() < until, printed(console)
        time.sleep(0.005)


def test_it_is_a_line_in_a_log() -> None:
    console = log()
    with step(console, "starting Ray [here]"):
        assert printed(console) == "starting Ray [here]\n"
    assert printed(console) == "starting Ray [here]\n"


def test_a_log_is_not_silent_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "LINE_EVERY_SECONDS", 0.01)
    console = log()
    with step(console, "probing 500 videos: every packet is read once") as probing:
        wait_for(console, " so far\n")
        probing.reached(120, 500)
        wait_for(console, "read once; 120 of 500 done; 0:00:")


def test_one_that_is_soon_over_is_not_worth_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    console = log()
    with step(console, "looking for videos", at_once=False):
        pass
    assert printed(console) == ""
    monkeypatch.setattr(steps, "LINE_EVERY_SECONDS", 0.01)
    with step(console, "looking for videos", at_once=False):
        wait_for(console, "looking for videos; 0:00:")


def test_a_terminal_shows_how_far_it_has_come() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60)
    with step(console, "probing [all]") as probing:
        probing.reached(3, 7)
        wait_for(console, "probing [all]; 3 of 7 done")
