"""Progress: a bar on a terminal, a line every tenth of the way in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")
LINES = 10
"""Lines a log gets for one pass."""

QUIET = 2.0
"""Seconds before a log gets its first line: what is done sooner needs none."""


def show_progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Pass items on while telling how far things are, on standard error.

    Args:
        items: What is worked through.
        total: How many there are.
        what: What is being done, such as "reading photos".
    """
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, description=what, total=total, console=console, transient=True)
        return
    started, told = time.monotonic(), 0
    for done, item in enumerate(items, start=1):
        yield item
        seconds = time.monotonic() - started
        if seconds >= QUIET and (done == total or done * LINES // max(total, 1) > told):
            told = done * LINES // max(total, 1)
            sys.stderr.write(f"{what}: {done}/{total} in {seconds:.0f} s\n")
            sys.stderr.flush()
