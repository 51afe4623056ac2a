from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.base.labels import MASKS
from data_prep.formats.class_names import ClassNames
from data_prep.formats.input_files import InputError
from data_prep.formats.photo_match import WrittenPhoto
from data_prep.formats.yolo_layout import is_yolo, list_names_folders
from evaluate.arrays import Detections
from evaluate.inputs.inputs import InputOptions, read_predicted
from evaluate.inputs.photos import SizeSource
from evaluate.inputs.truth import build_truth, read_yolo_truth

NAMES = ClassNames(dict(enumerate(MASKS.classes)), Path("data.yaml"))


def add(
    root: Path, part: str, stem: str, text: str | None, size: tuple[int, int] | None = (200, 100)
) -> None:
    """A photo and its labels; `part` with a * where labels and images go."""
    if text is not None:
        path = root / part.replace("*", "labels") / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if size is not None:
        path = root / part.replace("*", "images") / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size).save(path)


def test_boxes_outlines_and_photos_without_faces(tmp_path: Path) -> None:
    outline = "2 0.1 0.2 0.3 0.9 0.2 0.4 0.15 0.1"
    add(tmp_path, "*", "a", f"0 0.5 0.3 0.5 0.1\n\n{outline}\n")
    add(tmp_path, "*", "b", "")
    add(tmp_path, "*", "c", None)
    (tmp_path / "labels" / "classes.txt").write_text("x")
    truth = read_yolo_truth(tmp_path, NAMES, MASKS)
    assert truth.photos == ("images/a.png", "images/b.png", "images/c.png")
    np.testing.assert_allclose(truth.boxes, [[50, 25, 150, 35], [20, 10, 60, 90]])
    assert truth.labels.tolist() == [0, 2]
    assert truth.photo.tolist() == [0, 0]
    assert not truth.difficult.any()
    assert len(truth.warnings) == 1
    assert truth.warnings[0].startswith("1 photos have no label file")


@pytest.mark.parametrize(
    ("part", "given", "photo"),
    [
        ("*", ".", "images/a.png"),
        ("*", "labels", "a.png"),
        ("*/val", ".", "images/val/a.png"),
        ("*/val", "labels/val", "a.png"),
        ("valid/*", ".", "valid/images/a.png"),
        ("valid/*", "valid", "images/a.png"),
        ("valid/*", "valid/labels", "a.png"),
    ],
)
def test_layouts(tmp_path: Path, part: str, given: str, photo: str) -> None:
    add(tmp_path, part, "a", "1 0.5 0.5 0.5 0.5")
    folder = tmp_path / given
    assert is_yolo(folder)
    truth = read_yolo_truth(folder, NAMES, MASKS)
    assert truth.photos == (photo,)
    assert truth.boxes.tolist() == [[50, 25, 150, 75]]
    assert truth.find_size(0) == (200, 100)
    assert tmp_path.resolve() in list_names_folders(folder)


def test_sizes_without_photos(tmp_path: Path) -> None:
    add(tmp_path, "*", "a", "1 0.5 0.5 0.5 0.5", size=None)
    add(tmp_path, "*", "b", "", size=None)
    with pytest.raises(InputError, match=r"a\.txt, line 1: the size of the photo is not"):
        read_yolo_truth(tmp_path, NAMES, MASKS)
    truth = read_yolo_truth(tmp_path, NAMES, MASKS, SizeSource(fixed=(40, 20)))
    assert truth.photos == ("images/a", "images/b")
    assert truth.boxes.tolist() == [[10, 5, 30, 15]]


def test_faces_over_the_border(tmp_path: Path) -> None:
    add(tmp_path, "*", "a", "0 0 0.5 0.5 0.5\n0 1.5 0.5 0.1 0.1\n0 0.5 0.5 0 0.5")
    truth = read_yolo_truth(tmp_path, NAMES, MASKS)
    assert truth.boxes.tolist() == [[0, 25, 50, 75]]
    assert truth.warnings[0].startswith("1 annotated boxes reach over")
    assert truth.warnings[1].startswith("2 annotated boxes can't be used")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.5", "line 2: 3 numbers behind the class id"),
        ("0 0.5 0.5 0.5 0.5 0.9", "line 2: 5 numbers .*Five numbers are a prediction's"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "line 2: 7 numbers"),
        ("0", "line 2: 0 numbers"),
        ("3 0.5 0.5 0.5 0.5", r"line 2: class id 3 is not in data\.yaml"),
        ("0 0.5 0.5 nan 0.5", "line 2: a coordinate is nan"),
        ("0 0.5 x 0.5 0.5", "line 2: 'x' for a coordinate is not a number"),
        ("0 0.5 0.5 -0.5 0.5", "line 2: box .* is inverted; width and height"),
        ("0 100 50 20 30", "line 2: 100 is no relative coordinate"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    add(tmp_path, "*", "a", f"0 0.5 0.5 0.5 0.5\n{line}")
    with pytest.raises(InputError, match=message) as caught:
        read_yolo_truth(tmp_path, NAMES, MASKS)
    assert str(tmp_path / "labels" / "a.txt") in str(caught.value)


def test_folders_without_labels(tmp_path: Path) -> None:
    assert not is_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("names: [x]")
    assert is_yolo(tmp_path)
    with pytest.raises(InputError, match="no label files"):
        read_yolo_truth(tmp_path, NAMES, MASKS)
    add(tmp_path, "*", "a", None)
    (tmp_path / "labels").mkdir()
    with pytest.raises(InputError, match="no label files"):
        read_yolo_truth(tmp_path, NAMES, MASKS)


def test_two_photos_of_one_name(tmp_path: Path) -> None:
    add(tmp_path, "*", "a", "")
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "a.jpg")
    with pytest.raises(InputError, match=r"a\.png: a\.jpg is there too"):
        read_yolo_truth(tmp_path, NAMES, MASKS)


def read_found(tmp_path: Path, folder: Path) -> Detections:
    (tmp_path / "masks.names").write_text("\n".join(MASKS.classes))
    photo = WrittenPhoto(tmp_path, "a.png", "a.png", None, ())
    options = InputOptions(names=tmp_path / "masks.names", image_size=(40, 20))
    return read_predicted(folder, build_truth([photo], MASKS), options).detections


def test_predictions_have_the_score_last(tmp_path: Path) -> None:
    add(tmp_path, "*", "a", "1 0.5 0.5 0.5 0.5 0.25\n", size=None)
    for folder in (tmp_path, tmp_path / "labels"):
        found = read_found(tmp_path, folder)
        assert found.boxes.tolist() == [[10, 5, 30, 15]]
        assert found.scores.tolist() == [0.25]
        assert found.labels.tolist() == [1]
    add(tmp_path, "more/*", "a", "", size=None)
    with pytest.raises(InputError, match="2 folders 'labels'"):
        read_found(tmp_path, tmp_path)


def test_predictions_without_scores(tmp_path: Path) -> None:
    add(tmp_path, "*", "a", "1 0.5 0.5 0.5 0.5", size=None)
    with pytest.raises(InputError, match=r"line 1: 5 values; .*height, score"):
        read_found(tmp_path, tmp_path)
