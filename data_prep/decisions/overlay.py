"""Decisions of reviewers laid over datasets as read; the datasets' own files stay untouched."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
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

SAME_FACE = 0.5  # Overlap (intersection over union) from which boxes are about the same face.

EFFECTS = ("relabel", "rebox", "drop", "keep")  # `keep`: the face is as the dataset has it.

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
    photo: AnnotatedPhoto
    face: Face
    outcome: Face | None
    is_done: bool = False  # The data are so already.

    @property
    def key(self) -> Key:
        """Of the face as the dataset has it."""
        return self.photo.source, self.photo.image, self.face.object

    @property
    def effect(self) -> str:
        """What it makes of the face."""
        if self.outcome is None:
            return "drop"
        if not _is_same_box(self.outcome.box, self.face.box):
            return "rebox"
        return "keep" if self.outcome.label == self.face.label else "relabel"


def apply_ledgers(datasets: Sequence[Dataset], ledgers: Sequence[Ledger]) -> Overlay:
    """Apply the decisions that stand to datasets as read.

    A decision fits the face with the class and box it was made on, in the photo with the same
    bytes, inside the same source; also a face that an earlier decision brought to them. Of one
    reviewer's decisions on a face the latest counts. Where reviewers agree (all want the face to
    go, or one class and boxes that overlap by `SAME_FACE`) the latest is applied; otherwise the
    face is disputed and stays as it is.
    """
    decisions, find_photos = merge_ledgers(ledgers), _make_finder(datasets)
    warnings = (warning for ledger in ledgers for warning in ledger.warnings)
    findings = [Finding("", "torn-ledger", warning) for warning in warnings]
    reasons: Counter[str] = Counter()
    applied: Counter[str] = Counter()

    def tell(decision: Decision, reason: str) -> None:
        reasons[reason] += 1
        kind = "decision-in-data" if reason == "already" else "unfit-decision"
        findings.append(_note(kind, decision.key, f"{_show(decision)}: {REASONS[reason]}"))

    latest = {(decision.key, decision.by): decision for decision in decisions}
    formed: dict[Key, list[Opinion]] = defaultdict(list)
    for decision in show_progress(decisions, len(decisions), "finding the faces of decisions"):
        opinion = _form_opinion(decision, find_photos(decision), formed)
        if isinstance(opinion, Opinion):
            formed[opinion.key].append(opinion)
        elif latest[decision.key, decision.by] is decision:
            tell(decision, opinion)
    changes: dict[Key, Opinion] = {}
    for key, all_formed in formed.items():
        views: dict[str, Opinion] = {}
        for opinion in reversed(all_formed):
            if latest[opinion.decision.key, opinion.decision.by] is opinion.decision:
                views.setdefault(opinion.decision.by, opinion)
        opinions = list(views.values())[::-1]
        if not _agree(opinions):
            reasons["disputed"] += len(opinions)
            wishes = ", ".join(_show(opinion.decision) for opinion in opinions)
            findings.append(_note("disputed-decision", key, f"reviewers disagree: {wishes}"))
            continue
        done = [opinion for opinion in opinions if opinion.is_done]
        for opinion in done:
            tell(opinion.decision, "already")
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
    changed = ((d, tuple(_change_photo(photo, changes) for photo in d.photos)) for d in datasets)
    made = tuple(replace(dataset, photos=photos) for dataset, photos in changed)
    return Overlay(made, record, tuple(findings))


def _make_finder(
    datasets: Sequence[Dataset],
) -> Callable[[Decision], Sequence[AnnotatedPhoto] | str]:
    """A function that gives the photos a decision may be about, boxes clipped, or why none."""
    sources = {d.source: {photo.image: photo for photo in d.photos} for d in datasets}
    hash_of, clip = cache(_hash), cache(_clip_faces)

    @cache
    def group_copies(source: str) -> Mapping[str, list[AnnotatedPhoto]]:
        copies = defaultdict(list)
        for _, photo in sorted(sources[source].items()):
            copies[hash_of(photo.path)].append(photo)
        return copies

    def find(decision: Decision) -> Sequence[AnnotatedPhoto] | str:
        if decision.source not in sources:
            return "source-absent"
        photo = sources[decision.source].get(decision.image)
        if photo is not None and hash_of(photo.path) == decision.photo_sha256:
            return [clip(photo)]
        if copies := group_copies(decision.source).get(decision.photo_sha256):
            return [clip(copy) for copy in copies]
        return "photo-gone" if photo is None else "photo-changed"

    return find


def _hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:  # Reading the photo will tell; here it is none that is looked for.
        return ""


def _clip_faces(photo: AnnotatedPhoto) -> AnnotatedPhoto:
    """The photo as in `faces.csv`, which is what decisions are made on."""
    boxes = ((face, _clip(face.box, photo)) for face in photo.faces)
    return replace(photo, faces=tuple(replace(f, box=box) for f, box in boxes if box is not None))


def _clip(box: Box, photo: AnnotatedPhoto) -> Box | None:
    """The box clipped to its photo, or None when nothing of it is left."""
    try:
        return clip_box(box, *photo_size(photo.path, fit_size=photo.stated_size))[0]
    except PhotoError:  # Reading the photo will tell.
        return box
    except DegenerateBoxError:
        return None


def _is_same_box(first: Box, second: Box) -> bool:
    return all(abs(a - b) <= SAME_BOX for a, b in zip(first, second, strict=True))


def _was_shown(face: Face, decision: Decision) -> bool:
    """Whether a face has the class and box that a decision was made on."""
    return face.label == decision.given and _is_same_box(face.box, decision.box)


def _form_opinion(
    decision: Decision,
    photos: Sequence[AnnotatedPhoto] | str,
    formed: Mapping[Key, Sequence[Opinion]],
) -> Opinion | str:
    """What a decision makes of the face it was made on, or why there is none."""
    if isinstance(photos, str):
        return photos
    found = [(photo, face) for photo in photos for face in photo.faces]
    alike = [item for item in found if _was_shown(item[1], decision)]
    # A number changes when a file is put in another order: it only decides between several.
    numbered = [item for item in alike if item[1].object == decision.object]
    for photo, face in alike if len(alike) == 1 else numbered if len(numbered) == 1 else ():
        return _weigh(decision, photo, face, face)
    for photo, face in found:
        for earlier in formed.get((photo.source, photo.image, face.object), ()):
            if earlier.outcome is not None and _was_shown(earlier.outcome, decision):
                return _weigh(decision, earlier.photo, earlier.face, earlier.outcome)
    if alike:
        return "faces-alike"
    for photo, face in found:
        wanted = _clip(decision.to_box or decision.box, photo)
        if face.label == decision.to and wanted and _is_same_box(face.box, wanted):
            return Opinion(decision, photo, face, face, is_done=True)
    if any(_is_same_box(face.box, decision.box) for _, face in found):
        return "label-changed"
    if any(overlap(face.box, decision.box) >= SAME_FACE for _, face in found):
        return "box-moved"
    return "already" if decision.action == "drop" else "face-gone"


def _weigh(decision: Decision, photo: AnnotatedPhoto, face: Face, shown: Face) -> Opinion | str:
    """What a decision makes of a face, which was `shown` to the reviewer as it says."""
    if decision.action == "drop":
        return Opinion(decision, photo, face, None)
    outcome = replace(shown, label=decision.to or shown.label)
    if decision.to_box is not None:
        box = _clip(decision.to_box, photo)
        if box is None:
            return "box-outside"
        outcome = replace(outcome, box=box)
    return Opinion(decision, photo, face, outcome)


def _agree(opinions: Sequence[Opinion]) -> bool:
    wanted = [opinion.outcome for opinion in opinions if opinion.outcome is not None]
    if len(wanted) < len(opinions):
        return not wanted
    return all(
        face.label == wanted[0].label and overlap(face.box, wanted[0].box) >= SAME_FACE
        for face in wanted
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
        counts = record[title]
        more = ", ".join(f"{counts[name]} {name.replace('-', ' ')}" for name in counts)
        number = f"{sum(counts.values())} {title.replace('_', ' ')}"
        parts.append(f"{number} ({more})" if more else number)
    return "; ".join(parts)


def _show(decision: Decision) -> str:
    wish = f"{decision.action} {decision.to or ''}".rstrip()
    return f"'{wish}' of {decision.by} at {decision.at}"


def _note(kind: str, key: Key, message: str) -> Finding:
    source, image, index = key
    photo = f"{source}/{image}"
    return Finding(photo, kind, f"{photo}: object {index}: {message}.")


def restore_names(corrected: Dataset, read: Dataset, written: Dataset) -> Dataset:
    """A corrected dataset under the names it was written with; another could be a new class.

    It is `read` under the names of `CLASSES`, too; changed faces get the usual name of their class.
    """
    own = {(p.image, f.object): f.label for p in written.photos for f in p.faces}
    known = {(p.image, f.object): f.label for p in read.photos for f in p.faces}
    counts = Counter((known[key], own[key]) for key in known.keys() & own.keys())
    # Of a class with several names the commonest is put in last.
    usual = dict(sorted(counts, key=lambda names: (-counts[names], names), reverse=True))

    def restore(image: str, face: Face) -> Face:
        is_same = face.label == known[image, face.object]
        label = own[image, face.object] if is_same else usual.get(face.label, face.label)
        return replace(face, label=label)

    pairs = ((p, tuple(restore(p.image, face) for face in p.faces)) for p in corrected.photos)
    return replace(corrected, photos=tuple(replace(photo, faces=faces) for photo, faces in pairs))
