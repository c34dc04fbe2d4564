"""What does not fit is refused with the reason: a network with random layers must never restore a face."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from actors.experts.checkpoint import network_between, network_from_file, read_state
from actors.experts.transformer import ChannelAttention, TransformerExpert, WindowAttention
from weights import WeightsError

State = dict[str, Tensor]


def rewrite(path: Path, change: Callable[[State], object]) -> None:
    state = load_file(path)
    change(state)
    save_file(state, path)


def test_a_network_comes_back_with_the_weights_and_sizes_it_was_saved_with(network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "expert.safetensors"
    save_file(network.state_dict(), path)
    loaded = network_from_file(path, scale=4)
    image = torch.rand(1, 3, 24, 16)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(image), network(image))
    assert not loaded.training


def test_hyper_parameters_are_read_from_the_shapes(tmp_path: Path) -> None:
    path = tmp_path / "expert.safetensors"
    odd = TransformerExpert(channels=24, groups=3, heads=3, window=4, hidden=20)
    save_file(odd.state_dict(), path)
    loaded = network_from_file(path, scale=4)
    assert isinstance(loaded, TransformerExpert)
    assert loaded.size_multiple == 4
    heads = [part.heads for part in loaded.modules() if isinstance(part, WindowAttention | ChannelAttention)]
    assert heads == [3] * 6


@pytest.mark.parametrize("key", ["stem.weight", "stem.bias"])
def test_a_missing_key_is_named(weights_file: Path, key: str) -> None:
    rewrite(weights_file, lambda state: state.pop(key))
    with pytest.raises(WeightsError, match=key):
        network_from_file(weights_file, scale=4)


def test_a_key_too_many_is_named(weights_file: Path) -> None:
    rewrite(weights_file, lambda state: state.update({"stray.weight": torch.zeros(1)}))
    with pytest.raises(WeightsError, match=r"stray\.weight.*too many"):
        network_from_file(weights_file, scale=4)


def test_a_wrong_shape_is_named(weights_file: Path) -> None:
    rewrite(weights_file, lambda state: state.update({"stem.bias": torch.zeros(3)}))
    with pytest.raises(WeightsError, match=r"stem\.bias has shape \(3,\)"):
        network_from_file(weights_file, scale=4)


def test_another_scale_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x2.safetensors"
    save_file(TransformerExpert(channels=16, groups=1, hidden=16, scale=2).state_dict(), path)
    with pytest.raises(WeightsError, match="enlarges x2"):
        network_from_file(path, scale=4)


def test_a_foreign_state_dict_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"conv.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(WeightsError, match="no architecture"):
        network_from_file(path, scale=4)


def test_values_that_are_not_numbers_are_refused(weights_file: Path) -> None:
    rewrite(weights_file, lambda state: state["stem.bias"].fill_(float("nan")))
    with pytest.raises(WeightsError, match=r"stem\.bias holds NaN"):
        network_from_file(weights_file, scale=4)


def test_a_truncated_file_is_refused(weights_file: Path) -> None:
    content = weights_file.read_bytes()
    weights_file.write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="truncated"):
        network_from_file(weights_file, scale=4)


@pytest.fixture
def natural_file(weights_file: Path) -> Path:
    """Another set of the network in `weights_file`."""
    path = weights_file.with_name("natural.safetensors")
    generator = torch.Generator().manual_seed(3)
    save_file(
        {key: value + torch.randn(value.shape, generator=generator) for key, value in load_file(weights_file).items()},
        path,
    )
    return path


@pytest.mark.parametrize("fidelity", [1.0, 0.0])
def test_the_ends_of_fidelity_are_the_sets_to_the_bit(weights_file: Path, natural_file: Path, fidelity: float) -> None:
    found = network_between(weights_file, natural_file, fidelity, scale=4).state_dict()
    for key, value in load_file(weights_file if fidelity else natural_file).items():
        assert torch.equal(found[key], value), key


def test_between_the_ends_every_parameter_is_interpolated(weights_file: Path, natural_file: Path) -> None:
    found = network_between(weights_file, natural_file, 0.25, scale=4).state_dict()
    faithful, natural = load_file(weights_file), load_file(natural_file)
    for key, value in found.items():
        torch.testing.assert_close(value, 0.25 * faithful[key] + 0.75 * natural[key])


def test_equal_sets_give_themselves_at_any_fidelity(weights_file: Path) -> None:
    found = network_between(weights_file, weights_file, 0.3, scale=4).state_dict()
    for key, value in load_file(weights_file).items():
        assert torch.equal(found[key], value), key


def test_sets_of_two_networks_are_refused_with_both_files(tmp_path: Path) -> None:
    paths = [tmp_path / "faithful.safetensors", tmp_path / "natural.safetensors"]
    for path, groups in zip(paths, (1, 2), strict=True):
        save_file(TransformerExpert(channels=16, groups=groups, heads=2, hidden=16).state_dict(), path)
    with pytest.raises(
        WeightsError, match=r"faithful\.safetensors and .*natural\.safetensors are not sets of one network"
    ):
        network_between(*paths, 0.5, scale=4)


class Payload:
    """Unpickled, it would leave a folder behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["weights.pth", "renamed.safetensors"])
def test_a_pickle_with_code_in_it_is_refused_and_does_not_run(tmp_path: Path, name: str, zipped: bool) -> None:
    path, mark = tmp_path / name, tmp_path / "the code ran"
    torch.save({"weights": Payload(mark)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match=r"is a pickle that asks for posix\.mkdir, which could run code"):
        network_from_file(path, scale=4)
    assert not mark.exists()
    with path.open("rb") as content:
        torch.load(content, weights_only=False)
    assert mark.exists(), "the test's own pickle is harmless: it proves nothing"


def test_a_checkpoint_of_tensors_alone_is_read(weights_file: Path) -> None:
    state, path = load_file(weights_file), weights_file.with_suffix(".pth")
    torch.save({"optimizer": {"step": 3}, "params_ema": {f"module.{key}": value for key, value in state.items()}}, path)
    found = network_from_file(path, scale=4).state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())


_SELF: dict[str, object] = {}
_SELF["model"] = _SELF

UNFIT: dict[str, tuple[object, str]] = {
    "a list": ([torch.zeros(1)], "holds no weights by name, but list"),
    "nothing": ({}, "holds no weights by name"),
    "a number for a name": ({0: torch.zeros(1)}, "0 in it is no name of a weight"),
    "itself": (_SELF, "model in it is no tensor"),
    "a number among the tensors": ({"stem.weight": torch.zeros(1), "epoch": 3}, "epoch in it is no tensor"),
}


@pytest.mark.parametrize(("content", "reason"), UNFIT.values(), ids=UNFIT)
def test_a_checkpoint_without_a_state_dict_is_refused(tmp_path: Path, content: object, reason: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=reason):
        network_from_file(path, scale=4)


def test_a_truncated_checkpoint_is_refused(weights_file: Path) -> None:
    path = weights_file.with_suffix(".pth")
    torch.save(load_file(weights_file), path)
    content = path.read_bytes()
    for share in (0.5, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(WeightsError, match="truncated, or no checkpoint"):
            network_from_file(path, scale=4)


def test_an_archive_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("weights.pth", b"x")
    with pytest.raises(WeightsError, match="no checkpoint of PyTorch"):
        network_from_file(path, scale=4)


@pytest.mark.parametrize(("make", "reason"), [(Path.mkdir, "is a folder"), (Path.touch, "truncated")])
def test_what_is_no_file_of_weights_is_refused(tmp_path: Path, make: Callable[[Path], None], reason: str) -> None:
    make(tmp_path / "weights")
    with pytest.raises(WeightsError, match=reason):
        network_from_file(tmp_path / "weights", scale=4)


def test_a_refusal_is_one_line_that_names_the_file(weights_file: Path) -> None:
    for change in (lambda state: state.pop("stem.bias"), lambda state: state.update(x=torch.zeros(1))):
        rewrite(weights_file, change)
        with pytest.raises(WeightsError) as refused:
            network_from_file(weights_file, scale=4)
        assert str(refused.value).startswith(f"{weights_file}: ")
        assert "\n" not in str(refused.value)


def test_safetensors_whose_header_has_a_length_that_begins_like_a_pickle_are_read(tmp_path: Path) -> None:
    path, state = tmp_path / "weights.safetensors", {"weight": torch.ones(2)}
    for length in range(256):  # a header is filled up to a multiple of eight bytes
        save_file(state, path, {"told": "x" * length})
        if path.read_bytes()[0] == 0x80:
            break
    else:
        pytest.fail("no header of such a length")
    assert torch.equal(read_state(path)["weight"], state["weight"])
