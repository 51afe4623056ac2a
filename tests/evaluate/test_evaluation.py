"""The call from Python: options, paths and predictions in memory, and what it leaves behind."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import evaluate
from data_prep.base.files import OutputError
from evaluate import EvaluateOptions
from evaluate.inputs.predictions import read_predictions
from evaluate.inputs.truth import read_truth
from evaluate.options import OptionError

pytestmark = pytest.mark.usefixtures("without_plots")


def test_from_paths_and_from_memory(annotations, predictions):
    options = EvaluateOptions(bootstrap=50, iou=[0.3])
    report = evaluate.evaluate(annotations, predictions, options, against=predictions)
    assert report.metrics["map50"] == 0.5
    assert report.metrics["at_iou"][0]["iou"] == 0.3
    assert report.metrics["against"]["map50"]["difference"] == 0
    assert report.metrics["inputs"]["against"] == str(predictions)
    again = evaluate.evaluate(read_truth(annotations), read_predictions(predictions), options)
    assert again.metrics["ap50"] == report.metrics["ap50"]
    assert again.metrics["inputs"]["ground_truth"] == "annotations in memory"


def test_what_the_run_warned_of_is_said_again(annotations, predictions, tmp_path):
    path = tmp_path / "run" / "predictions.csv"
    path.parent.mkdir()
    path.write_bytes(predictions.read_bytes())
    summary = path.with_name("summary.json")
    drawn = {"source": "ilc", "faces": 540, "photos": 90, "left": 0.03}
    options = EvaluateOptions(bootstrap=0)
    for told, said in (
        ({"unlike": {"said": "9 of 9 photos"}}, ["run.py: 9 of 9 photos"]),
        ({"unlike": None}, []),
        ({"boxes": drawn}, ["run.py: faces are boxed as in ilc (--boxes): where photos that"]),
    ):
        summary.write_text(json.dumps(told))
        found = evaluate.evaluate(annotations, path, options).metrics["warnings"]
        warned = [warning for warning in found if warning.startswith("run.py")]
        assert [one[: len(start)] for one, start in zip(warned, said, strict=True)] == said


def test_in_a_notebook_and_in_a_folder(annotations, predictions, tmp_path):
    """A record is replaced whole or not at all; other files stay."""
    report = evaluate.evaluate(annotations, predictions, EvaluateOptions(bootstrap=10))
    frame = report.to_frame()
    map50 = frame.set_index("name").loc["map50"]
    assert map50["value"] == 0.5
    assert [map50["low"], map50["high"]] == report.metrics["intervals"]["map50"]
    said = [*report.metrics["warnings"], report.metrics["sentence"]]
    assert repr(report).splitlines() == said
    shown = report._repr_html_()
    assert "<td>0.500</td>" in shown
    assert (
        shown.index(f"<p>{said[0]}</p>") < shown.index(f"<p>{said[-1]}</p>") < shown.index("<td>")
    )
    out = tmp_path / "new" / "out"
    out.mkdir(parents=True)
    (out / "mine.txt").write_text("kept")
    (out / "metrics.json").write_text("{}")
    _, path = report.save(out)
    before = path.read_text()
    assert json.loads(before) == report.metrics
    assert {one.name for one in out.iterdir()} == {
        *("mine.txt", "metrics.json", "report.html", "metrics.csv", "curves.csv"),
        *("confusion.csv", "errors.csv"),
    }
    written = pd.read_csv(out / "metrics.csv").fillna({"class": ""})
    pd.testing.assert_frame_equal(written, frame)
    report.metrics["map75"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        report.save(out)
    assert path.read_text() == before
    with pytest.raises(OutputError, match=r"mine\.txt: is a file; choose a folder with save"):
        report.save(out / "mine.txt")
    (tmp_path / "prepared" / "crops").mkdir(parents=True)
    with pytest.raises(OutputError, match="prepared: holds other files"):
        report.save(tmp_path / "prepared")
    assert [path.name for path in (tmp_path / "prepared").iterdir()] == ["crops"]


def test_classes_and_ious():
    def read(text: str) -> tuple[str, ...]:
        return EvaluateOptions(classes=text).vocabulary.classes

    assert read("cat, traffic light ,dog") == ("cat", "traffic light", "dog")
    for text in (" ", "cat,,dog", "cat,Cat"):
        with pytest.raises(OptionError, match="--classes"):
            read(text)
    assert EvaluateOptions(false_alarms="2 %").most_alarms == 0.02
    for share, classes in (("2", None), ("x", None), ("-1%", None), ("2%", "cat")):
        with pytest.raises(OptionError, match="--false-alarms"):
            EvaluateOptions(false_alarms=share, classes=classes)
    for value in (0, -0.5, 1.01, float("nan")):
        with pytest.raises(OptionError, match="--iou"):
            EvaluateOptions(iou=[0.5, value])


def test_size():
    for text in ("400x300", " 400 X 300 ", "400×300", "400,300", "0400x300"):
        assert EvaluateOptions(image_size=text).size == (400, 300)
    for text in ("400", "0x300", "400x00", "-4x3", "4.5x3", "axb", "4x3x2"):
        with pytest.raises(OptionError, match="--image-size"):
            EvaluateOptions(image_size=text)
