"""The whole pipeline as an alarm: is this face not properly masked?

Positive means that an alarm is due. The outcomes of an annotated face (found and right, found and
wrong, not found) and the rule that a face not found counts as masked, since it raises no alarm, are
those of the mask detector of dataroots (https://github.com/datarootsio/face-mask-detection). There
the words are turned round: its "TNR" is the share of unmasked faces found as such, its "FNR" that
of masked faces taken for unmasked. `tnr` and `fnr` here are these.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data_prep.base.labels import BARE, CLASSES, RARE_CLASS
from data_prep.formats.predictions import AlarmRule
from evaluate.arrays import BoolArray, Detections, FloatArray, GroundTruth, IntArray
from evaluate.measures.bootstrap import RankedCounts, share, tally, weigh
from evaluate.measures.case import Case, Pairs, normalise_probabilities
from evaluate.options import IncorrectPolicy

MOST_POINTS = 200  # Of a ROC curve in a record.
ALARM_SCORE = 0.5  # From this alarm score on an alarm is raised.
OUTCOMES = ("right", "wrong", "not_found")  # What may become of an annotated face.

_POLICIES = {
    "alarm": "counts as not masked",
    "no-alarm": "counts as masked",
    "leave-out": "is not asked about, nor are detections on it held against the pipeline; the "
    "alarm score is that of no mask as a share of the probabilities of the other two classes",
}


@dataclass(frozen=True)
class ScoredFaces:
    """F faces with the alarm score they got."""

    photo: IntArray  # (F,)
    due: BoolArray  # (F,) whether an alarm is due.
    scores: FloatArray  # (F,) alarm scores, 0 to 1; 0 for a face that was not found.

    @property
    def right(self) -> BoolArray:
        """(F,) whether the alarm is raised where it is due, and only there."""
        return (self.scores >= ALARM_SCORE) == self.due

    def rank(self) -> RankedCounts:
        """Faces that an alarm is due for, and others, by score.

        Scores in a row that have but one kind of face count as one: no pair of kinds is between.
        """
        scores, ranks = np.unique(self.scores, return_inverse=True)
        kinds = tally(ranks, self.due, photos=len(scores), shape=[2]) > 0
        is_new = kinds.all(axis=1) | (kinds != np.roll(kinds, 1, axis=0)).any(axis=1)
        return RankedCounts.tally(self.photo, np.cumsum(is_new)[ranks], self.due)


NOBODY = ScoredFaces(np.empty(0, np.int64), np.empty(0, np.bool_), np.empty(0))


def describe_alarm(case: Case) -> dict[str, Any]:
    """Measure the pipeline as an alarm; the classes are the three mask classes.

    With the policy "leave-out" faces with masks worn wrongly are treated like difficult ones.
    """
    truth, detections, policy = case.truth, case.detections, case.options.incorrect
    if policy == "leave-out":
        rare = truth.labels == CLASSES.index(RARE_CLASS)
        truth = replace(truth, difficult=truth.difficult | rare)
        case = replace(case, truth=truth)
    due = np.isin(CLASSES, make_rule(policy, ALARM_SCORE).classes)
    scores, pairs = score_alarms(truth, detections, policy), case.pairs
    faces = _score_faces(pairs, scores, due)
    outcomes = tally(
        *(pairs.photo, pairs.labels),
        np.where(pairs.found, ~faces.right, OUTCOMES.index("not_found")),
        photos=case.photos,
        shape=(len(CLASSES), len(OUTCOMES)),
    )
    false = tally(
        detections.photo[pairs.false],
        scores[pairs.false] >= ALARM_SCORE,
        photos=case.photos,
        shape=[2],
    )
    ranked, crops = faces.rank(), NOBODY
    if case.crops is not None and case.crop_pairs is not None:
        on_crops = score_alarms(truth, case.crops, policy)
        crops = _score_faces(case.crop_pairs.found_only(), on_crops, due)
    answers = tally(crops.photo, crops.right, photos=case.photos, shape=[2])
    crops_ranked = crops.rank()

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        counts = weigh(weights, outcomes)
        per_class = share(counts, counts.sum(axis=2, keepdims=True))
        # Columns as in OUTCOMES; to miss a masked face raises no alarm, which is right.
        masked, unmasked = counts[:, ~due].sum(axis=1), counts[:, due].sum(axis=1)
        none, total = weigh(weights, false), weights.sum(axis=1)
        answered = weigh(weights, answers)
        return {
            **{name: per_class[:, :, index] for index, name in enumerate(OUTCOMES)},
            "tnr": share(unmasked[:, 0], unmasked.sum(axis=1)),
            "fnr": share(masked[:, 1], masked.sum(axis=1)),
            "tnr_found": share(unmasked[:, 0], unmasked[:, :2].sum(axis=1)),
            "fnr_found": share(masked[:, 1], masked[:, :2].sum(axis=1)),
            "false_faces_per_photo": share(none.sum(axis=1), total),
            "false_alarms_per_photo": share(none[:, 1], total),
            "auc": weighted_auc(ranked, weights),
            "crops_auc": weighted_auc(crops_ranked, weights),
            "crops_accuracy": share(answered[:, 1], answered.sum(axis=1)),
        }

    numbers, intervals = case.measure(compute, dict.fromkeys(OUTCOMES, (CLASSES,)))
    chosen = None
    if case.options.most_alarms is not None:
        chosen = choose_threshold(case, faces, detections.photo[pairs.false], scores[pairs.false])
    totals = outcomes.sum(axis=0).astype(int).tolist()
    quiet, ringing = false.sum(axis=0).astype(int).tolist()
    return {
        "photos": case.photos,
        "faces_left_out": int(truth.difficult.sum()),
        "counts": {
            name: {"annotated": sum(row), **dict(zip(OUTCOMES, row, strict=True))}
            for name, row in zip(CLASSES, totals, strict=True)
        },
        **numbers,
        "false_faces": quiet + ringing,
        "false_alarms": ringing,
        **({} if chosen is None else {"chosen": chosen}),
        "roc": describe_roc(faces),
        "crops_roc": describe_roc(crops),
        "intervals": intervals,
        "definitions": case.define(
            "alarm", policy=policy, incorrect=_POLICIES[policy], alarm_score=ALARM_SCORE
        ),
    }


def choose_threshold(
    case: Case, faces: ScoredFaces, false_photo: IntArray, false_scores: FloatArray
) -> dict[str, Any]:
    """The lowest threshold at which no more masked faces raise the alarm than `false_alarms` wants.

    It is chosen on the very faces it is measured on, so it flatters a little; the intervals are
    those of the threshold as it is. `threshold` is None where every one raises too many.
    """
    wanted, masked = case.options.most_alarms or 0.0, np.sort(faces.scores[~faces.due])[::-1]
    allowed = int(wanted * len(masked) + 1e-9)
    highest = masked[allowed] if allowed < len(masked) else 0.0
    # Half way to the next score, so that what rounding does to either changes nothing.
    above = faces.scores[faces.scores > highest + 1e-9]
    threshold = float(highest + above.min()) / 2 if len(above) else np.inf
    counts = tally(
        *(faces.photo, faces.due, faces.scores >= threshold), photos=case.photos, shape=(2, 2)
    )
    nobody = tally(false_photo[false_scores >= threshold], photos=case.photos)

    def compute(weights: FloatArray) -> dict[str, FloatArray]:
        shares = weigh(weights, counts)
        shares = share(shares[:, :, 1], shares.sum(axis=2))
        return {
            "false_alarms": shares[:, 0],
            "alarms_caught": shares[:, 1],
            "false_faces_per_photo": share(weigh(weights, nobody), weights.sum(axis=1)),
        }

    numbers, intervals = case.measure(compute)
    known = threshold if np.isfinite(threshold) else None
    chosen = {"wanted": wanted, "threshold": known, **numbers, "intervals": intervals}
    return {**chosen, "sentence": _say(chosen)}


def _say(chosen: Mapping[str, Any]) -> str:
    if chosen["threshold"] is None:
        return f"No threshold of the alarm gives {chosen['wanted']:.1%} false alarms or fewer."

    def show(name: str, form: str) -> str:
        ends = (chosen["intervals"] or {}).get(name)
        value = "–" if chosen[name] is None else form.format(chosen[name])
        return value + (f" ({' to '.join(map(form.format, ends))})" if ends else "")

    return (
        f"At most {chosen['wanted']:.1%} false alarms, by a threshold chosen on these very photos, "
        f"which flatters a little: raise the alarm from a score of {chosen['threshold']:.4f} on. "
        f"That catches {show('alarms_caught', '{:.1%}')} of the faces without a proper mask, with "
        f"false alarms on {show('false_alarms', '{:.1%}')} of the masked ones and "
        f"{show('false_faces_per_photo', '{:.2f}')} a photo where no face is."
    )


def score_alarms(truth: GroundTruth, detections: Detections, policy: IncorrectPolicy) -> FloatArray:
    """How much each detection calls for an alarm, (N,), 0 to 1: `alarm_score` of the definitions.

    An alarm may be raised though the likeliest single class calls for none. With "leave-out" the
    score is 0 where the probabilities of both other classes are 0.
    """
    probabilities = normalise_probabilities(truth, detections)
    if probabilities is None:  # Labels are taken for sure.
        probabilities = np.eye(len(CLASSES))[detections.labels]
    return make_rule(policy, ALARM_SCORE).score(probabilities)


def make_rule(policy: IncorrectPolicy, threshold: float, thresh: float = 0.0) -> AlarmRule:
    """The alarm as `run.py` takes it."""
    due = (BARE, RARE_CLASS) if policy == "alarm" else (BARE,)
    asked = tuple(name for name in CLASSES if policy != "leave-out" or name != RARE_CLASS)
    return AlarmRule(threshold, due, asked, thresh)


def _score_faces(pairs: Pairs, scores: FloatArray, due: BoolArray) -> ScoredFaces:
    # A row of -1, a face that was not found, takes the 0 at the end.
    return ScoredFaces(pairs.photo, due[pairs.labels], np.append(scores, 0.0)[pairs.rows])


def weighted_auc(ranked: RankedCounts, weights: FloatArray) -> FloatArray:
    """Area under the ROC curve (B,) for weightings of the photos (B, P); NaN with one kind only.

    Of all pairs of a positive face and another, the share in which the positive one scores higher;
    pairs with equal scores count half (Hanley, McNeil, "The Meaning and Use of the Area under a
    Receiver Operating Characteristic (ROC) Curve", Radiology 143 (1982), 29-36).
    """
    ordered, ends = np.zeros(len(weights)), np.zeros((2, len(weights)))
    for sums, before in ranked.weigh(weights):
        behind = before[:-1, 0] + sums[:, 0] / np.float64(2)
        ordered += np.einsum("rb,rb->b", sums[:, 1], behind)
        ends = before[-1].astype(np.float64)
    return share(ordered, ends.prod(axis=0))


def describe_roc(faces: ScoredFaces) -> dict[str, Any] | None:
    """At most `MOST_POINTS` corners of the ROC curve, both ends among them, as three lists.

    `threshold` is None at the point where no face is. None without faces of both kinds.
    """
    if faces.due.all() or not faces.due.any():
        return None
    scores, ranks = np.unique(-faces.scores, return_inverse=True)
    counts = tally(ranks, faces.due, photos=len(scores), shape=[2]).cumsum(axis=0)
    # Only where the curve bends.
    bends = np.r_[True, np.diff(counts, 2, axis=0).any(axis=1), True][: len(scores)]
    corners = np.column_stack([counts / counts[-1], -scores])[bends]
    corners = np.vstack([[0, 0, np.inf], corners]).T
    steps = np.linspace(0, corners.shape[1] - 1, min(corners.shape[1], MOST_POINTS))
    fpr, tpr, thresholds = corners[:, np.unique(np.round(steps).astype(np.int64))].tolist()
    return {"fpr": fpr, "tpr": tpr, "threshold": [None, *thresholds[1:]]}
