"""Datasets in the folder layouts of YOLO: a text file of boxes or outlines per photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import yaml

from data_prep.base.errors import DatasetError
from data_prep.base.files import write_atomically
from data_prep.base.labels import UnknownLabelError
from data_prep.base.photo import PhotoError
from data_prep.base.progress import show_progress
from data_prep.base.records import AnnotatedPhoto, Box, Dataset, Face, Finding
from data_prep.formats.class_names import is_id, name_class, read_class_names
from data_prep.formats.contracts import (
    IMAGES,
    ReadOptions,
    Written,
    count_left_out,
    count_renumbered,
)
from data_prep.formats.exif_frame import FramedPhoto, SeenPhoto, look_at, turn_upright
from data_prep.formats.input_files import InputError, read_text
from data_prep.formats.photo_match import DatasetFiles
from data_prep.formats.yolo_layout import LABELS, find_names, has_box, pair_labels, parse_line

_DECIMALS = 8
"""Of pixels; shares turned into pixels miss whole ones by less, and a face of one pixel or one at
the border must not be lost by that."""

_Names = tuple[Path | None, Mapping[int, str] | None]
"""A file of class names and what it says, or neither."""


class YoloReader:
    """Reads label files in `labels` folders beside `images`, or beside photos.

    Coordinates refer to the photo as it is looked at. A photo whose label file is empty, or
    missing where other photos of its folder have one, is a photo without faces. No face is
    difficult: the format can't say.
    """

    def recognise(self, files: DatasetFiles, options: ReadOptions) -> Path | None:
        """The first label file that has a photo, else the first in `labels` with a box."""
        pairs = pair_labels(files, flat=options.names is not None).pairs
        with_photo = next((path for path, photo in pairs.items() if photo is not None), None)
        return with_photo or next((path for path in pairs if has_box(path)), None)

    def read(self, files: DatasetFiles, options: ReadOptions) -> Dataset:
        """Read the dataset; see `Reader`."""
        layout = pair_labels(files, flat=options.names is not None)
        if not layout.pairs or not files.photos:
            missing = "photo" if layout.pairs else f"label file ({LABELS}/*.txt)"
            raise DatasetError(f"{files.root}: no {missing} in this folder or below it.")
        reader = _LabelReader(files, options, list(files.findings))
        photos: dict[str, AnnotatedPhoto] = {}
        for path, photo in layout.pairs.items():
            if photo is not None:
                reader.add(photos, photo, path)
            elif has_box(path):
                reader.note(path, "missing-photo", "its photo is not in the folder.", dropped=True)
        for photo in layout.unlabelled:
            # The annotation is where the faces would be.
            reader.add(photos, photo, None)
        for path, other in layout.doubles.items():
            message = f"{files.relative(other)} is for the same label file or photo; keep one."
            reader.note(path, "second-annotation", message, dropped=True)
        if layout.unlabelled:
            count, first = len(layout.unlabelled), files.relative(layout.unlabelled[0])
            message = (
                f"{files.source}: {count} photos have no label file and are taken for photos "
                f"without a face, the first: {first}"
            )
            finding = Finding(files.source, "photo-without-labels", message, dropped=False)
            reader.findings.append(finding)
        known = {*photos, *map(files.relative, [*reader.left_out, *layout.doubles])}
        findings = (*reader.findings, *files.unused_photos(known))
        ordered = tuple(photos[name] for name in sorted(photos))
        return Dataset(files.source, files.root, ordered, findings)


@dataclass
class _LabelReader:
    files: DatasetFiles
    options: ReadOptions
    findings: list[Finding]
    left_out: list[Path] = field(default_factory=list)
    names: dict[Path, _Names] = field(default_factory=dict)

    def add(self, photos: dict[str, AnnotatedPhoto], photo: Path, path: Path | None) -> None:
        """Add a photo with the faces of its label file, or without any."""
        try:
            seen = look_at(photo)
        except PhotoError as error:
            self.left_out.append(photo)
            name = self.files.call(photo)
            self.findings.append(Finding(name, "unreadable-photo", str(error), dropped=True))
            return
        faces: tuple[Face, ...] = ()
        if path is not None:
            try:
                text = read_text(path)
            except InputError as error:
                self.left_out.append(photo)
                name = self.files.call(path)
                self.findings.append(Finding(name, "broken-labels", str(error), dropped=True))
                return
            faces = self._read_faces(path, text, seen)
        image = self.files.relative(photo)
        photos[image] = AnnotatedPhoto(
            self.files.source,
            self.files.root,
            image,
            self.files.relative(path or photo),
            *seen.size,
            faces,
        )

    def note(self, path: Path, kind: str, message: str, *, dropped: bool) -> None:
        name = self.files.call(path)
        self.findings.append(Finding(name, kind, f"{name}: {message}", dropped))

    def _read_faces(self, path: Path, text: str, seen: SeenPhoto) -> tuple[Face, ...]:
        faces: list[Face] = []
        outlines, number = 0, -1
        names = self._find_names(path)
        name = self.files.call(path)
        for line, written in enumerate(text.split("\n"), start=1):
            where = f"{name}:{line}"
            # Lines with faults keep their number, so that keys of faces are stable.
            number += bool(written.strip())
            try:
                parsed = parse_line(written, where)
                if parsed is None:
                    continue
                seen_box = seen.place(parsed.to_box(seen.size, where))
                box = Box(*(round(value, _DECIMALS) for value in seen_box))
                faces.append(Face(number, self._find_label(parsed.label, names, where), box))
                outlines += parsed.is_outline
            except InputError as error:
                message = f"{error} The face is left out."
                self.findings.append(Finding(name, "bad-line", message, dropped=True))
        if outlines:
            message = f"{outlines} faces are outlined; the box around each outline is taken."
            self.note(path, "outlined-faces", message, dropped=False)
        return tuple(faces)

    def _find_names(self, path: Path) -> _Names:
        """The class names for a label file; the same for all in its folder."""
        if path.parent not in self.names:
            source = self.options.names or find_names(self.files, path)
            self.names[path.parent] = source, None if source is None else read_class_names(source)
        return self.names[path.parent]

    def _find_label(self, written: str, names: _Names, where: str) -> str:
        source, by_id = names
        if by_id is None and is_id(written):
            raise DatasetError(
                f"{where}: class id {written} without names; give a file with one class name per "
                "line, the first for id 0 (--names FILE), or put a data.yaml into the dataset's "
                "folder."
            )
        label = written if by_id is None else name_class(written, by_id, source, where)
        try:
            return self.options.label(label)
        except UnknownLabelError as error:
            said = "" if label == written else f"id {written} in {source}: "
            raise UnknownLabelError(f"{where}: {said}{error}") from error


DATA = "data.yaml"
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
