from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from data_prep.base.files import OutputError
from data_prep.base.labels import CLASSES
from evaluate.inputs.predictions import place_predictions, read_predictions
from evaluate.inputs.truth import read_ground_truth
from evaluate.measures.headline import Record, build_record, write_record
from evaluate.measures.metrics import DEFAULT_RULES, PER_CLASS, match_predictions


@pytest.fixture
def record(annotations: Path, predictions: Path) -> Record:
    truth = read_ground_truth(annotations)
    placed = place_predictions(read_predictions(predictions), truth)
    matches = match_predictions(truth, placed.detections, DEFAULT_RULES)
    return build_record(truth, placed, matches)


def test_intervals_hold_every_headline_number(record: Record) -> None:
    assert len(record["intervals"]) == 12
    for name, interval in record["intervals"].items():
        pairs = [(record[name], interval)]
        if name in PER_CLASS:
            assert list(interval) == list(record[name]) == list(CLASSES)
            pairs = [(record[name][label], interval[label]) for label in CLASSES]
        for value, ends in pairs:
            assert ends[0] <= value <= ends[1]


def test_definitions_say_how(record: Record) -> None:
    definitions = record["definitions"]
    assert definitions["interpolation"] == "every-point"
    assert definitions["inclusive"] is False
    assert definitions["intervals"] == {
        "level": 0.95,
        "method": "percentile bootstrap by photo",
        "resamples": 1000,
        "seed": 0,
    }


def test_written_whole_beside_other_files(tmp_path: Path, record: Record) -> None:
    out = tmp_path / "new" / "out"
    out.mkdir(parents=True)
    (out / "mine.txt").write_text("kept")
    write_record({"old": True}, out)
    path = write_record(record, out)
    assert sorted(file.name for file in out.iterdir()) == ["metrics.json", "mine.txt"]
    assert json.loads(path.read_text()) == record
    assert path.stat().st_mode & stat.S_IRUSR


def test_a_number_that_is_no_json_leaves_the_old_record(tmp_path: Path) -> None:
    write_record({"map50": 1.0}, tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        write_record({"map50": float("nan")}, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.json"]
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"map50": 1.0}


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"can't be written .* choose another"):
        write_record({}, tmp_path / "file")
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(OutputError, match="can't be written"):
        write_record({}, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "metrics.json"]
