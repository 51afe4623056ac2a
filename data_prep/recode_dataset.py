"""A dataset with its classes recoded, faces and photos excluded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

from data_prep.labels import UnknownLabelError
from data_prep.recode import EXCLUDE_FACE, EXCLUDE_PHOTO, SourceTable, recode_label
from data_prep.records import AnnotatedPhoto, Dataset


@dataclass(frozen=True)
class Recoded:
    """A source of a merge.

    Attributes:
        photos: Photos that stay, faces under their new classes.
        before: Faces by class as written.
        excluded_faces: Faces left out, one by one or with their photo.
        excluded_photos: Photos left out.
        emptied_photos: Photos that stay without any of their faces: to a detector these faces
            would be background.
        resolved: What became of each class as written.
    """

    photos: tuple[AnnotatedPhoto, ...]
    before: dict[str, int]
    excluded_faces: int
    excluded_photos: int
    emptied_photos: int
    resolved: dict[str, str]


def recode_dataset(
    dataset: Dataset, name: str, source: SourceTable, classes: Collection[str]
) -> Recoded:
    """Recode the classes of a dataset that was read with its names as written.

    Args:
        dataset: What was read.
        name: What the source is called from now on.
        source: Its table.
        classes: The classes there are afterwards.

    Raises:
        UnknownLabelError: A name is neither in the table nor known; the message names the source,
            the file and the nearest known name.
    """
    resolved: dict[str, str] = {}
    photos: list[AnnotatedPhoto] = []
    excluded_faces = excluded_photos = emptied = 0
    for photo in dataset.photos:
        for face in photo.faces:
            if face.label not in resolved:
                try:
                    resolved[face.label] = recode_label(face.label, source, classes)
                except UnknownLabelError as error:
                    raise UnknownLabelError(
                        f"sources.{name}: {photo.root / photo.annotation}: object {face.object}: "
                        f"{error}"
                    ) from error
        labels = [resolved[face.label] for face in photo.faces]
        if EXCLUDE_PHOTO in labels:
            excluded_photos += 1
            excluded_faces += len(labels)
            continue
        faces = tuple(
            replace(face, label=label)
            for face, label in zip(photo.faces, labels, strict=True)
            if label != EXCLUDE_FACE
        )
        excluded_faces += len(labels) - len(faces)
        emptied += bool(labels) and not faces
        photos.append(replace(photo, source=name, faces=faces))
    before = Counter(face.label for photo in dataset.photos for face in photo.faces)
    return Recoded(
        tuple(photos),
        dict(sorted(before.items())),
        excluded_faces,
        excluded_photos,
        emptied,
        dict(sorted(resolved.items())),
    )
