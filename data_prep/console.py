"""What the commands share: exit codes, and telling users what to mend."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

from data_prep.errors import UserError
from data_prep.formats.unread import KIND as UNREAD
from data_prep.records import Finding

DONE, SOME_LEFT_OUT, NOT_DONE = 0, 1, 2
"""Exit codes: all done; the rest done; wrong usage, nothing to do, or nothing could be written."""

SHOWN_FAULTS = 20


@contextmanager
def explain_errors() -> Iterator[None]:
    """Turn what a user can mend into one line on standard error and exit code 2."""
    try:
        yield
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(NOT_DONE) from error


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
    tell("note", [f.message for f in findings if f.kind == UNREAD], listed_in)


def tell(what: str, messages: Sequence[str], listed_in: object) -> None:
    """The first of some messages on standard error, each after `what`."""
    for message in messages[:SHOWN_FAULTS]:
        typer.echo(f"{what}: {message}", err=True)
    if len(messages) > SHOWN_FAULTS:
        more = len(messages) - SHOWN_FAULTS
        typer.echo(f"{what}: {more} more, listed in {listed_in}", err=True)
