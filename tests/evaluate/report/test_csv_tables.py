"""Tables read back with pandas."""

from __future__ import annotations

import pandas as pd
import pytest

from data_prep.base.files import OutputError
from evaluate.inputs.predictions import place_predictions, read_predictions
from evaluate.inputs.truth import read_ground_truth
from evaluate.plan import Plan, list_sections, measure_sections, start_evaluation
from evaluate.report.outputs import (
    CONFUSION,
    CURVES,
    ERRORS,
    METRICS,
    write_confusion_table,
    write_curves_table,
    write_errors_table,
    write_metrics_table,
)


@pytest.fixture
def evaluation(annotations, predictions):
    truth = read_ground_truth(annotations)
    placed = place_predictions(read_predictions(predictions), truth)
    evaluation = start_evaluation(truth, placed, Plan(resamples=50))
    list(measure_sections(evaluation, list_sections(evaluation)))
    return evaluation


def test_metrics(evaluation, tmp_path):
    write_metrics_table(evaluation.record, ["map50", "ap50", "accuracy"], tmp_path)
    table = pd.read_csv(tmp_path / METRICS)
    assert table["name"].tolist() == ["map50", "ap50", "ap50", "ap50", "accuracy"]
    assert table["value"].tolist() == pytest.approx([0.5, 0.5, 0, 1, 2 / 3])
    low, high = evaluation.record["intervals"]["map50"]
    assert table.loc[0, ["low", "high"]].tolist() == pytest.approx([low, high])


def test_curves(evaluation, tmp_path):
    write_curves_table(evaluation.curves, tmp_path)
    table = pd.read_csv(tmp_path / CURVES)
    masked = table[table["class"] == "with_mask"]
    assert masked["score"].tolist() == [0.81, 0.48]
    assert masked["precision"].tolist() == [1, 0.5]
    assert masked["recall"].tolist() == [0.5, 0.5]
    assert len(table[table["class"] == "face"]) == 4


def test_confusion(evaluation, tmp_path):
    write_confusion_table(evaluation.record["operating_points"]["confusion"], tmp_path)
    table = pd.read_csv(tmp_path / CONFUSION, index_col="annotated")
    assert table.loc["without_mask", "with_mask"] == 1
    assert table.loc["with_mask", "missed"] == 1
    assert table.loc["false", "without_mask"] == 1


def test_errors(evaluation, tmp_path):
    write_errors_table(evaluation.truth, evaluation.detections, evaluation.errors, tmp_path)
    table = pd.read_csv(tmp_path / ERRORS).set_index("kind")
    assert sorted(table.index) == ["false_face", "missed", "wrong_class"]
    wrong = table.loc["wrong_class"]
    assert (wrong["label"], wrong["annotated"], wrong["iou"]) == ("with_mask", "without_mask", 1)
    assert table.loc["missed", ["image", "xmin", "ymax"]].tolist() == ["b.png", 40, 60]
    assert pd.isna(table.loc["false_face", "annotated"])


def test_folder_that_cannot_be_written(evaluation, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="can't be written"):
        write_curves_table(evaluation.curves, tmp_path / "file")
