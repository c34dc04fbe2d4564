"""What the project says about itself is so: the layers, the documented tables, the commands, the cluster file."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from flows.config import JobConfig
from storage.manifest import FACES_SCHEMA, SHARDS_SCHEMA, VIDEOS_SCHEMA

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "weights": {"flows", "actors", "storage"},
    "storage": {"flows", "actors", "weights"},
    "actors": {"flows"},
}


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_layers_import_downwards_only(layer: str) -> None:
    for path in (ROOT / layer).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            reached = {name.split(".")[0] for name in names}
            assert not reached & FORBIDDEN[layer], f"{path.relative_to(ROOT)} imports {reached & FORBIDDEN[layer]}"


@pytest.mark.parametrize(
    ("table", "schema"), [("videos", VIDEOS_SCHEMA), ("shards", SHARDS_SCHEMA), ("faces", FACES_SCHEMA)]
)
def test_every_column_of_the_manifest_is_documented(table: str, schema) -> None:  # type: ignore[no-untyped-def]
    text = (ROOT / "docs" / "manifest.md").read_text()
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    (described,) = [part for part in section if part.startswith(f"{table}.parquet")]
    assert re.findall(r"^\| `(\w+)` \|", described, flags=re.MULTILINE) == schema.names


def test_the_readme_documents_every_option() -> None:
    text = (ROOT / "README.md").read_text()
    for name in JobConfig.model_fields:
        if name not in ("sources", "out"):
            assert f"--{name.replace('_', '-')}" in text, name


def test_the_cluster_file_is_one_that_ray_accepts() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    validate_config(prepare_config(config))


def test_the_readme_tells_the_defaults_that_are_calibrated() -> None:
    text = (ROOT / "README.md").read_text()
    for name in ("q_low", "fidelity"):
        assert f"| `--{name.replace('_', '-')} X` | {JobConfig.model_fields[name].default:g} |" in text
