"""One configuration from a file and flags, and messages that say which key is wrong and what it may be."""

from fractions import Fraction
from pathlib import Path

import pytest

from actors.routing import Decision
from flows.config import JobConfig, load_config
from storage.catalogue import Source
from storage.errors import UsageError
from storage.store import FileIdentity

GIVEN = {"sources": ["in"], "out": "out"}
SIZE_ALLOWED = "is not allowed; write WxH in pixels, 16 to 16384 a side, such as 1920x1080"
SOURCES = [Source("/in/a.mp4", "a.mp4", FileIdentity(10, "1"))]


def written(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(text)
    return path


def refusal(path: Path | None, **flags: object) -> str:
    with pytest.raises(UsageError) as refused:
        load_config(path, {**GIVEN, **flags})
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_every_option_has_a_default_but_sources_and_out() -> None:
    config = load_config(None, GIVEN)
    assert config.scale == 2
    assert config.variants == ("restored",)
    assert config.active_experts == {Decision.EXPERT_F, Decision.EXPERT_T}


def test_a_flag_wins_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "scale: 4\ncrf: 20\nsources: in\nout: elsewhere\n")
    config = load_config(path, {"scale": "1", "out": None})
    assert (config.scale, config.crf, config.out, config.sources) == (1, 20, "elsewhere", ("in",))


def test_keys_may_be_written_with_dashes(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "detect-every: 9"), GIVEN).detect_every == 9


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"scale": "3"}, "--scale: 3 is not allowed; choose 1, 2 or 4"),
        ({"codec": "vp9"}, "--codec: 'vp9' is not allowed; choose h264 or hevc"),
        ({"crf": "60"}, "--crf: '60' is not allowed; a number from 0 to 51"),
        ({"detect_every": "0"}, "--detect-every: '0' is not allowed; a whole number from 1 to 250"),
        ({"size": "big"}, f"--size: 'big' {SIZE_ALLOWED}"),
        ({"size": "1x1"}, f"--size: '1x1' {SIZE_ALLOWED}"),
        ({"size": "1920x20000"}, f"--size: '1920x20000' {SIZE_ALLOWED}"),
        ({"fidelity": "2"}, "--fidelity: '2' is not allowed; a number from 0 to 1"),
        ({"score": "high"}, "--score: 'high' is not allowed; a number from 0.5 to 1.0"),
    ],
)
def test_a_bad_flag_is_named_with_what_is_allowed(flags: dict[str, str], told: str) -> None:
    assert refusal(None, **flags) == told


def test_a_bad_value_in_the_file_is_named_with_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "min_face: 3")
    assert refusal(path) == f"{path}: min_face: 3 is not allowed; a whole number from 12 to 2000"


def test_a_misspelt_key_gets_the_near_one(tmp_path: Path) -> None:
    path = written(tmp_path, "detect_evry: 5")
    assert refusal(path) == f"{path}: detect_evry: there is no such key; did you mean detect_every?"


def test_falling_bounds_are_refused() -> None:
    assert "the bounds must rise" in refusal(None, w_skip="120")


def test_scale_and_size_exclude_each_other() -> None:
    assert "exclude each other" in refusal(None, scale="4", size="640x480")


def test_credentials_in_an_endpoint_are_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="without credentials") as refused:
        load_config(None, {**GIVEN, "s3_endpoint": "https://me:secret@host:8333"})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words", "a: [1"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert str(tmp_path) in refusal(written(tmp_path, text))


def test_what_is_no_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, "out: o\nscale: @2")
    assert refusal(path).startswith(f"{path}, line 2: is not YAML (found character '@' that cannot start any token). ")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.yaml") == f"no such configuration file: {tmp_path / 'none.yaml'}"


NAMING = {
    "codec": "hevc",
    "crf": "20",
    "preset": "slow",
    "scale": "4",
    "size": "640x480",
    "deinterlace": True,
    "w_skip": "40",
    "w_medium": "90",
    "w_resize": "160",
    "q_low": "7",
    "hysteresis": "0.1",
    "detect_every": "6",
    "min_face": "40",
    "score": "0.8",
    "smoothing": False,
    "experts": "t",
    "fidelity": "0.75",
    "identity_gate": False,
    "blend": "poisson",
    "steadying": False,
    "baseline": True,
    "compare": True,
    "shard_seconds": "9",
}
NOT_NAMING = {
    "detectors": "3",
    "experts_f": "3",
    "experts_t": "3",
    "compositors": "2",
    "device": "cpu",
    "shard_timeout": "100",
    "retry_failed": True,
    "force": True,
    "fail_fast": True,
    "ray_address": "auto",
    "s3_endpoint": "http://127.0.0.1:8333",
    "out": "elsewhere",
}
BY_WHAT_IS_FOUND = {"sources", "follow_links", "expert_t_weights", "expert_f_weights"}
"""The sources' identities and the weights' hashes name the job, whichever way they were asked for."""


@pytest.mark.parametrize(("name", "value"), NAMING.items())
def test_settings_that_results_depend_on_make_another_job(name: str, value: object) -> None:
    assert job_id(load_config(None, {**GIVEN, name: value})) != job_id(load_config(None, GIVEN))


@pytest.mark.parametrize(("name", "value"), NOT_NAMING.items())
def test_settings_that_no_result_depends_on_are_the_same_job(name: str, value: object) -> None:
    assert job_id(load_config(None, {**GIVEN, name: value})) == job_id(load_config(None, GIVEN))


def test_of_every_setting_it_is_decided_whether_it_names_the_job() -> None:
    assert {*NAMING, *NOT_NAMING, *BY_WHAT_IS_FOUND} == set(JobConfig.model_fields)


def test_without_experts_the_identity_gate_has_nothing_to_name_a_job_by() -> None:
    one, other = (load_config(None, {**GIVEN, "experts": "none", "identity_gate": on}) for on in (True, False))
    assert job_id(one) == job_id(other)
    assert not one.gates_identity


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"experts": "none"}, True),
        ({"expert_t_weights": "a.pth", "expert_f_weights": "b.pth"}, True),
        ({"experts": "f", "expert_f_weights": "b.pth"}, True),
        ({"expert_t_weights": "a.pth"}, False),
    ],
)
def test_fidelity_names_a_job_only_where_it_changes_pixels(given: dict[str, object], same: bool) -> None:
    one, other = (job_id(load_config(None, {**GIVEN, **given, "fidelity": value})) for value in ("0.2", "0.8"))
    assert (one == other) is same


@pytest.mark.parametrize(("experts", "key"), [("f", "expert_t_weights"), ("none", "expert_f_weights")])
def test_a_model_for_an_expert_that_is_not_used_is_refused(experts: str, key: str) -> None:
    with pytest.raises(UsageError, match=rf"{key}: experts is {experts}, so that m\.pth would not be used") as refused:
        load_config(None, {**GIVEN, "experts": experts, key: "m.pth"})
    assert "\n" not in str(refused.value)


def test_another_version_of_a_source_or_of_weights_is_another_job() -> None:
    config = load_config(None, GIVEN)
    touched = [Source("/in/a.mp4", "a.mp4", FileIdentity(10, "2"))]
    assert config.job_id(touched, {}) != config.job_id(SOURCES, {})
    assert config.job_id(SOURCES, {"expert_t_faithful": "ab"}) != config.job_id(SOURCES, {"expert_t_faithful": "cd"})


def test_shards_are_cut_by_exact_fractions() -> None:
    assert Fraction(load_config(None, {**GIVEN, "shard_seconds": "0.4"}).shard_seconds).limit_denominator(1000) == (
        Fraction(2, 5)
    )


def job_id(config: JobConfig) -> str:
    return config.job_id(SOURCES, {})
