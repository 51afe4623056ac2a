"""PASCAL VOC AP once more: box by box, in whole numbers and fractions, sharing no code."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
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
    truths: list[Truth], found: list[Found], iou: Fraction, inclusive: bool
) -> list[bool]:
    """True or false positive for every detection by rank, ignored ones left out."""
    taken: set[int] = set()
    flags = []
    for detection in sorted(found, key=lambda detection: -detection.score):
        best, best_index = Fraction(-1), None
        for index, truth in enumerate(truths):
            if truth.photo != detection.photo:
                continue
            overlap = slow_iou(detection.box, truth.box, inclusive)
            if overlap > best:
                best, best_index = overlap, index
        if best_index is None or best < iou:
            flags.append(False)
        elif truths[best_index].difficult:
            continue
        else:
            flags.append(best_index not in taken)
            taken.add(best_index)
    return flags


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
    if total == 0:
        return None
    curve: list[tuple[Fraction, Fraction]] = []
    hits = 0
    for rank, hit in enumerate(slow_flags(truths, found, iou, inclusive), start=1):
        hits += hit
        curve.append((Fraction(hits, total), Fraction(hits, rank)))

    def precision_from(recall: Fraction) -> Fraction:
        return max((p for r, p in curve if r >= recall), default=Fraction(0))

    if eleven_point:
        return sum((precision_from(Fraction(step, 10)) for step in range(11)), Fraction(0)) / 11
    recalls = sorted({r for r, _ in curve} | {Fraction(0)})
    area = Fraction(0)
    for lower, upper in pairwise(recalls):
        area += (upper - lower) * precision_from(upper)
    return area
