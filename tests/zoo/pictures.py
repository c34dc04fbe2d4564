"""Pictures: specimens that are special in their pixels, sizes, colours."""

from __future__ import annotations

from tests.zoo.specimen import Specimen

SPECIMENS: tuple[Specimen, ...] = ()
