"""What processes that train beside each other share."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any

import torch

from data_prep.base.progress import show_progress
from pipeline.nets.compute import count_cpus


def count_cores(device: torch.device) -> int:
    """How many trainings go at a time: one per core that is ours, one on a GPU."""
    return 1 if device.type == "cuda" else count_cpus()


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch to one thread: numbers must not depend on how many trainings go at once."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def call_at_once(
    function: Callable[..., None],
    calls: Sequence[tuple[Any, ...]],
    jobs: int,
    what: str,
) -> None:
    """Call a function several times, each call in one of some processes, or here for one job.

    Functions and arguments are pickled; `what` is how people are told how many calls have ended.
    After an error no further call is begun; those that run, and one more that may wait, end first.
    """
    for _ in show_progress(_call(function, calls, jobs), len(calls), what):
        pass


def _call(
    function: Callable[..., None], calls: Sequence[tuple[Any, ...]], jobs: int
) -> Iterator[None]:
    """Gives nothing, once for each call that has ended."""
    if jobs <= 1:
        for arguments in calls:
            function(*arguments)
            yield
        return
    # A forked process can't use torch's threads.
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _watch_parent) as pool:
        futures = [pool.submit(function, *arguments) for arguments in calls]
        try:
            for future in as_completed(futures):
                future.result()
                yield
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _watch_parent() -> None:
    # Else it would train on for minutes, unseen, when its parent is gone.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
