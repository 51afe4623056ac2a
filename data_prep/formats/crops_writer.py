"""Crops: a folder of face crops per class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.crop import CROP_SCALE, crop_face
from data_prep.errors import DatasetError
from data_prep.files import write_atomically
from data_prep.formats.writer import Written, count_left_out
from data_prep.framed import FramedPhoto
from data_prep.photo import PhotoError, read_photo
from data_prep.progress import show_progress
from data_prep.records import Finding
from data_prep.survey import crop_name, encode_crop


@dataclass(frozen=True)
class CropsWriter:
    """Writes `<class>/<crop>.jpg`, cut as for training.

    Attributes:
        scale: Crop side as a multiple of the longer box side.
    """

    scale: float = CROP_SCALE

    @property
    def holds_photos(self) -> bool:
        """Crops stand for themselves."""
        return False

    def place(self, images: Sequence[str]) -> dict[str, str]:
        """Photos are not part of it; see `Writer`."""
        return {image: image for image in images}

    def write(self, photos: Sequence[FramedPhoto], classes: Sequence[str], folder: Path) -> Written:
        """Write the crops; see `Writer`."""
        _check_folder_names(classes)
        files: list[str] = []
        findings: list[Finding] = []
        refused: set[str] = set()
        for photo in show_progress(photos, len(photos), "cutting crops"):
            if not photo.faces:
                continue
            try:
                decoded = read_photo(photo.photo.path, fit_size=photo.photo.stated_size)
            except PhotoError as error:
                name = f"{photo.photo.source}/{photo.photo.image}"
                findings.append(Finding(name, "unreadable-photo", str(error), dropped=True))
                refused.add(photo.image)
                continue
            for face in photo.faces:
                file = f"{face.label}/{crop_name(photo.photo, face.object)}"
                crop = crop_face(decoded.pixels, face.box, self.scale)
                write_atomically(folder / file, encode_crop(crop))
                files.append(file)
        faces = [face for photo in photos for face in photo.faces if photo.image not in refused]
        return Written(
            tuple(files),
            count_left_out(
                places_in_the_photo=len(files),
                difficult_flags=sum(face.difficult for face in faces),
                photos_without_faces=sum(not photo.faces for photo in photos),
            ),
            tuple(findings),
            frozenset(refused),
        )


def _check_folder_names(classes: Iterable[str]) -> None:
    """Refuse class names that would lead out of the folder or that no system takes as names.

    Raises:
        DatasetError: A class can't be a folder.
    """
    for label in classes:
        bad = set(label) & set('/\\:*?"<>|') or not label.isprintable()
        if bad or not label or label[0] in ". " or label[-1] in ". " or len(label.encode()) > 200:
            raise DatasetError(
                f"the class {label!r} can't be the name of a folder; give it another name with "
                "--canonical and --alias."
            )
