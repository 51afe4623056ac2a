"""Names and numbers as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence

from evaluate.measures.error_kinds import MISSED

HEADLINES: dict[str, str] = {
    "map50": "mAP at IoU 0.50",
    "map75": "mAP at IoU 0.75",
    "map50_95": "mAP at IoU 0.50 to 0.95",
    "ap50": "AP at IoU 0.50",
    "face_ap50": "face AP at IoU 0.50",
    "face_ap75": "face AP at IoU 0.75",
    "face_recall": "faces found",
    "detected": "found",
    "accuracy": "accuracy on found faces",
    "macro_recall": "macro recall on found faces",
    "recall": "recall on found faces",
}
"""Words for the headline numbers, in the order they are shown; the rest is in the record."""

KIND_WORDS: dict[str, str] = {
    MISSED: "missed face",
    "wrong_class": "wrong class",
    "poor_box": "poor box",
    "wrong_class_and_box": "wrong class, poor box",
    "second_hit": "second hit",
    "false_face": "false face",
}
"""Words for the kinds of errors, in the order they are shown."""


def show_number(value: float | None, digits: int = 3) -> str:
    """A fraction as text; a dash where it is not defined.

    >>> show_number(0.98765), show_number(None)
    ('0.988', '–')
    """
    return "–" if value is None else f"{value:.{digits}f}"


def show_interval(ends: Sequence[float] | None, digits: int = 3) -> str:
    """An interval as text, nothing where it is not defined.

    >>> show_interval([0.25, 0.75])
    '0.250 to 0.750'
    """
    return "" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"
