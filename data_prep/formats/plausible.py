"""Whether the boxes of some data, as a whole, are what they are read as.

Numbers in another order than their heading says still parse; half of them may make boxes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from data_prep.base.boxes import share_union
from data_prep.base.photo import Size
from data_prep.base.progress import tell
from data_prep.base.records import Box
from data_prep.base.tables import BoolArray, FloatArray, IntArray

Order = Literal["corners", "sized", "centred"]
"""As what the four numbers of a box are read: two corners, corner and size, or centre and size."""

FEWEST = 3  # Boxes by which a whole can be judged.
_FEWEST_PERCENT = 5  # Boxes that all have to lie in the corner of their photos.

_SUSPECT, _SURE = 0.8, 0.98
"""Shares of boxes that fit, below which a reading is doubted and from which another is believed."""

_REACH = 0.05
"""How far over the border a box may reach, as a share of the photo's side: annotators do."""

_NARROW = 0.01  # The same where a few boxes raise a suspicion: what rounding may do.
_FEW = 0.02  # Share of boxes outside that does.

_RAW: Mapping[Order, Callable[[FloatArray], FloatArray]] = {
    "corners": lambda b: b,
    "sized": lambda b: np.hstack([b[:, :2], b[:, 2:] - b[:, :2]]),
    "centred": lambda b: np.hstack([(b[:, :2] + b[:, 2:]) / 2, b[:, 2:] - b[:, :2]]),
}
_READINGS: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "xmin, xmax, ymin, ymax": lambda n: n[:, [0, 2, 1, 3]],
    "ymin, xmin, ymax, xmax": lambda n: n[:, [1, 0, 3, 2]],
    "xmin, ymin, xmax, ymax": lambda n: n,
    "x, y, width, height": lambda n: np.hstack([n[:, :2], n[:, :2] + n[:, 2:]]),
    "centre x, centre y, width, height": lambda n: np.hstack(
        [n[:, :2] - n[:, 2:] / 2, n[:, :2] + n[:, 2:] / 2]
    ),
}


def look_relative(boxes: Sequence[Box]) -> bool:
    """Whether boxes that should be in pixels seem to be shares of the photo's sides.

    >>> look_relative([Box(0.1, 0.2, 0.5, 0.6)]), look_relative([Box(0, 0, 1, 1)])
    (True, False)
    """
    values = [value for box in boxes for value in box]
    # Boxes from 0 to 1 exactly may be single pixels.
    return all(0 <= value <= 1 for value in values) and any(value % 1 for value in values)


def doubt_boxes(
    boxes: Sequence[Box] | FloatArray, sizes: Sequence[Size | None] | FloatArray, order: Order
) -> str:
    """Why boxes, read in an order from photos of these sizes, can't be right as a whole; or "".

    They are doubted where a fifth are inverted or shares of their photo's sides, or where that many
    lie outside their photos and another order makes nearly all fit.

    >>> doubt_boxes([Box(9, 2, 5, 4), Box(1, 7, 3, 5), Box(8, 9, 1, 2)], [None] * 3, "corners")
    '3 of 3 boxes are inverted. Are they x, y, width, height?'
    """
    read, limits = _stack(boxes, sizes)
    inverted, outside = _find_faults(read, limits)
    wrong = inverted | outside
    if len(read) < FEWEST:
        return ""
    shares = (np.abs(read) <= 2).all(axis=1) & (read % 1 != 0).any(axis=1)
    if 1 - shares.mean() < _SUSPECT:
        text = f"{tell(int(shares.sum()), 'box', 'lies/lie', of=len(read))} between 0 and 1. "
        return f"{text}Are they shares of the photo? Multiply them by its width and height."
    low, top = np.quantile(read, (0.01, 0.99))  # A few reach over the border.
    in_corner = 60 < top <= 100 and low > -1 and (limits > 2 * top).mean() >= _SUSPECT
    if len(read) >= _FEWEST_PERCENT and in_corner:
        return (
            f"coordinates of {tell(len(read), 'box')} end at 100, though photos are far larger. "
            "Are they percentages? Multiply by width or height of the photo, and divide by 100."
        )
    if wrong.sum() < 2 or 1 - wrong.mean() >= _SUSPECT:  # One may be a slip.
        return ""
    numbers = _RAW[order](read)
    for name, make in _READINGS.items():
        faults = np.logical_or(*_find_faults(make(numbers), limits))
        if 1 - faults.mean() >= _SURE:
            other = f" Are they {name}?"
            break
    else:
        other = ""
    if 1 - inverted.mean() < _SUSPECT:
        return f"{tell(int(inverted.sum()), 'box', 'is/are', of=len(read))} inverted.{other}"
    told = f"{tell(int(wrong.sum()), 'box', 'lies/lie', of=len(read))} outside the photo."
    return f"{told}{other}" if other else ""


def suspect_boxes(
    boxes: Sequence[Box] | FloatArray, sizes: Sequence[Size | None] | FloatArray, order: Order
) -> str:
    """A weaker doubt than that of `doubt_boxes`: why boxes may be read in a wrong order; or "".

    That is where some lie outside their photos, and hardly any in another order: so are corners
    read as centres, of which only faces near the border tell.

    >>> suspect_boxes([Box(-4, 0, 4, 8)] * 3, [(90, 90)] * 3, "centred")
    '3 of 3 boxes lie outside their photos, none if the numbers are x, y, width, height. Are they?'
    """
    read, limits = _stack(boxes, sizes)
    wrong = int(_find_faults(read, limits, _NARROW)[1].sum())
    if wrong < max(FEWEST, _FEW * len(read)):
        return ""
    numbers = _RAW[order](read)
    for name in ("x, y, width, height", "centre x, centre y, width, height"):
        others = np.logical_or(*_find_faults(_READINGS[name](numbers), limits, _NARROW)).sum()
        if others <= wrong / 10:
            told = f"{tell(wrong, 'box', 'lies/lie', of=len(read))} outside their photos"
            return f"{told}, {others or 'none'} if the numbers are {name}. Are they?"
    return ""


_SCALES = (1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 4 / 3, 3 / 2, 2, 3, 4)
_SQUARES = (224, 256, 300, 320, 416, 480, 512, 608, 640, 768, 800, 1024)
_COMPARED = 100  # Photos, and predictions on each, that are enough to tell.


def doubt_overlap(
    truth: FloatArray, photo: IntArray, found: FloatArray, places: IntArray, sizes: FloatArray
) -> str:
    """Why predicted boxes (M, 4) at photos `places` may be read or scaled wrongly; or "".

    `truth` (N, 4) at `photo` are annotated, `sizes` (P, 2) those of the photos. Doubted where
    predictions meet few annotated boxes, but would meet most in another order of their numbers, or
    on photos resized, or made square.
    """
    shown = np.intersect1d(places, photo)[:_COMPARED]
    own, others = np.isin(photo, shown), np.isin(places, shown)
    truth, photo, found, places = truth[own], photo[own], found[others], places[others]
    annotated = [truth[photo == p][: 10 * _COMPARED] for p in shown]
    predicted = [found[places == p][:_COMPARED] for p in shown]
    limits = [np.tile(sizes[p], 2) for p in shown]

    def meet(others: Iterable[FloatArray]) -> float:
        pairs = zip(annotated, others, strict=True)
        hits = [(share_union(own, boxes) > 0.5).any(axis=1) for own, boxes in pairs]
        return float(np.concatenate(hits).mean()) if hits else 1.0

    now = meet(predicted)
    if now >= _MET / 2:
        return ""
    asks = "Were they found on photos of another size?"
    scaled = ((f"multiplied by {s:.3g}", s, [np.ones(4)] * len(shown)) for s in _SCALES)
    squared = ((f"of photos made {s} × {s}", 1 / s, limits) for s in _SQUARES)
    ways = [
        (meet(b * s * by for b, by in zip(predicted, sides, strict=True)), f"{what}. {asks}")
        for what, s, sides in (*scaled, *squared)
    ]
    ways += [
        (meet(make(raw(boxes)) for boxes in predicted), f"in the order {name}. Are they?")
        for raw in _RAW.values()
        for name, make in _READINGS.items()
    ]
    likely, what = max(ways)
    if likely < max(_MET, _FEWEST_MET / sum(map(len, annotated))):
        return ""
    told = f"predictions meet {now:.0%} of the annotated faces, {likely:.0%} if their boxes are "
    return told + what


_MET, _FEWEST_MET = 0.4, 5
"""Share and number of the faces that predictions meet, from which a scale or an order is believed;
with 37 tried, chance meets a few."""


def _stack(
    boxes: Sequence[Box] | FloatArray, sizes: Sequence[Size | None] | FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Boxes (N, 4) and sizes (N, 2), NaN for unknown ones."""
    known = [(np.nan, np.nan) if size is None else size for size in sizes]
    stacked = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    return stacked, np.array(known, dtype=np.float64).reshape(-1, 2)


def _find_faults(
    boxes: FloatArray, limits: FloatArray, share: float = _REACH
) -> tuple[BoolArray, BoolArray]:
    """Which boxes are inverted, and which of the others lie outside; unknown limits hold all."""
    inverted = np.any(boxes[:, 2:] < boxes[:, :2], axis=1)
    reach = np.fmax(limits * share, 2)
    outside = np.any((boxes[:, :2] < -reach) | (boxes[:, 2:] > limits + reach), axis=1)
    return inverted, outside & ~inverted
