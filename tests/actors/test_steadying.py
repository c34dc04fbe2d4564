"""What an expert draws anew in every frame is averaged away; what really moves is not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from actors.expert_restorer import neighbours
from actors.geometry import Rect
from actors.routing import Decision
from actors.steadying import Motions, Shown, _Places, between_keys, key_weights, steadied
from actors.tracking import KEYS_AHEAD, KEYS_BACK, NEIGHBOURS
from actors.work import FaceInFrame, ShardWork
from tests.actors.test_work import SHARD, face

SIDE, SCALE = 48, 4
FACE = np.asarray(cv2.resize(astronaut()[40:232, 130:322], (2 * SIDE * SCALE, 2 * SIDE * SCALE)), np.uint8)


def shown(across: int, *, noise: int = 0, blink: bool = False) -> Shown:
    """A face so many source px to the right of its place, cut out where it is expected; with what an expert made up."""
    x, y = SCALE * (SIDE // 2 - across), SCALE * SIDE // 2
    patch = FACE[y : y + SCALE * SIDE, x : x + SCALE * SIDE].astype(np.float64)
    if blink:
        patch[60:90, 60:120] = 30
    crop = cv2.resize(patch, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    patch += np.random.default_rng(noise).normal(0, 3 if noise else 0, patch.shape)
    rounded = [np.clip(np.rint(each), 0, 255).astype(np.uint8) for each in (crop, patch)]
    return Shown(rounded[0], rounded[1], Rect(100, 50, 100 + SIDE, 50 + SIDE))


def off(patch_rgb: NDArray[np.uint8], wanted: Shown) -> float:
    inner = np.s_[16:-16, 16:-16]
    return float(np.abs(patch_rgb[inner].astype(float) - wanted.patch_rgb[inner]).mean())


@pytest.mark.parametrize("motion", [0, 1, 3])
def test_noise_of_the_expert_is_averaged_wherever_the_face_has_moved_to(motion: int) -> None:
    truth, here = shown(0), shown(0, noise=1)
    steady = steadied(here, [shown(-motion, noise=2)], [shown(motion, noise=3)], Motions())
    assert off(steady, truth) < 0.8 * off(here.patch_rgb, truth)


def test_a_crop_that_lies_elsewhere_in_its_frame_is_brought_over() -> None:
    truth, here = shown(0), shown(0, noise=1)
    moved = replace(shown(4, noise=2), rect=Rect(96, 50, 96 + SIDE, 50 + SIDE))  # the crop has gone left by four px
    assert off(steadied(here, [moved], [], Motions()), truth) < 0.9 * off(here.patch_rgb, truth)


def test_a_blink_is_of_its_own_frame_alone() -> None:
    blinking, open_eyes = shown(0, blink=True), shown(0)
    lid = np.s_[65:85, 65:115]
    steady = steadied(blinking, [open_eyes], [open_eyes], Motions())
    assert np.abs(steady[lid].astype(int) - blinking.patch_rgb[lid]).mean() < 2
    before = steadied(open_eyes, [blinking], [], Motions())
    assert np.abs(before[lid].astype(int) - open_eyes.patch_rgb[lid]).mean() < 2


def test_without_neighbours_a_patch_is_what_it_is() -> None:
    here = shown(0, noise=1)
    assert steadied(here, [], [], Motions()) is here.patch_rgb


@pytest.mark.parametrize("along", [0.0, 0.3, 1.0])
def test_a_face_that_stays_is_smooth_over_the_grid_points_about_it(along: float) -> None:
    truth, here, weights = shown(0), shown(0, noise=1), key_weights(along)
    keys = [(shown(0, noise=2 + number), weight) for number, weight in enumerate(weights)]
    held, share = between_keys(here, keys)
    assert share.min() == 1
    assert np.isclose(sum(weights), 1)
    assert np.abs(held[16:-16, 16:-16] - truth.patch_rgb[16:-16, 16:-16]).mean() < 0.8 * off(here.patch_rgb, truth)


def test_from_one_grid_point_to_the_next_nothing_jumps() -> None:
    """What is restored there changes at once; what is shown does so evenly."""
    dark, light = shown(0), replace(shown(0), patch_rgb=np.minimum(shown(0).patch_rgb, 205) + np.uint8(50))
    count = KEYS_BACK + KEYS_AHEAD + 1
    keys, levels = [dark] * count + [light] * count, []
    for frame in range(5 * (count + 1)):
        at, within = divmod(frame, 5)
        held, _ = between_keys(dark, list(zip(keys[at : at + count], key_weights(within / 5), strict=True)))
        levels.append(held[20:-20, 20:-20].mean())
    steps = np.diff(levels)
    assert steps.min() >= 0
    assert steps.max() < 0.04 * (levels[-1] - levels[0])


@pytest.mark.parametrize("along", [0.0, 0.5, 1.0])
def test_the_window_is_even_about_the_frame_and_fades_to_its_ends(along: float) -> None:
    weights = key_weights(along)
    assert len(weights) == KEYS_BACK + KEYS_AHEAD + 1
    assert sum(share * at for at, share in enumerate(weights, -KEYS_BACK)) == pytest.approx(along)
    assert min(weights[0], weights[-1]) == pytest.approx(0 if along in (0, 1) else weights[0])
    assert max(weights) < 0.15


def test_what_differs_from_the_grid_points_is_not_held() -> None:
    blinking, open_eyes = shown(0, blink=True), shown(0)
    held, share = between_keys(blinking, [(open_eyes, weight) for weight in key_weights(0.5)])
    assert share[65:85, 65:115].max() == 0
    assert share[-30:, -30:].min() == 1
    assert np.array_equal(np.rint(held[-30:, -30:]), open_eyes.patch_rgb[-30:, -30:])


def row(*faces: FaceInFrame, beside: tuple[FaceInFrame, ...] = ()) -> ShardWork:
    crops = {each.crop_index: np.zeros((110, 84, 3), np.uint8) for each in (*faces, *beside)}
    return ShardWork(SHARD, faces, crops, frames=len(faces), beside=beside)


def test_neighbours_are_the_frames_before_and_after_of_the_same_face() -> None:
    tick = round(SHARD.probe.frame_ticks)
    faces = [face(number * tick, number) for number in range(4)]
    work = row(*faces[1:], beside=(faces[0],))
    assert neighbours(work, Decision.EXPERT_T) == {
        0: ([], [1, 2, 3]),
        1: ([0], [2, 3]),
        2: ([1, 0], [3]),
        3: ([2, 1, 0], []),
    }
    assert neighbours(work, Decision.EXPERT_F) == {}
    others = row(faces[0], replace(faces[1], track=9), replace(faces[2], decision=Decision.EXPERT_F))
    assert neighbours(others, Decision.EXPERT_T) == {0: ([], []), 1: ([], [])}


def test_a_frame_that_is_far_away_is_no_neighbour() -> None:
    tick = round(SHARD.probe.frame_ticks)
    apart = row(face(0, 0), face(2 * tick, 1), face(3 * tick, 2))
    assert neighbours(apart, Decision.EXPERT_T) == {0: ([], []), 1: ([], [2]), 2: ([1], [])}


def test_frames_that_repeat_another_are_shown_alike() -> None:
    """By all of them, and by what is before and behind: of each its own neighbours would be others."""
    first, second = shown(0, noise=1), replace(shown(0, noise=2), crop_rgb=shown(0, noise=1).crop_rgb)
    earlier, later = shown(3, noise=3), shown(-3, noise=4)
    once = steadied(first, [earlier, later], [second, later], Motions())
    again = steadied(second, [first, earlier], [later, earlier], Motions())
    by_its_own = steadied(first, [earlier], [second], Motions()), steadied(second, [first], [later], Motions())
    assert off(once, replace(first, patch_rgb=again)) < 0.3 * off(
        by_its_own[0], replace(first, patch_rgb=by_its_own[1])
    )


def test_the_farther_a_frame_is_the_less_it_counts() -> None:
    here, *frames = (shown(step, noise=1 + step) for step in range(NEIGHBOURS + 1))

    def lighter(face: Shown) -> Shown:
        return replace(face, patch_rgb=np.minimum(face.patch_rgb, 251) + np.uint8(4))

    plain = steadied(here, frames, [], Motions())
    gains = []
    for at, frame in enumerate(frames):
        changed = [*frames[:at], lighter(frame), *frames[at + 1 :]]
        gains.append(float((steadied(here, changed, [], Motions()).astype(float) - plain)[16:-16, 16:-16].mean()))
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > 2 * gains[-1] > 0


def test_the_way_to_the_frame_after_the_next_leads_over_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a motion is searched for between frames that follow each other alone, and two steps of it add up."""
    searched: list[int] = []
    plain = Motions._searched

    def counted(self: Motions, face: Shown, other: Shown) -> _Places:
        searched.append(abs(order.index(other) - order.index(face)))
        return plain(self, face, other)

    monkeypatch.setattr(Motions, "_searched", counted)
    truth, here = shown(0), shown(0, noise=1)
    order = [here, *(shown(3 * step, noise=2 + step) for step in (1, 2))]
    found = steadied(here, order[1:], [], Motions())
    assert searched == [1, 1]
    assert off(found, truth) < 0.65 * off(here.patch_rgb, truth)  # 0.61; 0.71 without the second


def test_a_remembered_motion_is_the_motion() -> None:
    frames, motions = [shown(step, noise=1 + step) for step in range(12)], Motions()
    small = replace(frames[1], crop_rgb=frames[1].crop_rgb[:18, :22], patch_rgb=frames[1].patch_rgb[:72, :88])
    tiny = replace(small, crop_rgb=small.crop_rgb[::-1], patch_rgb=small.patch_rgb[::-1])
    steadied(small, [tiny], [], motions)
    for at in (2, 1, 3, 2, *range(4, 10), 2):
        before, after = frames[max(0, at - 2) : at][::-1], frames[at + 1 : at + 3]
        again = steadied(frames[at], before, after, motions)
        assert np.array_equal(again, steadied(frames[at], before, after, Motions()))
        steadied(small, [tiny], [], motions)


def test_of_a_face_that_the_frame_cuts_off_little_is_no_neighbour() -> None:
    here, near, far = (shown(step, noise=1 + step) for step in range(3))
    sliver = replace(near, crop_rgb=near.crop_rgb[:, :3], patch_rgb=near.patch_rgb[:, :12], rect=Rect(100, 50, 103, 98))
    assert np.array_equal(steadied(here, [sliver, far], [near], Motions()), steadied(here, [], [near], Motions()))
    assert steadied(sliver, [here], [far], Motions()) is sliver.patch_rgb


def test_where_a_frame_is_repeated_what_is_behind_both_counts_once() -> None:
    here, near, far = shown(0, noise=1), shown(1, noise=2), shown(2, noise=3)
    same = replace(shown(0, noise=4), crop_rgb=here.crop_rgb)
    once = steadied(here, [same, near], [], Motions())
    assert np.array_equal(steadied(here, [same, near, far], [], Motions()), once)
    assert not np.array_equal(steadied(here, [same], [], Motions()), once)
