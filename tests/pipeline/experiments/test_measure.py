"""All figures of a weights folder, with stand-ins that are known to be right or wrong."""

import json
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from data_prep.base.files import OutputError
from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.tables import read_faces
from evaluate.inputs.predictions import read_predictions
from pipeline.experiments import measure as measuring
from pipeline.experiments.measure import (
    MeasureOptions,
    measure_source,
    measure_weights,
    write_to_cards,
)
from pipeline.inference.predictor import Predictor
from pipeline.nets import learnt
from pipeline.nets.cards import PredictionSets
from pipeline.nets.options import SHIPPED
from pipeline.runs.folder import PreparedError
from tests.pipeline.makers import CPU, OneClass, call, stand_ins


@pytest.fixture
def measure(prepared, tmp_path, monkeypatch):
    """Measure these stages on the painted validation photos."""

    def call(stages):
        monkeypatch.setattr(Predictor, "load", lambda _weights, **_: stages)
        lines = []
        monkeypatch.setattr(measuring, "log", lines.append)
        return measure_weights(MeasureOptions(prepared, tmp_path, device="cpu")), lines

    return call


def values(figures):
    """The values alone, without their intervals."""
    for figure in figures.values():
        yield from (row[0] for row in (figure.values() if isinstance(figure, dict) else [figure]))


def test_right_answers_have_perfect_figures(measure):
    results, lines = measure(stand_ins())
    assert lines.pop(0).startswith("nets: ")
    assert lines[0].startswith("note: the weights were not trained on this split")
    assert lines[1] == "set: 4 photos, 12 faces"
    assert (results["set"]["photos"], results["set"]["faces"]) == (4, 12)
    for part in ("both_stages", "detector_alone", "classifier_alone"):
        assert set(values(results["set"][part])) == {1.0}, part
    assert results["sets"].faces == dict.fromkeys(CLASSES, 4)
    assert results["sets"].limits == {}, "too few faces for a coverage of 0.95"


def test_wrong_classes_cost_the_classifier_and_not_the_detector(measure):
    results, _ = measure(replace(stand_ins(), classifier=OneClass()))
    assert set(values(results["set"]["detector_alone"])) == {1.0}
    alone = results["set"]["classifier_alone"]
    assert alone["accuracy"][0] == pytest.approx(1 / 3, abs=1e-3)
    assert alone["macro_recall"][0] == pytest.approx(1 / 3, abs=1e-3)
    assert results["set"]["both_stages"]["accuracy"][0] == pytest.approx(1 / 3, abs=1e-3)
    assert results["set"]["both_stages"]["map50"][0] < 0.5


def test_photos_that_the_nets_learnt_from_are_left_out_whatever_their_split(
    prepared, tmp_path, monkeypatch
):
    stages, faces = stand_ins(), read_faces(prepared)
    monkeypatch.setattr(Predictor, "load", lambda _weights, **_: stages)
    monkeypatch.setattr(learnt, "NEAR", -1)  # Painted photos look alike.
    images = sorted({*faces["image"]})
    root = prepared.parent / "set"
    marks = [learnt.fingerprint_photo(read_photo(root / n).pixels, root / n) for n in images]
    stages.classifier.card.training_photos = tuple(marks[3:])
    out = tmp_path / "out"
    options = MeasureOptions(prepared, tmp_path, unseen=True, device="cpu", reports=out)
    results = measure_weights(options)
    assert (results["split"], results["set"]["photos"]) == ("unseen", 3)
    record = json.loads((out / "set" / "metrics.json").read_text())
    assert record["counts"]["photos"] == 3
    assert results["set"]["faces"] == faces["image"].isin(images[:3]).sum()
    stages.classifier.card.training_photos = tuple(marks)
    with pytest.raises(PreparedError, match="learnt from all photos"):
        measure_weights(options)


RESULTS = {
    "split": "valid",
    "faces_sha256": "abc",
    "one": {
        "photos": 3,
        "faces": 7,
        "both_stages": {"map50": [0.5, 0.4, 0.6], "ap50": {"with_mask": [0.9, 0.8, 1.0]}},
        "detector_alone": {"face_ap50": [0.95, 0.9, 0.99]},
        "classifier_alone": {"accuracy": None},
    },
}


TWO = {**RESULTS, "two": {**RESULTS["one"], "photos": 9}}


@pytest.mark.parametrize("options", [[], ["--write"]])
def test_command_prints_a_column_for_every_source_and_writes_when_asked(
    prepared, monkeypatch, options
):
    written = []
    monkeypatch.setattr(measuring, "measure_weights", lambda _: TWO)
    monkeypatch.setattr(measuring, "write_to_cards", lambda _, weights: written.append(weights))
    result = call("measure", prepared, "--weights", SHIPPED, *options)
    assert written == [SHIPPED] * len(options)
    assert result.stdout.splitlines() == [
        "| | one: 3 photos, 7 faces | two: 9 photos, 7 faces |",
        "|---|---|---|",
        "| both stages: mAP@0.5 | 0.500 (0.400 to 0.600) | 0.500 (0.400 to 0.600) |",
        "| both stages: AP@0.5, with_mask | 0.900 (0.800 to 1.000) | 0.900 (0.800 to 1.000) |",
        "| detector alone: face AP@0.5 | 0.950 (0.900 to 0.990) | 0.950 (0.900 to 0.990) |",
        "| classifier alone: accuracy | – | – |",
    ]


def test_figures_go_on_the_cards_and_the_weights_still_load(random_weights, tmp_path):
    shutil.copytree(random_weights, tmp_path, dirs_exist_ok=True)
    sets = PredictionSets(coverage=0.9, limits={"with_mask": 0.5}, faces={})
    write_to_cards({**RESULTS, "sets": sets}, tmp_path)
    stages = Predictor.load(tmp_path, device=CPU, bf16=False)
    detector, classifier = stages.detector.card.results, stages.classifier.card.results
    assert detector["measured"]["one"].keys() == {"photos", "faces", "detector_alone"}
    assert classifier["measured"]["one"].keys() == {
        *("photos", "faces", "both_stages", "classifier_alone"),
    }
    assert detector["measured"]["faces_sha256"] == "abc"
    assert stages.classifier.card.sets == sets
    assert "sets" not in classifier["measured"]


def test_reports_tell_the_same_figures(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "load", lambda _weights, **_: stand_ins())
    out = tmp_path / "reports"
    results = measure_weights(MeasureOptions(prepared, tmp_path, reports=out, device="cpu"))
    record = json.loads((out / "set" / "metrics.json").read_text())
    assert record["map50"] == results["set"]["both_stages"]["map50"][0] == 1
    assert record["classifier_alone"]["answered"] == 12
    assert record["alarm"]["counts"]["with_mask"]["not_found"] == 0
    (out / "notes.txt").write_text("mine")
    measure_weights(MeasureOptions(prepared, tmp_path, reports=out, device="cpu"))
    page = (out / "set" / "report.html").read_text()
    assert "The classifier alone" in page
    assert "were not found; give their folder" not in page


@pytest.mark.parametrize("name", ["suspects.csv", "set/thesis.txt", "set/metrics.json"])
def test_reports_do_not_go_into_a_folder_of_others(prepared, tmp_path, monkeypatch, name):
    monkeypatch.setattr(Predictor, "load", lambda *_, **__: pytest.fail("told too late"))
    out = tmp_path / "reports"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("{}")
    with pytest.raises(OutputError, match=r"choose a.* with --reports"):
        measure_weights(MeasureOptions(prepared, tmp_path, reports=out, device="cpu"))
    assert [path for path in out.rglob("*") if path.is_file()] == [out / name]


ROW = "with_mask,0.9,0.9,0.9,0.1,0"
HEADER = (
    "image,xmin,ymin,xmax,ymax,label,score,detection,"
    "p_with_mask,p_without_mask,p_mask_weared_incorrect"
)


@pytest.mark.parametrize(
    ("size", "face"), [((90, 60), (10, 20, 30, 50)), ((60, 90), (10, 10, 40, 30))]
)
def test_upright_predictions_on_a_turned_photo(tmp_path, size, face):
    """Annotated as stored, or as looked at: it is the photo in the manifest's folder that tells."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (90, 60)).save(tmp_path / "a.png", exif=exif)
    sides = ",".join(map(str, face))
    (tmp_path / "faces.csv").write_text(
        "image,width,height,object,label,xmin,ymin,xmax,ymax,difficult,source,split\n"
        f"a.png,{size[0]},{size[1]},0,with_mask,{sides},0,set,valid\n"
    )
    manifest = {"datasets": [{"source": "set", "root": str(tmp_path)}]}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    found, crops = tmp_path / "predictions.csv", tmp_path / "crops.csv"
    # By run.py, and on the annotated boxes themselves.
    found.write_text(f"{HEADER},orientation\na.png,10,10,40,30,{ROW},6\n")
    crops.write_text(f"{HEADER}\nset/a.png,{sides},{ROW}\n")
    figures = measure_source(tmp_path, "set", read_predictions(found), read_predictions(crops))
    assert figures["detector_alone"]["face_ap75"][0] == 1
    assert figures["classifier_alone"]["accuracy"][0] == 1
