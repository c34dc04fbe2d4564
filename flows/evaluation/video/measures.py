"""How steady a restored clip is, who is in it, and whether they are still themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from actors.geometry import Box
from actors.identity import IdentityMeter, cosine
from actors.linking import iou
from actors.steadying import dense_flow
from flows.evaluation.samples import Image, whole_pixels
from flows.evaluation.video.scenes import SCALE, Scene

STATIC_PX = 0.1
"""A face that moves less than this from frame to frame, px of the source, is static."""

_SAME_FACE = 0.3
"""Overlap from which a track's box is that of a face that is known to be there."""

_OCCLUDED_PX = 1.0
"""Where flow forth and back do not meet to within so many px, something is covered or uncovered."""

_IN_FULL = 0.99
"""Strength from which a face counts for flicker: fading in and out is no flicker."""


def luma(frame_rgb: Image) -> NDArray[np.float32]:
    """(H, W) grey levels, 0 to 255."""
    return cv2.cvtColor(frame_rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)


def known_flicker(frames: Sequence[NDArray[np.float32]], scene: Scene, place: int) -> NDArray[np.float64]:
    """Mean absolute difference of each frame to the one before inside a face's box, after its motion is undone.

    Args:
        frames: (H, W) luma at the truth's size.
        place: of the actor whose face it is.

    Returns:
        (frames - 1,) grey levels.
    """
    actor = scene.actors[place]
    found = []
    for number in range(1, len(frames)):
        before, now = (to_three(actor.matrix(at, scene.frames)) for at in (number - 1, number))
        back = (now @ np.linalg.inv(before))[:2]  # from the frame before to this one
        box = whole_pixels(scaled(actor.box(number - 1, scene.frames), SCALE), frames[0]).slices
        height, width = frames[0].shape
        flags = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
        moved = cv2.warpAffine(frames[number], back, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        found.append(float(np.abs(moved - frames[number - 1])[box].mean()))
    return np.array(found)


@dataclass(frozen=True)
class FlowFlicker:
    """Of one face in one pair of frames: what differs after optical flow is undone.

    Attributes:
        track: its number.
        motion: median length of the flow, px of the source.
        source, restored: mean absolute difference, grey levels.
    """

    track: int
    motion: float
    source: float
    restored: float


def flow_flicker(
    source: Iterator[tuple[int, Image]],
    restored: Iterator[tuple[int, Image]],
    faces: Sequence[dict[str, Any]],
    scale: float,
) -> Iterator[FlowFlicker]:
    """Flicker of restored faces where nothing is known of the motion: dense flow of the enlarged source undoes it.

    Flow: Kroeger et al., "Fast Optical Flow using Dense Inverse Search", 2016, as OpenCV has it. Pixels where the flow
    forth and back do not meet are left out.

    Args:
        source, restored: (pts, RGB) of both variants, in step.
        faces: rows of the faces table.
        scale: px of these frames a px of the source.
    """
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    by_pts: dict[int, dict[int, dict[str, Any]]] = {}
    for face in faces:
        if face["expert"] and face["strength"] > _IN_FULL:
            by_pts.setdefault(face["pts"], {})[face["track"]] = face
    earlier: tuple[int, NDArray[np.float32], NDArray[np.float32]] | None = None
    for (pts, source_rgb), (_, restored_rgb) in zip(source, restored, strict=True):
        plain, result = luma(source_rgb), luma(restored_rgb)
        if earlier is not None:
            before_pts, plain_before, result_before = earlier
            here, there = by_pts.get(before_pts, {}), by_pts.get(pts, {})
            for track in here.keys() & there.keys():
                box = box_of(here[track])
                area = whole_pixels(scaled(box.grown(0.25), scale), plain).slices
                inner = whole_pixels(scaled(box, scale), plain).slices
                found = _pair(finder, (plain_before, plain), (result_before, result), area, inner)
                if found is not None:
                    motion, of_source, of_result = found
                    yield FlowFlicker(track, motion / scale, of_source, of_result)
        earlier = (pts, plain, result)


def _pair(
    finder: cv2.DISOpticalFlow,
    plain: tuple[NDArray[np.float32], NDArray[np.float32]],
    result: tuple[NDArray[np.float32], NDArray[np.float32]],
    area: tuple[slice, slice],
    inner: tuple[slice, slice],
) -> tuple[float, float, float] | None:
    """Median motion, and both differences; None where no pixel of the face can be followed."""
    first, second = (np.ascontiguousarray(frame[area].astype(np.uint8)) for frame in plain)
    if min(first.shape) < 32:
        return None
    forth, back = dense_flow(finder, first, second), dense_flow(finder, second, first)
    rows, columns = np.indices(first.shape).astype(np.float32)
    at_x, at_y = columns + forth[..., 0], rows + forth[..., 1]

    def there(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.remap(image, at_x, at_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.float32)

    met = np.hypot(forth[..., 0] + there(back[..., 0]), forth[..., 1] + there(back[..., 1])) < _OCCLUDED_PX
    inside = np.zeros(first.shape, bool)
    inside[tuple(slice(of.start - by.start, of.stop - by.start) for of, by in zip(inner, area, strict=True))] = True
    counted = met & inside
    if counted.sum() < 0.25 * inside.sum():
        return None
    differences = [
        float(np.abs(there(after[area]) - before[area])[counted].mean()) for before, after in (plain, result)
    ]
    return float(np.median(np.hypot(forth[..., 0], forth[..., 1])[counted])), differences[0], differences[1]


Followed = list[tuple[int, dict[str, Any]]]
"""Number of a frame, and the row of the faces table that has the face there."""


def followed(faces: Sequence[dict[str, Any]], pts: Sequence[int], scene: Scene, place: int) -> Followed:
    """The rows that have an actor's face, in order of frames; a frame in which nothing has it is left out.

    Args:
        pts: of the clip's frames.
    """
    by_pts: dict[int, list[dict[str, Any]]] = {}
    for face in faces:
        by_pts.setdefault(face["pts"], []).append(face)
    found: Followed = []
    for number, at in enumerate(pts):
        known = scene.actors[place].box(number, scene.frames)
        near = [(iou(box_of(face), known), order, face) for order, face in enumerate(by_pts.get(at, []))]
        best = max(near, default=None)
        if best is not None and best[0] > _SAME_FACE:
            found.append((number, best[2]))
    return found


def jitter(rows: Followed, scene: Scene, place: int) -> tuple[float, float, float]:
    """Standard deviation of a face's box about its known place: centre x, y and width, px of the degraded clip."""
    off = []
    for number, face in rows:
        known, box = scene.actors[place].box(number, scene.frames), box_of(face)
        across, down = (box.x0 + box.x1 - known.x0 - known.x1) / 2, (box.y0 + box.y1 - known.y0 - known.y1) / 2
        off.append((across, down, box.width / known.width * scene.actors[place].width))
    x, y, width = np.std(np.array(off), axis=0)
    return float(x), float(y), float(width)


def switches(rows: Followed) -> int:
    """How often another track than before has the face."""
    tracks = [face["track"] for _, face in rows]
    return sum(now != before for before, now in pairwise(tracks))


def changes(rows: Followed) -> int:
    """How often something else is done to the face than before: left alone, or restored by another expert."""
    return sum(now != before for before, now in pairwise(face["decision"] for _, face in rows))


@dataclass(frozen=True)
class Likeness:
    """How like the person one face in one frame is: cosine of SFace's embeddings to the truth's.

    Attributes:
        source, restored: of the enlarged source and of the result.
    """

    source: float
    restored: float


def likeness(
    meter: IdentityMeter, truth: Image, source: Image, restored: Image, scene: Scene, place: int, number: int
) -> Likeness:
    """Of one face; all three pictures are of the truth's size."""
    places = scene.actors[place].landmarks(number, scene.frames)
    landmarks = tuple((float(x), float(y)) for x, y in places)
    width = SCALE * scene.actors[place].box(number, scene.frames).width
    own, before, after = (meter.embed_face(picture, landmarks, width) for picture in (truth, source, restored))
    return Likeness(cosine(before, own), cosine(after, own))


def steady(rows: Followed) -> list[int]:
    """Numbers of frames whose face, and the next frame's, are restored in full by one expert on one track."""
    found = []
    for (number, face), (after, following) in pairwise(rows):
        same = (face["track"], face["expert"]) == (following["track"], following["expert"]) and face["expert"]
        if same and after == number + 1 and min(face["strength"], following["strength"]) > _IN_FULL:
            found.append(number)
    return found


def box_of(face: dict[str, Any]) -> Box:
    """The box of a row of the faces table."""
    return Box(face["x0"], face["y0"], face["x1"], face["y1"])


def scaled(box: Box, by: float) -> Box:
    """The box in a picture so many times as large."""
    return Box(*(by * edge for edge in box))


def to_three(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) of a (2, 3) affine matrix."""
    return np.vstack([matrix, [0, 0, 1]])
