from __future__ import annotations

import json
import re
import runpy
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import evaluate
from data_prep.base.files import hold_folder
from data_prep.formats.predictions import AlarmRule
from evaluate.cli import app
from evaluate.evaluation import SECTIONS
from tests.evaluate.scenes import make_case, make_scene

pytestmark = pytest.mark.usefixtures("without_plots")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def read(out: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads((out / "metrics.json").read_text(), parse_constant=refuse)


def test_end_to_end(annotations: Path, predictions: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(annotations, predictions, "-o", out)
    assert result.exit_code == 0, result.output
    record = read(out)
    assert record["map50"] == 0.5
    assert record["ap50"] == {"with_mask": 0.5, "without_mask": 0, "mask_weared_incorrect": 1}
    assert record["face_ap50"] == 0.75
    assert record["accuracy"] == pytest.approx(2 / 3)
    assert record["counts"] == {
        "photos": 2,
        "photos_without_predictions": 0,
        "faces": {"with_mask": 2, "without_mask": 1, "mask_weared_incorrect": 1},
        "difficult_faces": 0,
        "predictions": 4,
        "predictions_left_out": 0,
    }
    scores, faces, photos = record["warnings"]
    assert scores.startswith("No detection scores under 0.60")
    assert faces.startswith("Few faces: 2 of with_mask, 1 of without_mask, 1 of mask_weared_inc")
    assert photos.startswith("Few photos (2)")
    assert result.output.index("Few photos") < result.output.index(record["sentence"])
    assert record["inputs"]["predictions"] == str(predictions)
    assert "mAP at IoU 0.50" in result.output
    assert "50.0" in result.output
    assert str(out / "metrics.json") in result.output


def test_a_folder_that_another_command_holds(
    annotations: Path, predictions: Path, tmp_path: Path
) -> None:
    with hold_folder(tmp_path / "out"):
        result = run(annotations, predictions, "-o", tmp_path / "out")
        assert not list((tmp_path / "out").iterdir())
    assert result.exit_code == 2
    assert "another command is writing into it" in result.output


def test_turned_arguments(annotations: Path, predictions: Path, tmp_path: Path) -> None:
    result = run(predictions, annotations, "-o", tmp_path / "out")
    assert result.exit_code != 0
    said = " ".join(result.output.split())
    assert "the order looks turned: annotations come first." in said


def test_as_a_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("evaluate", run_name="__main__")
    assert "python -m evaluate" in capsys.readouterr().out


def test_options_reach_the_record(annotations: Path, predictions: Path, tmp_path: Path) -> None:
    options = ("--all-classes", "--inclusive", "--eleven-point", "--bootstrap", "0", "--seed", "3")
    result = run(annotations, predictions, "-o", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    record = read(tmp_path / "out")
    assert record["intervals"] is None
    assert record["ap50"]["without_mask"] == 1
    assert record["ap50"]["with_mask"] == pytest.approx(6 / 11)
    assert record["definitions"]["interpolation"] == "11-point"
    assert record["definitions"]["inclusive"] is True
    assert record["definitions"]["all_classes"] is True
    assert record["definitions"]["intervals"]["seed"] == 3


def test_false_alarms_give_a_rule_for_run(
    annotations: Path, predictions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (tmp_path / "summary.json").write_text('{"nets": {"detector": "abc"}}')
    result = run(annotations, predictions, "-o", out, "--false-alarms", "2%", "--thresh", "0.4")
    assert result.exit_code == 0, result.output
    chosen = read(out)["alarm"]["chosen"]
    assert "chosen on these very photos, which flatters" in " ".join(result.output.split())
    rule = AlarmRule.read(out / "alarm.json")
    assert (rule.threshold, rule.thresh) == (chosen["threshold"], 0.4)
    assert rule.nets == {"detector": "abc"}, "of run.py's summary beside the table"
    assert rule.classes == ("without_mask", "mask_weared_incorrect")
    assert chosen["sentence"] in result.output
    # The masked face that was found has 0.1, the bare one 0.4, the one worn wrongly 1.
    assert (chosen["false_alarms"], chosen["alarms_caught"]) == (0, 1)
    assert rule.threshold == pytest.approx((0.1 + 0.4) / 2)
    refused = run(annotations, predictions, "-o", out, "--false-alarms", "2")
    assert refused.exit_code == 2
    assert "write a share such as 2% or 0.02" in refused.stderr


def test_faces_csv_of_one_split(predictions: Path, tmp_path: Path) -> None:
    faces = tmp_path / "faces.csv"
    faces.write_text(
        "image,width,height,object,label,xmin,ymin,xmax,ymax,difficult,source,split\n"
        "images/a.jpg,100,100,0,with_mask,0,0,10,10,0,s,valid\n"
        "images/b.jpg,100,100,0,mask_weared_incorrect,0,0,20,20,0,s,train\n"
    )
    result = run(faces, predictions, "-o", tmp_path / "o", "--split", "valid", "--source", "s")
    assert result.exit_code == 0, result.output
    record = read(tmp_path / "o")
    assert record["counts"]["photos"] == 1
    assert record["counts"]["predictions_left_out"] == 2
    assert record["ap50"] == {"with_mask": 1, "without_mask": None, "mask_weared_incorrect": None}
    assert record["map50"] == 1
    assert record["face_ap50"] == 1
    assert record["intervals"]["ap50"]["without_mask"] is None
    assert "2 predictions are left out, on 1 photo" in record["warnings"][-1]
    assert "Warning: 2 predictions" in result.stderr


def test_an_alias_names_a_class(annotations: Path, predictions: Path, tmp_path: Path) -> None:
    predictions.write_text(predictions.read_text().replace("mask_weared_incorrect,0.7", "odd,0.7"))
    refused = run(annotations, predictions, "-o", tmp_path / "out")
    assert refused.exit_code == 2
    assert "unknown class 'odd'" in refused.stderr
    named = run(
        *(annotations, predictions, "-o", tmp_path / "out"),
        *("--alias", "odd=mask_weared_incorrect", "--bootstrap", "0"),
    )
    assert named.exit_code == 0, named.output
    assert read(tmp_path / "out")["map50"] == 0.5


def test_inputs_that_cannot_be_used(annotations: Path, predictions: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(predictions.read_text().replace("0.48,0.8", "nan,0.8"))
    for arguments, message in (
        ((tmp_path / "none", predictions, "-o", tmp_path / "out"), "no such file or folder"),
        ((annotations, tmp_path / "none.csv", "-o", tmp_path / "out"), "no such file or folder"),
        ((annotations, predictions, "-o", predictions), "is a file; choose a folder"),
        ((annotations, predictions, "-o", tmp_path), "holds other files"),
        ((annotations, predictions, "-o", annotations / "x"), "meets the dataset"),
        ((annotations, bad, "-o", tmp_path / "out"), f"error: {bad}, line 3: score is nan"),
        ((annotations, predictions, "-o", tmp_path / "out", "--alias", "x=y"), "NAME=CLASS"),
        ((annotations, predictions, "-o", tmp_path / "out", "--split", "valid"), "VOC XML"),
    ):
        result = run(*arguments)
        assert result.exit_code == 2
        assert isinstance(result.exception, SystemExit)
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert not (annotations / "x").exists()


def test_doubts_about_the_other_tables_are_told(
    annotations: Path, predictions: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half.csv"
    lines = predictions.read_text().splitlines()
    half.write_text("\n".join([*lines[:3], lines[1], lines[1].replace("a.jpg", "zz.jpg")]) + "\n")
    options = ("--against", half, "--bootstrap", "20")
    result = run(annotations, predictions, "-o", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    warnings = read(tmp_path / "out")["warnings"]
    assert any("zz.jpg" in warning for warning in warnings)
    assert any(": 1 row repeats " in warning for warning in warnings)
    assert any("1 photo has predictions here and none in the other" in w for w in warnings)
    assert "against" in read(tmp_path / "out")


def test_other_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = "traffic light seen from far away in the rain by night and behind other cars"
    monkeypatch.delenv("COLUMNS", raising=False)
    truth, found = tmp_path / "truth", tmp_path / "found"
    for folder, line in (
        (truth, f"{long} 0 0 10 10"),
        (found, f"{long.title()} 0.9 0 0 10 10"),
    ):
        folder.mkdir()
        (folder / "a.txt").write_text(line + "\n")
    arguments = (truth, found, "-o", tmp_path / "out", "--classes", f"{long}, bus")
    result = run(*arguments, "--iou", "0.3", "--bootstrap", "10")
    assert result.exit_code == 0, result.output
    record = read(tmp_path / "out")
    assert record["ap50"] == {long: 1, "bus": None}
    # Without a terminal no line is broken.
    assert re.search(rf"AP at IoU 0.50: {long} +│", result.output), result.output
    assert record["map50"] == record["at_iou"][0]["map"] == 1
    assert "alarm" not in record


def test_the_readme_names_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = Path(evaluate.__file__).with_name("README.md").read_text(encoding="utf-8")
    monkeypatch.setenv("COLUMNS", "200")
    flags = set(re.findall(r"`(--[a-z-]+)", readme))
    assert flags <= set(re.findall(r"--[a-z-]+", run("--help").output))
    sections = re.findall(r"(?m)^\| `([a-z_]+)` \|", readme.split("**Sections.**")[1])
    assert set(sections) == set(SECTIONS)
    example = textwrap.dedent(re.findall(r"(?s)   ```python\n(.*?)   ```", readme)[0])
    names: dict[str, Any] = {}
    exec(
        "from __future__ import annotations\nfrom evaluate.measures.bootstrap import *\n" + example,
        names,
    )
    scene = make_scene(0)
    record = names["describe_found"](make_case(scene.truth, scene.detections, resamples=20))
    found = scene.row_of[~scene.truth.difficult]
    shown = scene.detections.detection[found] >= 0.5
    assert record["found"] == pytest.approx(((found >= 0) & shown).mean())
