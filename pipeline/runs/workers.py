"""What processes that train beside each other share."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Any

from data_prep.base.cluster import call_by_ray, read_jobs
from data_prep.base.progress import show_progress
from pipeline.nets.compute import count_cpus
from pipeline.runs.log import Log


def count_cores(device: Any) -> int:
    """How many trainings go at a time: one per core that is ours, one on a GPU."""
    return 1 if device.type == "cuda" else count_cpus()


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold torch to one thread: numbers must not depend on how many trainings go at once."""
    import torch  # Here, for what does without begins sooner in each process.

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def count_jobs(jobs: object, device: Any, calls: int) -> int | str:
    """How many of some calls go at a time, or the name of a Ray; raises `ClusterError`."""
    told = read_jobs(jobs) or count_cores(device)
    return told if isinstance(told, str) else min(told, calls)


def call_at_once(
    function: Callable[..., None],
    calls: Sequence[tuple[Any, ...]],
    jobs: int | str,
    what: str,
    *,
    device: Any,
    log: Log,
) -> None:
    """Call a function several times, with arguments and a log, each in one of some processes.

    For one job that is here; by a Ray each has one of its processors, or GPUs, and is asked again
    if that dies, and its lines come when it has ended. Functions and arguments are pickled, and
    paths mean the same everywhere; `what` is how people are told how many calls have ended.
    After an error no further call is begun; those that run, and one more that may wait, end first.
    """
    ended: Iterator[Any]
    if isinstance(jobs, int):
        ended = _call(function, calls, jobs, log)
    else:
        given, gpus = [(function, arguments) for arguments in calls], int(device.type == "cuda")
        ended = call_by_ray("--jobs", jobs, count_cores(device), _listen, given, gpus=gpus)
    for told in show_progress(ended, len(calls), what):
        for line, event, facts in told or ():
            log(line, event, **facts)


def _listen(function: Callable[..., None], arguments: tuple[Any, ...]) -> Any:
    """Call; gives what it logged."""
    told: list[tuple[str, str, dict[str, Any]]] = []
    function(*arguments, lambda line, event="note", /, **facts: told.append((line, event, facts)))
    return told


def _call(
    function: Callable[..., None], calls: Sequence[tuple[Any, ...]], jobs: int, log: Log
) -> Iterator[None]:
    """Gives nothing, once for each call that has ended."""
    if jobs <= 1:
        for arguments in calls:
            function(*arguments, log)
            yield
        return
    # A forked process can't use torch's threads.
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _watch_parent) as pool:
        futures = [pool.submit(function, *arguments, log) for arguments in calls]
        try:
            for future in as_completed(futures):
                future.result()
                yield
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _watch_parent() -> None:
    def end() -> None:  # Else it would train on for minutes, unseen, when its parent is gone.
        if parent := parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=end, daemon=True).start()
