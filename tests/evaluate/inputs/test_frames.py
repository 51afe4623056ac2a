"""Perfect predictions on photos turned by EXIF, from the files to the figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from data_prep.base.boxes import ORIENTATIONS
from data_prep.base.strict_csv import TableError
from evaluate.arrays import GroundTruth
from evaluate.cli import app
from evaluate.inputs.inputs import DEFAULT_OPTIONS, InputOptions, read_predicted, read_truth
from evaluate.inputs.predictions import Placed, read_predictions
from evaluate.report.gallery import _cut_out, _Mark, _read_pixels
from tests.evaluate.voc_files import voc_xml

SIZE = (90, 60)
FACE = (5, 11, 25, 42)
HEADER = "image,xmin,ymin,xmax,ymax,label,score,detection,orientation"
WHITE = np.array([255, 255, 255])


def save_photo(folder: Path, orientation: int, size: tuple[int, int] = SIZE) -> str:
    """A photo with a white face in it; the row that run.py writes for it."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[FACE[1] : FACE[3], FACE[0] : FACE[2]] = WHITE
    exif = Image.Exif()
    exif[0x0112] = orientation
    name = f"{orientation}.png"
    Image.fromarray(pixels).save(folder / name, exif=exif)
    with Image.open(folder / name) as image:
        box = find_face(ImageOps.exif_transpose(image))
    return f"{name},{','.join(f'{side:.2f}' for side in box)},with_mask,0.9,0.9,{orientation}"


def find_face(image: Image.Image) -> tuple[int, int, int, int]:
    """Where it is, told by Pillow alone."""
    box = image.convert("L").getbbox()
    assert box is not None
    return box


def write_table(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "predictions.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def read(
    truth: Path, table: Path, options: InputOptions = DEFAULT_OPTIONS
) -> tuple[GroundTruth, Placed]:
    annotated = read_truth(truth, options)
    return annotated, read_predicted(table, annotated, options, truth_path=truth)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("stated", [SIZE, None])
@pytest.mark.parametrize("size", [SIZE, (60, 60)])
def test_perfect_table_of_turned_photos(
    photos: Path, tmp_path: Path, size: tuple[int, int], stated: tuple[int, int] | None
) -> None:
    rows = []
    for orientation in ORIENTATIONS:
        rows.append(save_photo(photos, orientation, size))
        xml = voc_xml(f"{orientation}.png", [("with_mask", FACE)], stated and size)
        (photos / f"{orientation}.xml").write_text(xml)
    table, out = write_table(tmp_path, *rows), tmp_path / "out"
    options = ["-o", str(out), "--bootstrap", "0", "--against", str(table)]
    result = CliRunner().invoke(app, [str(photos), str(table), *options])
    assert result.exit_code == 0, result.output
    record = json.loads((out / "metrics.json").read_text())
    assert (record["map50_95"], record["face_ap50"]) == (1, 1)
    assert record["against"]["map50"]["other"] == 1
    assert not record["warnings"]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_annotations_of_the_upright_photo(photos: Path, tmp_path: Path, orientation: int) -> None:
    """Only the upright photo has the size they state, or, in YOLO's form, always."""
    row = save_photo(photos, orientation)
    with Image.open(photos / f"{orientation}.png") as image:
        upright = ImageOps.exif_transpose(image)
    box, (width, height) = find_face(upright), upright.size
    truth = tmp_path / "yolo"
    (truth / "labels").mkdir(parents=True)
    photos.rename(truth / "images")
    x, y = (box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height
    w, h = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    (truth / "labels" / f"{orientation}.txt").write_text(f"0 {x} {y} {w} {h}\n")
    (truth / "classes.txt").write_text("with_mask\n")
    table = write_table(tmp_path, row)
    annotated, placed = read(truth, table)
    assert placed.detections.boxes == pytest.approx(annotated.boxes)
    if (width, height) != SIZE:
        xml = voc_xml(f"{orientation}.png", [("with_mask", box)], (width, height))
        (truth / "images" / "a.xml").write_text(xml)
        annotated, placed = read(truth / "images", table)
        assert placed.detections.boxes.tolist() == annotated.boxes.tolist() == [list(box)]


def test_photos_that_are_not_there(photos: Path, tmp_path: Path) -> None:
    """A stated size is taken for that of the stored photo, with a word where it may be another."""
    rows = [save_photo(photos, orientation) for orientation in ORIENTATIONS]
    truth = tmp_path / "annotations"
    truth.mkdir()
    for orientation in ORIENTATIONS:
        xml = voc_xml(f"{orientation}.png", [("with_mask", FACE)], SIZE)
        (truth / f"{orientation}.xml").write_text(xml)
    table = write_table(tmp_path, *rows)
    annotated, placed = read(truth, table)
    assert placed.detections.boxes.tolist() == annotated.boxes.tolist()
    assert placed.warnings[0].startswith("4 photos are turned by EXIF and were not found")
    assert not read(truth, table, InputOptions(photos=photos))[1].warnings


def test_size_that_can_not_be_known_is_said(photos: Path, tmp_path: Path) -> None:
    truth = tmp_path / "annotations"
    truth.mkdir()
    for orientation in (1, 3):
        xml = voc_xml(f"{orientation}.png", [("with_mask", FACE)], None)
        (truth / f"{orientation}.xml").write_text(xml)
    table = write_table(tmp_path, save_photo(photos, 1), save_photo(photos, 3))
    _, placed = read(truth, table)
    assert placed.detections.boxes.tolist() == [list(FACE)]
    assert placed.warnings[0].startswith("1 photos are turned by EXIF and can't be compared")
    annotated, placed = read(truth, table, InputOptions(photos=photos))
    assert placed.detections.boxes.tolist() == annotated.boxes.tolist()
    assert not placed.warnings


def test_pixels_in_text_files_are_those_of_the_stored_photo(photos: Path, tmp_path: Path) -> None:
    truth = tmp_path / "texts"
    truth.mkdir()
    (truth / "6.txt").write_text("with_mask 5 11 75 42\n")
    save_photo(photos, 6)
    annotated, placed = read(
        truth,
        write_table(tmp_path, "6.png,7,5,49,80,with_mask,0.9,0.9,6"),
        InputOptions(photos=photos),
    )
    assert placed.detections.boxes.tolist() == annotated.boxes.tolist() == [[5, 11, 80, 53]]


def test_table_without_the_column(photos: Path, tmp_path: Path) -> None:
    """Boxes are taken as they are; so they were before there was the column."""
    save_photo(photos, 6)
    (photos / "6.xml").write_text(voc_xml("6.png", [("with_mask", FACE)], SIZE))
    row = f"6.png,{','.join(map(str, FACE))},with_mask,0.9,0.9"
    table = write_table(tmp_path, row, header=HEADER.removesuffix(",orientation"))
    assert read_predictions(table).orientation is None
    annotated, placed = read(photos, table)
    assert placed.detections.boxes.tolist() == annotated.boxes.tolist()


@pytest.mark.parametrize("value", ["0", "9", "-1", "2.5", "nan", "", "left"])
def test_bad_orientations_are_named(tmp_path: Path, value: str) -> None:
    rows = [f"a.png,0,0,9,9,with_mask,0.9,0.9,{cell}" for cell in ("1", value)]
    with pytest.raises(TableError, match=r"predictions\.csv, line 3: .*orientation"):
        read_predictions(write_table(tmp_path, *rows))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("upright", [False, True])
def test_pictures_show_the_pixels_that_boxes_refer_to(
    photos: Path, orientation: int, upright: bool
) -> None:
    save_photo(photos, orientation)
    path = photos / f"{orientation}.png"
    with Image.open(path) as image:
        shown = ImageOps.exif_transpose(image) if upright else image.copy()
    truth = GroundTruth(
        (path.name,),
        np.zeros(1, np.int64),
        np.array([find_face(shown)], np.float64),
        np.zeros(1, np.int64),
        np.zeros(1, np.bool_),
        sizes=np.array([shown.size], np.float64),
        upright=upright,
    )
    pixels = _read_pixels(path, truth, 0)
    assert pixels is not None
    assert np.array_equal(pixels, np.asarray(shown))
    assert _cut_out(pixels, truth.boxes, [_Mark(truth.boxes[0], "with_mask", annotated=True)])
