"""Tables read back with pandas."""

from __future__ import annotations

import pandas as pd
import pytest

import evaluate


@pytest.fixture
def read(annotations, predictions, tmp_path):
    options = evaluate.EvaluateOptions(bootstrap=50)
    evaluation = evaluate.evaluate(annotations, predictions, options)
    evaluation.save(tmp_path)
    return lambda name: pd.read_csv(tmp_path / f"{name}.csv")


def test_curves(read):
    table = read("curves")
    masked = table[table["class"] == "with_mask"]
    assert masked["score"].tolist() == [0.81, 0.48]
    assert masked["precision"].tolist() == [1, 0.5]
    assert masked["recall"].tolist() == [0.5, 0.5]
    assert len(table[table["class"] == "face"]) == 4


def test_confusion(read):
    table = read("confusion").set_index("annotated")
    assert table.loc["without_mask", "with_mask"] == 1
    assert table.loc["with_mask", "missed"] == 1
    assert table.loc["false", "without_mask"] == 1


def test_errors(read):
    table = read("errors").set_index("kind")
    assert sorted(table.index) == ["false_face", "missed", "wrong_class"]
    wrong = table.loc["wrong_class"]
    assert (wrong["label"], wrong["annotated"], wrong["iou"]) == ("with_mask", "without_mask", 1)
    assert table.loc["missed", ["image", "xmin", "ymax"]].tolist() == ["b.png", 40, 60]
    assert pd.isna(table.loc["false_face", "annotated"])
