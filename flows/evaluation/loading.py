"""What every kind of evaluation begins with: threads, restorers by name, where figures are kept, where tables go."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import torch
from rich.console import Console

from flows.evaluation.peers import PEERS, load_peer
from flows.evaluation.remembered import RememberingRestorer
from flows.evaluation.restorers import BICUBIC, EXPERT_F, EXPERT_T, LANCZOS, Enlargement, ExpertChoice, Restorer
from weights import user_cache

_NARROWEST_PRINT = 150
"""Columns that tables get where there is no terminal."""


def use_threads(wanted: int | None) -> int:
    """Compute with so many threads, or with half of the cores'; returns how many."""
    threads = wanted or max(1, (os.cpu_count() or 2) // 2)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    return threads


def load_restorer(name: str, experts: ExpertChoice, cache: Path, threads: int) -> Restorer:
    """A restorer by its name.

    Args:
        cache: folder in which slow ones keep what they have restored.
    """
    if name in (EXPERT_T, EXPERT_F):
        return experts.load(name)
    if name in PEERS:
        return RememberingRestorer(load_peer(name, threads=threads), cache / name, f"{threads} threads")
    return Enlargement(name, {BICUBIC: cv2.INTER_CUBIC, LANCZOS: cv2.INTER_LANCZOS4}[name])


def default_cache() -> Path:
    """Where figures are remembered unless told otherwise."""
    return user_cache() / "eval"


def tables_console() -> Console:
    """Standard output; wide enough for a table where it is no terminal."""
    console = Console(markup=False, highlight=False)
    return console if console.is_terminal else Console(markup=False, highlight=False, width=_NARROWEST_PRINT)
