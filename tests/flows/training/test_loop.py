from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from actors.experts import load_expert
from actors.experts.frequency import FrequencyExpert
from flows.training.checkpoint import CheckpointError, Progress, read_training_state
from flows.training.degradation import BLURRED_FACES, CLEAN
from flows.training.loop import MOST_UNUSABLE, PairBatches, Training, TrainingError, TrainingFiles, update_average
from flows.training.losses import Batch, MeanLoss, pixel_loss_f
from flows.training.pairs import PairRecipe
from flows.training.portraits import Face
from flows.training.schedule import Clock, LoopSettings, learning_rate
from flows.training.validation import validation_samples

RECIPE = PairRecipe(BLURRED_FACES, (50, 150), patch=16, tile=32, grid=2, buffer=8)
SETTINGS = LoopSettings(steps=3, batch=2, warm_up=2)


def small_network(channels: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return FrequencyExpert(channels=channels, blocks=1, hidden=8, large=4, kernel=3, spectral=2)


@pytest.fixture(autouse=True)
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are compared here; a CPU with AMX would round them to bfloat16."""
    monkeypatch.setattr("flows.training.loop.learns_in_bfloat16", lambda device: False)


def start(
    out: Path, settings: LoopSettings = SETTINGS, *, channels: int = 8, expert: str = "f", stage: str = "faithful"
) -> Training:
    files = TrainingFiles.beside(out)
    return Training(
        expert,
        small_network(channels),
        MeanLoss(pixel_loss_f),
        settings,
        files,
        device=torch.device("cpu"),
        report=lambda line: None,
        stage=stage,
        saved=read_training_state(files.state) if files.state.is_file() else None,
    )


def test_a_batch_has_originals_of_one_size_and_every_size_has_its_turn(face: Face, tmp_path: Path) -> None:
    recipe = replace(RECIPE, truth_scales=(2, 3, 4))
    batches = list(islice(iter(PairBatches([face], np.ones(1), recipe, 2, (0,))), 30))
    assert {tuple(batch.original.shape) for batch in batches} == {(2, 3, side, side) for side in (32, 48, 64)}
    training = start(tmp_path / "expert_f.safetensors")
    assert all(math.isfinite(training.step(batch)) for batch in batches[:9])


def rewrite_state(path: Path, *, header: object = None, without: str | None = None) -> None:
    """Put another header over a state, or take the tensors whose names start so away."""
    with safe_open(path, framework="pt") as stored:
        told = stored.metadata()
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    if header is not None:
        told["facemill_training"] = header if isinstance(header, str) else json.dumps(header)
    if without is not None:
        tensors = {name: value for name, value in tensors.items() if not name.startswith(without)}
    save_file(tensors, path, told)


def run(training: Training, face: Face) -> None:
    samples = validation_samples([face], 50, (CLEAN,), limit=1)
    training.run([face], np.ones(1), RECIPE, samples)


def test_a_training_leaves_weights_that_load_a_state_and_a_curve(tmp_path: Path, face: Face) -> None:
    out = tmp_path / "weights" / "expert_f.safetensors"
    run(start(out), face)
    crop_rgb = np.zeros((24, 20, 3), np.uint8)
    assert load_expert("expert_f", weights_path=out).restore([crop_rgb])[0].shape == (96, 80, 3)
    with TrainingFiles.beside(out).curve.open() as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["step"], row["condition"]) for row in rows] == [("3", "clean")]
    assert float(rows[0]["bicubic_psnr"]) > 20


def test_a_validation_does_not_silence_the_loss(tmp_path: Path, face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.training.loop.MOST_SILENT_SECONDS", 0)
    told: list[str] = []
    training = start(tmp_path / "expert_f.safetensors", replace(SETTINGS, validate_every=1e-9))
    training.report = told.append
    run(training, face)
    losses = [line for line in told if " loss " in line]
    assert len(losses) == SETTINGS.steps
    assert not any("nan" in line for line in losses)


def test_the_same_command_again_continues_with_the_optimizers_memory(tmp_path: Path, face: Face) -> None:
    out = tmp_path / "expert_f.safetensors"
    first = start(out)
    run(first, face)
    resumed = start(out, replace(SETTINGS, steps=5))
    assert resumed.progress.step == 3
    for before, after in zip(first.network.parameters(), resumed.network.parameters(), strict=True):
        torch.testing.assert_close(before, after)
        moments = first.optimizer.state[before], resumed.optimizer.state[after]
        for name in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(moments[1][name], moments[0][name], rtol=0.01, atol=1e-12)
            assert moments[1][name].stride() == after.stride()
        assert float(moments[1]["step"]) == 3
    run(resumed, face)
    assert resumed.progress.step == 5


def test_a_finished_training_writes_nothing_more(tmp_path: Path, face: Face) -> None:
    out = tmp_path / "expert_f.safetensors"
    run(start(out), face)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    run(start(out), face)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert len(before) == 3


def test_a_finished_training_makes_up_for_weights_and_a_validation_that_are_missing(tmp_path: Path, face: Face) -> None:
    out = tmp_path / "expert_f.safetensors"
    run(start(out), face)
    weights, curve = out.read_bytes(), TrainingFiles.beside(out).curve
    out.unlink()
    curve.unlink()
    run(start(out), face)
    assert out.read_bytes() == weights
    assert len(curve.read_text().splitlines()) == 2


def patches(number: int) -> Batch:
    original = torch.rand(number, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    return Batch(original[..., ::4, ::4].contiguous(), original, torch.full((number, 5, 2), torch.nan))


def test_a_batch_that_is_too_large_for_memory_is_learned_from_in_parts(tmp_path: Path) -> None:
    settings = LoopSettings(steps=9, batch=5, warm_up=1)
    whole, parted = (start(tmp_path / name / "expert_f.safetensors", settings) for name in ("whole", "parted"))
    sizes: list[int] = []
    compute = parted.loss

    def small_memory(restored: torch.Tensor, batch: Batch) -> torch.Tensor:
        sizes.append(len(restored))
        if len(restored) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return compute(restored, batch)

    parted.loss = small_memory
    losses = [training.step(patches(5)) for training in (whole, parted)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    gradients = [torch.cat([p.grad.flatten() for p in t.network.parameters()]) for t in (whole, parted)]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-5)
    assert sizes == [5, 3, 2, 2, 1]
    parted.step(patches(5))
    assert sizes[5:] == [2, 2, 1]


def test_one_patch_that_is_too_large_for_memory_ends_in_a_line_and_other_errors_pass(tmp_path: Path) -> None:
    training = start(tmp_path / "expert_f.safetensors")

    def raises(error: RuntimeError) -> None:
        def loss(restored: torch.Tensor, batch: Batch) -> torch.Tensor:
            raise error

        training.loss = loss

    raises(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"))
    with pytest.raises(TrainingError, match="one patch at a time; give a smaller --patch"):
        training.step(patches(2))
    raises(RuntimeError("sizes do not match"))
    with pytest.raises(RuntimeError, match="sizes do not match"):
        training.step(patches(2))


def test_a_batch_without_a_finite_loss_moves_nothing_and_a_few_in_a_row_end_the_training(tmp_path: Path) -> None:
    training = start(tmp_path / "expert_f.safetensors", LoopSettings(steps=100, batch=2))
    good, broken = patches(2), patches(2)
    broken.original[1, 0, 3, 3] = math.nan
    training.step(good)
    before = [parameter.clone() for parameter in training.network.parameters()]
    for _ in range(MOST_UNUSABLE - 1):
        assert math.isnan(training.step(broken))
    for earlier, parameter in zip(before, training.network.parameters(), strict=True):
        assert torch.equal(earlier, parameter)
    assert training.progress.step == 1
    training.step(good)
    for _ in range(MOST_UNUSABLE - 1):
        training.step(broken)
    with pytest.raises(TrainingError, match="the training diverged") as ended:
        training.step(broken)
    assert "\n" not in str(ended.value)


def test_a_gradient_that_is_not_finite_moves_nothing(tmp_path: Path) -> None:
    training = start(tmp_path / "expert_f.safetensors")
    training.loss = lambda restored, batch: (restored - restored.detach()).abs().sqrt().sum()
    assert math.isnan(training.step(patches(1)))
    assert all(bool(parameter.isfinite().all()) for parameter in training.network.parameters())


def test_a_training_that_diverged_leaves_its_last_good_files(tmp_path: Path, face: Face) -> None:
    out = tmp_path / "expert_f.safetensors"
    training = start(out)
    run(training, face)
    before = out.read_bytes(), training.files.state.read_bytes()
    with torch.no_grad():
        next(training.network.parameters()).fill_(math.inf)
    with pytest.raises(CheckpointError, match=r"not written, weights\.\S+ holds NaN or infinity"):
        training.save()
    assert (out.read_bytes(), training.files.state.read_bytes()) == before


def test_a_state_of_another_architecture_is_refused(tmp_path: Path, face: Face) -> None:
    out = tmp_path / "expert_f.safetensors"
    run(start(out), face)
    with pytest.raises(CheckpointError, match=r"stem\.weight has shape"):
        start(out, channels=12)


def test_a_state_of_another_stage_or_expert_is_refused(tmp_path: Path, face: Face) -> None:
    out = tmp_path / "expert_f.safetensors"
    run(start(out), face)
    with pytest.raises(CheckpointError, match="of expert f, faithful stage, not of expert f, natural stage"):
        start(out, stage="natural")
    with pytest.raises(CheckpointError, match="not of expert t, faithful stage"):
        start(out, expert="t")


@pytest.mark.parametrize("stage", ["faithful", "natural"])
def test_an_old_state_that_does_not_tell_its_stage_is_taken_up(tmp_path: Path, face: Face, stage: str) -> None:
    out = tmp_path / "expert_f.safetensors"
    run(start(out), face)
    old = {"expert": "f", "step": 3, "steps": 3, "seed": 1, "seconds": 0.5}
    rewrite_state(TrainingFiles.beside(out).state, header=old)
    resumed = start(out, stage=stage)
    assert resumed.progress == Progress("f", 3, 3, 1, 0.5, stage)


@pytest.mark.parametrize("header", ["{not json", "[]", {"expert": "f"}, {"expert": "f", "later": 1}])
def test_a_state_whose_header_cannot_be_understood_is_refused_in_a_line(
    tmp_path: Path, face: Face, header: object
) -> None:
    out = tmp_path / "expert_f.safetensors"
    run(start(out), face)
    rewrite_state(TrainingFiles.beside(out).state, header=header)
    with pytest.raises(CheckpointError, match="its header is not one of this version") as refused:
        start(out)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("part", ["weights", "average", "second"])
def test_a_state_that_lacks_a_part_is_refused(tmp_path: Path, face: Face, part: str) -> None:
    out = tmp_path / "expert_f.safetensors"
    run(start(out), face)
    rewrite_state(TrainingFiles.beside(out).state, without=f"{part}.stem")
    with pytest.raises(CheckpointError, match=rf"{part}\.stem\.\w+ is missing"):
        start(out)


def test_a_truncated_state_is_refused(tmp_path: Path, face: Face) -> None:
    out = tmp_path / "expert_f.safetensors"
    run(start(out), face)
    state = TrainingFiles.beside(out).state
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        start(out)


def test_a_write_that_breaks_leaves_the_last_whole_state(
    tmp_path: Path, face: Face, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "expert_f.safetensors"
    training = start(out)
    run(training, face)
    whole = TrainingFiles.beside(out).state.read_bytes()

    def broken(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("flows.training.checkpoint.save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        training.save()
    assert TrainingFiles.beside(out).state.read_bytes() == whole
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]


def test_training_on_one_pair_lowers_its_loss(tmp_path: Path) -> None:
    training = start(tmp_path / "expert_f.safetensors", LoopSettings(steps=60, warm_up=5, peak_rate=5e-3))
    original = torch.rand(1, 3, 16, 16).repeat_interleave(4, 2).repeat_interleave(4, 3)
    batch = Batch(original[..., ::4, ::4].contiguous(), original, torch.full((1, 5, 2), torch.nan))
    losses = [training.step(batch) for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]


def test_the_rate_warms_up_peaks_and_falls_along_a_cosine() -> None:
    settings = LoopSettings(steps=2000, warm_up=100, peak_rate=1.0, final_rate=0.0)
    places = ((0, 0.0), (99, 0.0), (1000, 0.5), (2000, 1.0), (3000, 1.5))
    rates = [learning_rate(step, done, settings) for step, done in places]
    assert rates == pytest.approx([0.01, 1.0, 0.5, 0.0, 0.0])


def test_minutes_spread_what_is_left_of_the_schedule_over_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(first=400, settings=LoopSettings(steps=1000, minutes=10), started=50.0)
    for seconds, expected in ((0, 0.4), (300, 0.7), (600, 1.0)):
        monkeypatch.setattr("time.monotonic", lambda now=50.0 + seconds: now)
        assert clock.done(400) == pytest.approx(expected)
    monkeypatch.setattr("time.monotonic", lambda: 50.0)
    assert clock.done(900) == pytest.approx(0.9)


def test_a_training_whose_minutes_are_over_ends_with_everything_saved(tmp_path: Path, face: Face) -> None:
    training = start(tmp_path / "expert_f.safetensors", LoopSettings(steps=10**6, minutes=1e-6, batch=2))
    run(training, face)
    assert training.progress.step <= 1
    assert training.files.state.is_file()


def test_the_average_trails_the_network_and_forgets_the_start_early() -> None:
    average, network = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(average.weight)
    nn.init.ones_(network.weight)
    update_average(average, network, 0.999, step=1)
    assert float(average.weight.detach()) == pytest.approx(1 - 2 / 11)
    update_average(average, network, 0.999, step=100_000)
    assert float(average.weight.detach()) == pytest.approx(1 - 2 / 11 * 0.999)
