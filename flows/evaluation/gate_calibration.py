"""How far the similarity of good restorations drops, and what the identity gate catches of wrong ones.

Good are the experts' own results on people held out from training, in moving clips of every width and strength. Wrong
are planted: another person's face pasted over the restored one, the expert with its weights shuffled, and, if asked
for, other projects' restorers, as far as they make a face less like its original than it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from actors.consistency import agreeing_patch
from actors.geometry import similarity_transform
from actors.identity import Embedding, IdentityMeter, cosine, mean_embedding
from actors.identity_gate import IdentityGate
from actors.routing import RoutingBounds
from flows.evaluation.flicker import make_clip
from flows.evaluation.progress import EvaluationProgress
from flows.evaluation.restorers import BICUBIC, Restorer, route
from flows.evaluation.samples import SCALE, STRENGTHS, Image, Sample
from flows.evaluation.subjects import Subject
from storage.errors import UsageError

WIDTHS = (50, 64, 80, 100, 125)
FACES = 12
FRAMES = (0, 2, 4, 6)
"""Of a clip: what stands for a track's grid points."""

GOOD, OTHER_PERSON, SHUFFLED = "expert", "another person", "shuffled weights"
SHUFFLED_EXPERT = "shuffled "
"""Before an expert's name: the same with its weights shuffled."""

WRONG_BY = 0.1
"""A peer's result counts as wrong where its cosine to the original is so much lower than the degraded face's."""

_FACE_ACROSS, _FACE_DOWN, _SOFT = 1.25, 1.6, 0.3
"""Half axes of the pasted face and of its soft edge, in distances between the eyes."""


@dataclass(frozen=True)
class Judged:
    """One restored face.

    Attributes:
        kind: :data:`GOOD`, what was planted, or the peer's name.
        width: of the degraded face, px.
        strength: of the degradation.
        drop: of its similarity to the track's own identity, from the degraded face's.
        shown: strength that the gate leaves it.
    """

    kind: str
    width: int
    strength: str
    drop: float
    shown: float


@dataclass(frozen=True)
class Row:
    """Restored faces of one kind and width.

    Attributes:
        kind, width: as in :class:`Judged`.
        n: how many.
        drop_median, drop_99, drop_most: of their similarity; 99: of one in a hundred it drops more.
        weakened: share of them, 0 to 1.
    """

    kind: str
    width: int
    n: int
    drop_median: float
    drop_99: float
    drop_most: float
    weakened: float

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def judged_faces(
    subject: Subject,
    other: Subject,
    width: int,
    strength: str,
    load: Callable[[str], Restorer],
    peers: Sequence[str],
    meter: IdentityMeter,
    bounds: RoutingBounds,
    *,
    seed: int,
) -> Iterator[Judged]:
    """The gate's verdicts on one subject's clip: good ones of every frame, one of everything planted.

    Args:
        other: whose face is pasted.
        load: gives a restorer by name; "shuffled NAME" is the expert NAME with its weights shuffled.
    """
    clip = make_clip(subject, width, STRENGTHS[strength], seed=seed)
    if clip is None:
        return
    frames = [clip.frames[number] for number in FRAMES]
    expert = route(frames[0], bounds)
    if expert == BICUBIC:
        return
    before = [_embedding(meter, frame, frame.crop_rgb) for frame in frames]
    judge = _Judge(IdentityGate(meter), mean_embedding(before), width, strength)
    restored = [
        answer.image
        for answer in load(expert).restore(
            [frame.crop_rgb for frame in frames], [frame.crop_landmarks for frame in frames]
        )
    ]
    for frame, patch, own in zip(frames, restored, before, strict=True):
        yield judge.of(GOOD, frame, patch, own)
    frame, own = frames[0], before[0]
    pasted = agreeing_patch(with_face_of(other, restored[0], frame), frame.crop_rgb)
    yield judge.of(OTHER_PERSON, frame, pasted, own)
    yield judge.of(SHUFFLED, frame, _restored(load(SHUFFLED_EXPERT + expert), frame), own)
    original = _embedding_of_truth(meter, frame)
    for peer in peers:
        patch = agreeing_patch(_restored(load(peer), frame), frame.crop_rgb)
        if cosine(own, original) - cosine(_embedding(meter, frame, patch), original) >= WRONG_BY:
            yield judge.of(peer, frame, patch, own)


@dataclass(frozen=True)
class _Judge:
    gate: IdentityGate
    reference: Embedding
    width: int
    strength: str

    def of(self, kind: str, frame: Sample, patch_rgb: Image, own: Embedding) -> Judged:
        before = cosine(own, self.reference)
        verdict = self.gate.judge(
            frame.crop_rgb, patch_rgb, frame.crop_landmarks, self.width, frame.sharpness, self.reference, before
        )
        return Judged(kind, self.width, self.strength, before - verdict.similarity, verdict.strength)


@dataclass(frozen=True)
class Trial:
    """What is judged.

    Attributes:
        widths, strengths: every combination of them.
        peers: restorers whose wrong results count as planted, by name.
        seed: of the noise.
    """

    widths: tuple[int, ...]
    strengths: tuple[str, ...]
    peers: tuple[str, ...]
    seed: int

    def run(
        self,
        subjects: Sequence[Subject],
        load: Callable[[str], Restorer],
        meter: IdentityMeter,
        bounds: RoutingBounds,
        progress: EvaluationProgress,
    ) -> list[Judged]:
        """Judge every subject's clips; each also lends its face to be pasted over another's.

        Args:
            progress: counts a clip of w px as w * w.

        Raises:
            UsageError: there are fewer than two subjects, or no face is wide enough.
        """
        if len(subjects) < 2:
            raise UsageError("--calibrate identity: a face is pasted over another; give a folder with two or more")
        judged: list[Judged] = []
        for width in self.widths:
            for strength in self.strengths:
                for number, subject in enumerate(subjects):
                    progress.begin(f"{width} px, {strength}, {subject.name}")
                    other = subjects[(number + 1) % len(subjects)]
                    judged += judged_faces(
                        subject, other, width, strength, load, self.peers, meter, bounds, seed=self.seed
                    )
                    progress.finish(width**2)
        if not judged:
            raise UsageError(f"--calibrate identity: no face is wide enough for {min(self.widths)} px")
        return judged

    def work(self, subjects: Sequence[Subject]) -> int:
        """As progress counts it."""
        return len(self.strengths) * len(subjects) * sum(width**2 for width in self.widths)


def _restored(restorer: Restorer, frame: Sample) -> Image:
    return restorer.restore([frame.crop_rgb], [frame.crop_landmarks])[0].image


def _embedding(meter: IdentityMeter, frame: Sample, picture_rgb: Image) -> Embedding:
    """Of a frame's crop or of its restored patch."""
    scale = picture_rgb.shape[1] / frame.crop.width
    places = tuple((scale * x, scale * y) for x, y in frame.crop_landmarks)
    return meter.embed_face(picture_rgb, places, scale * frame.width)


def _embedding_of_truth(meter: IdentityMeter, frame: Sample) -> Embedding:
    places = tuple((float(x), float(y)) for x, y in frame.landmarks + 0.5)
    return meter.embed_face(frame.truth, places, frame.width * frame.truth.shape[1] / frame.picture_lr.shape[1])


def with_face_of(other: Subject, patch_rgb: Image, frame: Sample) -> Image:
    """Another person's face over a restored one, turned and sized to its landmarks, with a soft edge."""
    places = SCALE * np.asarray(frame.crop_landmarks, np.float64)
    matrix = similarity_transform(other.landmarks + 0.5, places)
    height, width = patch_rgb.shape[:2]
    warped = cv2.warpAffine(
        other.face.pixels_rgb, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    eyes = float(np.linalg.norm(places[1] - places[0]))
    rows, columns = np.indices((height, width)) + 0.5
    centre_x, centre_y = places.mean(axis=0)
    radius = np.hypot((columns - centre_x) / (_FACE_ACROSS * eyes), (rows - centre_y) / (_FACE_DOWN * eyes))
    share = np.clip((1 + _SOFT / 2 - radius) / _SOFT, 0, 1)[..., None]
    return np.rint(patch_rgb + share * (warped.astype(np.float64) - patch_rgb)).astype(np.uint8)


def gate_rows(judged: Sequence[Judged]) -> list[Row]:
    """One row a kind and width, in the order in which they were judged."""
    groups: dict[tuple[str, int], list[Judged]] = {}
    for face in judged:
        groups.setdefault((face.kind, face.width), []).append(face)
    kinds = list(dict.fromkeys(face.kind for face in judged))
    rows = []
    for kind in kinds:
        rows += [_row(kind, width, faces) for (of, width), faces in groups.items() if of == kind]
    return rows


def _row(kind: str, width: int, faces: Sequence[Judged]) -> Row:
    drops: NDArray[np.float64] = np.array([face.drop for face in faces])
    return Row(
        kind,
        width,
        len(faces),
        round(float(np.median(drops)), 3),
        round(float(np.quantile(drops, 0.99)), 3),
        round(float(drops.max()), 3),
        round(float(np.mean([face.shown < 1 for face in faces])), 4),
    )


def gate_table(rows: Sequence[Row]) -> Table:
    """The rows as a table."""
    table = Table(title="Similarity to the track's own identity: how far it drops", title_justify="left")
    for header in ("result", "w", "n", "median", "1 in 100", "most", "weakened"):
        table.add_column(header, justify="left" if header == "result" else "right", no_wrap=True)
    for row in rows:
        drops = (f"{drop:.3f}" for drop in (row.drop_median, row.drop_99, row.drop_most))
        table.add_row(row.kind, str(row.width), str(row.n), *drops, f"{100 * row.weakened:.1f}%")
    return table
