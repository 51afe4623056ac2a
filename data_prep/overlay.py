"""Decisions of reviewers laid over datasets as read; the datasets' own files stay untouched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from data_prep.boxes import DegenerateBoxError, clip_box
from data_prep.ledger import Decision, Key
from data_prep.locate import PhotoFinder, is_same_box
from data_prep.merge import LedgerFile, merge_ledgers
from data_prep.opinions import Opinion, agree, form_opinions
from data_prep.records import AnnotatedPhoto, Box, Dataset, Face, Finding
from data_prep.survey import SurveyedFace, SurveyedPhoto

Effect = Literal["relabel", "rebox", "drop", "keep"]
"""What became of a face; `keep`: it is as the dataset has it."""

EFFECTS: tuple[Effect, ...] = ("relabel", "rebox", "drop", "keep")

REASONS: dict[str, str] = {
    "source-absent": "no dataset of this name is read",
    "photo-gone": "the photo is not there, under this name or another",
    "photo-changed": "the photo is not the file that was looked at",
    "face-gone": "no face is there",
    "faces-alike": "several faces have this class and box",
    "label-changed": "the class is not the one that was looked at",
    "box-moved": "the box is not the one that was looked at",
    "box-outside": "the new box lies outside the photo",
    "already": "nothing to do, the data are as decided",
    "disputed": "reviewers disagree",
}
"""Why decisions are not applied, in words."""


@dataclass(frozen=True)
class Overlay:
    """Datasets with decisions applied.

    Attributes:
        datasets: The datasets, faces changed or dropped; objects keep their numbers.
        record: What the manifest tells: `ledgers` (`file`, `sha256`, `lines`), faces by what
            became of them (`applied`), decisions by why they were not applied (`not_applied`).
        findings: Every decision that was not applied with the reason, and what ledgers warn of.
    """

    datasets: tuple[Dataset, ...]
    record: dict[str, Any]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Change:
    """A face's new class, and its new box where it was drawn anew."""

    label: str
    box: Box | None


def apply_ledgers(datasets: Sequence[Dataset], ledgers: Sequence[LedgerFile]) -> Overlay:
    """Apply the decisions that stand to datasets as read.

    A decision fits the face with the class and box it was made on, whatever its number, in the
    photo with the same bytes, whatever its name, inside the same source. It also fits a face that
    an earlier decision brought to that class and box, as a second round of review shows it.

    Of one reviewer's decisions on a face the latest counts. Where reviewers agree (see `agree`)
    the latest is applied; otherwise the face is disputed and stays as it is until one of them
    decides anew or takes the decision back.

    Args:
        datasets: What was read.
        ledgers: Ledgers in any order.
    """
    decisions = merge_ledgers(ledgers)
    opinions = form_opinions(decisions, PhotoFinder(datasets, decisions))
    findings = [
        Finding("", "torn-ledger", warning, dropped=False)
        for file in ledgers
        for warning in file.ledger.warnings
    ]
    findings += [_tell_unfit(decision, reason) for decision, reason in opinions.unfit]
    reasons: Counter[str] = Counter(reason for _, reason in opinions.unfit)
    applied: Counter[str] = Counter()
    changes: dict[Key, _Change | None] = {}
    for key, views in opinions.by_face.items():
        if not agree(views):
            reasons["disputed"] += len(views)
            findings.append(_tell_dispute(views))
            continue
        done = [view.decision for view in views if view.found.is_done]
        reasons["already"] += len(done)
        findings += [_tell_unfit(decision, "already") for decision in done]
        if len(done) < len(views):
            effect = _name_effect(views[-1])
            applied[effect] += 1
            changes[key] = _make_change(views[-1], effect)
    record = {
        "ledgers": [_describe_ledger(file) for file in ledgers],
        "applied": {effect: applied[effect] for effect in EFFECTS if applied[effect]},
        "not_applied": {reason: reasons[reason] for reason in REASONS if reasons[reason]},
    }
    changed = (
        replace(dataset, photos=tuple(_change_photo(photo, changes) for photo in dataset.photos))
        for dataset in datasets
    )
    return Overlay(tuple(changed), record, tuple(findings))


def restore_faces(
    surveyed: Sequence[SurveyedPhoto], datasets: Sequence[Dataset]
) -> list[SurveyedPhoto]:
    """Surveyed photos with the faces they had before decisions were applied.

    Args:
        surveyed: One record for each photo of `datasets`, in that order.
        datasets: What was read.

    Returns:
        The same photos with faces that have no blur score and no crop.
    """
    photos = [photo for dataset in datasets for photo in dataset.photos]
    return [
        replace(record, faces=tuple(_survey_as_read(record, photo)))
        for record, photo in zip(surveyed, photos, strict=True)
    ]


def describe_overlay(record: Mapping[str, Any]) -> str:
    """What the record of an overlay tells, in one line for a person."""
    parts = []
    for title in ("applied", "not_applied"):
        counts: Mapping[str, int] = record[title]
        more = ", ".join(f"{count} {name.replace('-', ' ')}" for name, count in counts.items())
        number = f"{sum(counts.values())} {title.replace('_', ' ')}"
        parts.append(f"{number} ({more})" if more else number)
    return "; ".join(parts)


def _survey_as_read(record: SurveyedPhoto, photo: AnnotatedPhoto) -> Iterator[SurveyedFace]:
    if record.fingerprint is None:  # The photo can't be read.
        return
    for face in photo.faces:
        with suppress(DegenerateBoxError):
            box, _ = clip_box(face.box, record.width, record.height)
            yield SurveyedFace(replace(face, box=box), 0.0, "")


def _name_effect(view: Opinion) -> Effect:
    if view.outcome is None:
        return "drop"
    if not is_same_box(view.outcome.box, view.found.face.box):
        return "rebox"
    return "keep" if view.outcome.label == view.found.face.label else "relabel"


def _make_change(view: Opinion, effect: Effect) -> _Change | None:
    if view.outcome is None:
        return None
    # A box that was only clipped stays as annotated: reading clips it again.
    return _Change(view.outcome.label, view.outcome.box if effect == "rebox" else None)


def _change_photo(photo: AnnotatedPhoto, changes: Mapping[Key, _Change | None]) -> AnnotatedPhoto:
    faces: list[Face] = []
    for face in photo.faces:
        key = (photo.source, photo.image, face.object)
        if key not in changes:
            faces.append(face)
        elif (change := changes[key]) is not None:
            faces.append(replace(face, label=change.label, box=change.box or face.box))
    return replace(photo, faces=tuple(faces))


def _describe_ledger(file: LedgerFile) -> dict[str, Any]:
    return {
        "file": str(file.path.resolve()),
        "sha256": file.sha256,
        "lines": len(file.ledger.decisions),
    }


def _show(decision: Decision) -> str:
    to = f" {decision.to}" if decision.to else ""
    return f"'{decision.action}{to}' of {decision.by} at {decision.at}"


def _tell_unfit(decision: Decision, reason: str) -> Finding:
    photo = f"{decision.source}/{decision.image}"
    kind = "decision-in-data" if reason == "already" else "unfit-decision"
    message = f"{photo}: object {decision.object}: {_show(decision)}: {REASONS[reason]}."
    return Finding(photo, kind, message, dropped=False)


def _tell_dispute(views: Sequence[Opinion]) -> Finding:
    source, image, index = views[0].found.key
    wishes = ", ".join(_show(view.decision) for view in views)
    message = f"{source}/{image}: object {index}: reviewers disagree: {wishes}."
    return Finding(f"{source}/{image}", "disputed-decision", message, dropped=False)
