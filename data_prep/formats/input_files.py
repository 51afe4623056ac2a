"""Files of annotations and predictions: listed, read as text, their numbers checked."""

import csv
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.base.errors import UserError
from data_prep.base.files import decode_text
from data_prep.base.photo import Size
from data_prep.base.records import Box

MOST_BYTES = 2**30  # Of a file of annotations: some 20 million faces.

_ROUNDING = 1e-6  # How far above 1 a written score may lie.


class InputError(UserError, ValueError):
    """Boxes that can't be used; the message names file and line and says what to do."""


class OtherFileError(InputError):
    """A file of something else."""


def read_bytes(path: Path, name: str = "") -> bytes:
    """All of a file; an `InputError` when it can't be read or is longer than `MOST_BYTES`."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(
                f"{path}: {size / 2**30:.1f} GiB, too long for one file of annotations (at most "
                f"{MOST_BYTES >> 30} GiB); split it into several files."
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{name or path}: can't be read ({error.strerror or error}).") from error


def read_text(path: Path, name: str = "") -> str:
    r"""Read a text file, in UTF-8 or in UTF-16 with a byte order mark; lines end with `\n`."""
    data = read_bytes(path, name)
    try:
        text = decode_text(data)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        why = "not text in UTF-8; save the file in UTF-8 (in a spreadsheet: Save as, CSV UTF-8)."
        raise InputError(f"{name or path}, line {line}: {why}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file."""
    return read_text(path).split("\n")


def split_line(line: str) -> list[str]:
    """Words parted by blanks; or by commas, where these can't be points of decimals.

    >>> split_line("0, 0.5, 0.5"), split_line("0,0.5,0.5"), split_line("0 0,5 0,5")
    (['0', '0.5', '0.5'], ['0', '0.5', '0.5'], ['0', '0,5', '0,5'])
    """
    parted = "," in line and (re.search(r",\s", line) or not re.search(r"\S\s+\S", line))
    return (line.replace(",", " ") if parted else line).split()


def sniff_text(path: Path) -> str:
    """How a file starts, far enough for its first rows; nothing if it can't be read as text."""
    try:
        with path.open("rb") as file:
            data = file.read(1 << 16)
    except OSError:
        return ""
    while True:
        try:
            text = decode_text(data)
            break
        except UnicodeDecodeError as error:
            # Half a character at the end, or another encoding further down, is no matter here.
            data = data[: error.start]
    return text.replace("\r\n", "\n").replace("\r", "\n")


def load_json(path: Path) -> Any:
    """Read a JSON file; the `InputError` of a broken one names the line where it can."""
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path}: the file is empty; write it again.")
    try:
        return json.loads(text, object_pairs_hook=_make_object)
    except json.JSONDecodeError as error:
        told = "several JSON documents, as of JSON Lines; write them as one list"
        told = told if error.msg == "Extra data" else f"broken JSON ({error.msg}); write it again"
        raise InputError(f"{path}, line {error.lineno}: {told}.") from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deep to be annotations.") from error
    except ValueError as error:
        # A whole number of thousands of digits.
        raise InputError(f"{path}: JSON that can't be read ({error}).") from error


def _make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of a key that is there twice the first value would be lost without a word."""
    made = dict(pairs)
    if len(made) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice[:40]!a} is there twice in one object; keep one")
    return made


def json_object(value: Any, where: str) -> Mapping[str, Any]:
    """An entry that is an object; this and what follows raise an `InputError`."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: {show_json(value)}, not an object.")
    return value


def json_text(entry: Mapping[str, Any], name: str, where: str) -> str:
    """A text in an entry that is not empty and can be written in UTF-8."""
    value = entry.get(name)
    if not isinstance(value, str) or not value.strip() or not is_text(value):
        raise InputError(f"{where}: {name} is {show_json(value)}, not a text with something in it.")
    return value


def json_number(value: Any, name: str, where: str) -> float:
    """A value that is a finite number, also as text."""
    if type(value) is float and math.isfinite(value):
        return value  # Nearly all of millions.
    if isinstance(value, str) and is_number(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {name} is {show_json(value)}, not a number.")
    # Whole numbers of more bits do not fit a float.
    if (isinstance(value, int) and value.bit_length() > 1000) or not math.isfinite(value):
        raise InputError(f"{where}: {name} is not a finite number; leave the box out or repair it.")
    return float(value)


def show_json(value: Any) -> str:
    """A value, for a message."""
    if value is None:
        return "missing"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):  # Any may be given by mistake; its first keys tell which.
        keys = ", ".join(ascii(key[:30]) for key in list(value)[:5])
        return f"an object with {keys or 'nothing in it'}"
    return json.dumps(value)[:60]


class CsvRow(NamedTuple):
    """A row: file and line it starts on, cells without the blanks around them, or a fault."""

    where: str
    cells: list[str]
    fault: str = ""


def read_start(path: Path) -> dict[str, list[str]]:
    """The cells of the first row that is not blank, by separator; none if there is no such row."""
    lines = _blank_separator(sniff_text(path)).split("\n")
    line = next((line for line in lines if line.strip()), "")
    starts = {}
    for separator in ",;\t|" if line else "":
        row = next(csv.reader([line], delimiter=separator, skipinitialspace=True))
        starts[separator] = [cell.strip() for cell in row]
    return starts


def decode_csv(path: Path, name: str) -> str:
    """The text of a table; an `InputError` where there is none."""
    text = _blank_separator(read_text(path, name))
    if not text.strip():
        raise InputError(f"{name}: the file is empty; restore it or remove it.")
    return text


def list_rows(text: str, separator: str, name: str) -> Iterator[CsvRow]:
    """All rows that are not blank, those with a wrong quote among them."""
    # Line by line: io.StringIO would hold the text again, four bytes to a letter.
    lines = (match[0] for match in re.finditer(r"[^\n]*\n|[^\n]+\Z", text))
    reader = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    while True:
        line = reader.line_num + 1
        where = f"{name}:{line}"
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            return
        except csv.Error as error:
            yield CsvRow(where, [], f"not CSV ({error}), down to line {reader.line_num}")
            continue
        if any("\n" in cell for cell in cells):
            yield CsvRow(where, cells, f"a quote is not closed before line {reader.line_num}")
        elif any(cells):
            yield CsvRow(where, cells)


def _blank_separator(text: str) -> str:
    """Without the line by which Excel is told the separator; lines keep their number."""
    return re.sub(r"\Asep=.(?=\n)", "", text)


def walk_files(root: Path, on_error: Callable[[OSError], object] | None = None) -> list[Path]:
    """Files below a folder, sorted; names starting with a dot are the system's, not the user's.

    Links to folders are followed, but not to one that `root` lies in, and no folder is walked
    twice. `on_error` gets the error where a folder can't be read.
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
    """Files with one of some endings (in lower case, with the dot); see `walk_files`."""
    files = [path for path in walk_files(root) if path.suffix.lower() in suffixes]
    for path in files:
        name = path.relative_to(root)
        if not is_text(str(name)):
            shown = os.fsencode(name).decode(errors="replace")
            raise InputError(f"{root}: the name of {shown} is not valid UTF-8; rename the file.")
    return files


def is_text(name: str) -> bool:
    """Whether a name can be written in UTF-8; names from old archives may not."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_number(text: str, name: str, where: str) -> float:
    """A finite number from its text; messages say what it is and where."""
    try:
        value = float(text)
    except ValueError:
        hint = "; write a point, not a comma, in decimals" if "," in text else ""
        raise InputError(f"{where}: '{text[:40]}' for {name} is not a number{hint}.") from None
    if not math.isfinite(value):
        raise InputError(f"{where}: {name} is {text[:40]}; leave the box out or repair it.")
    return value


def is_number(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        read_number(text, "", "")
    except InputError:
        return False
    return True


def read_size(width: Any, height: Any) -> Size | None:
    """A stated size; 0, nothing or nonsense all mean that the file does not tell."""
    try:
        size = int(float(width)), int(float(height))
    except (TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None


def enclose(xs: Sequence[float], ys: Sequence[float]) -> Box:
    """The box around points."""
    return Box(min(xs), min(ys), max(xs), max(ys))


def enclose_ellipse(x: float, y: float, along: float, across: float, turn: float = 0.0) -> Box:
    """The box around an ellipse by its centre and radii, turned by some radians."""
    if turn:  # Then half its extents.
        cos, sin = math.cos(turn), math.sin(turn)
        along, across = math.hypot(along * cos, across * sin), math.hypot(along * sin, across * cos)
    return Box(x - along, y - across, x + along, y + across)


def check_box(box: Box, where: str, hint: str) -> Box:
    """The box itself, when it is finite and not inverted; it may be empty."""
    if not all(map(math.isfinite, box)):
        raise InputError(f"{where}: the box is not finite; leave it out or repair it.")
    if box.width < 0 or box.height < 0:
        shown = ", ".join(f"{value:g}" for value in box)
        raise InputError(f"{where}: box ({shown}) is inverted; {hint}.")
    return box


def check_score(score: float, where: str) -> float:
    """The score of a prediction itself, when it lies between 0 and 1."""
    if not 0 <= score <= 1 + _ROUNDING:
        raise InputError(
            f"{where}: score is {score:g}; scores lie between 0 and 1. Divide percentages by 100, "
            "and bring scores without bounds between 0 and 1 in the same order."
        )
    return score
