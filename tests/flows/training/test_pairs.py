from __future__ import annotations

from dataclasses import replace
from itertools import islice

import cv2
import numpy as np
import pytest

from flows.training.degradation import BLURRED_FACES
from flows.training.pairs import (
    SCALE,
    PairRecipe,
    cut_patches,
    degrade_tiles,
    draw_tile,
    eligible,
    pair_stream,
    to_tensor,
)
from flows.training.portraits import Face

CLEAN_ONLY = replace(BLURRED_FACES, clean_share=1.0)
RECIPE = PairRecipe(BLURRED_FACES, (50, 150), tile=48, grid=2, buffer=16)


def test_the_same_seed_gives_the_same_pairs_and_another_seed_others(face: Face) -> None:
    def first(seed: int) -> np.ndarray:
        stream = pair_stream([face], np.ones(1), RECIPE, [seed])
        return np.stack([pair.patch_lr for pair in islice(stream, 6)])

    np.testing.assert_array_equal(first(1), first(1))
    assert (first(1) != first(2)).any()


def test_a_pair_is_four_to_one_and_uint8(face: Face) -> None:
    pair = next(pair_stream([face], np.ones(1), RECIPE, [0]))
    assert pair.patch_lr.shape == (32, 32, 3)
    assert pair.patch_hr.shape == (128, 128, 3)
    assert pair.patch_lr.dtype == pair.patch_hr.dtype == np.uint8


def test_an_original_is_as_large_as_the_portrait_allows(face: Face) -> None:
    """A portrait of 300 px: four times as large as faces up to 75 px, three times up to 100, then twice."""
    rng = np.random.default_rng(2)
    recipe = replace(RECIPE, truth_scales=(2, 3, 4))
    for narrowest, scale in ((74.0, 4), (99.0, 3), (149.0, 2)):
        tile = draw_tile(face, replace(recipe, face_width=(narrowest, narrowest + 1)), rng)
        assert tile.truth_scale == scale
        assert tile.original_hr.shape[1] == scale * tile.reduced_lr.shape[1]
    narrow = Face(face.pixels_rgb, (0, 0, 99, 250))
    assert eligible([face, narrow], recipe).tolist() == [0]


def test_a_clean_patch_is_its_original_reduced_by_area(face: Face) -> None:
    recipe = replace(RECIPE, ranges=CLEAN_ONLY, truth_scales=(2, 3, 4))
    for pair in islice(pair_stream([face], np.ones(1), recipe, [3]), 24):
        reduced = cv2.resize(pair.patch_hr, (32, 32), interpolation=cv2.INTER_AREA)
        assert np.abs(reduced.astype(int) - pair.patch_lr).max() <= 1


def test_degraded_patches_stay_in_register_with_their_originals(face: Face) -> None:
    """Wherever a face sits and however it moved before: half a pixel off would teach the network to shift."""
    no_blur = replace(BLURRED_FACES, clean_share=0, blur_share=0, resize_share=0.5, codec_share=1, crf=(22, 24))
    stream = pair_stream([face], np.ones(1), replace(RECIPE, ranges=no_blur, truth_scales=(2, 3, 4)), [4])
    shifts = []
    for pair in islice(stream, 200):
        truth = cv2.resize(pair.patch_hr, (32, 32), interpolation=cv2.INTER_AREA)
        grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (truth, pair.patch_lr)]
        if grey[0].std() > 15:
            shift, _ = cv2.phaseCorrelate(grey[0], grey[1], cv2.createHanningWindow((32, 32), cv2.CV_32F))
            shifts.append(shift)
    assert len(shifts) > 100
    assert np.abs(np.median(shifts, axis=0)).max() < 0.05


def test_a_face_is_never_enlarged(face: Face) -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        tile = draw_tile(face, RECIPE, rng)
        height, width = tile.reduced_lr.shape[:2]
        assert tile.original_hr.shape == (SCALE * height, SCALE * width, 3)
        assert max(height, width) <= RECIPE.tile
    small = Face(face.pixels_rgb, (0, 0, 199, 250))
    assert eligible([face, small], RECIPE).tolist() == [0]


def test_a_codec_leaves_the_clean_tiles_of_its_canvas_alone(face: Face) -> None:
    rng = np.random.default_rng(5)
    recipe = replace(RECIPE, ranges=replace(BLURRED_FACES, codec_share=1.0, clean_share=0.5))
    tiles = [draw_tile(face, recipe, rng) for _ in range(4)]
    degraded = degrade_tiles(tiles, recipe, rng)
    assert {tile.degradation.coded for tile in tiles} == {True, False}
    for tile, degraded_lr in zip(tiles, degraded, strict=True):
        assert degraded_lr.shape == tile.reduced_lr.shape
        assert (degraded_lr == tile.reduced_lr).all() == (not tile.degradation.coded)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_tensors_run_from_zero_to_one(level: int) -> None:
    tensor = to_tensor([np.full((8, 6, 3), level, np.uint8)] * 2)
    assert tensor.shape == (2, 3, 8, 6)
    assert float(tensor.max()) == pytest.approx(level / 255)


def test_landmarks_follow_reduction_cut_and_mirroring() -> None:
    """Five dots of different colours: each is where its landmark says, left and right not swapped."""
    colours = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)], np.uint8)
    landmarks = ((110.0, 120.0), (190.0, 122.0), (150.0, 160.0), (118.0, 205.0), (184.0, 207.0))
    canvas = np.zeros((340, 320, 3), np.uint8)
    for colour, (x, y) in zip(colours, landmarks, strict=True):
        cv2.circle(canvas, (int(x), int(y)), 12, colour.tolist(), -1)
    face = Face(canvas, (50.0, 40.0, 250.0, 290.0), landmarks)
    recipe = PairRecipe(replace(BLURRED_FACES, clean_share=1.0), (50, 60), patch=48, tile=80, whole_share=1.0)
    rng = np.random.default_rng(3)
    seen = []
    for _ in range(12):
        tile = draw_tile(face, recipe, rng)
        for pair in cut_patches(tile, tile.reduced_lr, recipe, rng):
            if not np.isnan(pair.landmarks_xy).any():
                assert pair.landmarks_xy[0, 0] < pair.landmarks_xy[1, 0]
                pixels = [pair.patch_hr[round(y), round(x)] > 60 for x, y in pair.landmarks_xy]
                seen.append([int(np.argmin([(lit != (colour > 0)).sum() for colour in colours])) for lit in pixels])
    assert len(seen) > 25
    assert {tuple(order) for order in seen} == {(0, 1, 2, 3, 4), (1, 0, 2, 4, 3)}


def test_a_face_keeps_its_width_where_the_portrait_is_smaller_than_a_patch() -> None:
    """Mirrored or not: the picture goes on as its own mirror image instead of being stretched."""
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, (280, 320, 3), dtype=np.uint8)
    face = Face(pixels, (50.0, 40.0, 249.0, 240.0), ((110, 120), (190, 120), (150, 160), (118, 205), (184, 205)))
    recipe = PairRecipe(CLEAN_ONLY, (50, 50.01), patch=96, tile=120)
    eyes = set()
    for _ in range(12):
        tile = draw_tile(face, recipe, rng)
        assert tile.reduced_lr.shape == (96, 96, 3)
        eyes.add(tuple(tile.landmarks_xy[:2, 0].round()))
        np.testing.assert_array_equal(tile.original_hr[:, 320:], tile.original_hr[:, 318 : 318 - 64 : -1])
        np.testing.assert_array_equal(tile.original_hr[280:], tile.original_hr[278 : 278 - 104 : -1])
    assert eyes == {(110, 190), (129, 209)}, "as they are, and mirrored"


def test_a_landmark_beside_the_portrait_is_none(face: Face) -> None:
    """In the mirror image that continues it there is no face."""
    width = face.pixels_rgb.shape[1]
    outside = replace(face, landmarks_xy=((110, 120), (width + 4.0, 120), (150, 160), (118, 205), (184, 205)))
    recipe = PairRecipe(CLEAN_ONLY, (50, 50.01), patch=112, tile=140)
    for seed in range(4):
        assert np.isnan(draw_tile(outside, recipe, np.random.default_rng(seed)).landmarks_xy).all()
