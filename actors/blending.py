"""Blending restored faces into the upscaled frame: all faces of a moment at once, each pixel once.

A face's patch is first made to meet the frame around it, by one of three methods, and then mixed with the frame under
its soft mask. Where masks overlap, the face that a pixel lies deeper in rules, and the other gives way to it smoothly;
the order of the faces does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from actors.blends import Blend
from actors.face_masks import face_depth, soft_mask
from actors.geometry import CROP_MARGIN, Box, Landmarks, Rect
from actors.multiband import multiband_blend
from actors.poisson import OpenSides, seamless_clone

Plane = NDArray[np.uint8] | NDArray[np.uint16]

_RULE_POWER = 6
"""How soon one face gives way to another, where a pixel is about as deep in both."""


@dataclass(frozen=True)
class Patch:
    """A restored face and its place in the result."""

    planes: tuple[Plane, ...]
    """Y, Cb, Cr (grey: Y alone), as the frame's, that fill the rectangle."""
    rect: Rect
    """In luma pixels, its corner on a chroma sample."""
    box: Box
    """Of the face, in luma pixels."""
    landmarks: Landmarks = ()
    """In luma pixels; without them the mask follows the box."""
    strength: float = 1.0
    """Share of the restored face where its mask is 1, 0 to 1."""

    @property
    def open_sides(self) -> OpenSides:
        """Sides at which the frame's edge has cut the crop's margin off."""
        whole = self.box.grown(CROP_MARGIN)
        return OpenSides(
            left=self.rect.x0 > whole.x0,
            top=self.rect.y0 > whole.y0,
            right=self.rect.x1 < whole.x1,
            bottom=self.rect.y1 < whole.y1,
        )


def blend_patches(
    planes: Sequence[Plane],
    patches: Sequence[Patch],
    chroma_step: tuple[int, int],
    *,
    blend: Blend,
    bits: int = 8,
) -> None:
    """Blend patches into a frame's planes, in place. Where all masks are 0, the frame stays to the bit.

    Args:
        planes: Y, Cb, Cr of the frame (grey: Y alone), (H, W) each, writable.
        patches: of one moment, in any order.
        chroma_step: luma pixels per chroma sample, (across, down).
        blend: the method.
        bits: a sample's; values end at 2**bits - 1.
    """
    # Sums are rounded; tracks are numbered in another order in another shard.
    for group in _touching(sorted(patches, key=lambda patch: (patch.rect, patch.box))):
        for number, plane in enumerate(planes):
            step = (1, 1) if number == 0 else chroma_step
            method: Blend = "feather" if number > 0 and blend == "multiband" else blend
            _blend_group(plane, [(patch, patch.planes[number]) for patch in group], step, method, bits)


def _blend_group(
    plane: Plane, patches: Sequence[tuple[Patch, Plane]], step: tuple[int, int], blend: Blend, bits: int
) -> None:
    """Blend patches whose rectangles hang together into one plane."""
    places = [_place(patch.rect, step) for patch, _ in patches]
    bounds = _union(places)
    below = plane[bounds.slices].copy()
    layers = []
    for (patch, samples), place in zip(patches, places, strict=True):
        depth = face_depth(patch.rect, patch.box, patch.landmarks, step)
        background = below[place.slices_in(bounds)].astype(np.float32)
        mask, cloned = _METHODS[blend](background, samples.astype(np.float32), depth, patch.open_sides)
        layers.append(_Layer(place, depth, np.float32(patch.strength) * mask, cloned - background))
    change, total, uncovered = (np.full(below.shape, value, np.float32) for value in (0, 0, 1))
    for layer in layers:
        inside, shown = layer.place.slices_in(bounds), _shown(layer, layers)
        change[inside] += shown * layer.change
        total[inside] += shown
        uncovered[inside] *= 1 - layer.opacity
    # Face by face, to be sparing with memory: where faces overlap, the same is written again.
    for layer in layers:
        inside = layer.place.slices_in(bounds)
        share = (1 - uncovered[inside]) / np.maximum(total[inside], _LEAST_SHOWN)
        mixed = np.rint(below[inside] + share * change[inside])
        plane[layer.place.slices] = np.clip(mixed, 0, (1 << bits) - 1).astype(plane.dtype)


class _Layer(NamedTuple):
    """A face in one plane."""

    place: Rect
    depth: NDArray[np.float32]
    opacity: NDArray[np.float32]
    """Share of it where no other face is."""
    change: NDArray[np.float32]
    """What it is where it shows whole, less the background."""


def _shown(layer: _Layer, layers: Sequence[_Layer]) -> NDArray[np.float32]:
    """Share of a face where others overlap it: each lies over it as far as a pixel is deeper in the other.

    Of two faces the shares sum to what both cover, and of more to a little less.
    """
    shown = layer.opacity.copy()
    for other in layers:
        common = _common(layer.place, other.place)
        if other is layer or common is None:
            continue
        here, there = common.slices_in(layer.place), common.slices_in(other.place)
        own, its = (np.maximum(depth, _LEAST_DEPTH) ** _RULE_POWER for depth in (layer.depth[here], other.depth[there]))
        shown[here] *= 1 - other.opacity[there] * its / (own + its)
    return shown


_LEAST_SHOWN = np.float32(1e-30)
"""Where no face shows, there is nothing to divide by."""

_LEAST_DEPTH = np.float32(1e-3)
"""Keeps powers of depths within float32."""

Method = Callable[
    [NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], OpenSides],
    tuple[NDArray[np.float32], NDArray[np.float32]],
]
"""(background, patch, depth, open sides) -> (the mask, what it mixes into the background)."""


def _poisson(
    background: NDArray[np.float32], patch: NDArray[np.float32], depth: NDArray[np.float32], sides: OpenSides
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return soft_mask(depth), seamless_clone(background, patch, sides)


def _multiband(
    background: NDArray[np.float32], patch: NDArray[np.float32], depth: NDArray[np.float32], sides: OpenSides
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    # The pyramid fades by itself; the outer mask only ends what its coarse levels carry beyond the face.
    return soft_mask(2 * depth), multiband_blend(background, patch, soft_mask(depth))


def _feather(
    background: NDArray[np.float32], patch: NDArray[np.float32], depth: NDArray[np.float32], sides: OpenSides
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return soft_mask(depth), patch


_METHODS: dict[Blend, Method] = {"poisson": _poisson, "multiband": _multiband, "feather": _feather}


def _touching(patches: Sequence[Patch]) -> list[list[Patch]]:
    """Patches in groups whose rectangles overlap, directly or by way of others."""
    groups: list[list[Patch]] = []
    for patch in patches:
        own = [group for group in groups if any(_common(patch.rect, other.rect) for other in group)]
        groups = [group for group in groups if group not in own] + [[patch, *(each for one in own for each in one)]]
    return groups


def _common(one: Rect, other: Rect) -> Rect | None:
    both = Rect(max(one.x0, other.x0), max(one.y0, other.y0), min(one.x1, other.x1), min(one.y1, other.y1))
    return both if both.width > 0 and both.height > 0 else None


def _place(rect: Rect, step: tuple[int, int]) -> Rect:
    """A rectangle of luma pixels in samples of a plane."""
    across, down = step
    return Rect(rect.x0 // across, rect.y0 // down, -(-rect.x1 // across), -(-rect.y1 // down))


def _union(rects: Sequence[Rect]) -> Rect:
    return Rect(
        min(rect.x0 for rect in rects),
        min(rect.y0 for rect in rects),
        max(rect.x1 for rect in rects),
        max(rect.y1 for rect in rects),
    )
