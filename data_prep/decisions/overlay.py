"""Decisions of reviewers laid over datasets as read; the datasets' own files stay untouched."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from data_prep.base.boxes import DegenerateBoxError, clip_box, overlap
from data_prep.base.files import sha256_of
from data_prep.base.photo import PhotoError, photo_size
from data_prep.base.progress import show_progress
from data_prep.base.records import AnnotatedPhoto, Box, Dataset, Face, Finding
from data_prep.decisions.ledger import Decision, Key, Ledger, merge_ledgers

SAME_BOX = 0.5  # Boxes whose sides all lie within so many pixels are the same.

SAME_FACE = 0.5
"""Boxes that overlap by this much (intersection over union) are about the same face."""


@dataclass(frozen=True)
class FoundFace:
    """The face that a decision is about; `is_done` if it is already as the decision wants it."""

    photo: AnnotatedPhoto
    face: Face
    is_done: bool = False

    @property
    def key(self) -> Key:
        """Key of the face as the data are now."""
        return self.photo.source, self.photo.image, self.face.object


class PhotoFinder:
    """Finds the photos of decisions by name and hash, hashing no more files than it must."""

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self._photos = {d.source: {photo.image: photo for photo in d.photos} for d in datasets}
        self._hash, self._clip = cache(_hash), cache(_clip)
        self._copies = cache(self._group_by_hash)

    def find(self, decision: Decision) -> Sequence[AnnotatedPhoto] | str:
        """The photos a decision may be about, boxes clipped to them, or why there is none.

        That is the photo of its name if the bytes agree, else all photos of the source with
        these bytes.
        """
        if decision.source not in self._photos:
            return "source-absent"
        photo = self._photos[decision.source].get(decision.image)
        if photo is not None and self._hash(photo.path) == decision.photo_sha256:
            return [self._clip(photo)]
        if copies := self._copies(decision.source)[decision.photo_sha256]:
            return [self._clip(copy) for copy in copies]
        return "photo-gone" if photo is None else "photo-changed"

    def _group_by_hash(self, source: str) -> dict[str, list[AnnotatedPhoto]]:
        copies = defaultdict(list)
        for _, photo in sorted(self._photos[source].items()):
            copies[self._hash(photo.path)].append(photo)
        return copies


def _hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:  # Reading the photo will tell; here it is none that is looked for.
        return ""


def _clip(photo: AnnotatedPhoto) -> AnnotatedPhoto:
    """The photo as in `faces.csv`, which is what decisions are made on."""
    boxes = ((face, clip_to_photo(face.box, photo)) for face in photo.faces)
    return replace(photo, faces=tuple(replace(f, box=box) for f, box in boxes if box is not None))


def find_face(decision: Decision, photos: Sequence[AnnotatedPhoto]) -> FoundFace | str:
    """The face with the class and box that a decision was made on, or why there is none.

    A face that already has the class and box that the decision wants is found as well. The object's
    number only decides between several such faces: it changes when a file is put in another order.
    """
    found = [FoundFace(photo, face) for photo in photos for face in photo.faces]
    alike = [item for item in found if was_shown(item.face, decision)]
    if len(alike) == 1:
        return alike[0]
    if alike:
        numbered = [item for item in alike if item.face.object == decision.object]
        return numbered[0] if len(numbered) == 1 else "faces-alike"
    for item in found:
        wanted = clip_to_photo(decision.to_box or decision.box, item.photo)
        if item.face.label == decision.to and wanted and is_same_box(item.face.box, wanted):
            return replace(item, is_done=True)
    if any(is_same_box(item.face.box, decision.box) for item in found):
        return "label-changed"
    if any(overlap(item.face.box, decision.box) >= SAME_FACE for item in found):
        return "box-moved"
    return "already" if decision.action == "drop" else "face-gone"


def was_shown(face: Face, decision: Decision) -> bool:
    """Whether a face has the class and box that a decision was made on."""
    return face.label == decision.given and is_same_box(face.box, decision.box)


def is_same_box(first: Box, second: Box) -> bool:
    """Whether two boxes agree within `SAME_BOX` on every side."""
    return all(abs(a - b) <= SAME_BOX for a, b in zip(first, second, strict=True))


def clip_to_photo(box: Box, photo: AnnotatedPhoto) -> Box | None:
    """The box clipped to its photo, or None when nothing of it is left.

    Of a photo whose header can't be read the box is taken as it is: reading the photo will tell.
    """
    try:
        return clip_box(box, *photo_size(photo.path, fit_size=photo.stated_size))[0]
    except PhotoError:
        return box
    except DegenerateBoxError:
        return None


EFFECTS = ("relabel", "rebox", "drop", "keep")
"""What becomes of a face; `keep`: it is as the dataset has it."""

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
"""Why decisions are not applied; `already`: the data are as wanted."""


@dataclass(frozen=True)
class Overlay:
    """Datasets with decisions applied, faces changed or dropped; objects keep their numbers.

    `record` is for the manifest: `ledgers` (`file`, `sha256`, `lines`), faces by what became of
    them (`applied`), decisions by why they were not applied (`not_applied`). The findings tell of
    these, and of what ledgers warn of.
    """

    datasets: tuple[Dataset, ...]
    record: dict[str, Any]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Opinion:
    """What a decision wants of the face it is about: how it should be, or None to have it go."""

    decision: Decision
    found: FoundFace
    outcome: Face | None

    @property
    def effect(self) -> str:
        """What it makes of the face."""
        if self.outcome is None:
            return "drop"
        if not is_same_box(self.outcome.box, self.found.face.box):
            return "rebox"
        return "keep" if self.outcome.label == self.found.face.label else "relabel"


def apply_ledgers(datasets: Sequence[Dataset], ledgers: Sequence[Ledger]) -> Overlay:
    """Apply the decisions that stand to datasets as read.

    A decision fits the face with the class and box it was made on, whatever its number, in the
    photo with the same bytes, whatever its name, inside the same source. It also fits a face that
    an earlier decision brought to that class and box, as a second round of review shows it.

    Of one reviewer's decisions on a face the latest counts. Where reviewers agree (see `agree`)
    the latest is applied; otherwise the face is disputed and stays as it is until one of them
    decides anew or takes the decision back.
    """
    by_face, unfit = _form_opinions(merge_ledgers(ledgers), PhotoFinder(datasets))
    warnings = [warning for ledger in ledgers for warning in ledger.warnings]
    findings = [Finding("", "torn-ledger", warning, dropped=False) for warning in warnings]
    findings += [_explain_unfit(decision, reason) for decision, reason in unfit]
    reasons: Counter[str] = Counter(reason for _, reason in unfit)
    applied: Counter[str] = Counter()
    changes: dict[Key, Opinion] = {}
    for key, opinions in by_face.items():
        if not agree(opinions):
            reasons["disputed"] += len(opinions)
            findings.append(_explain_dispute(opinions))
            continue
        done = [opinion.decision for opinion in opinions if opinion.found.is_done]
        reasons["already"] += len(done)
        findings += [_explain_unfit(decision, "already") for decision in done]
        if len(done) < len(opinions):
            applied[opinions[-1].effect] += 1
            changes[key] = opinions[-1]
    record = {
        "ledgers": [
            {"file": str(led.path.resolve()), "sha256": led.sha256, "lines": len(led.decisions)}
            for led in ledgers
        ],
        "applied": {effect: applied[effect] for effect in EFFECTS if applied[effect]},
        "not_applied": {reason: reasons[reason] for reason in REASONS if reasons[reason]},
    }
    changed = (
        replace(dataset, photos=tuple(_change_photo(photo, changes) for photo in dataset.photos))
        for dataset in datasets
    )
    return Overlay(tuple(changed), record, tuple(findings))


def _form_opinions(
    decisions: Sequence[Decision], finder: PhotoFinder
) -> tuple[dict[Key, list[Opinion]], list[tuple[Decision, str]]]:
    """The latest opinion of each reviewer on each face, earliest first, and what fits no face.

    A decision that fits no face as the dataset has it may fit one as an earlier decision made it:
    that is what a second round of review is shown.
    """
    latest = {(decision.key, decision.by): decision for decision in decisions}
    formed: dict[Key, list[Opinion]] = {}
    by_face: dict[Key, dict[str, Opinion]] = {}
    unfit: list[tuple[Decision, str]] = []
    for decision in show_progress(decisions, len(decisions), "finding the faces of decisions"):
        is_latest = latest[decision.key, decision.by] is decision
        opinion = _form_opinion(decision, finder, formed)
        if isinstance(opinion, Opinion):
            key = opinion.found.key
            formed.setdefault(key, []).append(opinion)
            if is_latest:
                views = by_face.setdefault(key, {})
                views.pop(decision.by, None)  # So that the order is that of the latest.
                views[decision.by] = opinion
        elif is_latest:
            unfit.append((decision, opinion))
    return {key: list(views.values()) for key, views in by_face.items()}, unfit


def _form_opinion(
    decision: Decision, finder: PhotoFinder, formed: Mapping[Key, Sequence[Opinion]]
) -> Opinion | str:
    photos = finder.find(decision)
    if isinstance(photos, str):
        return photos
    found = find_face(decision, photos)
    if isinstance(found, FoundFace) and not found.is_done:
        return _weigh(decision, found, found.face)
    for photo in photos:
        for face in photo.faces:
            for earlier in formed.get(FoundFace(photo, face).key, ()):
                if earlier.outcome is not None and was_shown(earlier.outcome, decision):
                    return _weigh(decision, replace(earlier.found, is_done=False), earlier.outcome)
    return Opinion(decision, found, found.face) if isinstance(found, FoundFace) else found


def _weigh(decision: Decision, found: FoundFace, shown: Face) -> Opinion | str:
    """What a decision makes of a face that was shown to the reviewer."""
    if decision.action == "drop":
        return Opinion(decision, found, None)
    face = replace(shown, label=decision.to or shown.label)
    if decision.to_box is not None:
        box = clip_to_photo(decision.to_box, found.photo)
        if box is None:
            return "box-outside"
        face = replace(face, box=box)
    return Opinion(decision, found, face)


def agree(opinions: Sequence[Opinion]) -> bool:
    """Whether all want a face to go, or all want one class and boxes that overlap by `SAME_FACE`.

    No two people draw the same box.
    """
    first, *others = [opinion.outcome for opinion in opinions]
    if first is None or None in others:
        return first is None and not any(others)
    return all(
        face and face.label == first.label and overlap(face.box, first.box) >= SAME_FACE
        for face in others
    )


def _change_photo(photo: AnnotatedPhoto, changes: Mapping[Key, Opinion]) -> AnnotatedPhoto:
    faces: list[Face] = []
    for face in photo.faces:
        opinion = changes.get((photo.source, photo.image, face.object))
        if opinion is None:
            faces.append(face)
        elif opinion.outcome is not None:
            # A box that was only clipped stays as annotated: reading clips it again.
            box = opinion.outcome.box if opinion.effect == "rebox" else face.box
            faces.append(replace(face, label=opinion.outcome.label, box=box))
    return replace(photo, faces=tuple(faces))


def describe_overlay(record: Mapping[str, Any]) -> str:
    """What the record of an overlay tells, in one line for a person."""
    parts = []
    for title in ("applied", "not_applied"):
        more = ", ".join(
            f"{count} {name.replace('-', ' ')}" for name, count in record[title].items()
        )
        number = f"{sum(record[title].values())} {title.replace('_', ' ')}"
        parts.append(f"{number} ({more})" if more else number)
    return "; ".join(parts)


def _show(decision: Decision) -> str:
    wish = " ".join(filter(None, [decision.action, decision.to]))
    return f"'{wish}' of {decision.by} at {decision.at}"


def _explain_unfit(decision: Decision, reason: str) -> Finding:
    photo = f"{decision.source}/{decision.image}"
    kind = "decision-in-data" if reason == "already" else "unfit-decision"
    message = f"{photo}: object {decision.object}: {_show(decision)}: {REASONS[reason]}."
    return Finding(photo, kind, message, dropped=False)


def _explain_dispute(opinions: Sequence[Opinion]) -> Finding:
    source, image, index = opinions[0].found.key
    wishes = ", ".join(_show(opinion.decision) for opinion in opinions)
    message = f"{source}/{image}: object {index}: reviewers disagree: {wishes}."
    return Finding(f"{source}/{image}", "disputed-decision", message, dropped=False)


class WrittenNames:
    """What a dataset calls its classes: another name could be a new class to other tools.

    It is read twice: under the names of `CLASSES` and as written.
    """

    def __init__(self, read: Dataset, written: Dataset) -> None:
        self._own = {(p.image, f.object): f.label for p in written.photos for f in p.faces}
        self._known = {(p.image, f.object): f.label for p in read.photos for f in p.faces}
        both = self._known.keys() & self._own.keys()
        counts = Counter((self._known[key], self._own[key]) for key in both)
        self.usual: dict[str, str] = {}
        """What the dataset mostly calls each class."""
        for (label, name), _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            self.usual.setdefault(label, name)

    def restore(self, photo: AnnotatedPhoto) -> AnnotatedPhoto:
        """A photo with its faces under their written names; changed ones under the usual."""
        faces = []
        for face in photo.faces:
            key = (photo.image, face.object)
            is_same = face.label == self._known[key]
            name = self._own[key] if is_same else self.usual.get(face.label, face.label)
            faces.append(replace(face, label=name))
        return replace(photo, faces=tuple(faces))
