"""Files of annotations and predictions: listed, read as text, their numbers checked."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection
from pathlib import Path

from data_prep.base.errors import UserError
from data_prep.base.records import Box

MOST_BYTES = 2**30
"""Of a file of annotations: some 20 million faces."""


class InputError(UserError, ValueError):
    """Boxes that can't be used; the message names file and line and says what to do."""


def read_text(path: Path) -> str:
    r"""Read a text file in UTF-8, with or without a byte order mark; lines end with `\n`.

    Raises:
        InputError: The file can't be read or is not UTF-8.
    """
    try:
        check_length(path)
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text in UTF-8; save it in UTF-8.") from error


def walk_files(root: Path, on_error: Callable[[OSError], object] | None = None) -> list[Path]:
    """Files below a folder, sorted; names starting with a dot are the system's, not the user's.

    Links to folders are followed, but not to one that `root` lies in, and no folder is walked
    twice.

    Args:
        root: An existing folder.
        on_error: Called with the error where a folder can't be read.
    """
    files: list[Path] = []
    walked: set[str] = set()
    waiting = [root]
    while waiting:
        start = waiting.pop(0)
        if start != root and root.resolve().is_relative_to(os.path.realpath(start)):
            continue
        for folder, folders, names in os.walk(start, onerror=on_error):
            real = os.path.realpath(folder)
            if real in walked:
                folders.clear()
                continue
            walked.add(real)
            folders[:] = [name for name in folders if not name.startswith(".")]
            paths = [Path(folder, name) for name in names if not name.startswith(".")]
            files += [path for path in paths if path.is_file()]
            waiting += sorted(path for name in folders if (path := Path(folder, name)).is_symlink())
    return sorted(files)


def list_files(root: Path, suffixes: Collection[str]) -> list[Path]:
    """Files with one of some endings, when all their names are text; see `walk_files`.

    Args:
        root: An existing folder.
        suffixes: Endings in lower case, with the dot; case does not matter in the names.

    Raises:
        InputError: A file's name can't be written as text.
    """
    files = []
    for path in walk_files(root):
        if path.suffix.lower() not in suffixes:
            continue
        name = path.relative_to(root)
        if not is_text(str(name)):
            shown = os.fsencode(name).decode(errors="replace")
            raise InputError(f"{root}: the name of {shown} is not valid UTF-8; rename the file.")
        files.append(path)
    return files


def check_length(path: Path) -> None:
    """Refuse a file that can't be meant: it would be held in memory many times over.

    Raises:
        InputError: It is longer than `MOST_BYTES`.
        OSError: It is not there.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise InputError(
            f"{path}: {size / 2**30:.1f} GiB, too long for one file of annotations (at most "
            f"{MOST_BYTES >> 30} GiB); split it into several files."
        )


def is_text(name: str) -> bool:
    """Whether a name can be written in UTF-8; names from old archives may not."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_number(text: str, name: str, where: str) -> float:
    """A finite number from its text.

    Args:
        text: As it is written.
        name: What it is, for the message.
        where: File and line, for the message.

    Raises:
        InputError: It is not a number, infinite or NaN.
    """
    try:
        value = float(text)
    except ValueError:
        hint = "; write a point, not a comma, in decimals" if "," in text else ""
        raise InputError(f"{where}: '{text}' for {name} is not a number{hint}.") from None
    if not math.isfinite(value):
        raise InputError(f"{where}: {name} is {text}; leave the box out or repair it.")
    return value


def check_box(box: Box, where: str, hint: str) -> Box:
    """The box itself, when it is finite and not inverted; it may be empty.

    Args:
        box: In pixels.
        where: File and line, or index.
        hint: What may be wrong with an inverted one.

    Raises:
        InputError: It is inverted or not finite.
    """
    if not all(map(math.isfinite, box)):
        raise InputError(f"{where}: the box is not finite; leave it out or repair it.")
    if box.width < 0 or box.height < 0:
        shown = ", ".join(f"{value:g}" for value in box)
        raise InputError(f"{where}: box ({shown}) is inverted; {hint}.")
    return box
