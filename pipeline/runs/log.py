"""What trainings log: lines for people, or JSON Lines for machines."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from datetime import UTC, datetime
from typing import Any

import typer
from pydantic_core import to_json

from data_prep.base.command import NOT_DONE
from data_prep.base.errors import UserError, describe_error
from data_prep.base.progress import log
from pipeline.nets.options import LogFormat

Log = Callable[..., None]
"""Logs a line for people, and the same as an event with facts for machines: numbers, texts, paths,
and lists and dicts of them. Called as `log(line, event, **facts)`."""


class Reporter:
    """A command's log, on standard error, and table, on standard output; it can be pickled."""

    def log(self, line: str, _event: str = "note", /, **_facts: Any) -> None:
        """Log a line, at once."""
        log(line)

    def finish(self, line: str = "", table: str = "", /, **_facts: Any) -> None:
        """Give the result: a last line, a table for people, and facts with the paths."""
        if line:
            log(line)
        if table:
            typer.echo(table)


class JsonReporter(Reporter):
    """One JSON object per line on standard output, each with `event`, `time` and `message`.

    Times are ISO 8601 in UTC; numbers that JSON has no name for, NaN and infinity, are null.
    """

    def __init__(self) -> None:
        self.stream = sys.stdout

    def __reduce__(self) -> tuple[type[JsonReporter], tuple[()]]:
        return JsonReporter, ()  # another process writes to its own standard output

    def log(self, line: str, event: str = "note", /, **facts: Any) -> None:
        """Write one event."""
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = {"event": event, "time": time, "message": line, **facts}
        text = to_json(record, inf_nan_mode="null", fallback=_plain).decode()
        # In one piece: lines of several processes must not mix.
        self.stream.write(text + "\n")
        self.stream.flush()

    def finish(self, line: str = "", table: str = "", /, **facts: Any) -> None:
        """Write the event `result`; facts stand for the table."""
        self.log(line, "result", **facts)

    def warn(self, message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        """Write a Python warning, in place of `warnings.showwarning`."""
        self.log(str(message), "warning", category=category.__name__)


@contextmanager
def report_as(form: LogFormat) -> Iterator[Reporter]:
    """Give a command its reporter, and turn errors that a user can mend into exit code 2.

    As JSON, what else is printed goes to standard error, and warnings and all errors are events.
    """
    reporter = JsonReporter() if form == "json" else Reporter()
    with ExitStack() as stack:
        if isinstance(reporter, JsonReporter):
            stack.enter_context(redirect_stdout(sys.stderr))
            stack.enter_context(warnings.catch_warnings())
            warnings.showwarning = reporter.warn
        try:
            yield reporter
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if isinstance(reporter, JsonReporter):
                if isinstance(error, UserError):
                    reporter.log(describe_error(error), "error")
                    raise typer.Exit(NOT_DONE) from error
                reporter.log(f"{type(error).__name__}: {error}", "error")
            raise


def _plain(value: Any) -> Any:
    """What JSON has for numbers of other libraries, and a text for what it has no name for."""
    return value.item() if hasattr(value, "item") else str(value)
