"""Damage: specimens that are cut, corrupt, empty, or not what they are called."""

from __future__ import annotations

from pathlib import Path

from tests.zoo.specimen import Specimen

SPECIMENS: tuple[Specimen, ...] = (
    Specimen("empty.mp4", "damage", "A file of zero bytes", Path.touch, "refused", "the file is empty (0 bytes)"),
)
