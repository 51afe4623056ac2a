"""PASCAL VOC AP once more: box by box, in whole numbers and fractions, sharing no code."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

Corners = tuple[int, int, int, int]


class Truth(NamedTuple):
    photo: int
    box: Corners
    difficult: bool = False


class Found(NamedTuple):
    photo: int
    box: Corners
    score: Fraction


def slow_iou(first: Corners, second: Corners, inclusive: bool) -> Fraction:
    extra = 1 if inclusive else 0

    def area(box: Corners) -> int:
        return (box[2] - box[0] + extra) * (box[3] - box[1] + extra)

    width = min(first[2], second[2]) - max(first[0], second[0]) + extra
    height = min(first[3], second[3]) - max(first[1], second[1]) + extra
    shared = width * height if width > 0 and height > 0 else 0
    union = area(first) + area(second) - shared
    return Fraction(shared, union) if union else Fraction(0)


def slow_flags(
    truths: list[Truth],
    found: list[Found],
    iou: Fraction,
    inclusive: bool,
    counted: Callable[[Found], bool] = lambda _: True,
) -> list[bool]:
    """True or false positive for every detection by rank; ignored and not counted ones left out."""
    taken: set[int] = set()
    flags = []
    for detection in sorted(found, key=lambda detection: -detection.score):
        best, hit = Fraction(-1), -1
        for index, truth in enumerate(truths):
            if truth.photo == detection.photo:
                overlap = slow_iou(detection.box, truth.box, inclusive)
                if overlap > best:
                    best, hit = overlap, index
        if best >= iou and truths[hit].difficult:
            continue
        if best >= iou and hit not in taken:
            flags.append(True)
            taken.add(hit)
        elif counted(detection):
            flags.append(False)
    return flags


def slow_area(flags: list[bool], total: int, *, eleven_point: bool = False) -> Fraction:
    """AP from hits and misses by rank, with so many faces to find."""
    curve = [
        (Fraction(sum(flags[:rank]), total), Fraction(sum(flags[:rank]), rank))
        for rank in range(1, len(flags) + 1)
    ]

    def precision_from(recall: Fraction) -> Fraction:
        return max((p for r, p in curve if r >= recall), default=Fraction(0))

    parts = 10 if eleven_point else total
    steps = range(0 if eleven_point else 1, parts + 1)
    return sum((precision_from(Fraction(step, parts)) for step in steps), Fraction(0)) / len(steps)


def slow_ap(
    truths: list[Truth],
    found: list[Found],
    *,
    iou: Fraction,
    inclusive: bool = False,
    eleven_point: bool = False,
) -> Fraction | None:
    """AP, or None without a face to find."""
    total = sum(not truth.difficult for truth in truths)
    flags = slow_flags(truths, found, iou, inclusive)
    return slow_area(flags, total, eleven_point=eleven_point) if total else None
