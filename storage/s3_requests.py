"""How S3 is asked: how much at once, how long an answer is waited for, how often a request is made again."""

from __future__ import annotations

from typing import Any

import fsspec
from fsspec.spec import AbstractFileSystem

READ_BLOCK_BYTES = 4 << 20
"""Size of one range request when media is read from S3: large enough that a seek costs a request, not ten."""

ATTEMPTS = 5
"""At a request that S3 does not answer, or with 5xx or SlowDown, each after a longer pause."""

ROUNDS = 3
"""s3fs makes a request anew when these attempts are over, and when a body breaks off, which botocore does not see. A
server that does not answer at all is waited for `ATTEMPTS` times as many time-outs: eight minutes."""

CONNECT_TIMEOUT_SECONDS = 10
READ_TIMEOUT_SECONDS = 30
"""Without a byte from the server; then the request is made again."""


def s3_filesystem(endpoint: str | None) -> AbstractFileSystem:
    """The filesystem of a server; None for the one that the AWS environment names. Nothing is asked yet."""
    options: dict[str, Any] = {
        "use_listings_cache": False,
        "default_block_size": READ_BLOCK_BYTES,
        "config_kwargs": {
            "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "read_timeout": READ_TIMEOUT_SECONDS,
        },
    }
    if endpoint:
        options["endpoint_url"] = endpoint
    filesystem: AbstractFileSystem = fsspec.filesystem("s3", **options)
    filesystem.retries = ROUNDS
    return filesystem
