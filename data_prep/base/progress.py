"""Progress: a bar on a terminal, a line every tenth of the way in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import typer
from rich.console import Console
from rich.progress import track

from data_prep.base.errors import UserError
from data_prep.base.records import Finding

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


KIND = "not-read"
SHOWN = 20


def note_unread(name: str, things: Sequence[str]) -> list[Finding]:
    """A note, no fault, of what is not read; none when there is nothing.

    Args:
        name: The file or dataset.
        things: What is not read, such as a column's name or `3 truncated flags`.

    >>> note_unread("set/a.csv", ["licence"])[0].message
    'set/a.csv: not read, so not carried on: licence.'
    """
    shown = [thing[:40] for thing in things[:SHOWN]] + ["and others"] * (len(things) > SHOWN)
    message = f"{name}: not read, so not carried on: {', '.join(shown)}."
    return [Finding(name, KIND, message, dropped=False)] if things else []


DONE, SOME_LEFT_OUT, NOT_DONE = 0, 1, 2
"""Exit codes: all done; the rest done; wrong usage, nothing to do, or nothing could be written."""

SHOWN_FAULTS = 20


def tell_faults(findings: Sequence[Finding], listed_in: object) -> None:
    """Name what was left out on standard error.

    Args:
        findings: All of them.
        listed_in: The file that has the rest.
    """
    tell("left out", [finding.message for finding in findings if finding.dropped], listed_in)


def tell_unfit(findings: Sequence[Finding], listed_in: object) -> None:
    """Name the decisions that were not applied, but for those with nothing left to do."""
    kinds = ("torn-ledger", "disputed-decision", "unfit-decision")
    messages = [f.message for kind in kinds for f in findings if f.kind == kind]
    tell("not applied", messages, listed_in)


def tell_unread(findings: Sequence[Finding], listed_in: object) -> None:
    """Name what the datasets tell that no format is given."""
    tell("note", [f.message for f in findings if f.kind == KIND], listed_in)


def tell(what: str, messages: Sequence[str], listed_in: object) -> None:
    """The first of some messages on standard error, each after `what`."""
    for message in messages[:SHOWN_FAULTS]:
        typer.echo(f"{what}: {message}", err=True)
    if len(messages) > SHOWN_FAULTS:
        more = len(messages) - SHOWN_FAULTS
        typer.echo(f"{what}: {more} more, listed in {listed_in}", err=True)


def say(line: str) -> None:
    """One line on standard error, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def describe_error(error: UserError) -> str:
    """Its message in one line: fastai and worker processes put lines of their own before it."""
    return str(error).splitlines()[-1].strip()


@contextmanager
def explain_errors() -> Iterator[None]:
    """Turn errors that a user can mend into one line and exit code 2."""
    try:
        yield
    except UserError as error:
        say(f"error: {describe_error(error)}")
        raise typer.Exit(2) from error
