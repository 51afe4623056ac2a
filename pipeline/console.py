"""What the command lines share: talking, and telling users what to mend."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from data_prep.errors import UserError

SHIPPED = Path(__file__).parent.parent / "weights"
"""The weights that come with the project."""


@contextmanager
def explain_errors() -> Iterator[None]:
    """Turn errors that a user can mend into one line and exit code 2."""
    try:
        yield
    except UserError as error:
        say(f"error: {describe_error(error)}")
        raise typer.Exit(2) from error


def describe_error(error: UserError) -> str:
    """Its message in one line: fastai and worker processes put lines of their own before it."""
    return str(error).splitlines()[-1].strip()


def say(line: str) -> None:
    """One line on standard error, at once."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
