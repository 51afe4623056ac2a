"""Which detection hits which face."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evaluate.arrays import BoolArray, FloatArray, IntArray


def paired_iou(first: FloatArray, second: FloatArray, *, inclusive: bool = False) -> FloatArray:
    """Intersection over union (M,) of boxes (M, 4), row by row; 0 where both are empty.

    With `inclusive`, `xmax` and `ymax` are the last pixel inside, so that a side is
    `xmax - xmin + 1`, as in the VOC development kit. Otherwise they are the far edges.

    >>> box = np.array([[0.0, 0.0, 10.0, 10.0]])
    >>> paired_iou(box, box + [5, 0, 5, 0])
    array([0.33333333])
    """
    extra = 1.0 if inclusive else 0.0
    # Column by column: the arrays are long and the temporary ones stay small.
    width = np.minimum(first[:, 2], second[:, 2]) - np.maximum(first[:, 0], second[:, 0]) + extra
    height = np.minimum(first[:, 3], second[:, 3]) - np.maximum(first[:, 1], second[:, 1]) + extra
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = _areas(first, extra) + _areas(second, extra) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _areas(boxes: FloatArray, extra: float) -> FloatArray:
    return (boxes[:, 2] - boxes[:, 0] + extra) * (boxes[:, 3] - boxes[:, 1] + extra)


MATCH_IOU = 0.5
"""Smallest IoU at which the label of a detection is compared with that of a face."""

PAIRS_AT_ONCE = 100_000
"""Keeps what is computed at once in the processor's cache (some 50 bytes a pair)."""


@dataclass(frozen=True)
class BoxGroups:
    """Boxes that may only meet boxes of the same group, such as those of one photo."""

    boxes: FloatArray  # (N, 4) xmin, ymin, xmax, ymax in pixels.
    groups: IntArray  # (N,)


def best_overlaps(
    detections: BoxGroups, truths: BoxGroups, *, inclusive: bool = False
) -> tuple[FloatArray, IntArray]:
    """For every detection, the largest IoU with a ground truth box of its group, and that box.

    Of equal ones it is the first; 0 and -1 where no box of the group shares an area with it.
    """
    best_iou = np.zeros(len(detections.groups))
    best_truth = np.full(len(detections.groups), -1, dtype=np.int64)
    for rows, columns, ious in _pairs(detections, truths, inclusive=inclusive):
        # Pairs come row by row, so a row's first pair starts where the row number changes.
        starts = np.flatnonzero(np.r_[len(rows) > 0, rows[1:] != rows[:-1]])
        largest = np.maximum.reduceat(ious, starts)
        lengths = np.diff(np.r_[starts, len(rows)])
        at_largest = np.flatnonzero(ious == np.repeat(largest, lengths))
        _, first = np.unique(rows[at_largest], return_index=True)
        best_iou[rows[starts]] = largest
        best_truth[rows[starts]] = columns[at_largest[first]]
    return best_iou, best_truth


def flag_hits(
    best_iou: FloatArray, best_truth: IntArray, difficult: BoolArray, *, iou: float
) -> tuple[BoolArray, BoolArray]:
    """Tell true positives from the rest, as PASCAL VOC does.

    A detection looks only at the ground truth box it overlaps most. It is a true positive when the
    IoU is at least `iou` and no detection of a higher rank took the box; on a box that is taken it
    is a false positive, even if a free box overlaps it enough. On a difficult box it is ignored.
    The first two are from `best_overlaps`, in order of rank. Gives (N,) true positives, and (N,)
    detections to ignore; what is neither is a false positive.
    """
    hits = np.flatnonzero((best_iou >= iou) & (best_truth >= 0))
    on_difficult = difficult[best_truth[hits]]
    ignored = np.zeros(len(best_iou), dtype=np.bool_)
    ignored[hits[on_difficult]] = True
    hits = hits[~on_difficult]
    _, first = np.unique(best_truth[hits], return_index=True)
    true = np.zeros(len(best_iou), dtype=np.bool_)
    true[hits[first]] = True
    return true, ignored


def match_greedily(
    detections: BoxGroups,
    truths: BoxGroups,
    difficult: BoolArray,
    *,
    iou: float = 0.5,
    inclusive: bool = False,
) -> tuple[IntArray, BoolArray]:
    """Pair detections with faces: each detection in turn takes the best face still free.

    Unlike in `flag_hits` a detection whose best face is taken may take the next best one: here the
    pairs serve to compare labels, not to punish second hits. Detections are in order of rank.
    Difficult faces are never taken; a detection left without a face that overlaps one of them
    enough is ignored. Gives (N,) the index of the face taken, or -1; and (N,) what to ignore.
    """
    taken = np.full(len(detections.groups), -1, dtype=np.int64)
    near_difficult = np.zeros(len(detections.groups), dtype=np.bool_)
    free = ~difficult
    for rows, columns, ious in _pairs(detections, truths, inclusive=inclusive):
        enough = ious >= iou
        rows, columns, ious = rows[enough], columns[enough], ious[enough]
        near_difficult[rows[difficult[columns]]] = True
        # By rank, then by falling IoU, then in the order of the faces.
        for pair in np.lexsort((columns, -ious, rows)):
            row, column = rows[pair], columns[pair]
            if taken[row] < 0 and free[column]:
                taken[row] = column
                free[column] = False
    return taken, near_difficult & (taken < 0)


def _pairs(
    detections: BoxGroups, truths: BoxGroups, *, inclusive: bool
) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
    """Overlapping (detection, ground truth, IoU) of equal groups, ascending, whole rows at a time.

    Fastest for detections sorted by group: neighbours then read the same memory.
    """
    order = np.argsort(truths.groups, kind="stable")
    groups = truths.groups[order]
    lefts, rights = np.ascontiguousarray(truths.boxes[order][:, [0, 2]].T)
    starts = np.searchsorted(groups, detections.groups, side="left")
    counts = np.searchsorted(groups, detections.groups, side="right") - starts
    with_pairs = np.flatnonzero(counts)
    slices = np.cumsum(counts[with_pairs]) // PAIRS_AT_ONCE
    for rows in np.split(with_pairs, np.flatnonzero(np.diff(slices)) + 1):
        count = counts[rows]
        # Places 0, 1, … of each row's run of ground truth boxes, all rows in one.
        places = np.arange(count.sum()) + np.repeat(starts[rows] - np.cumsum(count) + count, count)
        # Most boxes of a photo lie side by side: those need no more than two columns.
        left = np.maximum(np.repeat(detections.boxes[rows, 0], count), lefts[places])
        right = np.minimum(np.repeat(detections.boxes[rows, 2], count), rights[places])
        near = np.flatnonzero(right - left > (-1 if inclusive else 0))
        rows, columns = np.repeat(rows, count)[near], order[places[near]]
        ious = paired_iou(detections.boxes[rows], truths.boxes[columns], inclusive=inclusive)
        over = ious > 0
        yield rows[over], columns[over], ious[over]
