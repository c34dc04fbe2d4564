"""When an execution of Ray Data is given up, and what becomes of its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ray.data import DataContext
from ray.data.exceptions import ExecutionTimeoutError, SystemException
from ray.exceptions import RayError

from storage.errors import FacemillError, explain

RETRIES = 3
"""Repetitions of a shard whose actor died, before the shard is given up; the actor itself is always restarted."""


@contextmanager
def gives_up_after(seconds: float) -> Iterator[None]:
    """Let Ray Data give an execution up in which nothing happens for much longer than a worker may take.

    The last resort: by then every worker that hangs has been ended, time after time.

    Args:
        seconds: after which a worker is ended.

    Raises:
        FacemillError: Ray gave it up.
    """
    DataContext.get_current().execution_no_progress_timeout_s = (RETRIES + 2) * seconds
    try:
        yield
    except (RayError, ExecutionTimeoutError, SystemException) as error:
        raise FacemillError(f"Ray gave the job up ({explain(error)[:500]}). Run the same command again") from error
