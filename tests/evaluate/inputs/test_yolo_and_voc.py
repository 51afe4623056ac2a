"""YOLO datasets, and predictions in YOLO labels and VOC files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.base.errors import DatasetError
from data_prep.base.labels import MASKS
from data_prep.formats.input_files import InputError
from data_prep.formats.label_files import is_yolo, list_names_folders
from data_prep.formats.photo_match import WrittenPhoto
from data_prep.formats.voc import read_voc_predictions
from evaluate.arrays import Detections, GroundTruth
from evaluate.inputs.predictions import Predictions, build_predictions, read_predicted
from evaluate.inputs.recognise import read_options
from evaluate.inputs.truth import Annotations, build_truth, read_truth
from evaluate.options import EvaluateOptions
from tests.evaluate.voc_files import voc_xml


def read_yolo(folder: Path, names: Path, size: str | None = None) -> GroundTruth:
    return read_truth(folder, EvaluateOptions(names=names, image_size=size))


def names_of(folder: Path) -> Path:
    """A file of class names beside the folder of a test."""
    path = folder.with_suffix(".names")
    path.write_text("\n".join(MASKS.classes))
    return path


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
    truth = read_yolo(tmp_path, names_of(tmp_path))
    assert truth.photos == ("images/a.png", "images/b.png", "images/c.png")
    np.testing.assert_allclose(truth.boxes, [[50, 25, 150, 35], [20, 10, 60, 90]])
    assert truth.labels.tolist() == [0, 2]
    assert truth.photo.tolist() == [0, 0]
    assert not truth.difficult.any()
    assert len(truth.warnings) == 1
    assert truth.warnings[0].startswith("1 photo has no label file")


def test_photos_in_folders_without_labels_are_background(tmp_path: Path) -> None:
    add(tmp_path, "*/day", "a", "0 0.5 0.3 0.5 0.1\n")
    add(tmp_path, "*/night", "b", None)
    add(tmp_path, "*", "c", None)
    add(tmp_path, "other", "d", None)
    truth = read_yolo(tmp_path, names_of(tmp_path))
    assert truth.photos == ("images/c.png", "images/day/a.png", "images/night/b.png")
    assert truth.warnings[0].startswith("2 photos have no label file")
    assert read_yolo(tmp_path / "labels" / "day", names_of(tmp_path)).photos == ("a.png",)


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
    truth = read_yolo(folder, names_of(tmp_path))
    assert truth.photos == (photo,)
    assert truth.boxes.tolist() == [[50, 25, 150, 75]]
    assert truth.find_size(0) == (200, 100)
    assert tmp_path.resolve() in list_names_folders(folder)


def test_sizes_without_photos(tmp_path: Path) -> None:
    add(tmp_path, "*", "a", "1 0.5 0.5 0.5 0.5", size=None)
    add(tmp_path, "*", "b", "", size=None)
    with pytest.raises(DatasetError, match=r"a\.txt:1: the size of the photo is not") as caught:
        read_yolo(tmp_path, names_of(tmp_path))
    assert str(tmp_path / "labels" / "a.txt") in str(caught.value)
    truth = read_yolo(tmp_path, names_of(tmp_path), "40x20")
    assert truth.photos == ("images/a", "images/b")
    assert truth.boxes.tolist() == [[10, 5, 30, 15]]


def test_faces_over_the_border(tmp_path: Path) -> None:
    add(tmp_path, "*", "a", "0 0 0.5 0.5 0.5\n0 1.5 0.5 0.1 0.1\n0 0.5 0.5 0 0.5")
    truth = read_yolo(tmp_path, names_of(tmp_path))
    assert truth.boxes.tolist() == [[0, 25, 50, 75]]
    assert truth.warnings[0].startswith("1 annotated box reaches over")
    assert truth.warnings[1].startswith("2 annotations are left out")


def test_folders_without_labels(tmp_path: Path) -> None:
    assert not is_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("names: [x]")
    assert is_yolo(tmp_path)
    add(tmp_path, "*", "a", None)
    (tmp_path / "labels").mkdir()
    with pytest.raises(InputError, match="no label files"):
        read_yolo(tmp_path, names_of(tmp_path))
    add(tmp_path, "*", "a", "")
    Image.new("RGB", (9, 9)).save(tmp_path / "images" / "a.jpg")
    with pytest.raises(InputError, match=r"a\.png: a\.jpg is there too"):
        read_yolo(tmp_path, names_of(tmp_path))


def read_found(tmp_path: Path, folder: Path) -> Detections:
    (tmp_path / "masks.names").write_text("\n".join(MASKS.classes))
    photo = WrittenPhoto(tmp_path, "a.png", "a.png", None, ())
    options = EvaluateOptions(names=tmp_path / "masks.names", image_size="40x20")
    return read_predicted(folder, build_truth(Annotations([photo]), MASKS), options).detections


def test_predictions_have_the_score_last(tmp_path: Path) -> None:
    add(tmp_path, "*", "a", "1 0.5 0.5 0.5 0.5 0.25\n", size=None)
    for folder in (tmp_path, tmp_path / "labels"):
        found = read_found(tmp_path, folder)
        assert found.boxes.tolist() == [[10, 5, 30, 15]]
        assert found.scores.tolist() == [0.25]
        assert found.labels.tolist() == [1]
    add(tmp_path, "*", "a", "1 0.5 0.5 0.5 0.5", size=None)
    with pytest.raises(InputError, match=r"line 1: 5 values; .*height, score"):
        read_found(tmp_path, tmp_path)
    add(tmp_path, "more/*", "a", "", size=None)
    with pytest.raises(InputError, match="2 folders 'labels'"):
        read_found(tmp_path, tmp_path)


FACES = [("with_mask", (1, 2, 3.5, 4)), ("no mask", (-5, 6, 7, 8))]


def xml(filename: str, *scores: str, tag: str = "score") -> str:
    text = voc_xml(filename, FACES[: len(scores)], (100, 50))
    parts = text.split("<bndbox>")
    scored = [f"<{tag}>{score}</{tag}><bndbox>" for score in scores]
    return parts[0] + "".join(a + b for a, b in zip(scored, parts[1:], strict=True))


def read(folder: Path, photos: tuple[str, ...] = ()) -> Predictions:
    options = read_options(MASKS)
    return build_predictions(folder, read_voc_predictions(folder, options, photos), options)


@pytest.mark.parametrize("tag", ["score", "confidence"])
def test_objects_with_scores(tmp_path: Path, tag: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.xml").write_text(xml("a.jpg", "0.5", " 1e-3 ", tag=tag))
    (tmp_path / "b.xml").write_text(xml("b.jpg"))
    found = read(tmp_path, ("b.jpg", "images/a.jpg"))
    assert found.images == ("b.jpg", "sub/a.jpg")
    rows = found.detections
    assert rows.photo.tolist() == [1, 1]
    assert rows.boxes.tolist() == [[1, 2, 3.5, 4], [-5, 6, 7, 8]]
    assert rows.labels.tolist() == [0, 1]
    assert rows.scores.tolist() == rows.detection.tolist() == [0.5, 0.001]
    assert rows.probabilities is None


def test_names_of_photos(tmp_path: Path) -> None:
    # Only a name that an annotated photo has is worth more than that of the XML.
    (tmp_path / "a.xml").write_text(xml("C:\\x\\one.png", "0.5"))
    (tmp_path / "b.xml").write_text(xml("image.png", "0.5"))
    (tmp_path / "c.xml").write_text(xml("one.png", "0.5"))
    assert read(tmp_path, ("p/One.jpg",)).images == ("one.png", "b", "c.png")
    assert read(tmp_path).images == ("a", "b", "c")


def test_two_files_for_one_photo_or_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no VOC files"):
        read(tmp_path)
    (tmp_path / "a.xml").write_text(xml("b.png", "0.5"))
    (tmp_path / "b.xml").write_text(xml("b.png", "0.5"))
    with pytest.raises(InputError, match=r"b\.xml: its photo b\.png has predictions already"):
        read(tmp_path, ("b.png",))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<score>0.5</score>", "", "line 3: object 0 has no <score> or <confidence>; .*ground"),
        ("<score>0.5</score>", "<score/>", "no <score> or <confidence>"),
        (">0.5</score>", ">high</score>", "line 3: object 0: 'high' for score is not a number"),
        ("0.5</score>", "nan</score>", "score is nan"),
        ("0.5</score>", "50</score>", "score is 50; scores lie between 0 and 1"),
        ("<name>with_mask</name>", "", "line 3: object 0: no class name"),
        ("<xmin>1<", "<xmin>9<", r"line 3: object 0: box \(9, 2, 3\.5, 4\) is inverted"),
        ("<xmin>1</xmin>", "", "line 3: object 0: '' for <xmin> is not a number"),
        ("<xmin>1</xmin>", "<xmin>inf</xmin>", "line 3: object 0: <xmin> is inf"),
    ],
)
def test_bad_objects_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = xml("a.jpg", "0.5").replace("<object>", "\n\n<object>")
    assert old in text
    (tmp_path / "a.xml").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path)
    assert str(tmp_path / "a.xml") in str(caught.value)
