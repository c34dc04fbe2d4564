"""The row that travels from pool to pool: one shard, its faces, and the crops of those that an expert restores.

    column    type                                          who writes it
    shard     binary                                        the plan; narrowed by FaceDetector when it cuts a shard
    faces     binary (Arrow IPC)                            FaceDetector
    crops     list<{index, height, width, rgb}>             FaceDetector; each expert replaces its own by patches
    frames    int64                                         FaceDetector: frames it saw in the shard's range
    digest    string                                        FaceDetector: hash of their pts
    error     string, empty when all is well                whichever stage failed; later stages pass the row through

A row is at most about `MAX_PATCH_BYTES` and a little: FaceDetector cuts crowded shards so that it holds.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
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
    ]
)


@dataclass(frozen=True)
class ShardWork:
    """One row, unpacked."""

    shard: Shard
    faces: tuple[FaceInFrame, ...] = ()
    """In order of pts, then of track."""
    crops: dict[int, np.ndarray] = field(default_factory=dict)
    """By `FaceInFrame.crop_index`: (H, W, 3) uint8 RGB. A source crop until its expert has replaced it by the patch
    that fills the crop's place in the result."""
    frames: int = 0
    digest: str = ""
    error: str = ""

    def failed(self, error: str) -> ShardWork:
        """The same shard, given up: no pixels, only the reason."""
        return replace(self, faces=(), crops={}, error=error)

    def to_row(self) -> dict[str, Any]:
        """Values of the columns of `ROW_SCHEMA`."""
        return {
            "shard": pickle.dumps(self.shard),
            "faces": _faces_to_ipc(self.faces),
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
            faces=_faces_from_ipc(row["faces"]),
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


def _faces_to_ipc(faces: tuple[FaceInFrame, ...]) -> bytes:
    table = pa.Table.from_pylist([asdict(face) for face in faces], schema=_FACE_SCHEMA)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _FACE_SCHEMA) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _faces_from_ipc(content: bytes) -> tuple[FaceInFrame, ...]:
    names = [entry.name for entry in fields(FaceInFrame)]
    return tuple(
        FaceInFrame(
            **{
                **{name: row[name] for name in names},
                "box": Box(*row["box"]),
                "landmarks": tuple((x, y) for x, y in row["landmarks"]),
                "crop": Rect(*row["crop"]),
                "tier": Tier(row["tier"]),
                "decision": Decision(row["decision"]),
            }
        )
        for row in pa.ipc.open_stream(content).read_all().to_pylist()
    )
