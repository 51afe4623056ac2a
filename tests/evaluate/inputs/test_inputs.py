from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from data_prep.base.errors import DatasetError, UserError
from data_prep.formats.input_files import InputError
from evaluate.arrays import Detections, GroundTruth
from evaluate.inputs.predictions import Placed, read_predicted
from evaluate.inputs.recognise import Format, recognise_predictions, recognise_truth
from evaluate.inputs.truth import DEFAULT_OPTIONS, read_truth
from evaluate.measures.headline import describe_headline
from evaluate.measures.matching import BoxGroups
from evaluate.options import EvaluateOptions
from tests.evaluate.scenes import find_average_precision, make_case
from tests.evaluate.voc_files import voc_xml

GOLDENS = Path(__file__).parents[4] / "shared" / "eval"
TOY, SAMPLE = GOLDENS / "toy", GOLDENS / "voc-sample"
SIDES = ("width", "height")
needs_goldens = pytest.mark.skipif(not GOLDENS.is_dir(), reason="golden data is not there")


def toy_options(**options: Any) -> EvaluateOptions:
    return EvaluateOptions(classes=",".join((TOY / "voc.names").read_text().split()), **options)


def assert_same_faces(first: GroundTruth, second: GroundTruth) -> None:
    for name in ("photo", "boxes", "labels", "difficult"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def assert_same_rows(first: Placed, second: Placed) -> None:
    for name in ("photo", "boxes", "labels", "scores", "detection"):
        np.testing.assert_array_equal(
            getattr(first.detections, name), getattr(second.detections, name)
        )


@needs_goldens
@pytest.mark.parametrize(
    ("inclusive", "eleven_point", "percent"),
    [(True, False, 24.57), (True, True, 26.84), (False, False, 22.54), (False, True, 26.84)],
)
def test_sample_of_text_files(inclusive: bool, eleven_point: bool, percent: float) -> None:
    options = EvaluateOptions(classes="person")
    truth = read_truth(SAMPLE / "groundtruths", options)
    placed = read_predicted(SAMPLE / "detections", truth, options)
    assert (len(truth.photos), len(truth.boxes), len(placed.detections)) == (7, 15, 24)
    ap = find_average_precision(
        BoxGroups(truth.boxes, truth.photo),
        BoxGroups(placed.detections.boxes, placed.detections.photo),
        placed.detections.scores,
        iou=0.3,
        inclusive=inclusive,
        eleven_point=eleven_point,
    )
    assert round(100 * ap, 2) == percent


@needs_goldens
@pytest.mark.parametrize(
    ("folder", "options"),
    [
        ("dets_classid_abs_xywh", {"pred_boxes": "xywh", "names": TOY / "voc.names"}),
        ("dets_classname_abs_xyx2y2", {"pred_boxes": "xyxy"}),
    ],
)
@pytest.mark.parametrize(
    ("eleven_point", "at_50", "at_75"), [(False, 89.58, 50.97), (True, 88.64, 49.24)]
)
def test_toy_set(
    folder: str,
    options: dict[str, Any],
    eleven_point: bool,
    at_50: float,
    at_75: float,
) -> None:
    truth = read_truth(TOY / "gts_vocpascal_format", toy_options())
    placed = read_predicted(TOY / folder, truth, toy_options(**options))
    rules = {"inclusive": True, "eleven_point": eleven_point}
    headline = describe_headline(make_case(truth, placed.detections, **rules))
    assert round(100 * headline["map50"], 2) == at_50
    assert round(100 * headline["map75"], 2) == at_75


def list_coco(rows: GroundTruth | Detections, **columns: NDArray[Any]) -> list[dict[str, Any]]:
    x0, y0, x1, y1 = rows.boxes.T
    places = {"image_id": 100 + rows.photo, "category_id": 50 + rows.labels, **columns}
    table = pd.DataFrame(places).assign(bbox=np.stack([x0, y0, x1 - x0, y1 - y0], 1).tolist())
    return json.loads(table.to_json(orient="records", double_precision=15))


@pytest.fixture
def toy() -> tuple[GroundTruth, Placed]:
    options = toy_options(pred_boxes="xyxy")
    truth = read_truth(TOY / "gts_vocpascal_format", options)
    return truth, read_predicted(TOY / "dets_classname_abs_xyx2y2", truth, options)


@needs_goldens
def test_toy_set_in_coco(tmp_path: Path, toy: tuple[GroundTruth, Placed]) -> None:
    truth, placed = toy
    options, coco, results = toy_options(), tmp_path / "truth.json", tmp_path / "results.json"
    content = {
        "images": [{"id": 100 + n, "file_name": name} for n, name in enumerate(truth.photos)],
        "categories": [{"id": 50 + n, "name": name} for n, name in enumerate(truth.classes)],
        "annotations": list_coco(truth, iscrowd=truth.difficult),
    }
    coco.write_text(json.dumps(content))
    entries = list_coco(placed.detections, score=placed.detections.scores)
    results.write_text(json.dumps(entries))
    from_coco = read_truth(coco, options)
    assert from_coco.photos == truth.photos
    assert_same_faces(from_coco, truth)
    assert_same_rows(read_predicted(results, from_coco, options, truth_path=coco), placed)
    # Without COCO annotations: by name, and classes from 1.
    for entry in entries:
        entry["image_id"] = Path(truth.photos[entry["image_id"] - 100]).stem
        entry["category_id"] -= 49
    results.write_text(json.dumps(entries))
    voc = TOY / "gts_vocpascal_format"
    assert_same_rows(read_predicted(results, truth, options, truth_path=voc), placed)


@needs_goldens
def test_toy_set_in_voc_files_and_shares(tmp_path: Path, toy: tuple[GroundTruth, Placed]) -> None:
    """VOC files are named by what is written in them; sizes are those that annotations state."""
    truth, placed = toy
    rows = placed.detections
    for side in ("voc", "run/labels"):
        (tmp_path / side).mkdir(parents=True)
    for photo, name in enumerate(truth.photos):
        note = (TOY / "gts_vocpascal_format" / name).with_suffix(".xml").read_text()
        width, height = (int(note.split(f"<{side}>")[1].split("<")[0]) for side in SIDES)
        here = np.flatnonzero(rows.photo == photo)
        faces = [(truth.classes[rows.labels[row]], rows.boxes[row].tolist()) for row in here]
        text, lines = voc_xml(name, faces, None), []
        for row in here:
            text = text.replace("</name><bnd", f"</name><score>{rows.scores[row]}</score><bnd", 1)
            x0, y0, x1, y1 = (rows.boxes[row] / [width, height, width, height]).tolist()
            shares = f"{(x0 + x1) / 2} {(y0 + y1) / 2} {x1 - x0} {y1 - y0}"
            lines.append(f"{rows.labels[row]} {shares} {rows.scores[row]}")
        (tmp_path / "voc" / f"found{photo}.xml").write_text(text)
        labels = tmp_path / "run" / "labels" / f"{Path(name).stem}.txt"
        labels.write_text("\n".join(lines))
    assert_same_rows(read_predicted(tmp_path / "voc", truth, toy_options()), placed)
    by_id, voc = toy_options(names=TOY / "voc.names"), TOY / "gts_vocpascal_format"
    again = read_predicted(tmp_path / "run", truth, by_id, truth_path=voc)
    np.testing.assert_allclose(again.detections.boxes, rows.boxes, atol=1e-9)
    np.testing.assert_array_equal(again.detections.scores, rows.scores)
    with pytest.raises(InputError, match="size is not known"):
        read_predicted(tmp_path / "run", replace(truth, sizes=None), by_id)


def write(folder: Path, **texts: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def make_yolo(root: Path) -> Path:
    for part in ("labels", "images"):
        (root / part).mkdir(parents=True)
    (root / "data.yaml").write_text("names: [no mask, with_mask]")
    (root / "labels" / "a.txt").write_text("1 0.5 0.5 0.5 0.5")
    Image.new("RGB", (40, 20)).save(root / "images" / "a.jpg")
    return root


def test_yolo_names_and_sizes_serve_both_sides(tmp_path: Path) -> None:
    root = make_yolo(tmp_path / "set")
    truth = read_truth(root)
    assert truth.labels.tolist() == [0]
    assert truth.boxes.tolist() == [[10, 5, 30, 15]]
    run = write(tmp_path / "run" / "labels", a="1 0.5 0.5 0.5 0.5 0.25")
    text = write(tmp_path / "text", a="1 0.75 0.5 0.5 0.5 0.5")
    shares = EvaluateOptions(pred_boxes="yolo")
    for folder, options, score in ((run, EvaluateOptions(), 0.25), (text, shares, 0.75)):
        placed = read_predicted(folder, truth, options, truth_path=root)
        np.testing.assert_array_equal(placed.detections.boxes, truth.boxes)
        assert placed.detections.scores.tolist() == [score]
        assert placed.detections.labels.tolist() == [0]
    with pytest.raises(DatasetError, match="class id 1 without names"):
        read_predicted(text, truth, EvaluateOptions(pred_boxes="yolo", image_size="40x20"))


def test_sizes_in_a_faces_csv(tmp_path: Path) -> None:
    faces = tmp_path / "faces.csv"
    faces.write_text(
        "image,width,height,object,label,xmin,ymin,xmax,ymax,difficult,source,split\n"
        "a.jpg,40,20,0,cat,10,5,30,15,0,one,valid\n"
        "b.jpg,80,40,0,dog,10,5,30,15,0,one,train\n"
    )
    # The second photo is in another split: not measured, but its size is looked up all the same.
    text = write(tmp_path / "text", **dict.fromkeys("ab", "cat 0.75 0.5 0.5 0.5 0.5"))
    truth = read_truth(tmp_path, EvaluateOptions(classes="cat,dog", split="valid"))
    options = EvaluateOptions(classes="cat,dog", pred_boxes="yolo")
    placed = read_predicted(text, truth, options, truth_path=tmp_path)
    assert placed.detections.boxes.tolist() == [[10, 5, 30, 15]]
    assert placed.left_out == 1


def test_text_files_in_a_folder_called_labels(tmp_path: Path) -> None:
    folder = write(tmp_path / "labels", a="with_mask 1 2 30 40")
    assert recognise_truth(folder, DEFAULT_OPTIONS)[0] is Format.YOLO
    with pytest.raises(UserError, match="no relative coordinate"):
        read_truth(folder)
    assert read_truth(folder, EvaluateOptions(truth_boxes="xywh")).boxes.tolist() == [
        [1, 2, 31, 42]
    ]


def test_what_is_recognised(tmp_path: Path, annotations: Path, predictions: Path) -> None:
    yolo = make_yolo(tmp_path / "set")
    text = write(tmp_path / "text", a="")
    (tmp_path / "a.json").write_text("")
    # run.py's output folder stands for the table in it.
    table = predictions.rename(predictions.parent / "predictions.csv")
    assert recognise_predictions(table.parent, DEFAULT_OPTIONS)[0] is Format.TABLE
    assert recognise_truth(annotations, DEFAULT_OPTIONS)[0] is Format.VOC
    assert recognise_predictions(annotations, DEFAULT_OPTIONS)[0] is Format.VOC
    assert recognise_predictions(table, DEFAULT_OPTIONS)[0] is Format.TABLE
    assert recognise_truth(tmp_path / "a.json", DEFAULT_OPTIONS)[0] is Format.COCO
    assert recognise_truth(yolo, DEFAULT_OPTIONS)[0] is Format.YOLO
    assert recognise_truth(yolo / "labels", DEFAULT_OPTIONS)[0] is Format.YOLO
    assert recognise_truth(text, DEFAULT_OPTIONS)[0] is Format.TEXT
    (text / "a.txt").write_text("what is this")
    assert recognise_truth(text, DEFAULT_OPTIONS)[0] is Format.TEXT
    # Lists and notes beside VOC files do not count.
    (annotations / "train.txt").write_text("2008_000002 -1\n2008_000003 1\n")
    (annotations / "README.txt").write_text("Nothing like boxes here.")
    assert recognise_truth(annotations, DEFAULT_OPTIONS)[0] is Format.VOC
    (annotations / "a.txt").write_text("with_mask 1 2 3 4")
    with pytest.raises(InputError, match=r"several formats: VOC XML files \(.*\.xml\), text files"):
        recognise_truth(annotations, DEFAULT_OPTIONS)


def test_what_is_not_recognised(tmp_path: Path, annotations: Path) -> None:
    with pytest.raises(InputError, match=r"no such file or folder; give a faces.csv, VOC anno"):
        recognise_truth(tmp_path / "missing", DEFAULT_OPTIONS)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"nothing that is known .* YOLO .* COCO annotations"):
        recognise_truth(empty, DEFAULT_OPTIONS)
    with pytest.raises(InputError, match=r"nothing that is known .* COCO results"):
        recognise_predictions(empty, DEFAULT_OPTIONS)
    (empty / "boxes.json").write_text("[]")
    with pytest.raises(InputError, match=r"not known: boxes\.json"):
        recognise_truth(empty, DEFAULT_OPTIONS)
    with pytest.raises(InputError, match=r"a single \.xml file; give the folder"):
        recognise_predictions(annotations / "a.xml", DEFAULT_OPTIONS)
    for side in ("detections", "groundtruths"):
        write(tmp_path / "both" / side, a="with_mask 1 2 3 4")
    with pytest.raises(InputError, match=r"give .*both/groundtruths or .*both/detections"):
        recognise_truth(tmp_path / "both", DEFAULT_OPTIONS)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_names_that_are_no_text(tmp_path: Path, annotations: Path) -> None:
    with open(os.fsencode(annotations) + b"/\xff.xml", "w") as file:  # noqa: PTH123 - bytes
        file.write(voc_xml("c.png", [], None))
    assert "not valid UTF-8" in read_truth(annotations).warnings[0]
    folder = tmp_path / "text"
    folder.mkdir()
    with open(os.fsencode(folder) + b"/\xff.txt", "w") as file:  # noqa: PTH123 - bytes
        file.write("with_mask 1 2 30 40")
    with pytest.raises(InputError, match="is not valid UTF-8; rename"):
        read_truth(folder)


def test_options_that_do_not_apply(tmp_path: Path, annotations: Path) -> None:
    text = write(tmp_path / "text", a="with_mask 0.5 1 2 3 4")
    with pytest.raises(InputError, match=r"choose rows of a faces\.csv, but these are text files"):
        read_truth(text, EvaluateOptions(split="valid"))
    with pytest.raises(InputError, match="class probabilities are in a table only"):
        read_predicted(text, read_truth(annotations), EvaluateOptions(all_classes=True))


def test_other_datasets_that_data_prep_reads(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20)).save(tmp_path / "a.jpg")
    rows = ["image,label,xmin,ymin,xmax,ymax", "a.jpg,no mask,1,2,30,50", "b.jpg,mask,1,2,3,4"]
    (tmp_path / "annotations.csv").write_text("\n".join(rows))
    truth = read_truth(tmp_path)
    assert truth.photos == ("a.jpg",)
    assert truth.boxes.tolist() == [[1, 2, 30, 20]]  # Clipped to the photo.
    assert "b.jpg" in truth.warnings[0]
