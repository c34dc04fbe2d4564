from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from actors.experts.expert import enlarge
from actors.routing import RoutingBounds
from flows.evaluation.bench import TIMED, Bench, rows_of, samples_of
from flows.evaluation.figures import Meter
from flows.evaluation.remembered import FigureStore
from flows.evaluation.restorers import BICUBIC, EXPERT_F, EXPERT_T, LANCZOS, ROUTED, route
from flows.evaluation.subjects import Subject
from storage.errors import DestinationError
from tests.flows.evaluation.conftest import BenchFixture


def test_the_truth_itself_is_perfect_and_damage_shows_in_every_figure(subjects: list[Subject], meter: Meter) -> None:
    (sample,) = samples_of(subjects[1:2], 64, "clean", seed=0)  # wide enough for a true x4 pair
    crop = sample.crop
    truth = sample.truth[4 * crop.y0 : 4 * crop.y1, 4 * crop.x0 : 4 * crop.x1]
    perfect = meter.measure(sample, np.ascontiguousarray(truth), 1.0)
    assert perfect.psnr == 99
    assert perfect.ssim == pytest.approx(1)
    assert perfect.lpips == pytest.approx(0, abs=1e-6)
    assert perfect.cosine == pytest.approx(1, abs=1e-3)
    assert perfect.sharpness == pytest.approx(1)
    bicubic = meter.measure(sample, enlarge(sample.crop_rgb, cv2.INTER_CUBIC), 1.0)
    assert bicubic.psnr < 60
    assert bicubic.ssim < perfect.ssim
    assert bicubic.lpips > 1e-4
    assert bicubic.cosine < perfect.cosine
    assert bicubic.sharpness < 0.9


def test_rows_are_the_same_for_the_same_seed(subjects: list[Subject], made: BenchFixture) -> None:
    def rows(seed: int) -> list[dict[str, object]]:
        samples = samples_of(subjects[1:2], 64, "hard", seed=seed)
        found = rows_of([m for name in (BICUBIC, EXPERT_T) for m in made.bench.measure(name, samples)])
        return [{key: value for key, value in asdict(row).items() if key != "ms"} for row in found]

    made.bench._remembered.get = lambda key: None  # type: ignore[method-assign]
    assert rows(0) == rows(0)
    assert rows(0) != rows(1)


def test_figures_are_remembered_by_content(subjects: list[Subject], made: BenchFixture) -> None:
    samples = samples_of(subjects, 64, "medium", seed=0)
    first = made.bench.measure(EXPERT_T, samples)
    assert made.experts[EXPERT_T].restored == len(samples)
    assert made.bench.measure(EXPERT_T, samples) == first
    assert made.experts[EXPERT_T].restored == len(samples)
    made.experts[EXPERT_T].identity = "other weights"
    made.bench.measure(EXPERT_T, samples)
    assert made.experts[EXPERT_T].restored == 2 * len(samples)


def test_times_of_other_devices_or_threads_are_taken_anew_and_figures_are_not(
    subjects: list[Subject], made: BenchFixture, meter: Meter, tmp_path: Path
) -> None:
    def bench(setting: str) -> Bench:
        return Bench(made._load, meter, RoutingBounds(), FigureStore(tmp_path / "cache", setting))

    samples = [*samples_of(subjects, 64, "medium", seed=0), *samples_of(subjects, 64, "hard", seed=0)]
    first = bench("cpu, 1 threads").measure(EXPERT_T, samples)
    again = bench("cpu, 8 threads").measure(EXPERT_T, samples)
    assert made.experts[EXPERT_T].restored == len(samples) + TIMED
    assert [replace(m.figures, ms=None) for m in again] == [replace(m.figures, ms=None) for m in first]
    assert [m.figures.ms is None for m in again] == [False] * TIMED + [True] * (len(samples) - TIMED)
    assert rows_of(again)[0].ms is not None
    assert bench("cpu, 1 threads").measure(EXPERT_T, samples) == first
    assert made.experts[EXPERT_T].restored == len(samples) + TIMED


def test_a_store_that_fails_later_is_refused_with_its_place(tmp_path: Path) -> None:
    store = FigureStore(tmp_path)
    store.put("a", 1)
    store._rows.execute("DROP TABLE figures")
    for use in (lambda: store.get("a"), lambda: store.put("a", 2)):
        with pytest.raises(DestinationError, match=r"figures\.sqlite: cannot be used"):
            use()


def test_rows_are_per_source_after_one_over_all(subjects: list[Subject], made: BenchFixture) -> None:
    samples = samples_of(subjects, 64, "clean", seed=0)
    rows = rows_of(made.bench.measure(LANCZOS, samples))
    assert [(row.source, row.n) for row in rows] == [("all", 3), ("street", 1), ("studio", 2)]
    overall, street, studio = rows
    assert overall.psnr == pytest.approx((street.psnr + 2 * studio.psnr) / 3, abs=0.01)


def test_narrow_portraits_are_missing_in_n(subjects: list[Subject], made: BenchFixture) -> None:
    rows = rows_of(made.bench.measure(BICUBIC, samples_of(subjects, 150, "clean", seed=0)))
    assert rows[0].n == 2  # 180 px is less than 1.5 times 150


@pytest.mark.parametrize(
    ("width", "strength", "expected"),
    [
        (40, "clean", BICUBIC),
        (50, "clean", EXPERT_T),
        (80, "clean", EXPERT_T),
        (100, "clean", EXPERT_F),
        (100, "hard", EXPERT_T),
        (150, "clean", BICUBIC),
    ],
)
def test_the_router_chooses_as_in_the_product(
    subjects: list[Subject], made: BenchFixture, width: int, strength: str, expected: str
) -> None:
    sample = samples_of(subjects[1:2], width, strength, seed=0)[0]
    assert route(sample, RoutingBounds(q_low=100)) == expected
    (measurement,) = made.bench.measure(ROUTED, [sample])
    assert measurement.by == expected
    assert measurement.restorer == ROUTED
    assert measurement.figures == made.bench.measure(expected, [sample])[0].figures


def test_a_store_that_is_damaged_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "figures.sqlite").write_bytes(b"no database " * 100)
    with pytest.raises(DestinationError, match=r"figures\.sqlite: cannot be used"):
        FigureStore(tmp_path)
