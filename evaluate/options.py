"""Options of the command line that are more than a word or a number."""

from __future__ import annotations

import re
from collections.abc import Sequence

from data_prep.errors import UserError


class OptionError(UserError, ValueError):
    """An option that makes no sense; the message names it and says what to write."""


def parse_classes(text: str) -> tuple[str, ...]:
    """Class names separated by commas, in the order of tables and plots.

    Raises:
        OptionError: There is none, or one twice.

    >>> parse_classes("cat, dog")
    ('cat', 'dog')
    """
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise OptionError(f"--classes {text}: write names separated by commas, such as cat,dog.")
    if len({name.lower() for name in names}) < len(names):
        raise OptionError(f"--classes {text}: a class is named twice.")
    return names


def parse_ious(values: Sequence[float]) -> tuple[float, ...]:
    """IoU thresholds, each once, rising.

    Raises:
        OptionError: One is not above 0 and at most 1.
    """
    for value in values:
        if not 0 < value <= 1:
            raise OptionError(f"--iou {value:g}: an IoU lies above 0 and at most at 1.")
    return tuple(sorted(set(values)))


def parse_size(text: str) -> tuple[int, int]:
    """Width and height in pixels.

    Raises:
        OptionError: It is not two whole numbers above 0.

    >>> parse_size("400x300")
    (400, 300)
    """
    match = re.fullmatch(r"\s*(\d+)\s*[x×X,]\s*(\d+)\s*", text)
    if match is None or "0" in (match[1].lstrip("0") or "0", match[2].lstrip("0") or "0"):
        raise OptionError(f"--image-size {text}: write width x height in pixels, such as 400x300.")
    return int(match[1]), int(match[2])
