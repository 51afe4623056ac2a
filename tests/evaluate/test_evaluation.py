"""The call from Python gives what the command line writes."""

from __future__ import annotations

import json

import pandas as pd

import evaluate
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
