"""YOLO, as documented by Ultralytics: a text file per photo, a face per line, shares of its sides.

That are `id x y width height` with the centre, or `id x1 y1 x2 y2 …` for an outline.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import yaml

from data_prep.base.errors import DatasetError
from data_prep.base.photo import Size
from data_prep.base.progress import tell
from data_prep.base.records import Box, Dataset, Finding
from data_prep.base.tables import FloatArray
from data_prep.formats import label_files
from data_prep.formats.contracts import IMAGES, FaceReader, Faults, ReadOptions, UprightFormat
from data_prep.formats.exif_frame import DECIMALS, FramedPhoto, place_photos
from data_prep.formats.input_files import InputError, enclose, is_number, read_lines, split_line
from data_prep.formats.label_files import BOX_VALUES, LABELS, YAML_FILES, ClassNames
from data_prep.formats.photo_match import DatasetFiles, WrittenPhoto

DATA = "data.yaml"
SHARES = (1, 1)  # Stands for the size of a photo where boxes are to be shares of its sides.
_PARTS = {"valid": "val"}  # Parts of a split that data.yaml calls otherwise.


def name_labels(image: str) -> str:
    """The label file of a photo by the rule of YOLO's trainers.

    The last folder called `images` becomes `labels`, and the ending `.txt`.

    >>> name_labels("images/day 1/a.jpg")
    'labels/day 1/a.txt'
    """
    *folders, name = PurePosixPath(image).with_suffix(".txt").parts
    last = len(folders) - 1 - folders[::-1].index(IMAGES)
    return "/".join([*folders[:last], LABELS, *folders[last + 1 :], name])


class YoloFormat(UprightFormat):
    """Label files in `labels` folders beside `images`, or beside photos, and `data.yaml`.

    A photo whose label file is empty, or missing where other photos of its folder have one, is a
    photo without faces. `data.yaml` is written with all photos as `train`, if no split is kept.
    """

    looks = (
        "YOLO labels (labels/*.txt beside images/, or *.txt beside photos and data.yaml, "
        "classes.txt or obj.names)"
    )
    folder = IMAGES  # Where their labels are found from.
    call_file = staticmethod(name_labels)

    def recognise(self, files: DatasetFiles, options: ReadOptions) -> Path | None:
        """The first label file that has a photo, else the first in `labels` with a box."""
        pairs = label_files.pair_labels(files, flat=options.names is not None).pairs
        with_photo = next((path for path, photo in pairs.items() if photo is not None), None)
        return with_photo or next((path for path in pairs if label_files.has_box(path)), None)

    def read(self, files: DatasetFiles, options: ReadOptions) -> Dataset:
        """Read the dataset; see `DatasetFormat`."""
        layout = label_files.pair_labels(files, flat=options.names is not None)
        if not layout.pairs or not files.photos:
            missing = "photo" if layout.pairs else f"label file ({LABELS}/*.txt)"
            raise DatasetError(f"{files.root}: no {missing} in this folder or below it.")
        landmarks = find_landmarks(files, layout.pairs)
        whole = Faults(files.source)
        read: list[WrittenPhoto] = []
        classes: dict[Path, ClassNames] = {}  # The same for all label files of a folder.
        photos = [photo for photo in layout.pairs.values() if photo is not None]
        lost = 0  # Label files whose photo isn't there.
        for path, photo in layout.pairs.items():
            faults = replace(whole, file=files.call(path))
            if photo is None:
                if label_files.has_box(path):
                    message = f"{faults.file}: its photo is not in the folder."
                    faults.leave_out("missing-photo", message)
                    lost += 1
                continue
            if path.parent not in classes:
                source = options.names or label_files.find_names(files, path, options)
                classes[path.parent] = ClassNames.read(source)
            try:
                names = classes[path.parent]
                read.append(read_labels(path, "", SHARES, names, options, faults, landmarks))
            except InputError as error:
                faults.leave_out("broken-labels", str(error))
                photos.remove(photo)
        label_files.check_names(files, classes.values(), options)
        for path, other in layout.doubles.items():
            name = files.call(path)
            message = f"{files.relative(other)} is for the same label file or photo; keep one."
            replace(whole, file=name).leave_out("second-annotation", f"{name}: {message}")
        if layout.unlabelled:
            message = describe_unlabelled([*map(files.relative, layout.unlabelled)])
            if lost:
                some = [files.relative(path) for path in layout.unlabelled]
                message = (
                    f"{tell(len(some), verb='has/have')} no label file, the first: {some[0]}; but "
                    f"{tell(lost, 'label file', 'finds/find')} no photo, which may be theirs, so "
                    "they are left out. Give both the same names."
                )
            name, kind = files.source, "photo-without-labels"
            whole.findings.append(Finding(name, kind, f"{name}: {message}", lost > 0))
        # The annotation of a photo without one is where the faces would be.
        unlabelled = [] if lost else layout.unlabelled
        read += [WrittenPhoto(one, "", files.call(one), None, ()) for one in unlabelled]
        whole.note_counts()
        matches = [((photo,), "") for photo in (*photos, *unlabelled)]
        return place_photos(files, read, whole.findings, "centred", "shares", matches)

    def describe(self, photos: Sequence[FramedPhoto], classes: Sequence[str]) -> dict[str, str]:
        """`data.yaml`, and a label file for each photo."""
        numbers = {label: number for number, label in enumerate(classes)}
        # Without `path`, trainers look from the file's own folder.
        parts = sorted({photo.part for photo in photos if photo.part})
        sides = {_PARTS.get(part, part): f"{IMAGES}/{part}" for part in parts}
        record = {**(sides or {"train": IMAGES}), "names": dict(enumerate(classes))}
        files = {DATA: yaml.safe_dump(record, sort_keys=False, allow_unicode=True)}
        for photo in photos:
            lines = (f"{numbers[f.label]} {_share_out(f.box, *photo.size)}\n" for f in photo.faces)
            files[name_labels(photo.image)] = "".join(lines)
        return files


def describe_unlabelled(photos: Sequence[str]) -> str:
    """That photos without labels are taken for photos without a face."""
    told = f"{tell(len(photos), verb='has/have')} no label file, "
    return f"{told}which is taken for no face, the first: {photos[0]}"


def find_landmarks(files: DatasetFiles, paths: Iterable[Path]) -> frozenset[int]:
    """How many numbers lines have that are a box and its landmarks, as for YOLO-face, not outlines.

    A `kpt_shape` in a data.yaml says so. Otherwise landmarks lie in their box, and differ from
    outlines: some are hidden (-1) or have a number for that (0 to 2), they lie around the first
    point, boxes are smaller, or all lines are of one length. All lines of a length are of one kind.
    """
    told: set[int] = set()
    for path in (path for path in label_files.list_names_files(files) if path.name in YAML_FILES):
        with suppress(InputError, TypeError, ValueError):
            points, numbers = label_files.load_yaml(path).get("kpt_shape", (0, 0))
            told.add(BOX_VALUES + int(points) * int(numbers))
    rows: dict[int, list[list[float]]] = {}
    for path in paths:
        with suppress(InputError):
            for words in map(split_line, read_lines(path)):
                if len(words) > BOX_VALUES and all(map(is_number, words[1:])):
                    rows.setdefault(len(words) - 1, []).append([*map(float, words[1:])])
    is_one = len(rows) == 1
    longer = {count: np.array(some) for count, some in rows.items() if count > BOX_VALUES + 1}
    found = (count for count, some in longer.items() if _are_landmarks(some, is_one=is_one))
    return frozenset(told - {BOX_VALUES}).union(found)


def _are_landmarks(rows: FloatArray, *, is_one: bool) -> bool:
    more = rows.shape[1] - BOX_VALUES
    is_told = more % 3 == 0 and np.isin(rows[:, BOX_VALUES + 2 :: 3], (0, 1, 2)).all()
    if more % 2 and more % 3:
        return False
    has_third = bool(more % 2 or is_told)
    points = rows[:, BOX_VALUES:].reshape(len(rows), -1, 3 if has_third else 2)[:, :, :2]
    hidden, absent = (points < 0).any(axis=2), (points == 0).all(axis=2)
    centres, sides = rows[:, None, :2], rows[:, None, 2:4]
    inside = np.all(np.abs(points - centres) <= 0.6 * sides, axis=2) | hidden | absent
    if inside.all(axis=1).mean() < 0.95:
        return False
    corners = rows[:, : more // 2 * 2 + BOX_VALUES].reshape(len(rows), -1, 2)
    smaller = np.median(sides.prod(axis=2)[:, 0] / np.ptp(corners, axis=1).prod(axis=1).clip(1e-9))
    middles = (points.min(axis=1) + points.max(axis=1)) / 2
    off = np.abs(rows[:, :2] - middles) / np.ptp(points, axis=1).clip(1e-9)
    is_central = np.median(off.max(axis=1)) < 0.3
    # Diagonals of a rectangle have one middle.
    across = np.abs(corners[:, 0] + corners[:, 2] - corners[:, 1] - corners[:, -1]).max(axis=1)
    is_rectangle = more == BOX_VALUES and np.median(across) < 0.01
    fits = (np.abs(centres - 0.5) + sides / 2 < 0.55).all(axis=(1, 2)).mean() > 0.95
    is_few = is_one and more <= 6 and fits and not is_rectangle
    return bool(has_third or hidden.any() or is_central or smaller < 1 or is_few)


def read_labels(
    path: Path,
    photo: str,
    size: Size | None,
    names: ClassNames,
    options: ReadOptions,
    faults: Faults,
    landmarks: frozenset[int] = frozenset(),
) -> WrittenPhoto:
    """The faces of a label file; a face's number is its line among those that are not blank.

    Boxes are in pixels of the photo as it is looked at, which `size` is of, or stay `SHARES`;
    without a size no face can be read.
    """
    reader = FaceReader(faults, options)
    for line, words in enumerate(map(split_line, read_lines(path)), 1):
        if not words:
            continue
        where, count = faults.at(line), len(words) - 1
        if not count:
            message = f"{where}: 0 numbers behind the class id; write blanks between them."
            reader.leave_out("bad-line", message)
            continue
        label = partial(names.label, words[0], options, where)
        box = partial(_read_box, words[1:], size, where, landmarks)
        outlined = count != BOX_VALUES and count not in landmarks
        if reader.add(where, label, box, _HINT, kind="bad-line", outlined=outlined):
            faults.counts["landmarks"] += count in landmarks
    return reader.finish(path, photo, faults.file, size)


_HINT = "width and height can't be negative"


def _read_box(words: Sequence[str], size: Size | None, where: str, marks: frozenset[int]) -> Box:
    values = label_files.read_shares(words, where, marks)
    if size is None:
        raise DatasetError(
            f"{where}: the size of the photo is not known; put it into '{IMAGES}' beside "
            f"'{LABELS}', or give --photos FOLDER or --image-size W,H."
        )
    if len(values) == BOX_VALUES:
        box = from_centre(values, size)
    else:
        box = enclose([x * size[0] for x in values[::2]], [y * size[1] for y in values[1::2]])
    return box if size == SHARES else Box(*(round(value, DECIMALS) for value in box))


def from_centre(values: Sequence[float], size: Size) -> Box:
    """The box in pixels, from centre x, centre y, width and height as shares of the photo's."""
    x, y, width, height = values
    left, top, right, bottom = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return Box(left * size[0], top * size[1], right * size[0], bottom * size[1])


def _share_out(box: Box, width: int, height: int) -> str:
    """Centre and size of a box as shares of the photo's sides, far below a millionth of a pixel."""
    x, y = (box.xmin + box.xmax) / 2 / width, (box.ymin + box.ymax) / 2 / height
    shares = x, y, box.width / width, box.height / height
    return " ".join(f"{share:.12f}".rstrip("0").rstrip(".") for share in shares)
