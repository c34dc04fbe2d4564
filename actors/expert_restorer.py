"""The ExpertF and ExpertT pools: each restores the crops that were routed to it and passes every other through."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actors.consistency import restore_agreeing
from actors.deadline import PART_SECONDS, each_within
from actors.geometry import Landmarks, Placement, landmarks_in_crop
from actors.identity import IdentityMeter, IdentityWeights
from actors.identity_gate import IdentityGate, Verdict, gated_strength
from actors.routing import Decision
from actors.steadying import Motions, Shown, between_keys, key_weights, steadied
from actors.tracking import LOOKS_BACK, NEIGHBOURS, DetectionGrid
from actors.work import FaceInFrame, KeyFace, ShardWork, Witness, from_table, to_table
from actors.work_log import tell
from storage.encoding import SizeSettings, output_picture
from storage.errors import explain
from weights import DEFAULT_FIDELITY, ExpertWeights, WeightsError, find_model

if TYPE_CHECKING:
    from actors.consistency import Restoring
    from actors.experts import Expert


class ExpertRestorer:
    """Ray actor: rows in, the same rows out with this expert's crops replaced by patches at the result's scale."""

    def __init__(
        self,
        expert: Decision,
        size: SizeSettings,
        weights: ExpertWeights | None = None,
        identity: IdentityWeights | None = None,
        steadying: bool = True,
        *,
        device: str = "cpu",
        threads: int = 1,
        part_seconds: float = PART_SECONDS,
    ) -> None:
        """Args:
        identity: where SFace comes from; None for no identity gate.
        steadying: whether patches are averaged with their neighbours in time.
        """
        # In the actor only: the driver need not wait for torch.
        import torch

        torch.set_num_threads(threads)
        self._routed_here = expert
        self._size, self._steadying, self._part_seconds = size, steadying, part_seconds
        self._expert = loaded_expert(expert, weights, device=device)
        cv2.setNumThreads(threads)
        self._gate = IdentityGate(IdentityMeter(identity())) if identity else None

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        return each_within(self._part_seconds, self._rows(table))

    def _rows(self, table: pa.Table) -> Iterator[pa.Table]:
        for work in from_table(table):
            tell(self._routed_here.value, "begins", work.shard.source, work.shard.range)
            try:
                yield to_table([self.restore(work)])
            except Exception as error:  # a shard's failure is its own: it becomes a receipt with the reason
                yield to_table([work.failed(explain(error))])

    def restore(self, work: ShardWork) -> ShardWork:
        """The row with the crops that are routed to this expert restored."""
        return restored_row(work, self._routed_here, self._expert, self._gate, self._size, steadying=self._steadying)


def restored_row(
    work: ShardWork,
    routed_here: Decision,
    expert: Restoring,
    gate: IdentityGate | None,
    size: SizeSettings,
    *,
    steadying: bool,
) -> ShardWork:
    """A row with the crops of one route restored, held to their source, steadied, and weakened by the gate.

    Args:
        gate: None only where the row has no witnesses.
        size: of the result; patches come back at its scale.
    """
    mine: dict[int, FaceInFrame | Witness] = {
        witness.crop_index: witness for witness in work.witnesses if witness.decision is routed_here
    }
    for face in (*work.beside, *work.faces):
        if face.decision is routed_here:
            mine.update(dict.fromkeys(face.crop_indices, face))
    if work.error or not mine:
        return work
    keys = {number: key for number, key in enumerate(work.keys) if key.decision is routed_here}
    apart = {number: key for number, key in keys.items() if expert.uses_landmarks or key.crop_index not in mine}
    made = _restored(work, [*mine.items(), *((key.crop_index, key) for key in apart.values())], expert)
    own, made_apart = dict(zip(mine, made, strict=False)), dict(zip(apart, made[len(mine) :], strict=True))
    verdicts = {
        number: _judged(gate, witness, own[witness.crop_index])
        for number, witness in enumerate(work.witnesses)
        if witness.decision is routed_here
    }
    faces = tuple(
        _gated(face, verdicts, gated=gate is not None) if face.decision is routed_here else face for face in work.faces
    )
    key_faces = {number: (made_apart.get(number) or own[key.crop_index]).shown for number, key in keys.items()}
    next_to = neighbours(work, routed_here) if steadying else {}
    placement = Placement.of(work.shard.probe, output_picture(work.shard.probe, size))
    done = mine.keys() | {key.crop_index for key in keys.values()}
    left = {index: crop for index, crop in work.crops.items() if index not in done}
    motions = Motions()
    for face in sorted(faces, key=lambda each: (each.track, each.pts)):  # so that a motion is asked for again soon
        if face.decision is routed_here:
            about = [(key_faces[number], share) for number, share in _shares(face) if number >= 0 and steadying]
            for index in face.crop_indices:
                before, after = ([own[at].shown for at in side] for side in next_to.get(index, ((), ())))
                left[index] = placement.resample(_steady(own[index].shown, before, after, about, motions), face.crop)
    return replace(work, faces=faces, crops=left)


class _Restored(NamedTuple):
    """A crop and what an expert made of it; upright, but for what is shown."""

    crop_rgb: NDArray[np.uint8]
    landmarks: Landmarks
    patch_rgb: NDArray[np.uint8]
    shown: Shown


def _restored(
    work: ShardWork, owners: Sequence[tuple[int, FaceInFrame | Witness | KeyFace]], expert: Restoring
) -> list[_Restored]:
    """What an expert makes of crops, given by their indices and what they are of."""
    turns = work.shard.probe.rotation // 90
    crops = [np.ascontiguousarray(np.rot90(work.crops[index], turns)) for index, _ in owners]
    places = [landmarks_in_crop(of.landmarks, of.crop, turns) for _, of in owners]
    patches = restore_agreeing(expert, crops, places)
    shown = [
        Shown(work.crops[index], np.ascontiguousarray(np.rot90(patch, -turns)), of.crop)
        for (index, of), patch in zip(owners, patches, strict=True)
    ]
    return [_Restored(*each) for each in zip(crops, places, patches, shown, strict=True)]


def _shares(face: FaceInFrame) -> list[tuple[int, float]]:
    """The key faces between which a face that stays is shown, and the share of each."""
    return list(zip(face.keys, key_weights(face.along), strict=True)) if face.keys else []


def _steady(
    face: Shown,
    before: Sequence[Shown],
    after: Sequence[Shown],
    keys: Sequence[tuple[Shown, float]],
    motions: Motions,
) -> NDArray[np.uint8]:
    """A face's patch without what an expert draws anew: by grid points where it stays, by its neighbours elsewhere."""
    if not keys:
        return steadied(face, before, after, motions)
    held, share = between_keys(face, keys)
    if share.min() < 1:  # a blink, say; to look for it costs more than all the rest
        own = steadied(face, before, after, motions).astype(np.float32)
        held = own + share[..., None] * (held - own)
    return np.clip(np.rint(held), 0, 255).astype(np.uint8)


def neighbours(work: ShardWork, route: Decision) -> dict[int, tuple[list[int], list[int]]]:
    """Of each crop of a route, those of the same face in the frames before and after, the nearest first.

    Of fields, in the same one. At most `NEIGHBOURS` on either side, and none behind a gap.
    """
    tracks: dict[int, list[FaceInFrame]] = defaultdict(list)
    for face in sorted((*work.beside, *work.faces), key=lambda each: each.pts):
        if face.decision is route and face.crop_index >= 0:
            tracks[face.track].append(face)
    farthest = DetectionGrid.of(work.shard.probe, 1).neighbour
    found: dict[int, tuple[list[int], list[int]]] = {}
    for faces in tracks.values():
        for at, face in enumerate(faces):
            before = _unbroken([face, *reversed(faces[max(0, at - NEIGHBOURS) : at])], farthest)
            after = _unbroken(faces[at : at + NEIGHBOURS + 1], farthest)
            for moment, index in enumerate(face.crop_indices):
                sides = ([each.crop_indices[moment] for each in side] for side in (before, after))
                found[index] = next(sides), next(sides)
    return found


def _unbroken(faces: Sequence[FaceInFrame], farthest: int) -> list[FaceInFrame]:
    """The faces behind the first, up to a gap of more than so many ticks."""
    gaps = (abs(after.pts - before.pts) for before, after in pairwise(faces))
    return [face for face, _ in zip(faces[1:], takewhile(farthest.__ge__, gaps), strict=False)]


def _judged(gate: IdentityGate | None, witness: Witness, made: _Restored) -> Verdict:
    """What the gate says of a witness."""
    if gate is None:
        raise RuntimeError("a row has witnesses, but its expert no identity gate")
    return gate.judge(
        made.crop_rgb,
        made.patch_rgb,
        made.landmarks,
        witness.width,
        witness.sharpness,
        np.array(witness.reference, np.float32),
    )


def _gated(face: FaceInFrame, verdicts: Mapping[int, Verdict], *, gated: bool) -> FaceInFrame:
    """A face as strong as its witnesses let it be; one that may not show at all loses its pixels."""
    if face.crop_index < 0:
        return face
    witnesses = [verdicts.get(number) for number in face.witnesses]
    by_distance = sorted(enumerate(witnesses), key=lambda each: abs(each[0] - LOOKS_BACK))
    nearest = next((verdict for _, verdict in by_distance if verdict), None)
    if nearest is None:
        return replace(face, reason=f"{face.reason}; identity not measured: not found near by") if gated else face
    share, why = gated_strength(face.along, witnesses)
    judged = replace(
        face,
        strength=face.strength * share,
        identity=nearest.similarity,
        source_identity=nearest.source_similarity,
        reason=f"{face.reason}; {why}" if share < 1 else face.reason,
    )
    return judged if share > 0 else replace(judged, crop_index=-1, second_crop_index=-1)


def loaded_expert(expert: Decision, weights: ExpertWeights | None = None, *, device: str = "cpu") -> Expert:
    """The network that restores on a route.

    Args:
        expert: the route.
        weights: what the job has chosen for it; None for the expert's own, as they are by default.
        device: a torch device.

    Raises:
        WeightsError: the weights cannot be used, or are not on this machine what they were where the job was started.
    """
    from actors.experts import ExpertName, load_expert

    name: ExpertName = "expert_f" if expert is Decision.EXPERT_F else "expert_t"
    path = find_model(weights.model) if weights and weights.model else None
    fidelity = weights.fidelity if weights else DEFAULT_FIDELITY
    loaded = load_expert(name, device=device, fidelity=fidelity, weights_path=path)
    if weights is not None and loaded.sha256 != weights.sha256:
        raise WeightsError(
            f"{path or name}: has sha256 {loaded.sha256[:12]}..., the job was started with {weights.sha256[:12]}...; "
            "every machine of the cluster needs the same file at the same place"
        )
    return loaded
