"""Which detection hits which face, and what kind of error the rest is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from evaluate.arrays import BoolArray, Detections, FloatArray, GroundTruth, IntArray


def paired_iou(
    first: FloatArray, second: FloatArray, crowds: BoolArray | bool = False
) -> FloatArray:
    """Intersection over union (M,) of boxes (M, 4), row by row; 0 where both are empty.

    Where the second are `crowds` (M,) it is the intersection over the first alone.

    >>> box = np.array([[0.0, 0.0, 10.0, 10.0]])
    >>> paired_iou(box, box + [5, 0, 5, 0])
    array([0.33333333])
    """
    # Column by column: the arrays are long and the temporary ones stay small.
    width = np.minimum(first[:, 2], second[:, 2]) - np.maximum(first[:, 0], second[:, 0])
    height = np.minimum(first[:, 3], second[:, 3]) - np.maximum(first[:, 1], second[:, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = measure_areas(first)
    union = np.where(crowds, union, union + measure_areas(second) - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def measure_areas(boxes: FloatArray) -> FloatArray:
    """Areas (N,) of boxes (N, 4), in px²."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


MATCH_IOU = 0.5  # Smallest IoU at which the label of a detection is compared with that of a face.

PAIRS_AT_ONCE = 100_000
"""Keeps what is computed at once in the processor's cache (some 50 bytes a pair)."""


@dataclass(frozen=True)
class BoxGroups:
    """Boxes that may only meet boxes of the same group, such as those of one photo."""

    boxes: FloatArray  # (N, 4) xmin, ymin, xmax, ymax in pixels.
    photo: IntArray  # (N,) their group.


Boxed = BoxGroups | GroundTruth | Detections
Pairs = tuple[IntArray, IntArray, FloatArray]  # Detections, ground truth boxes, and their IoU.

LEAST_IOU = 0.3
"""Of the pairs that are kept, but for those on difficult faces. Boxes are compared down to it: at
0.5 those that are drawn most differently would be gone."""


@dataclass(frozen=True)
class Overlaps:
    """Detections, and the face of each class that each of them overlaps most in its photo."""

    truth: GroundTruth
    detections: Detections
    iou: FloatArray  # (N, C) with that face; 0 where no face of the class shares an area.
    face: IntArray  # (N, C) that face, the first of equal ones, or -1.
    near: Pairs  # (M,) each: of `LEAST_IOU` or more, and all on difficult faces.

    @classmethod
    def find(cls, truth: GroundTruth, detections: Detections) -> Overlaps:
        """All that overlaps, looked for once."""
        near: list[Pairs] = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]

        def keep(pairs: Pairs) -> None:
            some = (pairs[2] >= LEAST_IOU) | truth.difficult[pairs[1]]
            near.append((pairs[0][some], pairs[1][some], pairs[2][some]))

        best = best_overlaps(detections, truth, truth.labels, len(truth.classes), keep)
        rows, columns, ious = map(np.concatenate, zip(*near, strict=True))
        return cls(truth, detections, *best, (rows, columns, ious))

    def take(self, rows: IntArray | BoolArray) -> Overlaps:
        """Those of some of the detections, in the order given; with none of the pairs."""
        none = (np.empty(0, np.int64),) * 2
        best = self.iou[rows], self.face[rows]
        return Overlaps(self.truth, self.detections.take(rows), *best, (*none, np.empty(0)))

    @property
    def own(self) -> BoolArray:
        """(N, C) whether a class is that of the detection."""
        return np.arange(self.iou.shape[1]) == self.detections.labels[:, None]

    def best(self, among: BoolArray | bool = True) -> tuple[FloatArray, IntArray]:
        """Largest IoU with a face of some classes, by flags (N, C), and that face or -1: (N,)."""
        ious = np.where(among, self.iou, 0.0)
        largest = ious.max(axis=1, initial=0.0)
        none = len(self.truth.photo)
        at_largest = (ious > 0) & (ious == largest[:, None])
        faces = np.where(at_largest, self.face, none).min(axis=1, initial=none)
        return largest, np.where(faces < none, faces, -1)


def best_overlaps(
    detections: Boxed,
    truths: Boxed,
    labels: IntArray | None = None,
    classes: int = 1,
    show: Callable[[Pairs], None] = lambda _: None,
) -> tuple[FloatArray, IntArray]:
    """The best of `Overlaps`; `labels` (G,) are the classes of the faces, one if None.

    All pairs are shown on the way, some at a time.
    """
    iou = np.zeros((len(detections.photo), classes))
    face = np.full(iou.shape, -1, dtype=np.int64)
    for rows, columns, ious in _pairs(detections, truths):
        show((rows, columns, ious))
        cells = rows if labels is None else rows * classes + labels[columns]
        order = np.lexsort((columns, -ious, cells))
        _, first = np.unique(cells[order], return_index=True)
        best = order[first]
        iou.flat[cells[best]] = ious[best]
        face.flat[cells[best]] = columns[best]
    return iou, face


def flag_hits(
    best_iou: FloatArray, best_truth: IntArray, difficult: BoolArray, *, iou: float
) -> tuple[BoolArray, BoolArray]:
    """Tell true positives from the rest, as PASCAL VOC does.

    A detection looks only at the ground truth box it overlaps most. It is a true positive when the
    IoU is at least `iou` and no detection of a higher rank took the box. On a difficult box it is
    ignored. The first two are from `best_overlaps`, in order of rank. Gives (N,) true positives,
    and (N,) detections to ignore.
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
    near: Pairs, ranked: IntArray, difficult: BoolArray, *, iou: float = MATCH_IOU
) -> tuple[IntArray, BoolArray]:
    """Pair detections with faces: each detection in turn takes the best face still free.

    Unlike in `flag_hits` a detection whose best face is taken may take the next best one: here the
    pairs serve to compare labels, not to punish second hits. `ranked` (K,) are the detections in
    order of rank, `near` their pairs of at least that IoU, and others. Difficult faces are never
    taken; a detection left without a face that overlaps one of them enough is ignored. Gives (K,)
    the index of the face taken, or -1; and (K,) what to ignore.
    """
    rank = np.full(max(ranked.max(initial=-1), near[0].max(initial=-1)) + 1, -1)
    rank[ranked] = np.arange(len(ranked))
    some = np.flatnonzero((near[2] >= iou) & (rank[near[0]] >= 0))
    rows, columns, ious = rank[near[0][some]], near[1][some], near[2][some]
    near_difficult = np.zeros(len(ranked), dtype=np.bool_)
    near_difficult[rows[difficult[columns]]] = True
    some = np.flatnonzero(~difficult[columns])
    # By rank, then by falling IoU, then in the order of the faces.
    some = some[np.lexsort((columns[some], -ious[some], rows[some]))]
    some = some[serve(rows[some], columns[some], difficult)]
    taken = np.full(len(ranked), -1, dtype=np.int64)
    taken[rows[some]] = columns[some]
    return taken, near_difficult & (taken < 0)


def serve(rows: IntArray, columns: IntArray, shared: BoolArray) -> IntArray:
    """Which pairs (M,) come about where each row in turn takes the first of its columns still free.

    Pairs are sorted by row and then by what the row prefers. Columns that are `shared`, by flags of
    all columns, are free for ever.
    """
    wants = np.flatnonzero(np.r_[True, rows[1:] != rows[:-1]][: len(rows)])
    ends, first = np.append(wants, len(rows))[1:], np.empty(len(shared), dtype=np.int64)
    while True:
        # Of several rows that want a column the first has it, and the others want their next.
        wanted, number = columns[wants], np.arange(len(wants))
        first[wanted[::-1]] = number[::-1]
        later = (first[wanted] != number) & ~shared[wanted]
        if not later.any():
            return wants
        wants = wants + later
        wants, ends = wants[wants < ends], ends[wants < ends]


CROWD = 2000  # Boxes of a photo from which they are looked up by height and place, too.

_BANDS = 64  # At most, of a photo's height: what looks through all of them stays bounded.
_ROWS_AT_ONCE = 10_000  # Detections looked up at once in a crowd.


def _pairs(detections: Boxed, truths: Boxed) -> Iterator[Pairs]:
    """Overlapping (detection, ground truth, IoU) of equal photos, all of a detection at a time.

    Of a crowd those alone are looked at whose height, band of the photo and left side may meet.
    """
    boxes, photo = truths.boxes, truths.photo
    groups = int(max(photo.max(initial=0), detections.photo.max(initial=0))) + 1
    low, top = boxes[:, :2].min(axis=0, initial=0)
    extent = np.ptp(boxes[:, 1]) if len(boxes) else 0.0
    span = np.ptp(boxes[:, 0]) + 2 if len(boxes) else 2.0
    sides = boxes[:, 2:] - boxes[:, :2]
    is_crowd = bool(len(boxes)) and np.bincount(photo).max() > CROWD
    # Heights by factors of 4; photo, height, band and left edge are one rising key, unless numbers
    # are so large that it would not tell them apart.
    _, level = np.unique(np.log2(sides[:, 1].clip(1)) // 2, return_inverse=True)
    is_crowd = is_crowd and max(extent, span * groups * _BANDS * (level.max() + 1)) < 1e13
    level = level * is_crowd
    reach = np.zeros((level.max(initial=0) + 1, 2))
    np.maximum.at(reach, level, sides)
    step = np.maximum(reach[:, 1], extent / (_BANDS - 1)) if is_crowd else np.full(1, np.inf)
    bands = _BANDS if is_crowd else 1
    scale = float(span * groups < 1e13)
    span = span * scale + 2

    def key(
        level: IntArray | int, photo: IntArray, band: FloatArray, left: FloatArray
    ) -> FloatArray:
        shelf = (level * groups + photo) * bands + band
        return shelf * span + np.clip(scale * (left - low), -0.5, span - 1)

    def find_band(y: FloatArray, step: FloatArray) -> FloatArray:
        return np.clip((y - top) // step, 0, bands - 1)

    keys = key(level, photo, find_band(boxes[:, 1], step[level]), boxes[:, 0])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    lefts, rights = np.ascontiguousarray(boxes[order][:, [0, 2]].T)

    def look_up(rows: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Runs of ground truth boxes that some detections may meet: row, start and end of each."""
        own = detections.boxes[rows]
        found = []
        for number, (width, height) in enumerate(reach):
            first = find_band(own[:, 1] - height - 1, step[number])
            many = (find_band(own[:, 3] + 1, step[number]) - first + 1).clip(0).astype(np.int64)
            each = np.repeat(np.arange(len(rows)), many)
            band = first[each] + np.arange(len(each)) - np.repeat(np.cumsum(many) - many, many)
            of = detections.photo[rows[each]]
            starts = np.searchsorted(keys, key(number, of, band, own[each, 0] - width - 1))
            ends = np.searchsorted(keys, key(number, of, band, own[each, 2] + 1), side="right")
            some = np.flatnonzero(ends > starts)
            found.append((rows[each[some]], starts[some], ends[some]))
        runs = np.concatenate([np.stack(parts) for parts in found], axis=1)
        asked, starts, ends = runs[:, np.argsort(runs[0], kind="stable")]
        return asked, starts, ends

    at_once = _ROWS_AT_ONCE if is_crowd else len(detections.photo) + 1
    for begin in range(0, len(detections.photo), at_once):
        some = np.arange(begin, min(begin + at_once, len(detections.photo)))
        rows, starts, ends = look_up(some)
        counts = ends - starts
        # Those of a detection stay together.
        slices = np.cumsum(counts)[np.searchsorted(rows, rows, side="right") - 1] // PAIRS_AT_ONCE
        for part in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(slices)) + 1):
            count = counts[part]
            # Places 0, 1, … of each run of ground truth boxes, all runs in one.
            places = np.arange(count.sum()) + np.repeat(
                starts[part] - np.cumsum(count) + count, count
            )
            own = np.repeat(rows[part], count)
            # Most boxes of a photo lie side by side: those need no more than two columns.
            left = np.maximum(detections.boxes[own, 0], lefts[places])
            right = np.minimum(detections.boxes[own, 2], rights[places])
            near = np.flatnonzero(right > left)
            own, columns = own[near], order[places[near]]
            ious = paired_iou(detections.boxes[own], boxes[columns])
            over = ious > 0
            yield own[over], columns[over], ious[over]


NEAR_IOU = 0.1  # Smallest IoU at which a detection is taken to mean a face, though not to hit it.

DETECTION_KINDS = ("second_hit", "wrong_class", "poor_box", "wrong_class_and_box", "false_face")
"""Kinds of false detections, in the order in which they are looked for."""

MISSED = "missed"  # The kind of error of a face.
KINDS = (MISSED, *DETECTION_KINDS)

CORRECTED = ("wrong_class", "poor_box")
"""Kinds whose detections become hits where they can; those of the other kinds are removed."""


@dataclass(frozen=True)
class ErrorKinds:
    """The kind of every error; N detections and G faces in the order they were given.

    A detection that is none of `true`, `ignored` and one of the kinds does not exist; a face is
    difficult, `hit`, `mistaken` or `missed`.
    """

    kind: IntArray  # (N,) index into `DETECTION_KINDS`, -1 for a detection that is no error.
    true: BoolArray  # (N,) true positives of their class, by VOC's matching at IoU 0.5.
    ignored: BoolArray  # (N,) detections on difficult faces of their class.
    face: IntArray  # (N,) that a detection hits, or with which it is in error; -1 for false faces.
    overlap: FloatArray  # (N,) IoU with that face; for false faces the largest with any.
    hit: BoolArray  # (G,) faces with a true positive.
    mistaken: BoolArray  # (G,) not hit, but meant by a detection of wrong class or poor box.
    missed: BoolArray  # (G,) faces of which there is neither.

    def is_kind(self, *kinds: str) -> BoolArray:
        """(N,) detections of some of `DETECTION_KINDS`."""
        return np.isin(self.kind, [DETECTION_KINDS.index(kind) for kind in kinds])


def classify_errors(overlaps: Overlaps) -> ErrorKinds:
    """Tell the kind of every error, by the label and the `scores` of the detections.

    A false positive of its class is the first of the kinds that holds, by its IoU with the face it
    overlaps most, of its class or of another. Difficult faces can be meant like others, but are
    neither hit, mistaken nor missed.
    """
    truth, detections, own = overlaps.truth, overlaps.detections, overlaps.own
    order = np.argsort(-detections.scores, kind="stable")
    (same_iou, same_face), (other_iou, other_face) = overlaps.best(own), overlaps.best(~own)
    true, ignored = np.zeros((2, len(detections)), dtype=np.bool_)
    true[order], ignored[order] = flag_hits(
        same_iou[order], same_face[order], truth.difficult, iou=MATCH_IOU
    )
    tests = {
        "second_hit": same_iou >= MATCH_IOU,
        "wrong_class": other_iou >= MATCH_IOU,
        "poor_box": same_iou >= NEAR_IOU,
        "wrong_class_and_box": other_iou >= NEAR_IOU,
    }
    number = DETECTION_KINDS.index
    kind = np.select(
        [true | ignored, *tests.values()], [-1, *map(number, tests)], number("false_face")
    )
    other = np.isin(kind, [number("wrong_class"), number("wrong_class_and_box")])
    face = np.where(other, other_face, same_face)
    face[kind == number("false_face")] = -1
    overlap = np.where(other, other_iou, same_iou)
    overlap = np.where(face < 0, np.maximum(same_iou, other_iou), overlap)
    hit, meant = np.zeros((2, len(truth.labels)), dtype=np.bool_)
    hit[face[true]] = True
    meant[face[np.isin(kind, [number(kind) for kind in CORRECTED])]] = True
    return ErrorKinds(
        kind=kind,
        true=true,
        ignored=ignored,
        face=face,
        overlap=overlap,
        hit=hit,
        mistaken=meant & ~hit & ~truth.difficult,
        missed=~meant & ~hit & ~truth.difficult,
    )
