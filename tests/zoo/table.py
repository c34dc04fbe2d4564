"""The table of specimens as it stands in `docs/media.md`. `python -m tests.zoo.table` prints it."""

from __future__ import annotations

from tests.zoo import ALL
from tests.zoo.specimen import Specimen

_HEADINGS = {
    "container": "Containers and codecs",
    "timing": "Timing",
    "picture": "Pictures",
    "streams": "Other streams",
    "damage": "Damage",
}


def table() -> str:
    """Markdown: for every kind a heading and a table, a row a specimen."""
    parts = []
    for kind, heading in _HEADINGS.items():
        rows = [_row(each) for each in ALL if each.kind == kind]
        parts.append("\n".join([f"### {heading}", "", "| file | what is special | result |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _row(specimen: Specimen) -> str:
    return f"| `{specimen.name}` | {specimen.what} | {_result(specimen)} |"


def _result(specimen: Specimen) -> str:
    if specimen.outcome == "refused":
        return f"refused: {specimen.note}"
    if specimen.outcome == "damaged":
        return f'what is there; the manifest says "{specimen.note}"'
    lost = [f"{name}: {words}" if words else name for name, words in specimen.lost.items()]
    exact = "exact, moved" if specimen.moved else "exact"
    return exact + (f", but for what no result holds ({'; '.join(lost)})" if lost else "")


if __name__ == "__main__":
    print(table(), end="")
