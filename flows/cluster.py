"""Starting Ray on this machine, or joining a cluster that runs."""

from __future__ import annotations

import io
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType

import ray
from ray._private import accelerators, ray_constants
from ray._private import utils as ray_utils
from ray._private.services import resolve_ip_for_localhost
from ray._private.worker import RayContext
from ray.data import DataContext

from flows import sessions
from flows.patience import RETRIES
from flows.room import LOG_FOLDER, TO_BEGIN_BYTES, TO_GO_ON_BYTES, require_room, room_watched
from flows.signals import ENDING, heed
from storage.errors import DestinationError, FacemillError, SourceError, UsageError, explain
from weights import WeightsError

_OBJECT_STORE_BYTES = 2 << 30
"""For rows in flight on one machine: frames never enter the store, so it need not be large."""

_IDLE_WORKER_MS = 60_000
"""How long a worker process without a task is kept. Ray keeps it for a second once there are more workers than cores,
as four pools always are; then nearly every assemble task would start a process of its own, a second of imports each."""

_CONNECT_SECONDS = 5

_CODE = Path(__file__).resolve().parents[1]
"""Where Ray is started. It lets its workers look for modules in that folder before all others, so that in a user's own
folder one called weights, say, would be taken for ours."""

_NAMING_PATHS = ("FACEMILL_WEIGHTS", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "RAY_TMPDIR")
"""Variables of the environment that name a file or folder, which may be relative to the user's own folder."""

_TELL_ENOUGH = (UsageError, SourceError, DestinationError, WeightsError)
"""Errors of which Ray's logs tell nothing."""


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """A Ray session for the time of the block. A local one listens on loopback only and ends with it.

    Raises:
        UsageError: no cluster answers at `address`.
        FacemillError: Ray does not start here.
        NoRoomError: the disk with its temporary files has no room for them, or has none any more.
    """
    for name in _NAMING_PATHS:
        if os.environ.get(name):
            os.environ[name] = str(Path(os.environ[name]).expanduser().absolute())
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # facemill asks for every result of its own. Ray Data does not: once its actor for statistics was killed, every
    # update of them fails, and would be a traceback before the person's eyes.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    _quieten()
    with _quiet_when_interrupted() as stop_like_ctrl_c:
        if address is not None:
            _join(address)
            stop_like_ctrl_c(*ENDING)
            try:
                yield
            finally:
                ray.shutdown()
            return
        keep_logs = LOG_FOLDER in os.environ  # a person told where to put them
        if not keep_logs:
            sessions.sweep(Path(tempfile.gettempdir(), "ray"))
        require_room(TO_BEGIN_BYTES)
        folder = _start_here()
        stop_like_ctrl_c(*ENDING)
        lock = None if keep_logs else sessions.mark(folder)
        try:
            with room_watched():
                yield
        except _TELL_ENOUGH:
            raise
        except Exception:
            require_room(TO_GO_ON_BYTES)
            keep_logs = True  # they may tell more
            raise
        finally:
            ray.shutdown()
            if keep_logs:
                sessions.keep(folder)
            else:
                shutil.rmtree(folder, ignore_errors=True)  # they would pile up
            if lock is not None:
                os.close(lock)


@contextmanager
def _quiet_when_interrupted() -> Iterator[Callable[..., None]]:
    """From Ctrl-C on, keep Ray's reports of the tasks that this ends from standard output.

    What the block is given lets other signals do the same: SIGTERM, by which schedulers end a job, and for which Ray
    from its start on has a handler that prints a stack, and SIGHUP of a terminal that is closed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda *_: None  # only the main thread is told of signals
        return
    with ExitStack() as quiet:

        def interrupted(number: int, frame: FrameType | None) -> None:
            quiet.enter_context(redirect_stdout(io.StringIO()))
            signal.default_int_handler(number, frame)

        def obeyed(*numbers: signal.Signals) -> None:
            heed(quiet, interrupted, *numbers)

        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            obeyed(signal.SIGINT)
        yield obeyed


def resources_here() -> tuple[float, float]:
    """Cores and GPUs that a Ray of this machine will have, before it is started."""
    of_gpus = accelerators.get_accelerator_manager_for_resource("GPU")
    return ray_utils.get_num_cpus(), of_gpus.get_current_node_num_accelerators() if of_gpus else 0


def _join(address: str) -> None:
    _require_listener(address)
    try:
        with _stderr_kept_for_failure(), chdir(_CODE):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"--ray-address {address}: no Ray cluster answers there ({reason})") from error


def _start_here() -> Path:
    """Start Ray on this machine; returns the folder of its logs and sockets."""
    # Ray's own 15 lets every other process of the machine come first: beside a busy one its workers starve.
    os.environ.setdefault(ray_constants.RAY_WORKER_NICENESS, "0")
    # Ray Data 2.60 makes the driver print an error line for every pool, about actor arguments of Ray's own.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    _stay_on_loopback()
    try:
        with _stderr_kept_for_failure(), chdir(_CODE):
            context = ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _system_config={
                    "idle_worker_killing_time_threshold_ms": _IDLE_WORKER_MS,
                    "task_oom_retries": RETRIES,
                },
            )
    except Exception as error:  # no more special is what Ray raises when its processes take too long to start
        raise FacemillError(
            f"Ray does not start on this machine ({explain(error)}). See that it is not too busy, and that there is "
            f"room in {tempfile.gettempdir()}, or in the folder that {LOG_FOLDER} names"
        ) from error
    assert isinstance(context, RayContext)  # of a driver on this machine, not of Ray's client
    return Path(str(context.address_info["session_dir"]))


def _stay_on_loopback() -> None:
    """Let Ray, here and in the processes it starts, take this machine for one that is no part of a cluster.

    Whoever reaches a port of Ray can run code. Ray listens on every network unless the node's address is the
    loopback's, and turns `127.0.0.1`, where it is given, into the address that others see. What it does on desktop
    systems is what is wanted; the switch is read when Ray is imported, so it is set there, too.
    """
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False


def _require_listener(address: str) -> None:
    """Raise UsageError when nothing listens at a `host:port` address: Ray itself would try for minutes.

    Ray turns a loopback address into the one that others see. Where only the loopback answers, it is told not to.
    """
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdecimal():
        return  # `auto`: Ray finds the address itself
    if error := _refusal(host, int(port)):
        raise UsageError(
            f"--ray-address {address}: no Ray cluster answers there ({error}). Check the address, or leave it out to "
            "start Ray on this machine"
        ) from error
    if _refusal(resolve_ip_for_localhost(host), int(port)):
        _stay_on_loopback()


def _refusal(host: str, port: int) -> OSError | None:
    """Why nothing can be reached at an address; None when something can."""
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        return error
    return None


@contextmanager
def _stderr_kept_for_failure() -> Iterator[None]:
    """Hold back what Ray's C++ part writes to this process's standard error; show it if the block raises."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _quieten() -> None:
    """Ray Data reports to its log files; a person sees facemill's own progress."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_auto_log_stats = False
    logging.raiseExceptions = False  # a log file that cannot be written any more is no page of traceback
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # A page of traceback for each row that is lost, which is told as its video's failure, or made again.
    logging.getLogger("ray.data._internal.execution.streaming_executor_state").setLevel(logging.CRITICAL)
    logging.getLogger("ray").setLevel(logging.ERROR)
