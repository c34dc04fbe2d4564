"""Boxes and landmarks without the detector's jitter: strong on what is still, and no lag where something moves.

Each value is averaged with pairs of its neighbours, one before and one as long after. The middle of such a pair is
where an even motion is at that moment, so a pair that is off its place, because the face turns round, speeds up or
stops in between, does not count (a bilateral filter over time, Tomasi and Manduchi, 1998, on pairs, not on samples).
Where a face stays in its place, each value is the mean of those about it for as long as it stays.
"""

from __future__ import annotations

import numpy as np

REACH = 4
"""Grid points on each side that a value is averaged with at most, and in which a face that stays is told by."""

STAYING_REACH = 8
"""Grid points on each side that the values of a face that stays are averaged with at most."""

TOLERANCE = 0.006
"""Share of a face's width by which a pair may be off and still count: what jitter of the detector is left."""

STILL = 0.03
"""Share of a face's width by which the edges of its box may waver and the face is still said to stay in its place."""

_ROUNDING = 1e-6
"""Pixels that :data:`STILL` may be passed by: a box and landmarks that move alike are told alike."""

_AGREEMENT = 0.25
"""A value is an outlier when its two nearest pairs differ by less than this share of what it is off them."""


def smoothed(values: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Values along a track, smoothed.

    What moves evenly is returned as it is. The window shrinks towards the track's ends and stays symmetric. What stays
    in its place is the mean of all that is near, on whatever side and for as long as it stays, and so as steady at an
    end as elsewhere.

    Args:
        values: (N, K) float64 over N grid points, pixels.
        widths: (N,) of the face there, pixels.

    Returns:
        (N, K) float64; row k follows from the rows at most `STAYING_REACH` away.
    """
    at = np.arange(len(values))
    room = np.minimum(at, len(values) - 1 - at)
    pairs = np.arange(REACH + 1)[:, None]  # row j of what follows: of the pairs j before and j after
    past, future = values[np.clip(at - pairs, 0, None)], values[np.clip(at + pairs, None, len(values) - 1)]
    middles = (past + future) / 2
    place = np.where((room >= 2)[:, None], _place(middles, np.abs(future - past)), values)
    weights = np.exp(-(((middles - place) / (TOLERANCE * widths)[:, None]) ** 2) / 2)
    weights = np.where((pairs <= room)[:, :, None], weights, 0)
    weights[1:] = 2 * np.minimum.accumulate(weights[1:], axis=0)  # beyond a turn, nothing counts again
    total = weights.sum(axis=0)
    found = np.where(total > 0, (weights * middles).sum(axis=0) / np.where(total > 0, total, 1), place)
    if len(values) <= REACH:
        return found
    near = _windows_of(values, REACH)
    low, high = np.nanmin(near, axis=2), np.nanmax(near, axis=2)
    most = STILL * widths + _ROUNDING
    stays = ((high - low).max(axis=1) <= most)[:, None]
    return np.where(stays, _mean_while_it_stays(values, (low + high) / 2, most / 2), found)


def _mean_while_it_stays(values: np.ndarray, middle: np.ndarray, waver: np.ndarray) -> np.ndarray:
    """(N, K): mean of the rows at most `STAYING_REACH` away, up to the first on each side that is off the `middle`.

    Args:
        middle: (N, K) of the place in which the face stays about each row.
        waver: (N,) by which a row may be off it.
    """
    near = _windows_of(values, STAYING_REACH)
    there = (np.abs(near - middle[:, :, None]) <= waver[:, None, None]).all(axis=1)  # False where there is no row
    there[:, STAYING_REACH] = True  # the row itself
    past = np.logical_and.accumulate(there[:, STAYING_REACH::-1], axis=1)[:, ::-1]
    onward = np.logical_and.accumulate(there[:, STAYING_REACH:], axis=1)
    counted = np.concatenate((past, onward[:, 1:]), axis=1)
    return np.where(counted[:, None], near, 0).sum(axis=2) / counted.sum(axis=1)[:, None]


def _windows_of(values: np.ndarray, reach: int) -> np.ndarray:
    """(N, K, 2 * reach + 1): the rows about each; NaN where a track has none."""
    padded = np.pad(values, ((reach, reach), (0, 0)), constant_values=np.nan)
    return np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)


def _place(middles: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """(N, K): the values themselves, or where both of their nearest pairs see them when they are outliers.

    A jump looks like one but for how far the neighbours on either side are `apart`.
    """
    own, near, far = middles[:3]
    off = np.abs(own - near)
    return np.where((np.abs(near - far) < _AGREEMENT * off) & (off > apart[1]), near, own)
