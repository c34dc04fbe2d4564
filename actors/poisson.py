"""Poisson seamless cloning on a rectangle.

Pérez, Gangnet, Blake, "Poisson Image Editing", SIGGRAPH 2003. On a rectangle the equation has a closed form: the
result is the patch plus the membrane (the harmonic function) that equals frame minus patch on the rectangle's border,
and sine and cosine transforms give the membrane directly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct, dst, idct, idst


class OpenSides(NamedTuple):
    """Sides of a rectangle at which there is nothing to meet: those of the frame's edge."""

    left: bool = False
    top: bool = False
    right: bool = False
    bottom: bool = False


ALL_MET = OpenSides()


def harmonic_membrane(difference: NDArray[np.float32], sides: OpenSides = ALL_MET) -> NDArray[np.float32]:
    """The function with zero Laplacian that equals `difference` on the outermost ring, where its sides are not open.

    Five-point Laplacian, in O(N log N). At an open side the function goes straight on (Neumann's condition), and what
    `difference` is there does not count.

    Args:
        difference: (H, W) float32; only its outermost ring is read.
        sides: that are open. With all four open there is nothing to meet, and the membrane is 0.

    Returns:
        (H, W) float32.
    """
    if all(sides):
        return np.zeros_like(difference)
    if min(difference.shape) < 3:
        return difference.copy()
    # Of two opposite sides, an open one is put last.
    flips = (-1 if sides.top else 1, -1 if sides.left else 1)
    turned = difference[:: flips[0], :: flips[1]]
    down = _Axis(turned.shape[0], sides.top + sides.bottom)
    across = _Axis(turned.shape[1], sides.left + sides.right)
    membrane = turned.copy()
    known = np.zeros((down.unknowns, across.unknowns), dtype=np.float32)
    for edge, at in down.met:
        known[at] += turned[edge, across.inside]
    for edge, at in across.met:
        known[:, at] += turned[down.inside, edge]
    amplitudes = across.analysed(down.analysed(known, 0), 1) / (down.modes[:, None] + across.modes[None, :])
    membrane[down.inside, across.inside] = across.composed(down.composed(amplitudes, 0), 1)
    return np.ascontiguousarray(membrane[:: flips[0], :: flips[1]])


class _Axis:
    """The second difference along one axis, diagonal in a basis of sines or cosines."""

    def __init__(self, length: int, open_ends: int) -> None:
        """Args:
        open_ends: 0, 1 (the last one) or 2; beyond an open end the samples before it are mirrored.
        """
        self._open = open_ends
        self.unknowns = length - 2 + open_ends
        first = 0 if open_ends == 2 else 1
        self.inside = slice(first, first + self.unknowns)
        self.met = ((), ((0, 0),), ((0, 0), (-1, -1)))[2 - open_ends]
        """(index of a sample that is met, index of the unknown beside it)."""
        count = self.unknowns
        order = np.arange(count)
        waves = (
            (order + 1) / (count + 1),
            (order + 0.5) / count,
            order / max(1, count - 1),
        )[open_ends]
        self.modes = (2 - 2 * np.cos(np.pi * waves)).astype(np.float32)
        """Eigenvalues of the negated second difference."""

    def analysed(self, samples: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """Amplitudes of the basis functions."""
        if self._open == 2:
            return np.asarray(idct(samples, 1, axis=axis))
        return np.asarray(idst(samples, 2, axis=axis) if self._open else dst(samples, 1, axis=axis))

    def composed(self, amplitudes: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        """Samples of them."""
        if self._open == 2:
            return np.asarray(dct(amplitudes, 1, axis=axis))
        return np.asarray(dst(amplitudes, 2, axis=axis) if self._open else idst(amplitudes, 1, axis=axis))


def seamless_clone(
    background: NDArray[np.float32], patch: NDArray[np.float32], sides: OpenSides = ALL_MET
) -> NDArray[np.float32]:
    """The patch, shifted so that it meets the background on the border of its rectangle.

    Args:
        background, patch: (H, W) float32, one plane inside the rectangle.
        sides: of the rectangle that are the frame's edge.
    """
    return patch + harmonic_membrane(background - patch, sides)
