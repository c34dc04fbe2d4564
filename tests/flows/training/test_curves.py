from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from flows.training.curves import curves_chart, read_curve
from flows.training.portraits import DataError

HEAD = (
    "step,seconds,loss,condition,faces,expert_psnr,bicubic_psnr,expert_lpips,bicubic_lpips,expert_cosine,bicubic_cosine"
)
ROWS = ("100,1,0.1,clean,2,31.0,30.0,0.2,0.3,0.99,0.98", "200,2,0.1,clean,2,32.0,30.0,0.1,0.3,0.97,0.98")
SVG = "{http://www.w3.org/2000/svg}"


def written(folder: Path, *rows: str) -> Path:
    path = folder / "expert_t_natural.curve.csv"
    path.write_text("\n".join((HEAD, *rows)) + "\n")
    return path


def test_up_is_better_than_bicubic_whatever_the_figure(tmp_path: Path) -> None:
    curve = read_curve(written(tmp_path, *ROWS))
    assert curve.name == "expert_t_natural"
    gains = {figure: [(step, round(gain, 3)) for step, gain in lines["clean"]] for figure, lines in curve.gains.items()}
    assert gains == {
        "psnr": [(100, 1.0), (200, 2.0)],
        "lpips": [(100, 0.1), (200, 0.2)],
        "cosine": [(100, 0.01), (200, -0.01)],
    }


def test_the_chart_has_a_line_a_condition_and_says_what_was_not_measured(tmp_path: Path) -> None:
    unmeasured = "100,1,0.1,hard,2,31.0,30.0,,,,"
    picture = ElementTree.fromstring(curves_chart([read_curve(written(tmp_path, *ROWS, unmeasured))]))
    assert len(list(picture.iter(f"{SVG}polyline"))) == 4
    only_pixels = curves_chart([read_curve(written(tmp_path, unmeasured))])
    assert only_pixels.count("not measured in this stage") == 2


@pytest.mark.parametrize("content", ["step\n1\n", "step,expert_psnr,bicubic_psnr\nx,1,1\n"])
def test_another_table_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(content)
    with pytest.raises(DataError, match="is not a training's curve"):
        read_curve(path)
