"""The docs tell of the zoo what the zoo is."""

from pathlib import Path

from tests.zoo import ALL
from tests.zoo.table import table

MEDIA = Path(__file__).parents[2] / "docs" / "media.md"


def test_the_docs_have_the_table_of_the_zoo() -> None:
    assert table() in MEDIA.read_text(), "docs/media.md is behind: python -m tests.zoo.table prints what it must have"


def test_there_are_at_least_sixty_specimens_of_every_kind_of_trouble() -> None:
    assert len(ALL) >= 60
    assert {each.kind for each in ALL} == {"container", "timing", "picture", "streams", "damage"}
