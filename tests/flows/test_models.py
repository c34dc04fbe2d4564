"""A model that cannot take an expert's place is told of before anything is restored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from actors.experts.srnet import SRNet
from flows.config import load_config
from flows.job import Job, open_job
from flows.models import check_models_here, models_given, reason_against
from weights import WeightsError, sha256_of


def job_with(folder: Path, model: Path) -> Job:
    source = folder / "in" / "a.mp4"
    if not source.exists():
        source.parent.mkdir()
        source.write_bytes(b"not looked at")
    given = {"sources": [str(source)], "out": str(folder / "out"), "experts": "t", "expert_t_weights": str(model)}
    given["identity_gate"] = "false"
    return open_job(load_config(None, given))


def test_the_job_goes_by_the_models_content(tmp_path: Path) -> None:
    model = tmp_path / "model.pth"
    model.write_bytes(b"one")
    first = job_with(tmp_path, model)
    assert first.weights == (("expert_t", sha256_of(model)),)
    elsewhere = tmp_path / "elsewhere.pth"
    elsewhere.write_bytes(b"one")
    assert job_with(tmp_path, elsewhere).name == first.name
    model.write_bytes(b"two")
    assert job_with(tmp_path, model).name != first.name


def test_an_unfit_model_has_a_reason_against_it(tmp_path: Path) -> None:
    fit, unfit = tmp_path / "fit.pth", tmp_path / "unfit.pth"
    torch.save(SRNet(gated=False, depth=1).state_dict(), fit)
    torch.save({"epoch": 3}, unfit)
    with pytest.raises(WeightsError, match="epoch in it is no tensor"):
        check_models_here(models_given(job_with(tmp_path, unfit)))
    reasons = [
        reason_against(expert, weights)
        for model in (fit, unfit)
        for expert, weights in job_with(tmp_path, model).experts.items()
    ]
    assert reasons == ["", f"{unfit}: epoch in it is no tensor; save a state dict alone"]
