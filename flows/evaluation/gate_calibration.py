"""How far the similarity of good restorations drops, and what the identity gate catches of wrong ones.

Good are the experts' own results on people held out from training, in moving clips of every width and strength, as far
as they are about as like their originals as the degraded faces are, or more. Wrong are planted: another person's face
pasted over the restored one, the expert with its weights shuffled, and, if asked for, other projects' restorers, as far
as they make a face less like its original than it was. All are judged by three witnesses of one clip; in a job by five,
where a track's identity comes from its sharpest faces near by: here, from every frame of the clip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from actors.consistency import agreeing_patch
from actors.geometry import similarity_transform
from actors.identity import Embedding, IdentityMeter, cosine, mean_embedding, without_noise
from actors.identity_gate import IdentityGate, gated_strength, weakened
from actors.routing import RoutingBounds
from actors.tracking import LOOKS_AHEAD, LOOKS_BACK
from flows.evaluation.flicker import make_clip
from flows.evaluation.progress import EvaluationProgress
from flows.evaluation.restorers import BICUBIC, Restorer, route
from flows.evaluation.samples import SCALE, STRENGTHS, Image, Sample
from flows.evaluation.subjects import Subject
from flows.evaluation.video.trial import WORSE_BY
from storage.errors import UsageError

WIDTHS = (50, 64, 80, 100, 125)
FACES = 12
FRAMES = (0, 3, 6)
"""Of a clip: what stands for a track's grid points."""

GOOD, FARTHER_OFF = "expert", "expert, farther off"
"""What the experts made; farther off is what is less like its original than the degraded face is by WORSE_BY."""

OTHER_PERSON, SHUFFLED = "another person", "shuffled weights"
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
        kind: :data:`GOOD`, :data:`FARTHER_OFF`, what was planted, or the peer's name.
        width: of the degraded face, px.
        strength: of the degradation.
        drop: of its similarity to the track's own identity, from the degraded face's.
        shown: strength that the gate leaves it in the frame: the least of the clip's witnesses, three where a job's
            frame has five.
        gain: of its cosine to the original, from the degraded face's.
        gain_shown: likewise of what is shown of it.
    """

    kind: str
    width: int
    strength: str
    drop: float
    shown: float
    gain: float
    gain_shown: float


@dataclass(frozen=True)
class Row:
    """Restored faces of one kind and width.

    Attributes:
        kind, width: as in :class:`Judged`.
        n: how many.
        drop_median, drop_99, drop_most: of their similarity; 99: of one in a hundred it drops more.
        weakened: share of them, 0 to 1, be it by their own witness or by one near it, whatever that one's kind.
        worse: share that is less like its original than the degraded face by WORSE_BY as it is shown, 0 to 1.
    """

    kind: str
    width: int
    n: int
    drop_median: float
    drop_99: float
    drop_most: float
    weakened: float
    worse: float

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
    """The gate's verdicts on one subject's clip, as its expert restores it and with everything that is planted.

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
    reference = mean_embedding([_embedding(meter, frame, without_noise(frame.crop_rgb)) for frame in clip.frames])
    judge = _Judge(meter, IdentityGate(meter), reference, frames, [_embedding_of_truth(meter, each) for each in frames])
    restored = _restored(load(expert), frames)
    for face in judge.of(GOOD, restored):
        yield face if face.gain > -WORSE_BY else replace(face, kind=FARTHER_OFF)
    pasted = [with_face_of(other, patch, frame) for patch, frame in zip(restored, frames, strict=True)]
    yield from judge.of(OTHER_PERSON, _agreeing(pasted, frames))
    yield from judge.of(SHUFFLED, _restored(load(SHUFFLED_EXPERT + expert), frames))
    for peer in peers:
        made = judge.of(peer, _agreeing(_restored(load(peer), frames), frames))
        yield from (face for face in made if face.gain <= -WRONG_BY)


@dataclass(frozen=True)
class _Judge:
    """The gate, and the frames of one clip by which it judges, with the embeddings of their originals."""

    meter: IdentityMeter
    gate: IdentityGate
    reference: Embedding
    frames: Sequence[Sample]
    originals: Sequence[Embedding]

    def of(self, kind: str, patches_rgb: Sequence[Image]) -> Iterator[Judged]:
        """Verdicts on what was made of every frame."""
        verdicts = [
            self.gate.judge(
                frame.crop_rgb, patch_rgb, frame.crop_landmarks, frame.width, frame.sharpness, self.reference
            )
            for frame, patch_rgb in zip(self.frames, patches_rgb, strict=True)
        ]
        looked = [*(None,) * LOOKS_BACK, *verdicts, *(None,) * LOOKS_AHEAD]
        for number, (frame, patch_rgb) in enumerate(zip(self.frames, patches_rgb, strict=True)):
            verdict = verdicts[number]
            shown, _ = gated_strength(0.0, looked[number : number + LOOKS_BACK + 1 + LOOKS_AHEAD])
            likeness = {share: self._likeness(number, patch_rgb, share) for share in {0.0, shown, 1.0}}
            yield Judged(
                kind=kind,
                width=frame.width,
                strength=frame.strength,
                drop=verdict.source_similarity - verdict.similarity,
                shown=shown,
                gain=likeness[1.0] - likeness[0.0],
                gain_shown=likeness[shown] - likeness[0.0],
            )

    def _likeness(self, number: int, patch_rgb: Image, share: float) -> float:
        """Cosine to a frame's original where so much of a restored face shows."""
        frame = self.frames[number]
        shown = weakened(patch_rgb, frame.crop_rgb, share)
        return cosine(_embedding(self.meter, frame, shown), self.originals[number])


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


def _restored(restorer: Restorer, frames: Sequence[Sample]) -> list[Image]:
    crops_rgb, landmarks = [frame.crop_rgb for frame in frames], [frame.crop_landmarks for frame in frames]
    return [answer.image for answer in restorer.restore(crops_rgb, landmarks)]


def _agreeing(patches_rgb: Sequence[Image], frames: Sequence[Sample]) -> list[Image]:
    """Held to their sources, as every restored face is."""
    return [agreeing_patch(patch, frame.crop_rgb) for patch, frame in zip(patches_rgb, frames, strict=True)]


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
        round(float(np.mean([face.gain_shown <= -WORSE_BY for face in faces])), 4),
    )


def gate_table(rows: Sequence[Row]) -> Table:
    """The rows as a table."""
    table = Table(title="Similarity to the track's own identity: how far it drops", title_justify="left")
    for header in ("result", "w", "n", "median", "1 in 100", "most", "weakened", "worse"):
        table.add_column(header, justify="left" if header == "result" else "right", no_wrap=True)
    for row in rows:
        drops = (f"{drop:.3f}" for drop in (row.drop_median, row.drop_99, row.drop_most))
        shares = (f"{100 * share:.1f}%" for share in (row.weakened, row.worse))
        table.add_row(row.kind, str(row.width), str(row.n), *drops, *shares)
    return table
