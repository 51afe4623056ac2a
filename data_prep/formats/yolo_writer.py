"""YOLO: a text file per photo, boxes as shares of the upright photo, and `data.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import yaml

from data_prep.files import write_atomically
from data_prep.formats.writer import IMAGES, Written, count_left_out, count_renumbered
from data_prep.framed import FramedPhoto, turn_upright
from data_prep.progress import show_progress
from data_prep.records import Box, Finding

DATA = "data.yaml"
LABELS = "labels"
DIGITS = 12
"""After the point: 1e-12 of a photo's side is far below a millionth of a pixel."""


class YoloWriter:
    """Writes `labels/<photo>.txt` beside `images/<photo>`, and `data.yaml`.

    Trainers turn photos upright by EXIF before they look, so boxes are turned with them.
    `data.yaml` names all photos as `train` and none as `val`: whoever splits them must keep
    near-duplicates together.
    """

    holds_photos = True

    def place(self, images: Sequence[str]) -> dict[str, str]:
        """Photos go to `images`, where their labels are found from; see `Writer`."""
        inside = all(image.startswith(f"{IMAGES}/") for image in images)
        return {image: image if inside else f"{IMAGES}/{image}" for image in images}

    def write(self, photos: Sequence[FramedPhoto], classes: Sequence[str], folder: Path) -> Written:
        """Write the annotations; see `Writer`."""
        numbers = {label: number for number, label in enumerate(classes)}
        files: dict[str, str] = {}
        written: list[FramedPhoto] = []
        findings: list[Finding] = []
        for photo in show_progress(photos, len(photos), "writing labels"):
            file = name_labels(photo.image)
            first = files.setdefault(file.lower(), photo.image)
            if first != photo.image:
                message = (
                    f"{photo.annotation}: {photo.photo.image} would have the same label file as "
                    f"{first}, {file}; it is left out. Rename one of the photos."
                )
                findings.append(Finding(photo.annotation, "name-clash", message, dropped=True))
                continue
            upright = turn_upright(photo)
            lines = [
                f"{numbers[face.label]} {_share_out(face.box, upright.width, upright.height)}\n"
                for face in upright.faces
            ]
            write_atomically(folder / file, "".join(lines))
            written.append(photo)
        # Without `path`, trainers look from the file's own folder.
        record = {"train": IMAGES, "names": dict(enumerate(classes))}
        write_atomically(folder / DATA, yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
        difficult = sum(face.difficult for photo in written for face in photo.faces)
        # Without its labels a photo would count as one without faces.
        refused = {photo.image for photo in photos} - {photo.image for photo in written}
        return Written(
            (DATA, *(name_labels(photo.image) for photo in written)),
            count_left_out(difficult_flags=difficult, object_numbers=count_renumbered(written)),
            tuple(findings),
            frozenset(refused),
        )


def name_labels(image: str) -> str:
    """The label file of a photo by the rule of YOLO's trainers.

    The last folder called `images` becomes `labels`, and the ending `.txt`.

    >>> name_labels("images/day 1/a.jpg")
    'labels/day 1/a.txt'
    """
    *folders, name = PurePosixPath(image).with_suffix(".txt").parts
    last = len(folders) - 1 - folders[::-1].index(IMAGES)
    return "/".join([*folders[:last], LABELS, *folders[last + 1 :], name])


def _share_out(box: Box, width: int, height: int) -> str:
    """Centre and size of a box as shares of the photo's sides."""
    shares = (
        (box.xmin + box.xmax) / 2 / width,
        (box.ymin + box.ymax) / 2 / height,
        box.width / width,
        box.height / height,
    )
    return " ".join(f"{share:.{DIGITS}f}".rstrip("0").rstrip(".") for share in shares)
