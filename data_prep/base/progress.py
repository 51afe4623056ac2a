"""What people see of work under way, on standard error: messages, and how far things are."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from threading import Timer
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from data_prep.base.errors import end_when_interrupted, visible
from data_prep.base.records import DOUBTS, NOT_READ, Finding

Item = TypeVar("Item")
LINES = 10  # Lines a log gets for one pass, or more where it is long.

QUIET = 2.0  # Seconds before a log gets its first line: what is done sooner needs none.
FIRST, LATER = 8.0, 60.0  # Seconds without a line that people take for a standstill.

SILENCE = 0.5  # Seconds that a command may load libraries without a word.

SHOWN_FINDINGS = 20
ALIKE = 3  # Decisions not applied for one and the same reason; of more the number is told.
UNFIT_DECISIONS = ("torn-ledger", "disputed-decision", "unfit-decision")


class _StandardError(logging.Handler):
    """Bare messages on what is standard error now: tests and notebooks exchange it."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write("\n".join(map(visible, self.format(record).split("\n"))) + "\n")
        sys.stderr.flush()


LOGGER = logging.getLogger("trimask")  # Gets all messages of the three packages.
LOGGER.setLevel(logging.INFO)
LOGGER.propagate = False
LOGGER.addHandler(_StandardError())


def tell(count: int, noun: str = "photo", verb: str = "", *, of: int | None = None) -> str:
    """A count with its noun, and maybe a verb, given for one and for many as in `is/are`.

    With `of`, how many there are in all.

    >>> tell(1, "photo", "is/are", of=2), tell(2, "box", "reaches/reach")
    ('1 of 2 photos is', '2 boxes reach')
    """
    many = "" if (count if of is None else of) == 1 else "es" if noun.endswith("x") else "s"
    number = str(count) if of is None else f"{count} of {of}"
    one, _, more = verb.partition("/")
    return f"{number} {noun}{many} {one if count == 1 else more}".rstrip()


def log(line: str) -> None:
    """One line for people, at once; what a terminal would obey is spelt out."""
    LOGGER.info("%s", visible(line))


@contextmanager
def tell_loading() -> Iterator[None]:
    """Say that libraries are being loaded if that takes longer than people wait in silence.

    Ctrl-C ends the process meanwhile.
    """
    timer = Timer(SILENCE, _say_loading)
    timer.daemon = True
    timer.start()
    ended = end_when_interrupted()
    try:
        yield
    finally:
        end_when_interrupted(ended)
        timer.cancel()


@cache
def _say_loading() -> None:
    log("loading libraries, some seconds")


def log_findings(findings: Sequence[Finding], listed_in: object, *, notes: bool = False) -> None:
    """Log what was left out or is doubtful, decisions not applied, and `notes` of what is not read.

    The first of each are logged; `listed_in` is the file that has the rest.
    """
    _log_first("left out", [f.message for f in findings if f.dropped], listed_in)
    for kind in DOUBTS:
        doubts = [f.message for f in findings if f.kind == kind and not f.dropped]
        _log_first("note", doubts, listed_in)
    unfit = [f.message for kind in UNFIT_DECISIONS for f in findings if f.kind == kind]
    why = Counter(message.rpartition(": ")[2] for message in unfit)
    few = [message for message in unfit if why[message.rpartition(": ")[2]] <= ALIKE]
    _log_first("not applied", few, listed_in)
    for reason, count in why.items():
        if count > ALIKE:
            told = f"{tell(count, 'decision')}: {reason.rstrip('.')}; listed in {listed_in}"
            log(f"not applied: {told}")
    if notes:
        _log_first("note", [f.message for f in findings if f.kind == NOT_READ], listed_in)


def _log_first(what: str, messages: Sequence[str], listed_in: object) -> None:
    for message in messages[:SHOWN_FINDINGS]:
        log(f"{what}: {message}")
    if len(messages) > SHOWN_FINDINGS:
        log(f"{what}: {len(messages) - SHOWN_FINDINGS} more, listed in {listed_in}")


def show_progress(items: Iterable[Item], total: int, what: str) -> Generator[Item]:
    """Pass items on: a bar on a terminal, a line every tenth of the way in a log."""
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, description=what, total=total, console=console, transient=True)
        return
    started, logged, due = time.monotonic(), 0, FIRST
    for done, item in enumerate(items, start=1):
        yield item
        seconds = time.monotonic() - started
        further = done == total or done * LINES // max(total, 1) > logged
        if seconds >= due or (seconds >= QUIET and further):
            logged, due = done * LINES // max(total, 1), seconds + LATER
            log(f"{what}: {done}/{total} in {seconds:.0f} s")
