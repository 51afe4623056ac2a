"""What is measured: annotated and predicted faces of the same photos, each matching done once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import compress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from data_prep.formats.input_files import InputError
from data_prep.formats.predictions import PhotoRow
from evaluate.arrays import BoolArray, Detections, FloatArray, GroundTruth, IntArray
from evaluate.measures.average_precision import RankedHits, Rules, count_asked, rank_classes
from evaluate.measures.bootstrap import LEVEL, Axes, Statistic, measure, tally
from evaluate.measures.coco import AREAS, measure_coco
from evaluate.measures.matching import (
    MATCH_IOU,
    NEAR_IOU,
    ErrorKinds,
    Overlaps,
    classify_errors,
    match_greedily,
)
from evaluate.options import EvaluateOptions

IOUS = tuple(percent / 100 for percent in range(50, 100, 5))
"""IoU thresholds 0.50, 0.55, … 0.95 of the AP of classes, that of a match first."""

FACE_IOUS = (0.5, 0.75)  # IoU thresholds of the AP of faces as such, likewise.

CROP_IOU = 0.9
"""Smallest IoU at which a row of the classifier alone is about an annotated box: it has the same
box but for rounding, which may take a tenth from the smallest ones."""

_OFF_BY = 0.005  # How far a probability may be off for having been written with two decimals.


Table = TypeVar("Table", GroundTruth, Detections)


@dataclass(frozen=True)
class Pairs:
    """The F faces that are asked for, each with the detection that found it."""

    photo: IntArray  # (F,)
    labels: IntArray  # (F,) annotated class.
    rows: IntArray  # (F,) row of the detections, or -1 for a face that was not found.
    false: IntArray  # (K,) rows of the detections on no face.

    @property
    def found(self) -> BoolArray:
        """(F,) whether a face has a detection."""
        return self.rows >= 0

    def found_only(self) -> Pairs:
        """The pairs without the faces that were not found."""
        some = self.found
        return replace(self, photo=self.photo[some], labels=self.labels[some], rows=self.rows[some])


@dataclass(frozen=True, eq=False)
class Case:
    """Predictions to be measured, placed on the photos of the truth and sorted by photo."""

    truth: GroundTruth
    detections: Detections
    options: EvaluateOptions = field(default_factory=EvaluateOptions)
    crops: Detections | None = None
    """What the classifier alone says of the annotated boxes: one row for each face, with its own
    box."""
    other: Detections | None = None  # Another table's on the same photos, to compare with.
    left_out: int = 0  # Number of predictions on other photos.
    warnings: tuple[str, ...] = ()  # What was left out or is doubtful, for a person.
    names: Mapping[str, str | None] = field(default_factory=dict)
    """Where each side is from, and what was chosen of it, for the record."""
    files: Mapping[str, Path] = field(default_factory=dict)  # Photos found, for the report.
    ran: tuple[PhotoRow | None, ...] | None = None
    """(P,) how each photo was run, None for one that never was; None if it is not known."""

    @property
    def photos(self) -> int:
        """Number of photos P, with and without faces."""
        return len(self.truth.photos)

    def select(self, keep: BoolArray) -> Case:
        """The same of some of the photos only, those of (P,) flags."""
        truth, number = self.truth, np.cumsum(keep) - 1

        def take(table: Table) -> Table:
            rows = np.flatnonzero(keep[table.photo])
            return table.take(rows, number[table.photo[rows]])

        return replace(
            self,
            truth=replace(
                take(truth),
                photos=tuple(compress(truth.photos, keep)),
                sizes=None if truth.sizes is None else truth.sizes[keep],
            ),
            detections=take(self.detections),
            crops=self.crops and take(self.crops),
            other=self.other and take(self.other),
            ran=self.ran and tuple(compress(self.ran, keep)),
        )

    @cached_property
    def overlaps(self) -> Overlaps:
        """All that overlaps, by the rules of the options."""
        return self.overlap(self.options.rules)

    @cached_property
    def plain(self) -> Overlaps:
        """All that overlaps, of boxes to their far edges."""
        return self.overlap(Rules()) if self.options.rules.inclusive else self.overlaps

    def overlap(self, rules: Rules) -> Overlaps:
        """All that overlaps, by any rules."""
        return Overlaps.find(rules.widen(self.truth), rules.widen(self.detections))

    @cached_property
    def hits(self) -> tuple[RankedHits, ...]:
        """All detections ranked and matched under the rules of the options."""
        return match_predictions(self.overlaps, self.options.rules)

    @cached_property
    def confusion(self) -> IntArray:
        """Counts of all detections, as of `count_confusion`."""
        return self.count_confusion(pair_faces(self.overlaps))

    @cached_property
    def pairs(self) -> Pairs:
        """Faces paired with the detections that a user sees."""
        return pair_faces(self.overlaps, thresh=self.options.thresh)

    @cached_property
    def crop_pairs(self) -> Pairs | None:
        """Faces paired with their rows of the classifier alone, as by `pair_crops`."""
        if self.crops is None:
            return None
        return pair_crops(replace(self, detections=self.crops).overlaps)

    @cached_property
    def errors(self) -> ErrorKinds:
        """The kind of each error."""
        return classify_errors(self.overlaps)

    @cached_property
    def coco(self) -> dict[str, Any]:
        """AP and AR as COCO defines them."""
        areas = {name: list(ends) for name, ends in AREAS.items()}
        figures = measure_coco(self.plain)
        return {**figures, "definitions": self.define("coco", areas=areas)}

    @property
    def resampling(self) -> dict[str, int]:
        """How photos are drawn anew, as `bootstrap` takes it."""
        options = self.options
        return {"photos": self.photos, "resamples": options.bootstrap, "seed": options.seed}

    def measure(
        self, statistic: Statistic, axes: Axes | None = None
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Numbers and their intervals by photo; see `bootstrap.measure`."""
        return measure(statistic, axes=axes, **self.resampling)

    def count_confusion(self, pairs: Pairs, detections: Detections | None = None) -> IntArray:
        """Count annotated against predicted classes in every photo, of pairs with the detections.

        (P, C + 1, C + 1): rows are the annotated classes and, last, detections on no face; columns
        the predicted classes and, last, faces that no detection found.
        """
        none = len(self.truth.classes)
        detections = detections or self.detections
        found = np.append(detections.labels, none)  # Row -1, no detection, takes the last.
        rows = np.r_[pairs.labels, np.full(len(pairs.false), none)]
        columns = found[np.r_[pairs.rows, pairs.false]]
        photos = np.r_[pairs.photo, detections.photo[pairs.false]]
        counts = tally(photos, rows, columns, photos=self.photos, shape=[none + 1] * 2)
        return counts.astype(np.int64)

    def define(self, section: str, *, method: str = "", **known: Any) -> dict[str, Any]:
        """What the numbers of a section mean, by definitions.toml; `method` is that of intervals.

        `known` are values that its texts name beside those of the options.
        """
        options, rules = self.options, self.options.rules
        known |= {
            **vars(rules),
            "interpolation": "11-point" if rules.eleven_point else "every-point",
            "thresh": options.thresh,
            "match_iou": MATCH_IOU,
            "near_iou": NEAR_IOU,
            "crop_iou": CROP_IOU,
            "intervals": {
                "level": LEVEL,
                "method": f"percentile bootstrap by photo{method}",
                "resamples": options.bootstrap,
                "seed": options.seed,
            },
        }

        def fill(text: Any) -> Any:
            if isinstance(text, Mapping):
                return {name: fill(part) for name, part in text.items()}
            alone = known.get(text[1:-1]) if text.startswith("{") else None
            return text.format(**known) if alone is None else alone

        return {name: fill(text) for name, text in read_definitions()[section].items()}


@cache
def read_definitions() -> dict[str, Any]:
    """The texts of definitions.toml."""
    return tomllib.loads(Path(__file__).with_name("definitions.toml").read_text(encoding="utf-8"))


def match_predictions(
    overlaps: Overlaps, rules: Rules, ious: Sequence[float] = IOUS
) -> tuple[RankedHits, ...]:
    """Detections of each class, matched at every IoU; and all, by the detector's score, last.

    Those are matched with faces of whatever class, at `FACE_IOUS`.
    """
    truth, detections = overlaps.truth, overlaps.detections
    faces = RankedHits.match(
        *(overlaps.best(), detections.photo, detections.detection),
        *(truth.difficult, count_asked(truth), FACE_IOUS),
        eleven_point=rules.eleven_point,
    )
    return (*rank_classes(overlaps, rules, ious), faces)


def pair_faces(overlaps: Overlaps, *, thresh: float = 0.0, iou: float = MATCH_IOU) -> Pairs:
    """Pair faces with detections whatever their class.

    By falling detector's score, down to `thresh`, each detection takes the best face still free.
    Difficult faces are left out, and so are detections on them. Detections are sorted by photo.
    """
    truth, scores = overlaps.truth, overlaps.detections.detection
    ranked = np.argsort(-scores, kind="stable")
    ranked = ranked[scores[ranked] >= thresh]
    taken, ignored = match_greedily(overlaps.near, ranked, truth.difficult, iou=iou)
    matched = taken >= 0
    rows = np.full(len(truth.photo), -1, dtype=np.int64)
    rows[taken[matched]] = ranked[matched]
    asked = ~truth.difficult
    return Pairs(
        photo=truth.photo[asked],
        labels=truth.labels[asked],
        rows=rows[asked],
        false=np.sort(ranked[~matched & ~ignored]),
    )


def pair_crops(overlaps: Overlaps) -> Pairs:
    """Pair faces with the rows of a classifier that was given their annotated boxes.

    Raises `InputError`: more than half of the faces have no row.
    """
    pairs = pair_faces(overlaps, iou=CROP_IOU)
    answered = int(pairs.found.sum())
    if 2 * answered < len(pairs.rows):
        raise InputError(
            f"the table of the classifier alone has a row for only {answered} of the "
            f"{len(pairs.rows)} annotated faces, so its boxes are not the annotated ones; give a "
            "table with one row for each annotated face, with the box as annotated, of the same "
            "photos."
        )
    return pairs


def normalise_probabilities(truth: GroundTruth, detections: Detections) -> FloatArray | None:
    """Class probabilities (N, C) that add up to 1, rid of what rounding did; None without any.

    Raises `InputError`: those of a row do not add up to 1 but for rounding to two decimals.
    """
    if detections.probabilities is None:
        return None
    sums = detections.probabilities.sum(axis=1)
    # The last term is for the error of the sum itself.
    wrong = np.abs(sums - 1) > _OFF_BY * len(truth.classes) + 1e-9
    if wrong.any():
        row = int(wrong.argmax())
        box = ", ".join(f"{value:g}" for value in detections.boxes[row])
        raise InputError(
            f"{truth.photos[detections.photo[row]]}, face at ({box}): its class probabilities add "
            f"up to {sums[row]:g}, not 1; write probabilities of classes that exclude each other, "
            "or leave the columns p_… out."
        )
    return detections.probabilities / sums[:, None]


def describe_confusion(classes: Sequence[str], confusion: IntArray) -> dict[str, Any]:
    """Counts over all photos: annotated classes and `false` against predicted ones and `missed`."""
    return {
        "rows": [*classes, "false"],
        "columns": [*classes, "missed"],
        "counts": confusion.sum(axis=0).tolist(),
    }
