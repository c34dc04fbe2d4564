"""One validated object that says what a job does: made once from a file and flags, then passed down."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from actors.blends import DEFAULT_BLEND, Blend
from actors.detection import DetectionSettings
from actors.routing import Decision, RoutingBounds
from storage.catalogue import Source
from storage.encoding import MAX_FRAME_SIDE, MIN_FRAME_SIDE, EncodeSettings, SizeSettings
from storage.errors import UsageError
from storage.receipts import VARIANTS, Variant
from storage.store import ENDPOINT
from weights import DEFAULT_FIDELITY

Part = TypeVar("Part", bound=BaseModel)

_PIXELS_VERSION = 11
"""Raised when facemill itself changes what it makes of the same source, settings and weights."""

_SIZE_ALLOWED = f"write WxH in pixels, {MIN_FRAME_SIDE} to {MAX_FRAME_SIDE} a side, such as 1920x1080"


_SHORTEST_TIMEOUT = 1800
_TIMEOUT_PER_SHARD_SECOND = 600


class PoolSettings(BaseModel):
    """Actors in each pool; what is not set follows from the cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detectors: int | None = Field(None, ge=1, le=10000)
    experts_f: int | None = Field(None, ge=1, le=10000)
    experts_t: int | None = Field(None, ge=1, le=10000)
    compositors: int | None = Field(None, ge=1, le=10000)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where detectors and experts run; `auto` takes GPUs when the cluster has them."""
    shard_timeout: float | None = Field(None, ge=1, le=1_000_000)
    """Seconds after which a worker that has not done its part of a shard is ended and the shard tried again."""

    def seconds_for(self, shard_seconds: float) -> float:
        """`shard_timeout`, or what the slowest plausible shard takes: ten minutes of one core for a second of crowd."""
        return self.shard_timeout or max(_SHORTEST_TIMEOUT, _TIMEOUT_PER_SHARD_SECOND * shard_seconds)


class JobConfig(DetectionSettings, RoutingBounds, SizeSettings, EncodeSettings, PoolSettings):
    """Everything a restore job can be told. Each key is also a flag of `facemill restore`, dashes for underscores."""

    sources: tuple[str, ...] = Field(min_length=1)
    """Files, folders, globs, `s3://` prefixes, or text files that list such."""
    follow_links: bool = False
    """Also restore what links in a source folder lead to outside of it."""
    out: str = Field(min_length=1)
    """Folder or `s3://` prefix that takes the results."""
    experts: Literal["both", "t", "f", "none"] = "both"
    """Experts that restore; `none` composites nothing."""
    fidelity: float = Field(DEFAULT_FIDELITY, ge=0, le=1)
    """Which set of weights the experts use: 1 is `faithful`, 0 is `natural`, in between both are mixed."""
    expert_t_weights: str | None = Field(None, min_length=1)
    """File or registered name of someone else's model, in Expert-T's place."""
    expert_f_weights: str | None = Field(None, min_length=1)
    """File or registered name of someone else's model, in Expert-F's place."""
    steadying: bool = True
    """Average each restored face with the frames before and after, as far as they show the same."""
    identity_gate: bool = True
    """Weaken restored faces that move away from the person they show; measured with SFace, which is fetched once."""
    blend: Blend = DEFAULT_BLEND
    """How restored faces are blended into the frame; without experts nothing is."""
    baseline: bool = False
    """Also write each video only scaled."""
    compare: bool = False
    """Also write baseline and result side by side."""
    shard_seconds: float = Field(4.0, ge=0.2, le=600)
    """Length of a shard: how much is redone after a crash, and how finely work is shared."""
    retry_failed: bool = False
    """Also try the videos again that an earlier run gave up for a reason that stays, such as an unusable source."""
    force: bool = False
    """Make everything again; results stay until they are replaced."""
    fail_fast: bool = False
    """End the job at the first video that fails."""
    ray_address: str | None = None
    """Cluster to join, `auto` or `host:port`; None starts Ray on this machine."""
    s3_endpoint: str | None = Field(None, pattern=ENDPOINT)
    """URL of an S3-compatible server; without a password, which would end up in records and logs."""

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.size is not None and "scale" in self.model_fields_set:
            raise ValueError("scale and size exclude each other: give one of them")
        return self

    @model_validator(mode="after")
    def _models_of_active_experts(self) -> Self:
        for expert, model in self.models.items():
            if model is not None and expert not in self.active_experts:
                key = f"{expert.value}_weights"
                raise ValueError(f"{key}: experts is {self.experts}, so that {model} would not be used: leave one out")
        return self

    @property
    def models(self) -> dict[Decision, str | None]:
        """Someone else's model in the place of each expert."""
        return {Decision.EXPERT_T: self.expert_t_weights, Decision.EXPERT_F: self.expert_f_weights}

    @property
    def mixes_own_sets(self) -> bool:
        """Whether the fidelity changes anything: an expert of this job is made of facemill's own sets of weights."""
        return any(self.models[expert] is None for expert in self.active_experts)

    @property
    def detection(self) -> DetectionSettings:
        return _part(DetectionSettings, self)

    @property
    def routing(self) -> RoutingBounds:
        return _part(RoutingBounds, self)

    @property
    def output_size(self) -> SizeSettings:
        return _part(SizeSettings, self)

    @property
    def encode(self) -> EncodeSettings:
        return _part(EncodeSettings, self)

    @property
    def pools(self) -> PoolSettings:
        return _part(PoolSettings, self)

    @property
    def active_experts(self) -> frozenset[Decision]:
        """The experts that this job uses."""
        return {
            "both": frozenset((Decision.EXPERT_F, Decision.EXPERT_T)),
            "f": frozenset((Decision.EXPERT_F,)),
            "t": frozenset((Decision.EXPERT_T,)),
            "none": frozenset[Decision](),
        }[self.experts]

    @property
    def gates_identity(self) -> bool:
        """Whether restored faces are compared with their tracks' own identity."""
        return self.identity_gate and bool(self.active_experts)

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The videos written for each source."""
        wanted = {"restored": True, "baseline": self.baseline, "compare": self.compare}
        return tuple(variant for variant in VARIANTS if wanted[variant])

    def job_id(self, sources: Iterable[Source], weights: Mapping[str, str]) -> str:
        """16 hex digits: the same inputs, settings that results depend on, and weights are the same job.

        Args:
            weights: name of each weight file in use -> its sha256; a model's path is not part of the job, its hash is.
        """
        told = {
            **self.told(),
            "sources": sorted(source.key for source in sources),
            "weights": dict(sorted(weights.items())),
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def told(self) -> dict[str, Any]:
        """The settings that results depend on, as JSON takes them: they name the job, and no secret is among them."""
        return {
            "version": _PIXELS_VERSION,
            "experts": self.experts,
            **({"fidelity": self.fidelity} if self.mixes_own_sets else {}),
            "identity_gate": self.gates_identity,
            "blend": self.blend if self.active_experts else None,
            "steadying": self.steadying and bool(self.active_experts),
            "shard_seconds": self.shard_seconds,  # changes no pixel, but segments of two cuts do not fit together
            "variants": self.variants,
            **{
                name: _part(kind, self).model_dump()
                for name, kind in (
                    ("detection", DetectionSettings),
                    ("routing", RoutingBounds),
                    ("size", SizeSettings),
                    ("encode", EncodeSettings),
                )
            },
        }


def _part(kind: type[Part], config: BaseModel) -> Part:
    return kind.model_validate({name: getattr(config, name) for name in kind.model_fields})


def load_config(path: Path | None, flags: Mapping[str, Any]) -> JobConfig:
    """The configuration of a file with flags over it.

    Args:
        path: YAML file of keys of `JobConfig`; None for flags alone.
        flags: values given on the command line; None where a flag was not given.

    Raises:
        UsageError: names the key, the value, where it stands and what is allowed.
    """
    from_file = _read_yaml(path) if path else {}
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return JobConfig.model_validate({**from_file, **given})
    except ValidationError as error:
        raise UsageError(_explain(error, set(given), path)) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"no such configuration file: {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}{_where_and_why(error)}. Write `key: value` lines, such as `scale: 2`") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UsageError(f"{path}: must hold `key: value` lines, such as `scale: 2`")
    content = {key.replace("-", "_"): value for key, value in content.items()}
    if isinstance(content.get("sources"), str):
        content["sources"] = [content["sources"]]
    return content


def _where_and_why(error: yaml.YAMLError) -> str:
    """What the parser does not take, without its drawing of the place."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f", line {error.problem_mark.line + 1}: is not YAML ({error.problem})"
    return f": is not YAML ({' '.join(str(error).split())})"


def _explain(error: ValidationError, flags: set[str], path: Path | None) -> str:
    """The first thing that is wrong, in one line; a key that does not exist is told before what it may have meant."""
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    if not first["loc"]:
        return str(first["msg"]).removeprefix("Value error, ")
    key = str(first["loc"][0])
    where = f"--{key.replace('_', '-')}" if key in flags else f"{path}: {key}" if path else key
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, JobConfig.model_fields, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(sorted(JobConfig.model_fields))}"
        return f"{where}: there is no such key; {hint}"
    if first["type"] == "missing":
        return {"out": "--out is missing: say which folder or s3:// prefix takes the results"}.get(
            key, "no source given: name a file, folder, glob, s3:// prefix or list file"
        )
    shown = re.sub(r"//[^/]*@", "//***@", repr(first["input"]))  # a password is not repeated
    return f"{where}: {shown} is not allowed; {_allowed(key)}"


def _allowed(key: str) -> str:
    """What a key may be, from its schema."""
    schema = JobConfig.model_json_schema()["properties"][key]
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    told = options[0]
    if told.get("type") == "array":
        return "a list of texts, none of them empty"
    if "minLength" in told:
        return "a text that is not empty"
    if "enum" in told:
        return f"choose {', '.join(map(str, told['enum'][:-1]))} or {told['enum'][-1]}"
    if "pattern" in told:
        return {"size": _SIZE_ALLOWED}.get(
            key, "write a URL such as http://127.0.0.1:8333, without credentials: they belong into the environment"
        )
    low = told.get("minimum", told.get("exclusiveMinimum"))
    high = told.get("maximum", told.get("exclusiveMaximum"))
    kinds = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
    kind = kinds.get(told.get("type"), "a text")
    if low is not None and high is not None:
        return f"{kind} from {low} to {high}"
    return f"{kind} of at least {low}" if low is not None else kind
