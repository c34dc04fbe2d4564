from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from actors.geometry import Landmarks
from flows.evaluation.peers import PEERS, Peer, check_peers
from flows.evaluation.remembered import RememberingRestorer
from flows.evaluation.restorers import Restored
from flows.evaluation.samples import Image
from storage.errors import UsageError
from weights import WeightsError, read_registry

ENLARGING = """7767517
2 2
Input            data             0 1 data
Interp           up               1 1 data output 0=1 1=4.0 2=4.0
"""


@pytest.fixture
def crop() -> Image:
    return np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8)


def test_a_network_sees_the_crop_in_its_place(tmp_path: Path, crop: Image) -> None:
    pytest.importorskip("ncnn")
    graph, tensors = tmp_path / "up.param", tmp_path / "up.bin"
    graph.write_text(ENLARGING)
    tensors.write_bytes(b"")
    (restored,) = Peer("up", graph, tensors).restore([crop], [()])
    np.testing.assert_array_equal(restored.image, crop.repeat(4, axis=0).repeat(4, axis=1))
    assert restored.ms > 0


def test_a_file_that_ncnn_cannot_read_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    for name in ("x.param", "x.bin"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match=r"x\.param"):
        Peer("x", tmp_path / "x.param", tmp_path / "x.bin")


def test_without_ncnn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(UsageError, match=r"facemill\[peers\]"):
        check_peers(list(PEERS))
    check_peers([])


def test_absent_files_are_named_all_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", sys)  # any module: nothing is computed
    monkeypatch.setenv("FACEMILL_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match="facemill weights pull spanx4_param spanx4_bin"):
        check_peers(["spanx4"])


def test_every_peer_is_registered_with_a_source() -> None:
    entries = read_registry()
    for files in PEERS.values():
        assert all(entries[name].sources for name in (files.graph, files.tensors))


class Counted:
    """Repeats pixels, and counts."""

    identity = "counted"
    calls = 0

    uses_landmarks = False

    def restore(self, crops_rgb: Sequence[Image], landmarks: Sequence[Landmarks]) -> list[Restored]:
        self.calls += len(crops_rgb)
        return [Restored(crop_rgb.repeat(4, axis=0).repeat(4, axis=1), 12.5) for crop_rgb in crops_rgb]


def test_a_slow_restorer_works_once(tmp_path: Path, crop: Image) -> None:
    slow = Counted()
    remembering = RememberingRestorer(slow, tmp_path / "kept")
    first = remembering.restore([crop, crop[:, ::-1].copy()], [(), ()])
    again = RememberingRestorer(slow, tmp_path / "kept").restore([crop], [()])
    assert slow.calls == 2
    np.testing.assert_array_equal(first[0].image, again[0].image)
    assert again[0].ms == 12.5


def test_a_broken_file_is_computed_again(tmp_path: Path, crop: Image) -> None:
    slow = Counted()
    remembering = RememberingRestorer(slow, tmp_path)
    remembering.restore([crop], [()])
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    remembering.restore([crop], [()])
    assert slow.calls == 2
    remembering.restore([crop], [()])
    assert slow.calls == 2
