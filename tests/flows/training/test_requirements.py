"""What training needs installed, as docs/training.md says it: a lent machine gets no more than that."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
IMPORT_NAMES = {"PyAV": "av", "OpenCV": "cv2", "NumPy": "numpy"}


def test_importing_the_training_needs_the_packages_that_the_docs_name_and_no_more() -> None:
    text = " ".join((ROOT / "docs" / "training.md").read_text().split())
    (listed,) = re.findall(r"It needs ([^;]*?) and, for the later stages, onnx", text)
    named = {IMPORT_NAMES.get(name, name) for name in listed.split(", ")}
    assert _packages(["flows.train", "flows.training.pack"]) == named


def _packages(modules: list[str]) -> set[str]:
    """The packages that are imported, directly or through modules of the project, when the modules are."""
    waiting, seen, packages = list(modules), set(), set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        path = _source(module)
        if path is None:
            packages.add(module.partition(".")[0])
            continue
        waiting += [module.rpartition(".")[0]] * ("." in module)
        for imported, names in _imports(ast.parse(path.read_text()).body):
            waiting.append(imported)
            if _source(imported) is not None:
                waiting += [f"{imported}.{name}" for name in names if _source(f"{imported}.{name}") is not None]
    return packages - set(sys.stdlib_module_names)


def _source(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _imports(body: list[ast.stmt]) -> Iterator[tuple[str, list[str]]]:
    """Modules, and names from them, that a module's own level imports: not for the type checker, not in functions."""
    for statement in body:
        if isinstance(statement, ast.Import):
            yield from ((alias.name, []) for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            yield statement.module, [alias.name for alias in statement.names]
        elif isinstance(statement, ast.Try) or (
            isinstance(statement, ast.If) and "TYPE_CHECKING" not in ast.unparse(statement.test)
        ):
            yield from _imports(statement.body)
