"""Checked values of COCO's JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.formats.input_files import InputError, check_box, is_text, read_text
from data_prep.records import Box

Id = int | str
"""COCO counts; other writers take the name of the photo."""

Entry = Mapping[str, Any]
"""An object of the JSON."""

LISTS = ("images", "annotations", "categories")
"""What COCO annotations are made of."""

DIFFICULT = ("iscrowd", "difficult", "ignore")
"""Any of these set means: neither asked for nor held against a detection."""

_HINT = "bbox is x, y, width, height, and neither width nor height may be negative"

_MOST_BITS = 1000
"""Longer whole numbers do not fit a float."""


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: It can't be read, or is no JSON; the message names the line where it can.
    """
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path}: the file is empty; write it again.")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: broken JSON ({error.msg}); write it again."
        ) from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deep to be COCO JSON.") from error
    except ValueError as error:
        # A whole number of thousands of digits.
        raise InputError(f"{path}: JSON that can't be read ({error}).") from error


def describe_json(content: Any) -> str:
    """What a file holds, for the message that it is not what was expected."""
    if isinstance(content, list):
        return "a list"
    if isinstance(content, dict):
        # Any file may be given by mistake; its first keys tell which.
        keys = ", ".join(ascii(key[:30]) for key in list(content)[:5])
        return f"an object with {keys or 'nothing in it'}"
    return "a single value"


def list_entries(where: str, values: Sequence[Any]) -> Iterator[tuple[str, Entry]]:
    """The objects of a list, each with its place for messages.

    Raises:
        InputError: One is no object.
    """
    for number, entry in enumerate(values):
        place = f"{where}[{number}]"
        yield place, check_entry(entry, place)


def check_entry(value: Any, where: str) -> Entry:
    """The entry itself.

    Raises:
        InputError: It is no object.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where}: {_show(value)}, not an object.")
    return value


def get_id(entry: Entry, name: str, where: str) -> Id:
    """A whole number or a text.

    Raises:
        InputError: It is missing or something else.
    """
    value = entry.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InputError(f"{where}: {name} is {_show(value)}, not a whole number or a text.")
    return value


def get_text(entry: Entry, name: str, where: str) -> str:
    """A text with something in it.

    Raises:
        InputError: It is missing, blank or something else.
    """
    value = entry.get(name)
    if not isinstance(value, str) or not value.strip() or not is_text(value):
        raise InputError(f"{where}: {name} is {_show(value)}, not a text with something in it.")
    return value


def get_score(entry: Entry, where: str) -> float:
    """The score of a prediction, a number; its range is not looked at.

    Raises:
        InputError: It is missing, not a number or not finite.
    """
    return _read_number(entry.get("score"), "score", where)


def get_side(entry: Entry, name: str, where: str) -> int:
    """A side of a photo in pixels; 0 when it is not stated.

    Raises:
        InputError: It is no number, or negative.
    """
    value = entry.get(name)
    side = 0.0 if value is None else _read_number(value, name, where)
    if side < 0:
        raise InputError(f"{where}: {name} is {side:g}; leave it out if it is not known.")
    return int(side)


def get_flag(entry: Entry, name: str, where: str) -> bool:
    """A flag, 0 or 1; false when it is missing.

    Raises:
        InputError: It is something else.
    """
    value = entry.get(name)
    if value in (None, 0, 1):
        return bool(value)
    raise InputError(f"{where}: {name} is {_show(value)}, neither 0 nor 1.")


def get_box(entry: Entry, where: str) -> Box:
    """The box of `bbox`: top left corner, width and height in pixels.

    Raises:
        InputError: There are not four finite numbers, or width or height are negative.
    """
    values = entry.get("bbox")
    if not isinstance(values, list) or len(values) != 4:
        raise InputError(f"{where}: bbox is {_show(values)}, not 4 numbers x, y, width, height.")
    x, y, width, height = (_read_number(value, "a number of bbox", where) for value in values)
    return check_box(Box(x, y, x + width, y + height), where, _HINT)


def _read_number(value: Any, name: str, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {name} is {_show(value)}, not a number.")
    if (isinstance(value, int) and value.bit_length() > _MOST_BITS) or not math.isfinite(value):
        raise InputError(f"{where}: {name} is not a finite number; leave the box out or repair it.")
    return float(value)


def _show(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    return json.dumps(value)[:60]
