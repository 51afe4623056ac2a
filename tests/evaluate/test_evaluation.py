"""The call from Python: options, paths and predictions in memory, and what it leaves behind."""

from __future__ import annotations

import json
import stat

import pandas as pd
import pytest

import evaluate
from data_prep.base.files import OutputError
from evaluate import EvaluateOptions
from evaluate.evaluation import OptionError
from evaluate.inputs.predictions import read_predictions
from evaluate.inputs.truth import read_ground_truth


def test_from_paths_and_from_memory(annotations, predictions, tmp_path):
    options = evaluate.EvaluateOptions(bootstrap=50, iou=[0.3])
    report = evaluate.evaluate(annotations, predictions, options, against=predictions)
    assert report.metrics["map50"] == 0.5
    assert report.metrics["at_iou"][0]["iou"] == 0.3
    assert report.metrics["against"]["map50"]["difference"] == 0
    assert report.metrics["inputs"]["against"] == str(predictions)
    again = evaluate.evaluate(
        read_ground_truth(annotations), read_predictions(predictions), options
    )
    assert again.metrics["ap50"] == report.metrics["ap50"]
    assert again.metrics["inputs"]["ground_truth"] == "annotations in memory"
    _, record = report.save(tmp_path / "out")
    assert json.loads(record.read_text()) == report.metrics


def test_in_a_notebook(annotations, predictions, tmp_path):
    report = evaluate.evaluate(annotations, predictions)
    frame = report.to_frame()
    map50 = frame.set_index("name").loc["map50"]
    assert map50["value"] == 0.5
    assert [map50["low"], map50["high"]] == report.metrics["intervals"]["map50"]
    assert "<td>0.500</td>" in report._repr_html_()
    report.save(tmp_path)
    written = pd.read_csv(tmp_path / "metrics.csv").fillna({"class": ""})
    pd.testing.assert_frame_equal(written, frame)


@pytest.fixture
def report(annotations, predictions) -> evaluate.Evaluation:
    return evaluate.evaluate(annotations, predictions, EvaluateOptions(bootstrap=10))


def test_written_whole_beside_other_files(tmp_path, report) -> None:
    out = tmp_path / "new" / "out"
    out.mkdir(parents=True)
    (out / "mine.txt").write_text("kept")
    (out / "metrics.json").write_text("{}")
    _, path = report.save(out)
    assert (out / "mine.txt").read_text() == "kept"
    assert json.loads(path.read_text()) == report.metrics
    assert path.stat().st_mode & stat.S_IRUSR


def test_a_number_that_is_no_json_leaves_the_old_record(tmp_path, report) -> None:
    report.save(tmp_path)
    before = (tmp_path / "metrics.json").read_text()
    report.metrics["map75"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        report.save(tmp_path)
    assert (tmp_path / "metrics.json").read_text() == before


def test_output_that_cannot_be_written(tmp_path, report) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"can't be written .* choose another"):
        report.save(tmp_path / "file")
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(OutputError, match="can't be written"):
        report.save(tmp_path)


def read_classes(text: str) -> tuple[str, ...]:
    return EvaluateOptions(classes=text).choose_inputs().vocabulary.classes


def test_classes():
    assert read_classes("cat, traffic light ,dog") == ("cat", "traffic light", "dog")
    for text in (" ", "cat,,dog", "cat,Cat"):
        with pytest.raises(OptionError, match="--classes"):
            read_classes(text)


def test_ious_are_sorted_and_distinct():
    assert EvaluateOptions(iou=[0.75, 0.5, 0.75]).make_plan().ious == (0.5, 0.75)
    for value in (0, -0.5, 1.01, float("nan")):
        with pytest.raises(OptionError, match="--iou"):
            EvaluateOptions(iou=[0.5, value]).make_plan()


@pytest.mark.parametrize("text", ["400x300", " 400 X 300 ", "400×300", "400,300", "0400x300"])
def test_size(text):
    assert EvaluateOptions(image_size=text).choose_inputs().image_size == (400, 300)


@pytest.mark.parametrize("text", ["400", "0x300", "400x00", "-4x3", "4.5x3", "axb", "4x3x2"])
def test_size_that_is_none(text):
    with pytest.raises(OptionError, match="--image-size"):
        EvaluateOptions(image_size=text).choose_inputs()
