"""Streams: specimens that are special in their sound, subtitles, chapters, attachments, tags."""

from __future__ import annotations

from tests.zoo.specimen import Specimen

SPECIMENS: tuple[Specimen, ...] = ()
