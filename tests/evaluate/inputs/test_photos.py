"""Photos by name, their sizes, and the frame their boxes are in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from typer.testing import CliRunner

from data_prep.base.boxes import ORIENTATIONS
from data_prep.base.photo import PhotoError, read_photo
from data_prep.base.tables import TableError
from data_prep.formats.input_files import InputError
from data_prep.formats.photo_match import AmbiguousPhotoError, match_names
from evaluate.arrays import GroundTruth
from evaluate.cli import app
from evaluate.inputs.photos import SizeSource, find_photos
from evaluate.inputs.predictions import Placed, read_predicted, read_predictions
from evaluate.inputs.truth import DEFAULT_OPTIONS, read_truth
from evaluate.options import EvaluateOptions
from evaluate.report.gallery import _cut_out
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
    truth: Path, table: Path, options: EvaluateOptions = DEFAULT_OPTIONS
) -> tuple[GroundTruth, Placed]:
    annotated = read_truth(truth, options)
    return annotated, read_predicted(table, annotated, options, truth_path=truth)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(("size", "stated"), [(SIZE, True), ((60, 60), True), (SIZE, False)])
def test_perfect_table_of_turned_photos(
    photos: Path, tmp_path: Path, size: tuple[int, int], stated: bool
) -> None:
    rows = []
    for orientation in ORIENTATIONS:
        rows.append(save_photo(photos, orientation, size))
        xml = voc_xml(f"{orientation}.png", [("with_mask", FACE)], size if stated else None)
        (photos / f"{orientation}.xml").write_text(xml)
    table, out = write_table(tmp_path, *rows), tmp_path / "out"
    options = ["-o", str(out), "--bootstrap", "0", "--against", str(table)]
    result = CliRunner().invoke(app, [str(photos), str(table), *options])
    assert result.exit_code == 0, result.output
    record = json.loads((out / "metrics.json").read_text())
    assert (record["map50_95"], record["face_ap50"]) == (1, 1)
    assert record["against"]["map50"]["other"] == 1
    # For photos whose size is the same either way nothing tells which way boxes are drawn.
    (told,) = record["warnings"]
    assert "as stored is assumed" in told
    more = {(SIZE, True): 2, ((60, 60), True): 6, (SIZE, False): 6}[size, stated]
    assert told.endswith(f"And {more} more of this kind.")


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


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_predicted_shares_are_those_of_the_upright_photo(
    photos: Path, tmp_path: Path, orientation: int
) -> None:
    """As YOLO's trainers see it, whichever photo the annotations are of."""
    save_photo(photos, orientation)
    with Image.open(photos / f"{orientation}.png") as image:
        upright = ImageOps.exif_transpose(image)
    box, (width, height) = find_face(upright), upright.size
    x, y = (box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height
    w, h = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    labels = tmp_path / "found" / "labels"
    labels.mkdir(parents=True)
    (labels / f"{orientation}.txt").write_text(f"0 {x} {y} {w} {h} 0.9\n")
    (labels.parent / "classes.txt").write_text("with_mask\n")
    for face, size in ((FACE, SIZE), *([(box, (width, height))] * ((width, height) != SIZE))):
        xml = voc_xml(f"{orientation}.png", [("with_mask", face)], size)
        (photos / "a.xml").write_text(xml)
        annotated, placed = read(photos, labels.parent)
        assert annotated.boxes.tolist() == [list(face)]
        assert placed.detections.boxes == pytest.approx(annotated.boxes)


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
    assert placed.warnings[0].startswith("4 photos are turned by EXIF and not found")
    assert not read(truth, table, EvaluateOptions(photos=photos))[1].warnings


def test_size_that_can_not_be_known_is_said(photos: Path, tmp_path: Path) -> None:
    truth = tmp_path / "annotations"
    truth.mkdir()
    for orientation in (1, 3):
        xml = voc_xml(f"{orientation}.png", [("with_mask", FACE)], None)
        (truth / f"{orientation}.xml").write_text(xml)
    table = write_table(tmp_path, save_photo(photos, 1), save_photo(photos, 3))
    _, placed = read(truth, table)
    assert placed.detections.boxes.tolist() == [list(FACE)]
    assert placed.warnings[0].startswith("1 photo is turned by EXIF and can't be compared")
    annotated, placed = read(truth, table, EvaluateOptions(photos=photos))
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
        EvaluateOptions(photos=photos),
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
    pixels = read_photo(path, upright=truth.upright, fit_size=truth.find_size(0)).pixels
    assert np.array_equal(pixels, np.asarray(shown))
    assert _cut_out(pixels, truth.boxes, [(truth.boxes[0], "#00aa00", True)])


def save(path: Path, size: tuple[int, int] = (4, 4)) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def test_order_of_the_sources(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", (40, 20))
    known = {"x/a.png": (1, 1), "x/b.png": (7, 8)}
    names = ["a", "b", "c"]
    assert SizeSource(photos=tmp_path, known=known).find(names) == {"a": (40, 20), "b": (7, 8)}
    assert SizeSource(fixed=(5, 6), photos=tmp_path).find(names) == dict.fromkeys(names, (5, 6))
    assert SizeSource().find(names) == {}


def test_photos_that_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder of photos"):
        SizeSource(photos=tmp_path / "missing").find(["a"])
    save(tmp_path / "a.jpg", (40, 20))
    save(tmp_path / "a.png", (40, 20))
    with pytest.raises(InputError, match=r"looking for photo sizes.*could be any of"):
        SizeSource(photos=tmp_path).find(["a"])
    (tmp_path / "b.jpg").write_text("no photo")
    with pytest.raises(PhotoError, match=r"b\.jpg: not a readable photo"):
        SizeSource(photos=tmp_path).find(["b"])


def test_beside_the_annotations(tmp_path):
    photo = save(tmp_path / "images" / "a.jpg")
    (tmp_path / "annotations").mkdir()
    assert find_photos(["images/a.jpg"], tmp_path) == {"images/a.jpg": photo}
    assert find_photos(["a", "b"], tmp_path) == {"a": photo}
    assert find_photos(["a.png"], tmp_path / "annotations", tmp_path) == {"a.png": photo}
    assert find_photos(["a.png"], tmp_path / "annotations", tmp_path / "none") == {}


def test_sources_of_a_faces_csv(tmp_path):
    photo = save(tmp_path / "set" / "a.jpg")
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "faces.csv").write_text("image\n")
    names = ["set/a.jpg", "set/b.jpg", "other/a.jpg"]
    assert find_photos(names, prepared) == {}
    manifest = {"datasets": [{"source": "set", "root": str(tmp_path / "set")}]}
    (prepared / "manifest.json").write_text(json.dumps(manifest))
    assert find_photos(names, prepared) == {"set/a.jpg": photo}
    assert find_photos(names, prepared / "faces.csv") == {"set/a.jpg": photo}
    (prepared / "manifest.json").write_text("[1, 2")
    assert find_photos(names, prepared) == {}


def test_names_that_fit_several_files_are_found_by_path_only(tmp_path):
    first = save(tmp_path / "one" / "a.jpg")
    save(tmp_path / "two" / "a.jpg")
    save(tmp_path / "three" / "a.jpg")
    assert find_photos(["a.jpg", "one/a.jpg"], tmp_path) == {"one/a.jpg": first}


@pytest.mark.parametrize(
    ("annotated", "predicted", "found"),
    [
        (["a.jpg", "b.jpg"], ["b.jpg"], (1,)),
        (["x/a.jpg", "y/a.jpg"], ["y/a.jpg", "x/a.jpg"], (1, 0)),
        (["images/a.jpg", "images/b.jpg"], ["b.jpg", "a.jpg"], (1, 0)),
        (["a.jpg"], ["set/images/a.jpg"], (0,)),
        (["a.png", "b.png"], ["b.jpg", "a.JPG"], (1, 0)),
        (["annotations/a.png"], ["images/a.png"], (0,)),
        (["annotations/a.png"], ["images/a.jpg"], (0,)),
        (["images/A.JPG"], ["a.jpg"], (0,)),
        (["images/a.jpg"], ["images\\a.jpg"], (0,)),
        # A letter with its accent written in one sign and in two.
        (["ma\u0301scara.jpg"], ["m\u00e1scara.jpg"], (0,)),
        (["crowd.1", "crowd.2"], ["crowd.2.jpg"], (1,)),
        # The same path goes before the same stem.
        (["a.jpg", "a.png"], ["a.png", "a.jpg"], (1, 0)),
        (["a.jpg"], ["ba.jpg", "c.jpg"], (None, None)),
        (["a.jpg"], [], ()),
        (["a b.jpg", "a%20b.png"], ["https://x.y/a%2520b.jpg?t=1", "a%20b.jpg"], (0, 1)),
        # As Label Studio writes them, in annotations.
        (["upload/3/0a1b2c3d-my%20photo.jpg", "1.png"], ["1.png", "my photo.jpg"], (1, 0)),
        (["/data/local-files/?d=images/1.2.png", "b.png"], ["b.png", "images/1.2.png"], (1, 0)),
        (["images\\a%2Bb+c.jpg"], ["images/a+b c.jpg"], (0,)),
        # What one name means as written, no other means by being spelt otherwise.
        (["a+b.jpg", "a b.jpg", "0a1b2c3d-a b.jpg"], ["a b.jpg"], (1,)),
        (["x/a b.jpg"], ["a+b.jpg", "a%20b.jpg", "a b.jpg"], (None, None, 0)),
        # What fits one photo alone leaves the others to names that could be several.
        (["images/a.jpg", "images/sub/a.jpg"], ["a.jpg", "sub/a.jpg"], (0, 1)),
        (["a.jpg", "sub/a.jpg"], ["sub/a", "a"], (1, 0)),
    ],
)
def test_names(annotated: list[str], predicted: list[str], found: tuple[int | None, ...]) -> None:
    assert match_names(annotated, predicted).found == found


def test_same_name_elsewhere_is_another_photo_where_folders_correspond() -> None:
    match = match_names(["valid/1.jpg", "valid/2.jpg"], ["valid/1.jpg", "train/2.jpg"])
    assert match.found == (0, None)
    assert {level: count for level, count in match.levels.items() if count} == {"path": 1}


@pytest.mark.parametrize(
    ("annotated", "predicted"),
    [
        (["x/a.jpg", "y/a.jpg"], ["a.jpg"]),
        (["a.png", "a.bmp"], ["a.jpg"]),
        (["a.bmp"], ["a.jpg", "a.png"]),
        (["x/a.jpg"], ["y/a.jpg", "z/a.jpg"]),
    ],
)
def test_ambiguous_names_are_refused(annotated: list[str], predicted: list[str]) -> None:
    with pytest.raises(AmbiguousPhotoError, match="could be any of"):
        match_names(annotated, predicted)
