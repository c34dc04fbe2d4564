"""Fixtures of the storage tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.store import Store
from tests.conftest import S3Server


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Store, str]:
    """A store and an empty folder or prefix in it."""
    if request.param == "disk":
        return Store(), str(tmp_path / "out")
    s3: S3Server = request.getfixturevalue("s3")
    return Store(s3.endpoint), f"{s3.make_bucket()}/out"
