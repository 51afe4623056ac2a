"""Which face of a dataset, as it is now, a decision is about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from data_prep.base.boxes import DegenerateBoxError, clip_box, overlap
from data_prep.base.files import sha256_of
from data_prep.base.photo import PhotoError, photo_size
from data_prep.base.records import AnnotatedPhoto, Box, Dataset, Face
from data_prep.decisions.ledger import Decision, Key

SAME_BOX = 0.5
"""Boxes whose sides all lie within so many pixels are the same."""

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
