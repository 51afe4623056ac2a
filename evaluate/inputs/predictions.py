"""The table of predicted faces, and its place among the annotated photos."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.base.boxes import SWAPS_SIDES, UPRIGHT, turn_box_back
from data_prep.base.files import read_object
from data_prep.base.labels import MASKS, Vocabulary
from data_prep.base.photo import PhotoError, Size, read_frame
from data_prep.base.progress import tell
from data_prep.base.records import Box
from data_prep.base.tables import TableError, read_faces
from data_prep.formats import predictions as tables
from data_prep.formats.coco import read_coco_index, read_coco_results
from data_prep.formats.contracts import ReadOptions
from data_prep.formats.exif_frame import BORDER
from data_prep.formats.input_files import InputError
from data_prep.formats.label_files import find_label_folders, list_names_folders
from data_prep.formats.photo_match import AmbiguousPhotoError, WrittenPhoto, match_names
from data_prep.formats.plausible import Order, doubt_boxes, doubt_overlap, suspect_boxes
from data_prep.formats.text import RELATIVE, TextFormat, guess_layout, read_text_boxes
from data_prep.formats.voc import read_voc_predictions
from evaluate.arrays import Detections, GroundTruth, IntArray
from evaluate.inputs.photos import NO_SIZES, SizeSource, find_photos
from evaluate.inputs.recognise import Format, read_options, recognise_predictions, recognise_truth
from evaluate.inputs.truth import DEFAULT_OPTIONS, FACES_COLUMNS, find_class_names, take_faces
from evaluate.options import EvaluateOptions


def check_sanity(path: Path, detections: Detections, truth: GroundTruth) -> list[str]:
    """Warnings for a person about detections placed on the photos of `truth`; all are kept."""
    if not len(detections):
        return [f"{path}: no prediction on the {tell(len(truth.photos))} measured."]
    warnings = []
    keys = np.column_stack([detections.photo, detections.labels, detections.boxes])
    if doubles := len(keys) - len(np.unique(keys, axis=0)):
        what = "box and label of another one; all are kept, and at most one of them can be a hit."
        warnings.append(f"{path}: {tell(doubles, 'row', 'repeats/repeat')} the photo, {what}")
    boxes, photo = detections.boxes, detections.photo
    if truth.sizes is None:
        return warnings
    sizes = truth.sizes[photo]
    orders: tuple[Order, ...] = ("corners", "sized", "centred")
    judges = (doubt_boxes, suspect_boxes)
    doubts = [doubt_overlap(truth.boxes, truth.photo, boxes, photo, truth.sizes)]
    doubts += [judge(boxes, sizes, order) for judge in judges for order in orders]
    if doubt := next(filter(None, doubts), ""):
        # Before all else: the figures mean nothing then.
        warnings.insert(0, f"{path}: {doubt} See --pred-boxes, or correct the table.")
    # Comparisons with NaN, an unknown size, are false.
    over = (boxes[:, 2:] > sizes + BORDER).any(axis=1)
    outside = np.flatnonzero(over | (boxes[:, :2] < -BORDER).any(axis=1))
    for row in outside[:1]:
        shown = ", ".join(f"{value:g}" for value in boxes[row])
        width, height = sizes[row]
        warnings.append(
            f"{path}: {tell(len(outside), 'box', 'reaches/reach')} over the border of the photo, "
            f"the first: ({shown}) in {truth.photos[photo[row]]}, {width:g} × {height:g} px. All "
            "are kept. Are the numbers corners (see --pred-boxes) and pixels of this size?"
        )
    return warnings


def compare_coverage(mine: Detections, other: Detections) -> list[str]:
    """A warning when one of two tables to compare has photos without a row that the other has."""
    first, second = set(mine.photo.tolist()), set(other.photo.tolist())
    if first == second:
        return []
    return [
        f"{tell(len(first - second), verb='has/have')} predictions here and none in the other "
        f"table, {len(second - first)} the other way round: was the same set of photos predicted?"
    ]


def turn_detections_back(
    rows: Detections, orientation: IntArray, truth: GroundTruth, files: Mapping[str, Path]
) -> tuple[Detections, list[str]]:
    """Boxes of upright photos, each with the photo's EXIF orientation, in the annotations' frame.

    That is the stored one, unless their format says otherwise or only the upright photo has the
    size they state. Rows that can't be turned back are left out; warnings for a person say so.
    """
    if truth.upright:
        return rows, []
    boxes = rows.boxes.copy()
    kept = np.ones(len(rows), dtype=np.bool_)
    lost: list[str] = []
    guessed: list[str] = []
    for photo in np.unique(rows.photo[orientation != UPRIGHT]).tolist():
        name, stated = truth.photos[photo], truth.find_size(photo)
        own = np.flatnonzero((rows.photo == photo) & (orientation != UPRIGHT))
        frame = None
        with suppress(PhotoError, KeyError):  # Of a damaged one annotations may state the size.
            frame = read_frame(files[name], fit_size=stated)
        if frame is not None and frame.upright:
            continue
        size = stated if frame is None else frame.size
        if size is None:
            lost.append(name)
            kept[own] = False
            continue
        if frame is None and size[0] != size[1] and int(orientation[own[0]]) in SWAPS_SIDES:
            guessed.append(name)
        for row in own:
            boxes[row] = turn_box_back(Box(*boxes[row]), *size, int(orientation[row]))
    warnings = []
    if lost:
        warnings.append(
            f"{tell(len(lost), verb='is/are')} turned by EXIF and can't be compared, since neither "
            f"size nor photo is known, the first: {lost[0]}. "
            f"{tell(int((~kept).sum()), 'prediction', 'is/are')} left out, and faces there count "
            "as missed; give --photos FOLDER."
        )
    if guessed:
        warnings.append(
            f"{tell(len(guessed), verb='is/are')} turned by EXIF and not found, the first: "
            f"{guessed[0]}; annotations there are taken for boxes of the photo as stored. Give "
            "--photos FOLDER to be sure."
        )
    places = np.flatnonzero(kept)
    return replace(rows, boxes=boxes).take(places, rows.photo[places]), warnings


@dataclass(frozen=True)
class Predictions:
    """A table of predictions.

    By the EXIF `orientation` the photo of each row was turned upright before boxes were found; None
    when boxes are in the frame of the annotations.
    """

    path: Path
    images: tuple[str, ...]  # Distinct names in order of appearance.
    detections: Detections  # The rows; `photo` is an index into `images`.
    orientation: IntArray | None = None
    ran: tuple[tables.PhotoRow, ...] | None = None  # All photos that were run, if it is known.
    notes: tuple[str, ...] = ()  # What was left out while reading, for a person.

    @property
    def turned(self) -> bool:
        """Whether any box has to be turned back, for which sizes or files of photos are needed."""
        return self.orientation is not None and bool((self.orientation != UPRIGHT).any())


@dataclass(frozen=True)
class Placed:
    """Predictions on annotated photos, sorted by photo and then as in the table."""

    detections: Detections  # `photo` is an index into the photos of the ground truth.
    left_out: int  # Number of rows on other photos.
    warnings: tuple[str, ...]  # What was left out or is doubtful, for a person.
    ran: tuple[tables.PhotoRow | None, ...] | None = None
    """(P,) how each annotated photo was run, None for one that never was; None if not known."""


def read_predicted(
    path: Path,
    truth: GroundTruth,
    options: EvaluateOptions = DEFAULT_OPTIONS,
    *,
    truth_path: Path | None = None,
) -> Placed:
    """Read predicted faces from any known format and place them on the annotated photos.

    Ids in COCO results are those of COCO annotations at `truth_path`, which `truth` is from; photo
    sizes for relative coordinates, names for class ids and photos turned by EXIF are looked up
    there when the options do not give them.
    """
    found, place = recognise_predictions(path, options)
    if options.all_classes and found is not Format.TABLE:
        raise InputError(
            f"{path}: class probabilities are in a table only, but these are {found}; give a table "
            "as run.py writes it, or measure by the score alone."
        )
    if found is Format.TABLE:
        wanted, vocabulary = options.all_classes, options.vocabulary
        predictions = read_predictions(place, probabilities=wanted, vocabulary=vocabulary)
    else:
        how = read_options(options.vocabulary)
        truth_form, source = None, Path()
        if truth_path is not None and found is not Format.VOC:
            truth_form, source = recognise_truth(truth_path, options)
        if found is Format.VOC:
            photos = read_voc_predictions(path, how, truth.photos)
        elif found is Format.COCO:
            index = read_coco_index(source) if truth_form is Format.COCO else None
            photos = read_coco_results(path, how, index=index, photos=truth.photos)
        else:
            photos, is_relative = _read_texts(path, found, truth, options, truth_form, source, how)
            if is_relative and not truth.upright:
                there = find_photos(truth.photos, truth_path or path, options.photos)
                places = match_names(truth.photos, [photo.image for photo in photos]).found
                pairs = zip(photos, places, strict=True)
                photos = [_turn_shares_back(photo, truth, place, there) for photo, place in pairs]
        predictions = build_predictions(path, photos, how)
    files: Mapping[str, Path] = {}
    if predictions.turned and (truth_path is not None or options.photos is not None):
        files = find_photos(truth.photos, truth_path or path, options.photos)
    return place_predictions(predictions, truth, files)


def _read_texts(
    path: Path,
    found: Format,
    truth: GroundTruth,
    options: EvaluateOptions,
    truth_form: Format | None,
    source: Path,
    how: ReadOptions,
) -> tuple[list[WrittenPhoto], bool]:
    """Text files, or YOLO's labels, and whether of shares; `source` has the annotations."""
    folder, near, asked = path, [path], options.pred_boxes
    if found is Format.YOLO:
        folders = find_label_folders(path)
        if len(folders) != 1:
            hint = "give one of them."
            raise InputError(f"{path}: {len(folders)} folders 'labels' here or below; {hint}")
        folder, near, asked = folders[0], list_names_folders(path), "ultralytics"
    layout = guess_layout(folder, asked, scored=True)
    if truth_form is Format.YOLO:
        near = [*near, *list_names_folders(source)]
    form = TextFormat(layout, find_class_names(options, near), how, scored=True)
    if layout not in RELATIVE:
        return read_text_boxes(folder, form, NO_SIZES.find), False
    known: dict[str, Size] = {}
    if options.size is None and options.photos is None:
        if truth_form is Format.TABLE:
            # Those of the photos of all splits: predictions may be on any.
            faces = read_faces(source, columns=FACES_COLUMNS, vocabulary=options.vocabulary)
            truth = take_faces(faces, options.vocabulary)
        for place, name in enumerate(truth.photos):
            if (size := truth.find_size(place)) is not None:
                known[name] = size
    sizes = SizeSource(options.size, options.photos, known)
    return read_text_boxes(folder, form, sizes.find), True


def _turn_shares_back(
    photo: WrittenPhoto, truth: GroundTruth, place: int | None, files: Mapping[str, Path]
) -> WrittenPhoto:
    """Boxes that were shares, so of the photo as looked at, in the frame of the annotations."""
    if place is None or photo.size is None or truth.photos[place] not in files:
        return photo
    with suppress(PhotoError):
        frame = read_frame(files[truth.photos[place]], fit_size=truth.find_size(place))
        turn = UPRIGHT if frame.upright else frame.orientation
        parts = [np.divide(face.box, photo.size * 2) for face in photo.faces]
        back = [np.multiply(turn_box_back(Box(*p), 1, 1, turn), frame.size * 2) for p in parts]
        pairs = zip(photo.faces, back, strict=True)
        return replace(photo, faces=tuple(replace(f, box=Box(*box.tolist())) for f, box in pairs))
    return photo


def read_predictions(
    path: Path, *, probabilities: bool = False, vocabulary: Vocabulary = MASKS
) -> Predictions:
    """Read a table of `run.py`, see `read_prediction_table`, and its photos.csv where it is."""
    table = tables.read_prediction_table(path, probabilities=probabilities, vocabulary=vocabulary)
    photos = path.with_name(tables.PHOTOS_FILE)
    ran = tables.read_photos(photos) if path.name == tables.FILE and photos.is_file() else None
    return make_predictions(table, path, ran)


def build_predictions(path: Path, photos: Sequence[WrittenPhoto], how: ReadOptions) -> Predictions:
    """Predictions on photos with distinct names; a box's score serves for face and class alike.

    `UnknownLabelError` when reading them has met unknown classes.
    """
    notes = tuple(f"{path}: {note}" for note in how.check_labels())
    faces = [(place, face) for place, photo in enumerate(photos) for face in photo.faces]
    scores = np.array([score for photo in photos for score in photo.scores], dtype=np.float64)
    index = (how.classes or ()).index
    places = np.array([place for place, _ in faces], dtype=np.int64)
    boxes = np.array([face.box for _, face in faces], dtype=np.float64).reshape(-1, 4)
    labels = np.array([index(face.label) for _, face in faces], dtype=np.int64)
    detections = Detections(places, boxes, labels, scores, scores, None)
    return Predictions(path, tuple(photo.image for photo in photos), detections, notes=notes)


def make_predictions(
    table: tables.PredictionTable, path: Path, ran: tuple[tables.PhotoRow, ...] | None = None
) -> Predictions:
    """Predictions of a table, read or made in memory; messages call it by `path`.

    `ran` are all photos that were run, if it is known.
    """
    numbers = {name: number for number, name in enumerate(dict.fromkeys(table.images))}
    photo = np.array([numbers[name] for name in table.images], dtype=np.int64)
    scores = table.scores, table.detection, table.probabilities
    rows = Detections(photo, table.boxes, table.labels, *scores)
    return Predictions(path, tuple(numbers), rows, table.orientation, ran)


def place_predictions(
    predictions: Predictions, truth: GroundTruth, files: Mapping[str, Path] | None = None
) -> Placed:
    """Keep the rows on annotated photos, in the frame of the annotations, and sort them by photo.

    The files of photos by name tell in doubt which frame the annotations of turned photos are in.
    Raises `AmbiguousPhotoError`: a photo name fits several photos; `TableError`: there are
    predictions, but none on an annotated photo.
    """
    match, rows = match_names(truth.photos, predictions.images), predictions.detections
    # -1 for photos that are not annotated; the empty table has no photo to look up.
    places = np.array([-1 if place is None else place for place in match.found], dtype=np.int64)
    photo = places[rows.photo]
    warnings = [*predictions.notes]
    strangers = [predictions.images[number] for number in np.flatnonzero(places < 0)]
    if strangers and len(strangers) == len(places):
        raise TableError(
            f"{predictions.path}: no photo in it is annotated: it has {tell(len(strangers))} such "
            f"as '{strangers[0]}', the ground truth '{truth.photos[0]}'. Check that they belong "
            "together."
        )
    left_out = int((photo < 0).sum())
    if strangers:
        what = f"on {tell(len(strangers))} not among those measured, the first: {strangers[0]}"
        warnings.append(f"{tell(left_out, 'prediction', 'is/are')} left out, {what}")
    by_name = match.levels["name"] + match.levels["stem"]
    if by_name:
        what = "since the folders in the two tables differ."
        warnings.append(f"{tell(by_name, verb='is/are')} found by file name alone, {what}")
    order = np.argsort(photo, kind="stable")
    order = order[photo[order] >= 0]
    placed = rows.take(order, photo[order])
    if predictions.orientation is not None and predictions.turned:
        turns = predictions.orientation[order]
        placed, told = turn_detections_back(placed, turns, truth, files or {})
        # Before all else: without these photos the figures mean less than they seem to.
        warnings = told + warnings
    warnings += check_sanity(predictions.path, placed, truth)
    ran = None
    if predictions.ran is not None:
        with suppress(AmbiguousPhotoError):  # Of photos without a face: it stays unknown.
            found = match_names(truth.photos, [row.image for row in predictions.ran]).found
            of_photo = dict(zip(found, predictions.ran, strict=True))
            ran = tuple(of_photo.get(place) for place in range(len(truth.photos)))
    return Placed(placed, left_out, tuple(warnings), ran)


def read_summary(path: Path) -> dict[str, Any]:
    """The summary of `run.py` beside its table or in its folder; empty where there is none."""
    if not path.is_dir() and path.name != tables.FILE:
        return {}
    return read_object((path if path.is_dir() else path.parent) / "summary.json") or {}


def repeat_run(path: Path) -> list[str]:
    """What `run.py` warned of, as its summary tells."""
    summary = read_summary(path)
    unlike, drawn = summary.get("unlike"), summary.get("boxes")
    said = [f"run.py: {unlike.get('said')}"] if isinstance(unlike, dict) else []
    if isinstance(drawn, dict):
        said.append(
            f"run.py: faces are boxed as in {drawn.get('source') or 'a file'} (--boxes): where "
            "photos that these offsets were fitted on are measured, the figures flatter."
        )
    return said
