from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from rich.console import Console

from actors.routing import RoutingBounds
from flows.evaluation.bench import Measurement, rows_of, samples_of
from flows.evaluation.figures import Figures
from flows.evaluation.page import cases_of, harm, judged_restorer, write_page, write_rows
from flows.evaluation.restorers import BICUBIC, EXPERT_F, EXPERT_T, LANCZOS, ROUTED
from flows.evaluation.subjects import Subject
from flows.evaluation.tables import overview, own_widths, print_tables
from storage.errors import DestinationError
from tests.flows.evaluation.conftest import BenchFixture


def measurement(face: str, restorer: str, cosine: float, psnr: float = 25.0) -> Measurement:
    return Measurement(restorer, restorer, face, "x", 64, "hard", 50.0, Figures(psnr, 0.7, 0.5, cosine, 0.1, 1.0))


def test_a_result_that_loses_the_person_is_worse_than_one_that_loses_pixels() -> None:
    bicubic = Figures(25, 0.7, 0.5, 0.8, 0.1, 1)
    other_person = Figures(26, 0.8, 0.4, 0.5, 0.1, 1)
    softer = Figures(24, 0.7, 0.5, 0.8, 0.1, 1)
    assert harm(other_person, bicubic) > harm(softer, bicubic) > 0 > harm(Figures(26, 0.8, 0.4, 0.9, 0.2, 1), bicubic)


def test_the_worst_come_first_and_the_rest_are_spread() -> None:
    measured = [m for n in range(20) for m in (measurement(f"{n}", BICUBIC, 0.8), measurement(f"{n}", ROUTED, n / 20))]
    cases = cases_of(measured, ROUTED, 8)
    assert [case.face for case in cases[:4]] == ["0", "1", "2", "3"]
    assert len({case.face for case in cases}) == 8
    assert int(cases[-1].face) >= 16
    assert [case.harm for case in cases] == sorted((case.harm for case in cases), reverse=True)


def test_the_page_is_about_what_the_product_does() -> None:
    assert judged_restorer([BICUBIC, LANCZOS, EXPERT_T, ROUTED]) == ROUTED
    assert judged_restorer([BICUBIC, EXPERT_T, LANCZOS, "spanx4"]) == EXPERT_T
    assert judged_restorer([BICUBIC, EXPERT_F, EXPERT_T]) == EXPERT_T
    assert judged_restorer([BICUBIC]) == BICUBIC


def test_the_page_shows_every_tile_that_it_names(subjects: list[Subject], made: BenchFixture, tmp_path: Path) -> None:
    samples = samples_of(subjects, 64, "hard", seed=0)
    measured = [m for name in (BICUBIC, ROUTED) for m in made.bench.measure(name, samples)]
    page = write_page(tmp_path, cases_of(measured, ROUTED, 2), ROUTED, made.bench, subjects, seed=0)
    text = page.read_text()
    names = [part.split('"')[0] for part in text.split('src="')[1:]]
    assert len(names) == 2 * 4  # degraded, bicubic, routed, original
    tiles = [cv2.imread(str(tmp_path / name)) for name in names]
    assert len({tile.shape for tile in tiles[:4]}) == 1
    assert "by expert_t" in text
    assert "http" not in text
    assert names[3].endswith("original.png")
    assert float(cv2.absdiff(tiles[1], tiles[3]).mean()) > 1


def test_rows_are_written_as_json_and_csv(subjects: list[Subject], made: BenchFixture, tmp_path: Path) -> None:
    rows = rows_of(made.bench.measure(BICUBIC, samples_of(subjects, 64, "clean", seed=0)))
    write_rows(tmp_path / "new", "rows", rows)
    found = json.loads((tmp_path / "new" / "rows.json").read_text())
    assert list(found[0]) == "restorer width strength source n psnr ssim lpips cosine sharpness ms".split()
    assert len((tmp_path / "new" / "rows.csv").read_text().splitlines()) == 1 + len(rows)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(DestinationError, match="taken"):
        write_rows(tmp_path / "taken", "rows", [])


def test_tables_compare_with_bicubic_on_the_same_faces() -> None:
    measured = [measurement("a", BICUBIC, 0.8, 25.0), measurement("b", BICUBIC, 0.8, 35.0)]
    measured += [measurement("b", EXPERT_T, 0.9, 36.5)]
    bounds = RoutingBounds(q_low=100)
    console = Console(width=150, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(overview(measured, bounds))
    print_tables(measured, [], bounds, console)
    assert "36.50 (+1.50)" in console.export_text()


def test_own_widths_are_those_that_the_router_sends() -> None:
    bounds = RoutingBounds(q_low=100)
    widths = (40, 50, 99, 100, 149, 150)
    assert [w for w in widths if own_widths(EXPERT_T, bounds)(w)] == [50, 99, 100, 149]
    assert [w for w in widths if own_widths(EXPERT_F, bounds)(w)] == [100, 149]
    assert [w for w in widths if own_widths("spanx4", bounds)(w)] == list(widths)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.json").mkdir()
    with pytest.raises(DestinationError, match=r"rows\.json: cannot be written"):
        write_rows(tmp_path, "rows", [])
