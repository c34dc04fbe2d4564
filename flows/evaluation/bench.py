"""Runs restorers over samples, and adds their figures up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from actors.routing import RoutingBounds
from flows.evaluation.figures import NAMES, Figures, Meter
from flows.evaluation.remembered import FigureStore
from flows.evaluation.restorers import ROUTED, Restorer, route
from flows.evaluation.samples import STRENGTHS, Sample, make_sample
from flows.evaluation.subjects import Subject

ALL_SOURCES = "all"

TIMED = 3
"""Crops that are restored again where only times are missing."""


@dataclass(frozen=True)
class Measurement:
    """Figures of one restorer on one sample.

    Attributes:
        restorer: its name.
        by: the restorer that did the work: another one for "routed" only.
        face: name of the portrait.
        source, width, strength: as in the sample.
        sharpness_lr: q of the degraded face.
        figures: of the result.
    """

    restorer: str
    by: str
    face: str
    source: str
    width: int
    strength: str
    sharpness_lr: float
    figures: Figures


class Bench:
    """The restorers that are compared, and what is known of them so far."""

    def __init__(
        self,
        load: Callable[[str], Restorer],
        meter: Meter,
        bounds: RoutingBounds,
        remembered: FigureStore,
    ) -> None:
        """Args:
        load: makes a restorer by name, when it is first needed.
        bounds: of the router.
        """
        self._load, self._meter, self._bounds, self._remembered = load, meter, bounds, remembered
        self._restorers: dict[str, Restorer] = {}

    def restorer(self, name: str) -> Restorer:
        """A restorer by name."""
        if name not in self._restorers:
            self._restorers[name] = self._load(name)
        return self._restorers[name]

    def who(self, name: str, sample: Sample) -> str:
        """The restorer that works on a sample under a name: the router's choice for "routed"."""
        return route(sample, self._bounds) if name == ROUTED else name

    def measure(self, name: str, samples: Sequence[Sample]) -> list[Measurement]:
        """Figures of a restorer, or of the router's choices, on samples."""
        by = [self.who(name, sample) for sample in samples]
        figures: dict[int, Figures] = {}
        for worker in sorted(set(by)):
            places = [place for place, who in enumerate(by) if who == worker]
            found = self._figures(worker, [samples[place] for place in places])
            figures.update(zip(places, found, strict=True))
        return [
            Measurement(name, by[place], s.name, s.source, s.width, s.strength, s.sharpness, figures[place])
            for place, s in enumerate(samples)
        ]

    def _figures(self, name: str, samples: Sequence[Sample]) -> list[Figures]:
        restorer = self.restorer(name)
        found = [self._remembered.figures(sample, restorer) for sample in samples]
        self._take_times(restorer, samples, found)
        unknown = [place for place, figures in enumerate(found) if figures is None]
        restored = restorer.restore(
            [samples[place].crop_rgb for place in unknown], [samples[place].crop_landmarks for place in unknown]
        )
        for place, answer in zip(unknown, restored, strict=True):
            figures = self._meter.measure(samples[place], answer.image, answer.ms)
            self._remembered.remember(samples[place], restorer, figures)
            found[place] = figures
        return [figures for figures in found if figures is not None]

    def _take_times(self, restorer: Restorer, samples: Sequence[Sample], found: list[Figures | None]) -> None:
        """Where figures are remembered and no time of this device and threads is, take a few."""
        known = [(place, figures) for place, figures in enumerate(found) if figures is not None]
        if not known or len(known) < len(found) or any(figures.ms is not None for _, figures in known):
            return
        few = known[:TIMED]
        restored = restorer.restore(
            [samples[place].crop_rgb for place, _ in few], [samples[place].crop_landmarks for place, _ in few]
        )
        for (place, figures), answer in zip(few, restored, strict=True):
            timed = replace(figures, ms=answer.ms)
            found[place] = timed
            if answer.ms is not None:
                self._remembered.remember(samples[place], restorer, timed)


def samples_of(subjects: Iterable[Subject], width: int, strength: str, *, seed: int) -> list[Sample]:
    """Every subject that is wide enough, degraded."""
    made = (make_sample(subject, width, STRENGTHS[strength], seed=seed) for subject in subjects)
    return [sample for sample in made if sample is not None]


@dataclass(frozen=True)
class Row:
    """Mean figures of one restorer at one width and strength over one source, or over all.

    Attributes:
        restorer: its name.
        width: of the degraded face, px.
        strength: name of the degradation.
        source: of the faces, "all" for every one.
        n: faces.
        psnr, ssim, lpips, cosine, sharpness, ms: see :class:`flows.evaluation.figures.Figures`.
    """

    restorer: str
    width: int
    strength: str
    source: str
    n: int
    psnr: float
    ssim: float
    lpips: float
    cosine: float
    sharpness: float
    ms: float | None


def rows_of(measurements: Sequence[Measurement]) -> list[Row]:
    """One row for each restorer, width, strength and source, and one over all sources before these.

    In the order in which restorers, widths and strengths were measured.
    """
    groups: dict[tuple[str, int, str], dict[str, list[Figures]]] = {}
    for m in measurements:
        group = groups.setdefault((m.restorer, m.width, m.strength), {ALL_SOURCES: []})
        group[ALL_SOURCES].append(m.figures)
        group.setdefault(m.source, []).append(m.figures)
    return [
        Row(restorer, width, strength, source, len(figures), **rounded(mean(figures)), ms=mean_ms(figures))
        for (restorer, width, strength), sources in groups.items()
        for source, figures in sorted(sources.items(), key=lambda item: (item[0] != ALL_SOURCES, item[0]))
    ]


def mean(figures: Sequence[Figures]) -> dict[str, float]:
    """Mean of each figure but the time, by its name."""
    return {name: sum(getattr(f, name) for f in figures) / len(figures) for name in NAMES}


def mean_ms(figures: Sequence[Figures]) -> float | None:
    """Mean time of those that have one, to 0.001 ms; None where none has."""
    times = [f.ms for f in figures if f.ms is not None]
    return round(sum(times) / len(times), 3) if times else None


def rounded(figures: dict[str, float]) -> dict[str, float]:
    """To digits that mean something: 0.001 dB, 0.0001 of what lies between 0 and 1."""
    return {name: round(value, 3 if name == "psnr" else 4) for name, value in figures.items()}
