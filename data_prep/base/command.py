"""Commands whose options are one dataclass, declared once for the command line and for Python."""

import ast
import dataclasses
import errno
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, Signature, get_annotations, getfile, signature
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from pydantic import Field, TypeAdapter, ValidationError
from typer import BadParameter, Typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from data_prep.base.errors import (
    OptionError,
    UserError,
    describe_error,
    end_when_interrupted,
    plain,
)
from data_prep.base.progress import log, tell_loading

DONE, SOME_LEFT_OUT, NOT_DONE, STOPPED = 0, 1, 2, 130
"""Exit codes: all done; the rest done; wrong usage, nothing to do, or nothing could be written;
stopped by Ctrl-C."""

PACKAGES = {
    **dict.fromkeys(("build", "convert"), "-m data_prep "),
    **dict.fromkeys(("train", "suspects", "review", "agreement"), "-m pipeline "),
    **dict.fromkeys(("classify", "measure"), "-m pipeline "),
    "run": "run.py",
    "evaluate": "-m evaluate",
}


def spell(command: str, *words: object) -> str:
    """A command of another step, called as this one was: as `trimask …`, or as in a checkout.

    Its words are quoted where a shell needs that, so that it can be pasted.
    """
    where = PACKAGES[command]
    start = f"python {where}{command if where.endswith(' ') else ''}"
    if Path(sys.argv[0]).stem == "trimask":
        start = f"trimask {command}"
    return " ".join([start, *(shlex.quote(str(word)) for word in words)])


EXTRAS = {
    **dict.fromkeys(("torch", "torchvision", "fastai", "fastcore", "scipy", "sklearn"), "train"),
    **dict.fromkeys(("gradio", "prometheus_client"), "web"),
    "kagglehub": "kaggle",
}
"""What brings a package that an install may lack."""


@contextmanager
def tell_missing() -> Iterator[None]:
    """Where a package of `EXTRAS` is missing, a `UserError` says how to have it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (extra := EXTRAS.get(str(error.name).partition(".")[0])) is None:
            raise
        why = f'this takes {error.name}, which is not here: pip install "trimask[{extra}]"'
        raise UserError(why) from error


def as_command(function: Callable[[Any], Any]) -> Callable[..., None]:
    """A command for typer from a function of one options dataclass; its docstring is the help.

    Each field is a parameter: its type an `Annotated[…, typer.Option(…)]` or `typer.Argument`, if
    there is more to say than its help, which is the text below the field. They come in the order of
    the class, those it inherits after its own. Errors that a user can mend become one line and exit
    code 2.

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
    hints |= {name: _add_help(hints[name], note) for name, note in _read_notes(options).items()}
    defaults = {field.name: _default(field) for field in dataclasses.fields(options)}
    own_first = dict.fromkeys(n for kind in options.__mro__ for n in get_annotations(kind))
    parameters = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=defaults[name], annotation=hints[name])
        for name in own_first
        if name in defaults
    ]

    def command(**values: Any) -> None:
        end_when_interrupted(False)
        try:
            with tell_missing():
                function(options(**values))
        except (UserError, OSError) as error:
            mendable = isinstance(error, UserError | PermissionError)
            if not mendable and getattr(error, "errno", None) != errno.ENAMETOOLONG:
                raise
            log(f"error: {describe_error(error)}")
            raise typer.Exit(NOT_DONE) from error
        except KeyboardInterrupt:
            log("stopped")
            raise typer.Exit(STOPPED) from None

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {field.name: field.annotation for field in parameters}
    return command


def _read_notes(options: type) -> dict[str, str]:
    """The texts below the fields of a dataclass, its own and those it inherits, by field."""
    notes = {}
    for kind in filter(dataclasses.is_dataclass, reversed(options.__mro__)):
        tree = ast.parse(Path(getfile(kind)).read_text(encoding="utf-8"))
        code = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        own = (node.body for node in code if node.name == kind.__name__)
        for field, note in (pair for body in own for pair in pairwise(body)):
            if isinstance(field, ast.AnnAssign) and isinstance(note, ast.Expr):
                notes[ast.unparse(field.target)] = " ".join(ast.literal_eval(note.value).split())
    return notes


def check_values(options: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options given from Python, held to the types and limits that a command line holds them to.

    Raises `OptionError`, which names the first that is wrong.
    """
    hints, checked = get_type_hints(options, include_extras=True), dict(given)
    for name in (name for name in given if name in hints):
        (about,) = getattr(hints[name], "__metadata__", [typer.Option()])
        limits = Field(ge=about.min, le=about.max)
        hint: Any = Annotated[hints[name], limits]
        try:
            checked[name] = TypeAdapter(hint).validate_python(given[name])
        except ValidationError as error:
            why = plain(error.errors()[0]["msg"])
            raise OptionError(f"{name}={given[name]!r}: {why}.") from error
    return checked


def _add_help(hint: Any, note: str) -> Any:
    """The type of a parameter with the text below its field, where it has no help of its own."""
    (about,) = map(copy, getattr(hint, "__metadata__", [typer.Option()]))
    about.help = about.help or note
    return Annotated[hint.__origin__ if hasattr(hint, "__metadata__") else hint, about]


class _PlainHelp:
    """Help that says `<path>` for `<list[Path]>`, and no type of a switch, which takes no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """As of typer."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for one in params:
            one.display_type = partial(_name_type, one)
        return params


def _name_type(one: Any, ctx: Any) -> str:
    shown = type(one).display_type(one, ctx)  # Its own stands there already, from the second call.
    name = re.sub(r"list\[(.*)\]", r"\1", shown).replace(" range>", ">")
    return {"<Path>": "<path>", "<bool>": ""}.get(name, name)


class Group(_PlainHelp, TyperGroup):
    """Commands, with plain help."""


class Command(_PlainHelp, TyperCommand):
    """A command that tells what is wrong with an option in plain words; typer asks pydantic."""

    def make_context(self, *args: Any, **more: Any) -> Any:
        """As of typer."""
        try:
            return super().make_context(*args, **more)
        except BadParameter as error:
            error.message = plain(error.message)
            raise


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return Parameter.empty


def lazy_app(
    commands: Mapping[str, tuple[str, str]],
    help_text: str,
    check: Callable[[Any], None],
    **settings: Any,
) -> Typer:
    """An app whose commands are imported when they are called, so that `--help` is there at once.

    `commands` holds for each name the function, as `module:function`, and its panel of the help;
    `check` raises a `UserError` about options that can't be used.
    """

    class Lazy(Group):
        def __init__(self, **attributes: Any) -> None:
            found = {name: _Lazy(name, *place, check) for name, place in commands.items()}
            super().__init__(**{**attributes, "commands": found})

    app = Typer(
        cls=Lazy, help=help_text, no_args_is_help=True, pretty_exceptions_enable=False, **settings
    )
    app.callback()(lambda: None)
    return app


def load_command(target: str, check: Callable[[Any], None]) -> Callable[..., None]:
    """The function behind `module:function`, ready for typer.

    If its options are of another module, that alone is imported until they are read and `check` has
    passed them.
    """
    module, name = target.split(":")
    tree, node = _parse(target)
    options = node.args.args[0].annotation
    imports = [one for one in tree.body if isinstance(one, ast.ImportFrom)]
    lent = {alias.name: str(one.module) for one in imports for alias in one.names}
    if not isinstance(options, ast.Name) or options.id not in lent:
        return as_command(getattr(import_module(module), name))

    def call(told: Any) -> None:
        check(told)
        with tell_loading():
            function = getattr(import_module(module), name)
        function(told)

    call.__name__, call.__doc__ = name, ast.get_docstring(node)
    call.__annotations__ = {"told": getattr(import_module(lent[options.id]), options.id)}
    return as_command(call)


class _Lazy(Command):
    """Stands for a command in the list; becomes the command when it is called."""

    def __init__(self, name: str, target: str, panel: str, check: Callable[[Any], None]) -> None:
        summary = (ast.get_docstring(_parse(target)[1]) or "").split("\n\n")[0]
        super().__init__(name, help=summary, rich_help_panel=panel)
        self.target, self.check = target, check

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **more: Any) -> Any:
        app = Typer(add_completion=False)
        try:
            with tell_loading(), tell_missing():
                app.command(self.name, cls=Command)(load_command(self.target, self.check))
        except UserError as error:
            log(f"error: {error}")
            raise typer.Exit(NOT_DONE) from error
        return get_command(app).make_context(info_name, args, *rest, **more)


def _parse(target: str) -> tuple[ast.Module, ast.FunctionDef]:
    """The code of a module and its function, read without importing it."""
    module, name = target.split(":")
    spec = find_spec(module)
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else "")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return tree, node
    raise ImportError(f"{target}: there is no such function.")
