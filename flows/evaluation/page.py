"""A page of before, after and original, the worst first, for a person to look at; and figures as files beside it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from pathlib import Path

import cv2
import numpy as np

from actors.geometry import Rect
from flows.evaluation.bench import Bench, Measurement, Row
from flows.evaluation.figures import Figures
from flows.evaluation.flicker import FlickerRow
from flows.evaluation.restorers import BICUBIC, EXPERT_F, EXPERT_T, LANCZOS, ROUTED
from flows.evaluation.samples import STRENGTHS, Image, Sample, make_sample
from flows.evaluation.subjects import Subject
from storage.errors import DestinationError
from storage.folders import open_folder

_TILES = "tiles"


@dataclass(frozen=True)
class Case:
    """One degraded face with everything that was measured on it.

    Attributes:
        face, source, width, strength: which it is.
        by_restorer: measurements by restorer.
        harm: of the judged restorer, see :func:`harm`.
    """

    face: str
    source: str
    width: int
    strength: str
    by_restorer: dict[str, Measurement]
    harm: float


def judged_restorer(names: Sequence[str]) -> str:
    """Whose results the page is about: the routed ones if they were measured, else an expert's, else the last."""
    own = [name for name in (EXPERT_F, EXPERT_T, ROUTED) if name in names]
    return own[-1] if own else names[-1]


def harm(found: Figures, bicubic: Figures | None) -> float:
    """How much worse than bicubic a result is; without bicubic, how far from the original. Larger is worse.

    The person counts first, then what is seen, then pixels: a loss of 0.1 in the cosine weighs as much as 0.1 in LPIPS
    or 2 dB.
    """
    if bicubic is None:
        return found.lpips - found.cosine
    return (bicubic.cosine - found.cosine) + (found.lpips - bicubic.lpips) + 0.05 * (bicubic.psnr - found.psnr)


def cases_of(measured: Sequence[Measurement], judged: str, most: int) -> list[Case]:
    """Degraded faces, the most harmed first: the worst half of ``most``, then an even spread of the others."""
    groups: dict[tuple[str, str, int, str], dict[str, Measurement]] = {}
    for m in measured:
        groups.setdefault((m.face, m.source, m.width, m.strength), {})[m.restorer] = m
    cases = []
    for (face, source, width, strength), found in groups.items():
        if judged in found:
            bicubic = found[BICUBIC].figures if BICUBIC in found and judged != BICUBIC else None
            cases.append(Case(face, source, width, strength, found, harm(found[judged].figures, bicubic)))
    cases.sort(key=lambda case: -case.harm)
    if len(cases) <= most:
        return cases
    worst, others = cases[: (most + 1) // 2], cases[(most + 1) // 2 :]
    wanted = most - len(worst)
    return worst + [others[int((number + 0.5) * len(others) / wanted)] for number in range(wanted)]


def write_page(
    folder: Path,
    cases: Sequence[Case],
    judged: str,
    bench: Bench,
    subjects: Sequence[Subject],
    *,
    seed: int,
) -> Path:
    """Write ``index.html`` and its tiles; returns the page's path.

    Raises:
        DestinationError: the folder cannot be written.
    """
    open_folder(folder / _TILES)
    by_name = {subject.name: subject for subject in subjects}
    sections = []
    for number, case in enumerate(cases, start=1):
        sample = make_sample(by_name[case.face], case.width, STRENGTHS[case.strength], seed=seed)
        assert sample is not None  # it was measured
        tiles = []
        for name, image in _tiles(sample, _shown_results(case, judged), bench):
            file = f"{_TILES}/{number:03d}-{name}.png"
            if not cv2.imwrite(str(folder / file), image[..., ::-1]):
                raise DestinationError(f"{folder / file}: cannot be written; is there room?")
            tiles.append(_figure(file, name, case.by_restorer.get(name)))
        sections.append(_section(number, case, judged, tiles))
    page = folder / "index.html"
    write_text(page, _PAGE.format(judged=escape(judged), count=len(cases), sections="\n".join(sections)))
    return page


def _shown_results(case: Case, judged: str) -> list[str]:
    """Restorers in the order of their pictures: bicubic first, the judged one last, beside the original.

    Lanczos looks like bicubic; and the expert that the router chose is shown once.
    """
    by = case.by_restorer[judged].by
    others = [name for name in case.by_restorer if name not in (BICUBIC, LANCZOS, judged, by)]
    return [*([BICUBIC] if BICUBIC in case.by_restorer and judged != BICUBIC else []), *others, judged]


def _tiles(sample: Sample, results: Sequence[str], bench: Bench) -> Iterator[tuple[str, Image]]:
    """The degraded crop as it is, enlarged by repetition; these results; the original; all of one size."""
    shown = _shown(sample)
    height, width = shown.height, shown.width
    degraded = cv2.resize(sample.crop_rgb, (width, height), interpolation=cv2.INTER_NEAREST)
    yield "degraded", np.asarray(degraded, np.uint8)
    for name in results:
        answer = bench.restorer(bench.who(name, sample)).restore([sample.crop_rgb], [sample.crop_landmarks])[0]
        yield name, sample.overlaid(answer.image)[shown.slices]
    yield "original", sample.truth[shown.slices]


def _shown(sample: Sample) -> Rect:
    """The crop in px of the truth."""
    across = sample.truth.shape[1] / sample.picture_lr.shape[1]
    down = sample.truth.shape[0] / sample.picture_lr.shape[0]
    crop = sample.crop
    return Rect(round(crop.x0 * across), round(crop.y0 * down), round(crop.x1 * across), round(crop.y1 * down))


def _figure(file: str, name: str, measurement: Measurement | None) -> str:
    told = escape(name)
    if measurement is not None:
        f = measurement.figures
        by = f" by {escape(measurement.by)}" if measurement.by != measurement.restorer else ""
        told = f"<b>{told}</b>{by}<br>{f.psnr:.2f} dB, LPIPS {f.lpips:.3f}, cosine {f.cosine:.3f}"
    picture = f'<a href="{escape(file)}"><img src="{escape(file)}" alt="{escape(name)}" loading="lazy"></a>'
    return f"<figure>{picture}<figcaption>{told}</figcaption></figure>"


def _section(number: int, case: Case, judged: str, tiles: Sequence[str]) -> str:
    title = f"{number}. {case.face}, {case.width} px, {case.strength}"
    f = case.by_restorer[judged].figures
    worth = {"harm": -case.harm, "psnr": f.psnr, "lpips": -f.lpips, "cosine": f.cosine}
    order = " ".join(f'data-{name}="{value:.4f}"' for name, value in worth.items())
    heading = f"<h2>{escape(title)} <small>{escape(case.source)}</small></h2>"
    return f"<section {order}>{heading}<div>{''.join(tiles)}</div></section>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>facemill eval</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 15px/1.4 sans-serif; margin: 1rem; background: #fafafa; color: #222 }}
section div {{ display: flex; gap: .5rem; overflow-x: auto }}
figure {{ margin: 0 }} img {{ height: 300px; display: block; background: #ddd }}
figcaption {{ font-size: 12px; max-width: 260px }} h2 {{ font-size: 1rem; margin: 1.2rem 0 .3rem }}
small {{ color: #777; font-weight: normal }} button {{ font: inherit; margin-right: .3rem }}
</style></head><body>
<h1>facemill eval: {count} degraded faces, what {judged} harms most first</h1>
<p>Harm is the loss against bicubic in cosine and LPIPS, and in PSNR at 20 dB to one. Order by
<button data-by="harm">harm</button><button data-by="psnr">PSNR</button><button data-by="lpips">LPIPS</button>
<button data-by="cosine">cosine</button>, worst first. The last picture of each row is the original.</p>
<main>
{sections}
</main>
<script>
for (const button of document.querySelectorAll("button")) button.onclick = () => {{
  const main = document.querySelector("main"), by = button.dataset.by;
  const rows = [...main.children].sort((a, b) => a.dataset[by] - b.dataset[by]);
  main.append(...rows);
}};
</script></body></html>
"""


def write_rows(folder: Path, name: str, rows: Sequence[Row] | Sequence[FlickerRow]) -> None:
    """Write rows as ``<name>.json`` and ``<name>.csv``.

    Raises:
        DestinationError: the folder cannot be written.
    """
    open_folder(folder)
    write_text(folder / f"{name}.json", rows_as_json(rows))
    if rows:
        lines = io.StringIO(newline="")
        table = csv.DictWriter(lines, [field.name for field in fields(rows[0])])
        table.writeheader()
        table.writerows(asdict(row) for row in rows)
        write_text(folder / f"{name}.csv", lines.getvalue())


def write_text(path: Path, content: str) -> None:
    """Write a text file as it is.

    Raises:
        DestinationError: it cannot be written.
    """
    try:
        path.write_text(content, encoding="utf-8", newline="")
    except OSError as error:
        raise DestinationError(f"{path}: cannot be written ({error.strerror}); give another --out") from error


def rows_as_json(rows: Sequence[Row] | Sequence[FlickerRow]) -> str:
    """A JSON list, one row a line."""
    return "[\n" + ",\n".join(json.dumps(asdict(row)) for row in rows) + "\n]\n"
