"""Requests to storage, several at a time: it is waited for more than the processor is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_AT_A_TIME = 16


def answer_each(ask: Callable[[Item], Answer], items: Iterable[Item]) -> list[Answer]:
    """The answer for each item, in their order; the first error among them is raised when all are done."""
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return list(pool.map(ask, items))
