"""A clip through the product's own stages, in this process and as one shard."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from actors.detection import DetectionSettings
from actors.expert_restorer import loaded_expert, restored_row
from actors.experts import Expert
from actors.face_detector import FaceDetector
from actors.frame_compositor import FrameCompositor
from actors.geometry import Landmarks
from actors.identity import IdentityMeter
from actors.identity_gate import IdentityGate
from actors.routing import Decision, RoutingBounds
from flows.evaluation.samples import Image
from storage.catalogue import find_sources
from storage.encoding import EncodeSettings, SizeSettings
from storage.manifest import stitched_faces
from storage.probe import probe_video
from storage.receipts import Variant, WorkArea
from storage.shards import PtsRange, Shard
from storage.store import Store
from weights import DEFAULT_FIDELITY, choose_weights

EXPERTS = (Decision.EXPERT_F, Decision.EXPERT_T)
VARIANTS: tuple[Variant, ...] = ("restored", "baseline")
_LOSSLESS = EncodeSettings.model_validate({"crf": 0, "preset": "ultrafast"})
_REMEMBERED = 4096
"""Restored crops that are kept for other settings of the same clip."""


@dataclass(frozen=True)
class Setting:
    """What of the product is on."""

    name: str
    smoothing: bool = True
    hysteresis: bool = True
    gate: bool = True
    steadying: bool = True


SETTINGS = (
    Setting("as shipped"),
    Setting("no smoothing", smoothing=False),
    Setting("no hysteresis", hysteresis=False),
    Setting("no gate", gate=False),
    Setting("no steadying", steadying=False),
    Setting("none of them", smoothing=False, hysteresis=False, gate=False, steadying=False),
)


@dataclass(frozen=True)
class Processed:
    """What the stages made of a clip.

    Attributes:
        restored, baseline: files of the segments in either variant, lossless, in order.
        faces: rows of the faces table, tracks numbered through.
    """

    restored: tuple[Path, ...]
    baseline: tuple[Path, ...]
    faces: list[dict[str, Any]] = field(repr=False)


class RememberingExpert:
    """An expert that restores equal crops of a clip once: other settings mostly show it the same ones."""

    def __init__(self, expert: Expert) -> None:
        self._expert = expert
        self._known: OrderedDict[bytes, Image] = OrderedDict()

    @property
    def uses_landmarks(self) -> bool:
        """As of :class:`actors.experts.Expert`."""
        return self._expert.uses_landmarks

    def forget(self) -> None:
        """Let go of everything."""
        self._known.clear()

    def restore(self, crops_rgb: Sequence[Image], landmarks: Sequence[Landmarks]) -> list[Image]:
        """Each crop restored."""
        keys = [
            f"{crop.shape}{places}".encode() + crop.tobytes() for crop, places in zip(crops_rgb, landmarks, strict=True)
        ]
        new = [at for at, key in enumerate(keys) if key not in self._known]
        found = self._expert.restore([crops_rgb[at] for at in new], [landmarks[at] for at in new])
        answers = {keys[at]: image for at, image in zip(new, found, strict=True)}
        results = [answers[key] if key in answers else self._known[key] for key in keys]
        self._known.update(answers)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return results


class Stages:
    """Detector, experts, gate and compositor, loaded once for every clip and setting."""

    def __init__(
        self,
        identity: bytes,
        *,
        fidelity: float = DEFAULT_FIDELITY,
        models: Mapping[Decision, str | None] = MappingProxyType({}),
        threads: int = 1,
    ) -> None:
        """Args:
            identity: what is in SFace's file.
            models: files or registered names of models in place of the experts' own sets.

        Raises:
            weights.WeightsError: the experts' weights cannot be used.
        """
        self._identity, self._threads = identity, threads
        self._gate = IdentityGate(IdentityMeter(identity))
        self._experts = {
            name: RememberingExpert(
                loaded_expert(name, choose_weights(name.value, fidelity=fidelity, model=models.get(name)))
            )
            for name in EXPERTS
        }
        self._store = Store()

    def forget(self) -> None:
        """Let go of what was restored: another clip comes."""
        for expert in self._experts.values():
            expert.forget()

    def process(self, clip: Path, setting: Setting, folder: Path, size: SizeSettings, *, most_frames: int) -> Processed:
        """Run a clip through the stages.

        Args:
            folder: takes the segments.
            most_frames: of the clip that are restored.

        Raises:
            storage.errors.FacemillError: the clip cannot be read.
        """
        (source,) = find_sources([str(clip)], self._store)
        probe = probe_video(source.url, self._store)
        end = probe.first_pts + int(most_frames * probe.frame_ticks)
        shard = Shard(source, probe, PtsRange(None, end))
        bounds = {} if setting.hysteresis else {"hysteresis": 0.0}
        detector = FaceDetector(
            self._store,
            DetectionSettings.model_validate({"smoothing": setting.smoothing}),
            RoutingBounds.model_validate(bounds),
            size,
            frozenset(EXPERTS),
            (lambda: self._identity) if setting.gate else None,
            setting.steadying,
            threads=self._threads,
        )
        area = WorkArea(str(folder))
        compositor = FrameCompositor(self._store, area, size, _LOSSLESS, VARIANTS, threads=self._threads)
        segments: dict[Variant, list[Path]] = {kind: [] for kind in VARIANTS}
        parts: list[bytes] = []
        for work in detector.detect(shard):
            for name, expert in self._experts.items():
                gate = self._gate if setting.gate else None
                work = restored_row(work, name, expert, gate, size, steadying=setting.steadying)
            receipt = compositor.composite(work)
            for kind in VARIANTS:
                segments[kind].append(Path(area.segment(work.shard, kind, receipt.sha256[kind])))
            parts.append(Path(area.faces(work.shard, receipt.faces_sha256)).read_bytes())
        faces = [row for table in stitched_faces(parts) for row in table.to_pylist()]
        return Processed(tuple(segments["restored"]), tuple(segments["baseline"]), faces)


def frames_of(segments: Sequence[Path]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """(pts, RGB frame) of consecutive segments, in order."""
    for path in segments:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                assert frame.pts is not None
                yield frame.pts, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
