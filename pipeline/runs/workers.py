"""What processes that train beside each other share."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import torch


def count_cores(device: torch.device) -> int:
    """How many trainings go at a time: one per core, one on a GPU."""
    return 1 if device.type == "cuda" else len(os.sched_getaffinity(0))


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch to one thread, so that a training's numbers do not depend on how many go at once.

    A GPU's do not depend on it.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def call_at_once(
    function: Callable[..., None],
    calls: Iterable[tuple[Any, ...]],
    jobs: int,
    *,
    start: Callable[..., None] | None = None,
    shared: tuple[Any, ...] = (),
) -> None:
    """Call a function several times, each call in one of some processes.

    After an error no further call is begun; those that run, and one more that may wait, end first.

    Args:
        function: Of a module, so that it can be pickled.
        calls: Its arguments, pickled.
        jobs: Calls at a time.
        start: Called first in every process.
        shared: Its arguments.
    """
    # A forked process can't use torch's threads.
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start, (start, shared)) as pool:
        futures = [pool.submit(function, *arguments) for arguments in calls]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start(start: Callable[..., None] | None, shared: tuple[Any, ...]) -> None:
    end_with_parent()
    if start is not None:
        start(*shared)


def end_with_parent() -> None:
    """End this process when its parent is gone: it would train on for minutes, unseen."""
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
