from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from data_prep.base.labels import MASKS, UnknownLabelError
from data_prep.formats.coco import read_coco_index, read_coco_results
from data_prep.formats.input_files import InputError
from evaluate.arrays import GroundTruth
from evaluate.inputs.predictions import Predictions, build_predictions
from evaluate.inputs.truth import read_coco_truth, read_options

ANNOTATIONS: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "sub\\b.jpg", "width": 100, "height": 50},
        {"id": "x", "file_name": "a.jpg"},
    ],
    "categories": [
        {"id": 0, "name": "faces"},
        {"id": 5, "name": "no mask"},
        {"id": 9, "name": "with_mask"},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 9, "bbox": [1, 2, 10, 20], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 5, "bbox": [90.5, 0, 20, 9], "iscrowd": 1},
    ],
}
"""Two photos, the first with two faces; a category that is no class but not used either."""
FACE = {"image_id": 7, "category_id": 9, "bbox": [1, 2, 10, 20]}


def result(**changes: Any) -> dict[str, Any]:
    return {**FACE, "score": 0.5, **changes}


def face(**changes: Any) -> dict[str, Any]:
    return {"annotations": [{**FACE, **changes}]}


def image(**changes: Any) -> dict[str, Any]:
    return {"images": [*ANNOTATIONS["images"], {"id": 8, "file_name": "c.jpg", **changes}]}


def write(folder: Path, content: Any) -> Path:
    path = folder / "boxes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def truth_of(folder: Path, **changes: Any) -> GroundTruth:
    return read_coco_truth(write(folder, {**ANNOTATIONS, **changes}), MASKS)


def results_of(
    folder: Path, results: Any, photos: Sequence[str] = (), *, by_name: bool = False
) -> Predictions:
    """By the ids of the annotations, or by the names of the photos."""
    index = None if by_name else read_coco_index(write(folder, ANNOTATIONS))
    path = write(folder, results)
    found = read_coco_results(path, read_options(MASKS), index=index, photos=photos)
    return build_predictions(path, found, MASKS)


def test_annotations(tmp_path: Path) -> None:
    truth = truth_of(tmp_path)
    assert truth.photos == ("a.jpg", "sub/b.jpg")
    assert truth.photo.tolist() == [1, 1]
    assert truth.boxes.tolist() == [[1, 2, 11, 22], [90.5, 0, 100, 9]]
    assert truth.labels.tolist() == [0, 1]
    assert truth.difficult.tolist() == [False, True]
    assert len(truth.warnings) == 1
    assert "1 annotated boxes reach over" in truth.warnings[0]
    assert "annotations[1]" in truth.warnings[0]


@pytest.mark.parametrize("name", ["iscrowd", "difficult", "ignore"])
@pytest.mark.parametrize(
    ("value", "difficult"), [(1, True), (True, True), (0, False), (None, False)]
)
def test_difficult_faces(tmp_path: Path, name: str, value: Any, difficult: bool) -> None:
    assert truth_of(tmp_path, **face(**{name: value})).difficult.tolist() == [difficult]


def test_results_by_ids(tmp_path: Path) -> None:
    results = [result(), result(image_id="x", category_id=5.0, score=1, bbox=[-5, 0, 9.5, 0])]
    found = results_of(tmp_path, results)
    assert found.images == ("sub/b.jpg", "a.jpg")
    rows = found.detections
    assert rows.photo.tolist() == [0, 1]
    assert rows.boxes.tolist() == [[1, 2, 11, 22], [-5, 0, 4.5, 0]]
    assert rows.labels.tolist() == [0, 1]
    assert rows.scores.tolist() == rows.detection.tolist() == [0.5, 1]
    assert rows.probabilities is None
    assert results_of(tmp_path, []).detections.boxes.shape == (0, 4)


def test_results_without_coco_annotations(tmp_path: Path) -> None:
    photos = ["d/000012.jpg", "12b.jpg", "007.png", "7.png", "e/5.jpg", "f/5.jpg", "crowd.2"]
    results = [result(image_id=i, category_id=3) for i in (12, "12b", 7, 5, 99, "crowd.2")]
    found = results_of(tmp_path, results, photos, by_name=True)
    assert found.images == ("d/000012.jpg", "12b", "7.png", "5", "99", "crowd.2")
    assert set(found.detections.labels.tolist()) == {2}


def test_categories_that_are_no_classes(tmp_path: Path) -> None:
    with pytest.raises(UnknownLabelError, match=r"annotations\[0\]: category_id 0: unknown"):
        truth_of(tmp_path, **face(category_id=0))
    with pytest.raises(UnknownLabelError, match=r"entry \[0\]: category_id 0: unknown"):
        results_of(tmp_path, [result(category_id=0)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n", "the file is empty"),
        ('{"images": [\n}', "line 2: broken JSON"),
        ("[" * 100_000, "nested too deep"),
        ("1" * 5000, "JSON that can't be read"),
        ("[]", "a list instead of COCO annotations"),
        ("3", "a single value instead of"),
        ("{}", "an object with nothing in it instead of"),
        ('{"images": [], "\\ud800": 1}', r"an object with 'images', '\\ud800' instead of"),
        ('{"images": [], "annotations": {}, "categories": []}', "instead of COCO annotations"),
        ('{"images": [], "annotations": [], "categories": []}', "'images' is empty"),
    ],
)
def test_files_that_are_no_annotations(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_coco_truth(write(tmp_path, text), MASKS)
    assert str(tmp_path / "boxes.json") in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (face(image_id=8), r"annotations\[0\]: image_id 8 is not in 'images'"),
        (face(image_id=True), "image_id is true, not a whole number or a text"),
        (face(image_id=None), "image_id is missing"),
        (face(category_id=2), "category_id 2 is not in 'categories'.*there are 0, 5, 9"),
        (face(bbox=None), "bbox is missing, not 4 numbers"),
        (face(bbox=[1, 2, 3]), "bbox is a list of 3"),
        (face(bbox=[1, 2, True, 4]), "a number of bbox is true"),
        (face(bbox=[1, 2, float("nan"), 4]), "a number of bbox is not a finite number"),
        (face(bbox=[1, 2, 10**400, 4]), "not a finite number"),
        (face(bbox=[1, 2, -3, 4]), r"box \(1, 2, -2, 6\) is inverted; bbox is x, y, width, height"),
        (face(bbox=[1e308, 2, 1e308, 4]), "the box is not finite"),
        (face(iscrowd=2), "iscrowd is 2, neither 0 nor 1"),
        (face(ignore={}), "ignore is an object, neither 0 nor 1"),
        ({"annotations": [[]]}, r"annotations\[0\]: a list of 0, not an object"),
        ({"images": [None]}, r"images\[0\]: missing, not an object"),
        (image(id=7), r"images\[2\]: id 7 is there twice"),
        (image(file_name="sub/b.jpg"), r"images\[2\]: file_name 'sub/b\.jpg' is there twice"),
        (image(file_name="\ud800"), "file_name is .*not a text"),
        (image(width="9"), 'width is "9", not a number'),
        (image(width=-9), "width is -9; leave it out"),
        ({"categories": [{"id": 1, "name": "a"}] * 2}, r"categories\[1\]: id 1 is there twice"),
        ({"categories": [{"id": 1}]}, r"categories\[0\]: name is missing"),
    ],
)
def test_bad_annotations_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        truth_of(tmp_path, **changes)
    assert str(tmp_path / "boxes.json") in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": 1.5}, r"entry \[1\]: score is 1\.5; scores lie between 0 and 1"),
        ({"score": float("nan")}, "score is not a finite number"),
        ({"score": "0.5"}, 'score is "0.5", not a number'),
        ({"bbox": [1, 2, 3, -4]}, "is inverted"),
        ({"image_id": 8}, r"image_id 8 is not in 'images' of .*boxes\.json; check that the files"),
        ({"category_id": 4}, "category_id 4 is not in 'categories'"),
    ],
)
def test_bad_results_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        results_of(tmp_path, [result(), result(**changes)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"category_id": 0}, r"category_id 0; .* 1 with_mask, 2 without_mask, 3 mask_weared"),
        ({"category_id": 4}, "category_id 4; without COCO annotations"),
        ({"category_id": "with_mask"}, "category_id 'with_mask'; without COCO"),
        ({"category_id": 1, "image_id": " "}, "image_id ' ' is no name of a photo"),
        ({"category_id": 1, "image_id": "\ud800"}, "is no name of a photo"),
    ],
)
def test_ids_that_stand_for_nothing(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        results_of(tmp_path, [result(**changes)], ["7.jpg"], by_name=True)


def test_annotations_are_no_results(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"an object with 'images', .* instead of COCO results"):
        results_of(tmp_path, ANNOTATIONS)
    with pytest.raises(InputError, match=r"entry \[0\]: 3, not an object"):
        results_of(tmp_path, [3])


def test_encodings(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(ANNOTATIONS), encoding="utf-8-sig")
    assert len(read_coco_truth(path, MASKS).boxes) == 2
    path.write_text(json.dumps(ANNOTATIONS), encoding="utf-16")
    with pytest.raises(InputError, match="not text in UTF-8"):
        read_coco_truth(path, MASKS)
    with pytest.raises(InputError, match="can't be read"):
        read_coco_truth(tmp_path / "missing.json", MASKS)
