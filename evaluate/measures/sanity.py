"""What makes figures mean less than they seem; it is said above them."""

from dataclasses import replace

import numpy as np

from data_prep.base.boxes import SIDES
from data_prep.base.command import spell
from data_prep.base.progress import tell
from data_prep.formats.input_files import InputError
from evaluate.arrays import BoolArray
from evaluate.measures.average_precision import RankedHits, average_precisions
from evaluate.measures.bootstrap import mean_of_defined, to_number
from evaluate.measures.case import Case
from evaluate.measures.headline import SIGNS, Record, describe_headline

FEW_PHOTOS = 50  # Under so many, intervals by photo are too short.
FEW_FACES = 20  # Under so many, one face moves the figures, and nothing tells how boxes are drawn.
CUT_SHORT = 0.2  # Least detection score of a table from which AP can't be whole.
TIES = 0.005  # A range of AP by the order of equal scores that is worth a word.

PARTS = 0.02  # Gain of an AP in the annotators' box convention from which it is said.
PARTED = ("map50", "map50_95", "face_ap50")

OFFSET = 0.08
"""Median distance of a side, as a share of the box, from which another box convention is said."""


def was_run(case: Case) -> BoolArray:
    """(P,) photos that were run and could be read; without `ran`, those that have a prediction."""
    if case.ran is None:
        return np.bincount(case.detections.photo, minlength=case.photos) > 0
    return np.array([row is not None and not row.reason for row in case.ran], dtype=np.bool_)


def only_predicted(case: Case) -> Case:
    """The case of the photos that were run, with a word on the others; `InputError` if none was."""
    keep = was_run(case)
    if not keep.any():
        raise InputError("--only-predicted: none of the annotated photos was run.")
    left = tell(int((~keep).sum()), verb="is/are", of=case.photos) + " left out by --only-predicted"
    if case.ran is None:
        left += ", which flatters: without photos.csv also those on which nothing was found"
    warnings = (f"{left}.", *case.warnings) if not keep.all() else case.warnings
    return replace(case.select(keep), warnings=warnings)


def describe_coverage(case: Case) -> Record:
    """Photos by what is known of how they were run; None where it is not known."""
    rows = [row for row in case.ran or () if row is not None]
    known = {
        "run": len(rows),
        "never_run": case.photos - len(rows),
        "unreadable": sum(bool(row.reason) for row in rows),
        "learnt_from": sum(bool(row.learnt) for row in rows),
        "learnt_from_exact": sum(row.learnt == "exact" for row in rows),
    }
    if case.ran is not None:
        return {"photos": case.photos, **known, "faces_but_no_prediction": None}
    asked = np.bincount(case.truth.photo[~case.truth.difficult], minlength=case.photos) > 0
    bare = int((asked & ~was_run(case)).sum())
    return {"photos": case.photos, **dict.fromkeys(known), "faces_but_no_prediction": bare}


def describe_unlearnt(case: Case) -> Record | None:
    """The headline numbers on the photos run that were not learnt from; None if none was, or all.

    Photos that were never run are not known to be either.
    """
    learnt = np.array([row is not None and bool(row.learnt) for row in case.ran or ()])
    others = was_run(case) & ~learnt if learnt.any() else learnt
    return describe_headline(case.select(others)) if others.any() else None


def describe_ties(case: Case) -> Record:
    """AP at IoU 0.5 if of equal scores the wrong came first, and if the right did: [least, most].

    The order of rows decides where it lies between them.
    """
    once = np.ones((1, case.photos))

    def rate(hits: RankedHits, right_first: int) -> float:
        true, ignored = hits.true[:1], hits.ignored[:1]  # At IoU 0.5.
        order = np.lexsort((-right_first * true[0], -hits.scores))
        turned = replace(
            hits, photo=hits.photo[order], true=true[:, order], ignored=ignored[:, order]
        )
        return average_precisions([turned], once)[0].item()

    *classes, faces = case.hits
    return {
        "map50": [
            to_number(mean_of_defined(np.array([rate(hits, sign) for hits in classes])))
            for sign in (-1, 1)
        ],
        "face_ap50": [to_number(np.float64(rate(faces, sign))) for sign in (-1, 1)],
    }


_MOVES = dict(zip(SIDES, 2 * (("left", "right"), ("up", "down")), strict=True))
"""Words for a side whose offset is negative, and positive."""


def list_doubts(case: Case, record: Record) -> list[str]:
    """What a person must know before the figures, from the sections of the record."""
    coverage, ties, offsets = (record[name] for name in ("coverage", "ties", "box_offsets"))
    photos, say = coverage["photos"], list[str]()
    if coverage["never_run"]:
        say.append(
            f"{tell(coverage['never_run'], verb='was/were', of=photos)} never run (not in "
            "photos.csv): faces there count as missed. --only-predicted measures the others."
        )
    if coverage["unreadable"]:
        first = next(row for row in case.ran or () if row is not None and row.reason)
        say.append(
            f"{tell(coverage['unreadable'], of=photos)} could not be read when run, the first: "
            f"{first.image} ({first.reason}). Faces there count as missed."
        )
    if coverage["faces_but_no_prediction"]:
        say.append(
            f"{tell(coverage['faces_but_no_prediction'], verb='has/have', of=photos)} annotated "
            "faces but no prediction: run and no face found, or never run? Faces there count as "
            "missed."
        )
    if coverage["learnt_from"]:
        others = "none is left."
        if rest := record.get("not_learnt_from"):
            count = rest["counts"]["photos"]
            others = (
                f"the {f'{count} that were not give' if count > 1 else 'one that was not gives'} "
                f"mAP@0.5 {_show(rest['map50'])} and accuracy {_show(rest['accuracy'])}."
            )
        say.append(
            f"{tell(coverage['learnt_from'], 'photo', 'was/were', of=coverage['run'])} learnt from "
            f"by these weights, which flatters the figures; {others}"
        )
    scores = case.detections.detection
    if len(np.unique(scores)) > 1 and scores.min() >= CUT_SHORT:
        say.append(
            f"No detection scores under {scores.min():.2f}: without the doubtful end of its curve "
            f"AP comes out too low. Predict with a lower threshold, as {spell('run')} … "
            "--thresh 0.02."
        )
    between = [
        f"{SIGNS[name]} between {_show(ties[name][0])} and {_show(ties[name][1])}"
        for name in ("map50", "face_ap50")
        if None not in ties[name] and ties[name][1] - ties[name][0] > TIES
    ]
    if between:
        say.append(
            f"Equal scores: the order of the rows alone decides, {' and '.join(between)}. Write "
            "scores with more digits."
        )
    far = [
        f"{side} sides {abs(offsets[side]):.0%} further {_MOVES[side][offsets[side] > 0]}"
        for side in _MOVES
        if offsets["faces"] >= FEW_FACES and abs(offsets[side]) >= OFFSET
    ]
    aligned = record.get("aligned")
    parted = [
        f"{SIGNS[name]} is {_show(aligned[name])} in place of {_show(record[name])}"
        for name in PARTED
        if aligned and (aligned[name] or 0) - (record[name] or 0) >= PARTS
    ]
    if far or parted:
        drawn = f": annotated boxes have their {', '.join(far)} than predicted ones" if far else ""
        drawn += f" (medians over {tell(offsets['faces'], 'face')})" if far else ""
        other = f" In the annotators' convention {', '.join(parted)}." if parted else ""
        say.append(f"Another box convention{drawn}. IoU punishes that, at 0.75 before 0.5.{other}")
    few = {name: number for name, number in record["counts"]["faces"].items() if number}
    few = {name: number for name, number in few.items() if number < FEW_FACES and len(few) > 1}
    if few:
        listed = ", ".join(f"{number} of {name}" for name, number in few.items())
        say.append(
            f"Few faces: {listed}. Each class weighs as much in mAP and macro recall, so one such "
            "face moves them by points."
        )
    if photos < FEW_PHOTOS and record["intervals"]:
        say.append(
            f"Few photos ({photos}): under {FEW_PHOTOS}, intervals come out too short; take them "
            "for the least that is uncertain."
        )
    elif record["accuracy"] == 1 and record["intervals"]:  # Hanley and Lippman-Hand 1983.
        say.append(
            f"No face that was found is told otherwise, of which intervals can't tell how far that "
            f"holds: up to {3 / photos:.1%} of such photos may have one that is."
        )
    return say


def _show(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
