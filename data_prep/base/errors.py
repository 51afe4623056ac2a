"""The base of all errors that a user can mend, and what their messages share."""

import difflib
import os
import re
import signal
from collections.abc import Iterable
from contextlib import suppress


class UserError(Exception):
    """Something about the input, the options or the output folder is not right.

    The message names the file or option and says what to do; command lines print it as one line
    and exit with 2.
    """


def _end(*_: object) -> None:
    with suppress(OSError):
        os.write(2, b"stopped\n")
    os._exit(130)


def end_when_interrupted(ends: bool = True) -> bool:
    """Let Ctrl-C end the process at once, in a line, or else raise KeyboardInterrupt, as is usual.

    For command lines, while libraries load: nothing is begun, and imports that are interrupted
    show where, or take it for a fault of their own. A Ctrl-C that is ignored stays so. Gives
    whether it ended the process before.
    """
    before = signal.getsignal(signal.SIGINT)
    if before in (_end, signal.default_int_handler):
        with suppress(ValueError):  # Of a thread, which may set none.
            signal.signal(signal.SIGINT, _end if ends else signal.default_int_handler)
    return before is _end


class OptionError(UserError, ValueError):
    """An option whose value makes no sense; the message names it and says what to write."""


class DatasetError(UserError, ValueError):
    """A dataset, or what is about one, that can't be used; the message says what to do."""


def describe_error(error: Exception) -> str:
    """Its message in one line: fastai and worker processes put lines of their own before it.

    Of a word that no one would read, such as a number of 6,000 digits, the beginning is shown.
    """
    line = str(error).splitlines()[-1].strip()
    return re.sub(r"\S{300,}", lambda word: f"{word[0][:60]}… ({len(word[0])} characters)", line)


def plain(message: str) -> str:
    """What pydantic says of a value, without its own words.

    >>> plain("Input should be a valid integer, unable to parse string as an integer")
    'should be a valid integer'
    """
    return re.sub(r"^Value error, |^Input |, unable to parse string as an? \w+", "", message)


def visible(text: str) -> str:
    r"""Text as it can be shown on one line: names of files may hold what a terminal obeys.

    >>> print(visible("a\x1b[31m\nb\u202e é.jpg"))
    a\x1b[31m\nb\u202e é.jpg
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def suggest(name: str, known: Iterable[str], otherwise: str = "known: {}.") -> str:
    """What a user may have meant: the nearest known name, or all of them after `otherwise`.

    >>> suggest("lables", ["label", "image"]), suggest("x", ["label", "image"])
    ("did you mean 'label'?", 'known: label, image.')
    >>> suggest("x", [])
    'known: none.'
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else otherwise.format(", ".join(names) or "none")
