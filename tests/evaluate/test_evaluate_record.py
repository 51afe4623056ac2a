from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

import evaluate
from data_prep.base.files import OutputError
from data_prep.base.labels import CLASSES
from evaluate.measures.headline import PER_CLASS


@pytest.fixture
def report(annotations: Path, predictions: Path) -> evaluate.Evaluation:
    return evaluate.evaluate(annotations, predictions)


def test_intervals_hold_every_headline_number(report: evaluate.Evaluation) -> None:
    record = report.metrics
    assert len(record["intervals"]) == 12
    for name, interval in record["intervals"].items():
        pairs = [(record[name], interval)]
        if name in PER_CLASS:
            assert list(interval) == list(record[name]) == list(CLASSES)
            pairs = [(record[name][label], interval[label]) for label in CLASSES]
        for value, ends in pairs:
            assert ends[0] <= value <= ends[1]


def test_definitions_say_how(report: evaluate.Evaluation) -> None:
    definitions = report.metrics["definitions"]
    assert definitions["interpolation"] == "every-point"
    assert definitions["inclusive"] is False
    assert definitions["intervals"] == {
        "level": 0.95,
        "method": "percentile bootstrap by photo",
        "resamples": 1000,
        "seed": 0,
    }


def test_written_whole_beside_other_files(tmp_path: Path, report: evaluate.Evaluation) -> None:
    out = tmp_path / "new" / "out"
    out.mkdir(parents=True)
    (out / "mine.txt").write_text("kept")
    (out / "metrics.json").write_text("{}")
    _, path = report.save(out)
    assert (out / "mine.txt").read_text() == "kept"
    assert json.loads(path.read_text()) == report.metrics
    assert path.stat().st_mode & stat.S_IRUSR


def test_a_number_that_is_no_json_leaves_the_old_record(
    tmp_path: Path, report: evaluate.Evaluation
) -> None:
    report.save(tmp_path)
    before = (tmp_path / "metrics.json").read_text()
    report.metrics["map75"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        report.save(tmp_path)
    assert (tmp_path / "metrics.json").read_text() == before


def test_output_that_cannot_be_written(tmp_path: Path, report: evaluate.Evaluation) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"can't be written .* choose another"):
        report.save(tmp_path / "file")
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(OutputError, match="can't be written"):
        report.save(tmp_path)
