"""The model card that a training leaves beside its state: what its weights are, what made them, how good they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.training.checkpoint import write_text
from flows.training.portraits import Portrait
from flows.training.validation import FIGURES, Score
from storage.words import counted


@dataclass(frozen=True)
class CardFacts:
    """What a card states.

    Attributes:
        title: the weights' name.
        network: class of the network.
        parameters: how many it has.
        stage: "pixels", "faithful" or "natural".
        options: what the training was told, by option.
        step, seconds: how long it has learned: optimizer steps, and seconds spent in them.
        portraits, held_out: what it learned from and what it was validated on.
        width: of the degraded validation faces, px.
        scores: the last validation.
    """

    title: str
    network: str
    parameters: int
    stage: str
    options: Mapping[str, object]
    step: int
    seconds: float
    portraits: Sequence[Portrait]
    held_out: Sequence[Portrait]
    width: int
    scores: Sequence[Score]


def model_card(facts: CardFacts) -> str:
    """The card as Markdown."""
    paragraphs = [
        f"# {facts.title}",
        f"{facts.network}, {facts.parameters:,} parameters, x4, {facts.stage} stage. "
        f"{facts.step:,} optimizer steps, {counted(round(facts.seconds / 60), 'minute')} in them.",
        "## Options",
        _table(("option", "value"), sorted((name, str(value)) for name, value in facts.options.items())),
        "## Data",
        "Faces learned from and, of other people, validated on. The licences are the collections' own.",
        _table(("source", "kind", "learned from", "validated on"), _sources(facts.portraits, facts.held_out)),
        "## Figures",
        f"Of the {_faces(facts.scores)} widest validation faces, reduced by area to {facts.width} px and degraded; "
        "inside the face box, this expert and (in brackets) bicubic. LPIPS (AlexNet) is better when lower; the cosine "
        "is SFace's, to the original. Empty where the stage asks no networks for it. `facemill eval` measures more.",
        _table(("condition", *FIGURES), [_row(score) for score in facts.scores]),
        "## Licence",
        "The weights that come with facemill are under the Apache License 2.0, as facemill is. Weights trained from "
        "another folder carry what the licences of its pictures ask; the table above names its collections.",
        "## Limits",
        "Whoever is rare in the table above (by age, skin, light) is restored from the others' looks. Detail that "
        "the degradation destroyed is an estimate, more so in the natural stage: a result is not evidence of what a "
        "face looked like. The figures above are means; these are not counted apart, so look at them yourself:",
        "- Glasses: thin rims may break or fade, and reflections become eye or skin.\n"
        "- Beards: where a small face holds no hairs any more, they are smoothed, or drawn as a pattern.\n"
        "- Profiles: most portraits are frontal; the farther a face is turned, the fewer like it were learned from.\n"
        "- Occluded faces: hands, masks, hair and microphones before a face may take on its texture at their edges.",
    ]
    return "\n\n".join(paragraphs) + "\n"


def write_card(facts: CardFacts, path: Path) -> Path:
    """Write the card whole or not at all; returns its path."""
    write_text(model_card(facts), path)
    return path


def _sources(portraits: Sequence[Portrait], held_out: Sequence[Portrait]) -> list[tuple[str, ...]]:
    def count(listed: Sequence[Portrait]) -> Counter[tuple[str, bool]]:
        return Counter((portrait.source, portrait.synthetic) for portrait in listed)

    learned, validated = count(portraits), count(held_out)
    rows: list[tuple[str, ...]] = []
    for source, synthetic in sorted(set(learned) | set(validated)):
        key = (source, synthetic)
        rows.append((source, "synthetic" if synthetic else "real", str(learned[key]), str(validated[key])))
    return rows


def _faces(scores: Sequence[Score]) -> int:
    return max((score.faces for score in scores), default=0)


def _row(score: Score) -> tuple[str, ...]:
    cells = [score.condition]
    for figure in FIGURES:
        digits = 2 if figure == "psnr" else 3
        missing = score.expert[figure] != score.expert[figure]
        cells.append("" if missing else f"{score.expert[figure]:.{digits}f} ({score.bicubic[figure]:.{digits}f})")
    return tuple(cells)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
