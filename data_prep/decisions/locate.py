"""Which face of a dataset, as it is now, a decision is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from data_prep.base.boxes import DegenerateBoxError, clip_box, overlap
from data_prep.base.files import sha256_of
from data_prep.base.photo import PhotoError, photo_size
from data_prep.base.progress import show_progress
from data_prep.base.records import AnnotatedPhoto, Box, Dataset, Face
from data_prep.decisions.ledger import Decision, Key

SAME_BOX = 0.5
"""Boxes whose sides all lie within so many pixels are the same."""

SAME_FACE = 0.5
"""Boxes that overlap by this much (intersection over union) are about the same face."""

Reason = Literal[
    "source-absent",
    "photo-gone",
    "photo-changed",
    "face-gone",
    "faces-alike",
    "label-changed",
    "box-moved",
    "box-outside",
    "already",
]
"""Why a decision is not applied; `already`: the data are as it wants them."""


@dataclass(frozen=True)
class FoundFace:
    """The face that a decision is about.

    Attributes:
        photo: Its photo, boxes clipped to it.
        face: The face there.
        is_done: True when the face is already as the decision wants it.
    """

    photo: AnnotatedPhoto
    face: Face
    is_done: bool = False

    @property
    def key(self) -> Key:
        """Key of the face as the data are now."""
        return self.photo.source, self.photo.image, self.face.object


class PhotoFinder:
    """Finds the photos of decisions by name and hash, hashing no more files than it must.

    Args:
        datasets: Where to look.
        decisions: Those to look for.
    """

    def __init__(self, datasets: Sequence[Dataset], decisions: Sequence[Decision]) -> None:
        self._photos = {d.source: {photo.image: photo for photo in d.photos} for d in datasets}
        self._hashes: dict[tuple[str, str], str] = {}
        named = {(d.source, d.image): d.photo_sha256 for d in decisions}
        here = [photo for key in named if (photo := self._named(*key)) is not None]
        self._hash(here, "checking photos")
        # Only what is not under its name is looked for everywhere in its source.
        lost = {d.source for d in decisions if not self._is_under_its_name(d)}
        rest = [p for s in sorted(lost) for p in self._photos.get(s, {}).values()]
        self._hash(rest, "looking for renamed photos")
        self._clipped: dict[tuple[str, str], AnnotatedPhoto] = {}
        self._by_hash: dict[tuple[str, str], list[AnnotatedPhoto]] = {}
        for (source, image), digest in sorted(self._hashes.items()):
            self._by_hash.setdefault((source, digest), []).append(self._photos[source][image])

    def find(self, decision: Decision) -> Sequence[AnnotatedPhoto] | Reason:
        """The photos a decision may be about, boxes clipped to them, or why there is none.

        That is the photo of its name if the bytes agree, else all photos of the source with
        these bytes.
        """
        if decision.source not in self._photos:
            return "source-absent"
        photo = self._named(decision.source, decision.image)
        if photo is not None and self._is_under_its_name(decision):
            return [self._clip(photo)]
        copies = self._by_hash.get((decision.source, decision.photo_sha256), [])
        if copies:
            return [self._clip(copy) for copy in copies]
        return "photo-gone" if photo is None else "photo-changed"

    def _named(self, source: str, image: str) -> AnnotatedPhoto | None:
        return self._photos.get(source, {}).get(image)

    def _is_under_its_name(self, decision: Decision) -> bool:
        return self._hashes.get((decision.source, decision.image)) == decision.photo_sha256

    def _clip(self, photo: AnnotatedPhoto) -> AnnotatedPhoto:
        """The photo as `faces.csv` tells of it, which is what decisions are made on."""
        key = photo.source, photo.image
        if key not in self._clipped:
            boxes = ((face, clip_to_photo(face.box, photo)) for face in photo.faces)
            faces = tuple(replace(face, box=box) for face, box in boxes if box is not None)
            self._clipped[key] = replace(photo, faces=faces)
        return self._clipped[key]

    def _hash(self, photos: Iterable[AnnotatedPhoto], what: str) -> None:
        new = [photo for photo in photos if (photo.source, photo.image) not in self._hashes]
        for photo in show_progress(new, len(new), what):
            try:
                digest = sha256_of(photo.path)
            except OSError:  # Reading the photo will tell; here it is none that is looked for.
                digest = ""
            self._hashes[photo.source, photo.image] = digest


def find_face(decision: Decision, photos: Sequence[AnnotatedPhoto]) -> FoundFace | Reason:
    """The face with the class and box that a decision was made on, or why there is none.

    A face that already has the class and box that the decision wants is found as well.

    The object's number only decides between several such faces: it changes when a file is put in
    another order.

    Args:
        decision: The decision.
        photos: What `PhotoFinder.find` gave.
    """
    found = [FoundFace(photo, face) for photo in photos for face in photo.faces]
    alike = [
        item
        for item in found
        if item.face.label == decision.given and is_same_box(item.face.box, decision.box)
    ]
    if len(alike) == 1:
        return alike[0]
    if alike:
        numbered = [item for item in alike if item.face.object == decision.object]
        return numbered[0] if len(numbered) == 1 else "faces-alike"
    return _look_closer(decision, found)


def is_same_box(first: Box, second: Box) -> bool:
    """Whether two boxes agree within `SAME_BOX` on every side."""
    return all(abs(a - b) <= SAME_BOX for a, b in zip(first, second, strict=True))


def clip_to_photo(box: Box, photo: AnnotatedPhoto) -> Box | None:
    """The box clipped to its photo, or None when nothing of it is left.

    Of a photo whose header can't be read the box is taken as it is: reading the photo will tell.
    """
    stated = (photo.width, photo.height) if photo.width and photo.height else None
    try:
        return clip_box(box, *photo_size(photo.path, fit_size=stated))[0]
    except PhotoError:
        return box
    except DegenerateBoxError:
        return None


def _look_closer(decision: Decision, found: Sequence[FoundFace]) -> FoundFace | Reason:
    """Why no face has the class and box that a decision was made on."""
    for item in found:
        wanted = clip_to_photo(decision.to_box or decision.box, item.photo)
        if item.face.label == decision.to and wanted and is_same_box(item.face.box, wanted):
            return replace(item, is_done=True)
    if any(is_same_box(item.face.box, decision.box) for item in found):
        return "label-changed"
    if any(overlap(item.face.box, decision.box) >= SAME_FACE for item in found):
        return "box-moved"
    return "already" if decision.action == "drop" else "face-gone"
