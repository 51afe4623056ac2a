"""Ray, which spreads work over the processors of this machine or of many; extra `ray`."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from data_prep.base.errors import UserError
from data_prep.base.progress import log

STORE = 512 << 20  # Bytes of the object store of a Ray that is started here.
WAIT = 10  # Seconds for a Ray to answer.
AHEAD = 2  # Calls for each processor that are begun or wait to be.


class ClusterError(UserError, RuntimeError):
    """Work that can't be spread."""


def find_ray(option: str, name: str) -> str:
    """The address in an option's value `ray=ADDRESS`; "" for `ray`, which is this machine alone.

    Raises `ClusterError`: it is neither, or Ray is not installed.
    """
    kind, equals, address = name.partition("=")
    if kind != "ray" or (equals and not address):
        raise ClusterError(f"{option} {name}: not known; use ray or ray=ADDRESS.")
    if find_spec("ray") is None:
        raise ClusterError(f"{option} ray: needs Ray; pip install 'trimask[ray]'.")
    return address


def read_jobs(jobs: object) -> int | str | None:
    """How many trainings go at a time, or Ray's name; None if it isn't said.

    Raises `ClusterError` if it is neither.
    """
    if jobs is None or isinstance(jobs, int):
        return jobs
    name = str(jobs)
    if name.isdecimal() and int(name):
        return int(name)
    if not name.startswith("ray"):
        raise ClusterError(f"--jobs {name}: give a number from 1, ray or ray=ADDRESS.")
    find_ray("--jobs", name)
    return name


@contextmanager
def start_ray(option: str, name: str, cpus: int) -> Iterator[Any]:
    """Join the Ray whose address is in `ray=ADDRESS`, or start one here with so many processors.

    At the end it is left or shut down. An error of Ray's own becomes a `ClusterError`.
    """
    address = find_ray(option, name)
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    there: dict[str, Any] = {"address": address}
    if not address:  # It listens to 127.0.0.1 alone, and its processes are no nicer than this one.
        os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}
        there = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": STORE}
    log(f"ray: {'joining ' + address if address else 'starting'}, which takes some seconds")
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    warnings.filterwarnings("ignore", category=ray.util.annotations.RayDeprecationWarning)
    try:
        host, _, port = address.rpartition(":")
        if port.isdecimal():  # Ray itself would ask for minutes.
            socket.create_connection((host, int(port)), WAIT).close()
        ray.init(logging_level="ERROR", log_to_driver=False, **there)
    except Exception as error:  # Ray's own has no kind where it does not start in time.
        where = f"ray={address}: no Ray there" if address else "ray: does not start, try again"
        raise ClusterError(f"{option} {where} ({error}).") from error
    try:
        yield ray
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        why = str(error).strip().splitlines()[-1]
        raise ClusterError(f"ray: {why}; what is done is kept, run again.") from error
    finally:
        ray.shutdown()


def call_by_ray(
    option: str,
    name: str,
    cpus: int,
    function: Callable[..., Any],
    calls: Iterable[tuple[Any, ...]],
    *,
    gpus: int = 0,
) -> Iterator[Any]:
    """Call a function on a Ray, with each of the arguments; results come in the same order.

    Each call has a process with one processor, and is made again where that dies. Function,
    arguments and results are pickled; relative paths mean the same there as here.
    """
    with start_ray(option, name, cpus) as ray:
        there = ray.remote(num_cpus=1, num_gpus=gpus)(_call_there)
        begun = (there.remote(Path.cwd(), function, arguments) for arguments in calls)
        waiting = deque(islice(begun, AHEAD * int(ray.cluster_resources()["CPU"])))
        while waiting:
            yield ray.get(waiting.popleft())
            waiting += islice(begun, 1)


def _call_there(folder: Path, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    os.chdir(folder)  # For names to mean the same here, and to be told alike.
    return function(*arguments)
