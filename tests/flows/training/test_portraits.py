from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from flows.training.portraits import (
    MARGIN,
    DataError,
    FaceCache,
    Portrait,
    draw_weights,
    read_face,
    read_portraits,
)


def test_splits_are_kept_apart(portraits_folder: Path) -> None:
    names = [{p.path.name for p in read_portraits(portraits_folder, split)} for split in ("train", "val")]
    assert names[0] == {"a.png", "b.png", "c.png"}
    assert names[1] == {"d.png"}


def test_a_folder_without_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"faces\.csv: not found"):
        read_portraits(tmp_path, "train")


def test_a_table_without_boxes_is_refused(portraits_folder: Path) -> None:
    (portraits_folder / "faces.csv").write_text("split,file,source,kind\ntrain,a.png,studio,real\n")
    with pytest.raises(DataError, match="no column box"):
        read_portraits(portraits_folder, "train")


def test_a_table_whose_images_are_gone_is_refused(portraits_folder: Path) -> None:
    (portraits_folder / "val" / "d.png").unlink()
    with pytest.raises(DataError, match="1 rows of split 'val', none with an image"):
        read_portraits(portraits_folder, "val")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('train,a.png,studio,real,"[1, 2, 3]",', "box '\\[1, 2, 3\\]' are not 4 finite numbers"),
        ('train,a.png,studio,real,"[1, 2, NaN, 9]",', "finite numbers"),
        ("train,a.png,studio,real,a face,", "box 'a face' are not numbers"),
        ('train,a.png,studio,real,"[5, 5, 5, 9]",', "is empty"),
        ('train,a.png,studio,real,"[1, 2, 8, 9]","[[1, 2], [3, 4]]"', "landmarks .* are not 5 x 2 finite numbers"),
        ('train,a.png,studio,real,"[1, 2, 8, 9]","{}"', "landmarks .* are not"),
        ('train,/etc/a.png,studio,real,"[1, 2, 8, 9]",', "file '/etc/a.png' is not a name in the folder"),
        ('train,../val/d.png,studio,real,"[1, 2, 8, 9]",', "file '../val/d.png' is not a name in the folder"),
        ("train,a.png", "it ends before its source"),
    ],
)
def test_a_row_that_cannot_be_understood_is_named_and_left_out(portraits_folder: Path, row: str, reason: str) -> None:
    table = portraits_folder / "faces.csv"
    good = 'train,b.png,studio,real,"[1, 2, 8, 9]","[[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]"'
    table.write_text(f"split,file,source,kind,box,landmarks\n{row}\n{good}\n")
    told: list[str] = []
    (portrait,) = read_portraits(portraits_folder, "train", told.append)
    assert portrait.path.name == "b.png"
    assert portrait.landmarks_xy == ((1, 2), (3, 4), (5, 6), (7, 8), (9, 10))
    (line,) = told
    assert re.search(rf"faces\.csv line 2: .*{reason}", line)


def test_rows_without_images_are_counted_in_one_line(portraits_folder: Path) -> None:
    for name in ("a.png", "b.png"):
        (portraits_folder / "train" / name).unlink()
    told: list[str] = []
    assert [p.path.name for p in read_portraits(portraits_folder, "train", told.append)] == ["c.png"]
    assert told == ["left out: 2 of 3 faces of train have no image file"]


def test_a_table_that_is_not_text_is_refused(portraits_folder: Path) -> None:
    (portraits_folder / "faces.csv").write_bytes(b"split,file,source,box\ntrain,\xff.png,x,y\n")
    with pytest.raises(DataError, match="not a table in UTF-8"):
        read_portraits(portraits_folder, "train")


def test_the_cache_leaves_out_what_cannot_be_decoded(portraits_folder: Path, tmp_path: Path) -> None:
    (portraits_folder / "train" / "a.png").write_bytes(b"not an image")
    portraits = read_portraits(portraits_folder, "train")
    outside = Portrait(portraits[1].path, "studio", False, (9000, 9000, 9100, 9100))
    told: list[str] = []
    for _ in range(2):
        cache = FaceCache([*portraits, outside], tmp_path / "cache", told.append)
        assert cache.portraits == portraits[1:]
        np.testing.assert_array_equal(cache[0].pixels_rgb, read_face(portraits[1]).pixels_rgb)
    assert len(told) == 2
    assert "a.png" in told[0]
    assert "lies outside" in told[1]
    with pytest.raises(DataError, match="none of 1 images"):
        FaceCache(portraits[:1], tmp_path / "cache")


def test_an_unreadable_image_is_named(portraits_folder: Path) -> None:
    (portraits_folder / "train" / "a.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"a\.png"):
        read_face(read_portraits(portraits_folder, "train")[0])


def test_a_large_source_counts_less_a_face_and_a_generated_one_more() -> None:
    def portrait(source: str, synthetic: bool = False) -> Portrait:
        return Portrait(Path("x"), source, synthetic, (0, 0, 1, 1))

    crowd = [portrait("large")] * 4 + [portrait("small"), portrait("generated", synthetic=True)]
    weights = draw_weights(crowd)
    np.testing.assert_allclose(weights, np.array([0.5, 0.5, 0.5, 0.5, 1, 2]) / 5)


def test_a_face_keeps_its_margin_and_its_box_points_at_the_same_pixels(portraits_folder: Path) -> None:
    portrait = read_portraits(portraits_folder, "train")[0]
    face = read_face(portrait)
    height, width = face.pixels_rgb.shape[:2]
    assert face.width == portrait.face_width
    assert width <= (1 + 2 * MARGIN) * face.width + 2
    assert face.bbox_xyxy[0] >= 0
    assert face.bbox_xyxy[2] <= width
    assert face.bbox_xyxy[3] <= height


def test_the_cache_returns_what_decoding_does_and_is_written_once(portraits_folder: Path, tmp_path: Path) -> None:
    portraits = read_portraits(portraits_folder, "train")
    first = FaceCache(portraits, tmp_path / "cache")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    second = FaceCache(portraits, tmp_path / "cache")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == written
    for place, portrait in enumerate(portraits):
        expected = read_face(portrait)
        for cache in (first, second):
            np.testing.assert_array_equal(cache[place].pixels_rgb, expected.pixels_rgb)
            assert cache[place].bbox_xyxy == expected.bbox_xyxy


def test_other_faces_make_another_cache(portraits_folder: Path, tmp_path: Path) -> None:
    portraits = read_portraits(portraits_folder, "train")
    FaceCache(portraits, tmp_path / "cache")
    assert len(FaceCache(portraits[:1], tmp_path / "cache")) == 1
    assert len(list((tmp_path / "cache").glob("*.u8"))) == 2
