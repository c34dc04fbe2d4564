from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from weights import WeightsError, find_weights, read_registry, verify_weights, weights_folder

CONTENT = b"the weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """A registry of one weight file that is there and one that could be fetched."""
    (tmp_path / "here.safetensors").write_bytes(CONTENT)
    path = tmp_path / "registry.toml"
    path.write_text(
        f"""
        [here]
        file = "here.safetensors"
        sha256 = "{SHA256}"
        license = "MIT"
        architecture = "TransformerExpert"

        [elsewhere]
        file = "elsewhere.onnx"
        sha256 = "{SHA256}"
        license = "Apache-2.0"
        architecture = "SFace"
        sources = [
            {{ url = "https://example.org/a.onnx" }},
            {{ wheel = "faces==1.0", member = "faces/a.onnx" }},
        ]
        """
    )
    return path


def test_a_registered_file_is_found_and_verified(registry: Path) -> None:
    entry = find_weights("here", registry=registry)
    assert (entry.name, entry.license, entry.architecture) == ("here", "MIT", "TransformerExpert")
    assert verify_weights(entry) == registry.parent / "here.safetensors"


def test_one_changed_byte_is_refused(registry: Path) -> None:
    entry = find_weights("here", registry=registry)
    entry.path.write_bytes(CONTENT[:-1] + b"z")
    with pytest.raises(WeightsError, match=SHA256[:12]):
        verify_weights(entry)


def test_an_unknown_name_is_answered_with_the_known_ones(registry: Path) -> None:
    with pytest.raises(WeightsError, match=r"stranger.*here, elsewhere"):
        find_weights("stranger", registry=registry)


def test_an_absent_file_comes_with_the_command_that_fetches_it(registry: Path) -> None:
    with pytest.raises(WeightsError, match="facemill weights pull elsewhere"):
        find_weights("elsewhere", registry=registry)


def test_an_absent_file_without_a_source_is_said_to_be_absent(registry: Path) -> None:
    (registry.parent / "here.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"here\.safetensors is absent"):
        find_weights("here", registry=registry)


def test_sources_keep_their_order(registry: Path) -> None:
    url, wheel = read_registry(registry)["elsewhere"].sources
    assert url.url == "https://example.org/a.onnx"
    assert url.wheel is None
    assert (wheel.wheel, wheel.member) == ("faces==1.0", "faces/a.onnx")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('sha256 = "abc"', "64 lower-case hex digits"),
        (f'sha256 = "{SHA256}"\nsources = [{{ wheel = "faces==1.0" }}]', "a wheel and its member"),
        ("", "has no sha256"),
    ],
)
def test_an_invalid_entry_is_refused(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "registry.toml"
    path.write_text(f'[odd]\nfile = "a"\nlicense = "MIT"\narchitecture = "A"\n{line}')
    with pytest.raises(WeightsError, match=complaint):
        read_registry(path)


def test_an_error_is_one_line(registry: Path) -> None:
    with pytest.raises(WeightsError) as refused:
        find_weights("stranger", registry=registry)
    assert "\n" not in str(refused.value)


def test_what_ships_is_what_is_registered() -> None:
    for name, entry in read_registry().items():
        if not entry.sources:
            verify_weights(find_weights(name))


def test_fetched_weights_lie_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, registry: Path) -> None:
    monkeypatch.delenv("FACEMILL_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/some/cache")
    assert read_registry(registry)["elsewhere"].path == Path("/some/cache/facemill/weights/elsewhere.onnx")
    assert read_registry(registry)["here"].path == registry.parent / "here.safetensors"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert weights_folder() == Path("/home/someone/.cache/facemill/weights")
    monkeypatch.setenv("FACEMILL_WEIGHTS", "/chosen")
    assert weights_folder() == Path("/chosen")


def test_what_facemill_does_not_ship_has_a_size_and_a_secure_source() -> None:
    for entry in read_registry().values():
        for source in entry.sources:
            assert entry.size
            assert source.url is None or source.url.startswith("https://")
