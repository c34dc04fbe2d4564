"""The row that travels from pool to pool: one shard, its faces, and the crops of those that an expert restores.

    column    type                                          who writes it
    shard     binary                                        the plan; narrowed by FaceDetector when it cuts a shard
    faces     binary (Arrow IPC)                            FaceDetector
    beside    binary (Arrow IPC)                            FaceDetector, where faces are steadied
    witnesses binary (Arrow IPC)                            FaceDetector, where the identity gate is on
    keys      binary (Arrow IPC)                            FaceDetector, where faces are steadied
    crops     list<{index, height, width, rgb}>             FaceDetector; each expert replaces its own by patches
    frames    int64                                         FaceDetector: frames it saw in the shard's range
    digest    string                                        FaceDetector: hash of their pts
    error     string, empty when all is well                whichever stage failed; later stages pass the row through

A row is at most about `MAX_PATCH_BYTES` and a little: FaceDetector cuts crowded shards so that it holds.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from actors.geometry import Box, Landmarks, Rect
from actors.routing import Decision, Tier
from storage.shards import Shard

MAX_PATCH_BYTES = 64 << 20
"""A shard is cut before the patches it will hold at the result's scale exceed this."""

_CROP = pa.struct([("index", pa.int32()), ("height", pa.int32()), ("width", pa.int32()), ("rgb", pa.large_binary())])

ROW_SCHEMA = pa.schema(
    [
        ("shard", pa.binary()),
        ("faces", pa.large_binary()),
        ("beside", pa.large_binary()),
        ("witnesses", pa.large_binary()),
        ("keys", pa.large_binary()),
        ("crops", pa.large_list(_CROP)),
        ("frames", pa.int64()),
        ("digest", pa.string()),
        ("error", pa.string()),
    ]
)


@dataclass(frozen=True)
class FaceInFrame:
    """One face in one frame: where it is, what was measured, what was decided."""

    pts: int
    track: int
    """Number of the track inside this shard; the joined video numbers tracks anew by their anchors."""
    head_anchor: str
    """The track's last detection before the shard; empty when it begins in it."""
    tail_anchor: str
    """The track's last detection before the shard's end."""
    observed: bool
    """Whether the detector searched this frame; otherwise the box is interpolated."""
    score: float
    box: Box
    landmarks: Landmarks
    """In source pixels, as the box."""
    sharpness: float
    """Of this frame; the decision follows from the track's median."""
    tier: Tier
    decision: Decision
    reason: str
    crop: Rect
    """Source pixels that an expert is shown."""
    strength: float = 1.0
    """Share of the restored face in the result, 0 to 1; what is 0 is not restored."""
    crop_index: int = -1
    """Of its pixels among the row's crops; -1 when none travel."""
    second_crop_index: int = -1
    """Of the same pixels in the other field of an interlaced frame; -1 when there is none."""
    witnesses: tuple[int, ...] = ()
    """Indices among the row's witnesses: of its track and decision, from `LOOKS_BACK` grid points before its own to
    `LOOKS_AHEAD` after it; -1 for one that there is not. Empty where the identity gate is off or has nothing to
    judge."""
    keys: tuple[int, ...] = ()
    """Of a face that stays in its place: indices among the row's keys, of those from `KEYS_BACK` grid points before
    its own to `KEYS_AHEAD` after it; -1 for one that there is not. Empty for a face that moves."""
    along: float = 0.0
    """How far it is from its own grid point to the next, 0 to 1; told with `witnesses` and `keys`."""
    identity: float | None = None
    """Cosine of the restored face to its track's own identity at the nearest witness, before any weakening."""
    source_identity: float | None = None
    """Of the face as it was."""

    @property
    def crop_indices(self) -> tuple[int, ...]:
        """Of its pixels in each moment that the frame shows; empty when none travel."""
        return tuple(index for index in (self.crop_index, self.second_crop_index) if index >= 0)

    @property
    def width(self) -> float:
        """w of the routing table: width of the box, source pixels."""
        return self.box.width


_FACE_SCHEMA = pa.schema(
    [
        ("pts", pa.int64()),
        ("track", pa.int32()),
        ("head_anchor", pa.string()),
        ("tail_anchor", pa.string()),
        ("observed", pa.bool_()),
        ("score", pa.float32()),
        ("box", pa.list_(pa.float64(), 4)),
        ("landmarks", pa.list_(pa.list_(pa.float64(), 2), 5)),
        ("sharpness", pa.float64()),
        ("tier", pa.string()),
        ("decision", pa.string()),
        ("reason", pa.string()),
        ("crop", pa.list_(pa.int32(), 4)),
        ("strength", pa.float64()),
        ("crop_index", pa.int32()),
        ("second_crop_index", pa.int32()),
        ("witnesses", pa.list_(pa.int32())),
        ("keys", pa.list_(pa.int32())),
        ("along", pa.float64()),
        ("identity", pa.float64()),
        ("source_identity", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Witness:
    """A track's face at a grid point, in the row's range or next to it, by which the identity gate judges."""

    pts: int
    decision: Decision
    width: float
    """Of the box, source pixels."""
    sharpness: float
    """As the detector measured it."""
    crop: Rect
    landmarks: Landmarks
    """In source pixels."""
    reference: tuple[float, ...]
    """The track's own identity there: an embedding."""
    crop_index: int
    """Of its pixels among the row's crops; a face of the row's range may have the same."""


_WITNESS_SCHEMA = pa.schema(
    [
        ("pts", pa.int64()),
        ("decision", pa.string()),
        ("width", pa.float64()),
        ("sharpness", pa.float64()),
        ("crop", pa.list_(pa.int32(), 4)),
        ("landmarks", pa.list_(pa.list_(pa.float64(), 2), 5)),
        ("reference", pa.list_(pa.float64())),
        ("crop_index", pa.int32()),
    ]
)


@dataclass(frozen=True)
class KeyFace:
    """A face that stays in its place, as it was found at a grid point in the row's range or near it."""

    pts: int
    decision: Decision
    crop: Rect
    """Source pixels: those of the frames that are shown by it."""
    landmarks: Landmarks
    """In source pixels."""
    crop_index: int
    """Of its pixels among the row's crops; a face or a witness may have the same."""


_KEY_SCHEMA = pa.schema(
    [
        ("pts", pa.int64()),
        ("decision", pa.string()),
        ("crop", pa.list_(pa.int32(), 4)),
        ("landmarks", pa.list_(pa.list_(pa.float64(), 2), 5)),
        ("crop_index", pa.int32()),
    ]
)


@dataclass(frozen=True)
class ShardWork:
    """One row, unpacked."""

    shard: Shard
    faces: tuple[FaceInFrame, ...] = ()
    """In order of pts, then of track."""
    crops: dict[int, np.ndarray] = field(default_factory=dict)
    """By `crop_index` of faces, witnesses and keys: (H, W, 3) uint8 RGB. A source crop until its expert has replaced
    it by the patch that fills the crop's place in the result, or dropped it with its witness or key."""
    frames: int = 0
    digest: str = ""
    error: str = ""
    witnesses: tuple[Witness, ...] = ()
    """Told by the index of each to the faces that they judge: see `FaceInFrame.witnesses`."""
    beside: tuple[FaceInFrame, ...] = ()
    """Faces of the frames next to the shard's, by which the outermost of its own are steadied."""
    keys: tuple[KeyFace, ...] = ()
    """Between which faces that stay are shown: see `FaceInFrame.keys`."""

    def failed(self, error: str) -> ShardWork:
        """The same shard, given up: no pixels, only the reason."""
        return replace(self, faces=(), beside=(), witnesses=(), keys=(), crops={}, error=error)

    def to_row(self) -> dict[str, Any]:
        """Values of the columns of `ROW_SCHEMA`."""
        return {
            "shard": pickle.dumps(self.shard),
            "faces": _to_ipc(self.faces, _FACE_SCHEMA),
            "beside": _to_ipc(self.beside, _FACE_SCHEMA),
            "witnesses": _to_ipc(self.witnesses, _WITNESS_SCHEMA),
            "keys": _to_ipc(self.keys, _KEY_SCHEMA),
            "crops": [
                {"index": index, "height": rgb.shape[0], "width": rgb.shape[1], "rgb": rgb.tobytes()}
                for index, rgb in self.crops.items()
            ],
            "frames": self.frames,
            "digest": self.digest,
            "error": self.error,
        }

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> ShardWork:
        """Inverse of `to_row`. The row comes from this job's own object store."""
        return cls(
            shard=pickle.loads(row["shard"]),
            faces=tuple(map(_face, _from_ipc(row["faces"]))),
            beside=tuple(map(_face, _from_ipc(row["beside"]))),
            witnesses=tuple(map(_witness, _from_ipc(row["witnesses"]))),
            keys=tuple(map(_key_face, _from_ipc(row["keys"]))),
            crops={
                crop["index"]: np.frombuffer(crop["rgb"], dtype=np.uint8).reshape(crop["height"], crop["width"], 3)
                for crop in row["crops"]
            },
            frames=row["frames"],
            digest=row["digest"],
            error=row["error"],
        )


def to_table(work: Iterable[ShardWork]) -> pa.Table:
    """Rows as the Arrow table that Ray Data moves."""
    return pa.Table.from_pylist([item.to_row() for item in work], schema=ROW_SCHEMA)


def from_table(table: pa.Table) -> list[ShardWork]:
    """Inverse of `to_table`."""
    return [ShardWork.from_row(row) for row in table.to_pylist()]


def _to_ipc(items: Sequence[FaceInFrame | Witness | KeyFace], schema: pa.Schema) -> bytes:
    table = pa.Table.from_pylist([asdict(item) for item in items], schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _from_ipc(content: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.ipc.open_stream(content).read_all().to_pylist()
    return rows


def _face(row: dict[str, Any]) -> FaceInFrame:
    told = {
        "box": Box(*row["box"]),
        "tier": Tier(row["tier"]),
        "witnesses": tuple(row["witnesses"]),
        "keys": tuple(row["keys"]),
    }
    return FaceInFrame(**{**row, **_of_crop(row), **told})


def _witness(row: dict[str, Any]) -> Witness:
    return Witness(**{**row, **_of_crop(row), "reference": tuple(row["reference"])})


def _key_face(row: dict[str, Any]) -> KeyFace:
    return KeyFace(**{**row, **_of_crop(row)})


def _of_crop(row: dict[str, Any]) -> dict[str, Any]:
    """What everything says that has a crop."""
    return {
        "crop": Rect(*row["crop"]),
        "landmarks": tuple((x, y) for x, y in row["landmarks"]),
        "decision": Decision(row["decision"]),
    }
