"""Commands whose options are one dataclass, declared once for the command line and for Python."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints

import typer

from data_prep.base.errors import UserError, describe_error
from data_prep.base.progress import log

DONE, SOME_LEFT_OUT, NOT_DONE = 0, 1, 2
"""Exit codes: all done; the rest done; wrong usage, nothing to do, or nothing could be written."""


@contextmanager
def explain_errors() -> Iterator[None]:
    """Turn errors that a user can mend into one line and exit code 2."""
    try:
        yield
    except UserError as error:
        log(f"error: {describe_error(error)}")
        raise typer.Exit(NOT_DONE) from error


def as_command(function: Callable[[Any], Any]) -> Callable[..., None]:
    """A command for typer from a function of one options dataclass.

    Each field is a parameter of the command line, in the order of the class: its type an
    `Annotated[…, typer.Option(…)]` or `typer.Argument`, its default the option's. Errors that a
    user can mend become one line and exit code 2.

    Args:
        function: Takes the dataclass alone; its docstring is the command's help.

    >>> @dataclasses.dataclass(frozen=True)
    ... class Options:
    ...     name: str
    ...     times: int = 2
    >>> def greet(options: Options) -> None:
    ...     print(" ".join([f"hello {options.name}"] * options.times))
    >>> as_command(greet)(name="Ada", times=1)
    hello Ada
    """
    (only,) = signature(function).parameters
    options = get_type_hints(function)[only]
    hints = get_type_hints(options, include_extras=True)
    parameters = [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=_default(field),
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(options)
    ]

    def command(**values: Any) -> None:
        with explain_errors():
            function(options(**values))

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {field.name: field.annotation for field in parameters}
    return command


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return Parameter.empty
