"""All figures of a weights folder, with stand-ins that are known to be right or wrong."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.base.labels import CLASSES
from evaluate.inputs.predictions import read_predictions
from evaluate.measures.alarm import describe_alarm
from evaluate.measures.headline import describe_headline
from pipeline.experiments import measure as measuring
from pipeline.experiments.engine import PreparedData
from pipeline.experiments.measure import (
    MeasureOptions,
    leave_out_incorrect,
    measure_source,
    measure_system,
    measure_weights,
    merge_incorrect,
    write_to_cards,
)
from pipeline.inference.predictor import Predictor
from tests.evaluate.scenes import make_case, make_scene
from tests.pipeline.makers import CPU, BrightDetector, ColourClassifier, OneClass, call, stand_ins


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


def test_wrong_classes_cost_the_classifier_and_not_the_detector(measure):
    results, _ = measure(replace(stand_ins(), classifier=OneClass()))
    assert set(values(results["set"]["detector_alone"])) == {1.0}
    alone = results["set"]["classifier_alone"]
    assert alone["accuracy"][0] == pytest.approx(1 / 3, abs=1e-3)
    assert alone["macro_recall"][0] == pytest.approx(1 / 3, abs=1e-3)
    assert results["set"]["both_stages"]["accuracy"][0] == pytest.approx(1 / 3, abs=1e-3)
    assert results["set"]["both_stages"]["map50"][0] < 0.5


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
    result = call("measure", prepared, "--weights", "w", *options)
    assert written == [Path("w")] * len(options)
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
    write_to_cards(RESULTS, tmp_path)
    stages = Predictor.load(tmp_path, device=CPU, bf16=False)
    detector, classifier = stages.detector.card.results, stages.classifier.card.results
    assert detector["measured"]["one"].keys() == {"photos", "faces", "detector_alone"}
    assert classifier["measured"]["one"].keys() == {
        *("photos", "faces", "both_stages", "classifier_alone"),
    }
    assert detector["measured"]["faces_sha256"] == "abc"


def test_reports_tell_the_same_figures(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "load", lambda _weights, **_: stand_ins())
    out = tmp_path / "reports"
    results = measure_weights(MeasureOptions(prepared, tmp_path, reports=out, device="cpu"))
    record = json.loads((out / "set" / "metrics.json").read_text())
    assert record["map50"] == results["set"]["both_stages"]["map50"][0] == 1
    assert record["classifier_alone"]["answered"] == 12
    assert record["alarm"]["counts"]["with_mask"]["not_found"] == 0
    page = (out / "set" / "report.html").read_text()
    assert "The classifier alone" in page
    assert "were not found; give their folder" not in page


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


WITHOUT, WRONG = 1, 2
OWN = ("accuracy", "macro_recall", "map50", "map50_95")


@pytest.fixture(scope="module")
def base(prepared):
    return PreparedData.open(prepared)


class Changing(ColourClassifier):
    """Tells what a function makes of the right probabilities."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def classify(self, crops):
        return self.change(super().classify(crops))


class Nothing(BrightDetector):
    """Finds no face."""

    def _find(self, photo, min_score):
        return super()._find(photo * 0, min_score)


def test_who_tells_all_rightly_has_ones(base):
    figures = measure_system(stand_ins(), "own", base, base)["set"]
    assert (figures["photos"], figures["faces"]) == (4, 12)
    for name in (*OWN, "two_map50", "tnr", "auc"):
        assert figures[name] == pytest.approx([1, 1, 1], abs=1e-4), name
    assert figures["fnr"] == [0, 0, 0]


def test_who_takes_bare_faces_for_worn_wrongly(base):
    """Two thirds are told wrong; as an alarm, for which both are the same, all is right."""
    swapped = Predictor(BrightDetector(), Changing(lambda shares: shares[:, [0, 2, 1]]))
    figures = measure_system(swapped, "own", base, base)["set"]
    assert figures["accuracy"][0] == pytest.approx(1 / 3, abs=1e-4)
    assert figures["map50"][0] == pytest.approx(1 / 3, abs=1e-4)
    assert figures["tnr"][0] == 1
    merged = measure_system(swapped, "without_mask", base, base)["set"]
    assert merged["accuracy"][0] == merged["map50"][0] == pytest.approx(1, abs=1e-4)


def test_two_classes_are_measured_without_the_third(base):
    """Faces worn wrongly are told to be masked, which counts neither way when they are left out."""
    two = Changing(
        lambda shares: np.stack([shares[:, 0] + shares[:, 2], shares[:, 1], 0 * shares[:, 2]], 1)
    )
    figures = measure_system(Predictor(BrightDetector(), two), "exclude", base, base)["set"]
    for name in OWN:
        assert figures[name][0] == pytest.approx(1, abs=1e-4), name


def test_who_finds_nothing(base):
    figures = measure_system(Predictor(Nothing(), ColourClassifier()), "own", base, base)
    figures = figures["set"]
    assert figures["map50"][0] == figures["tnr"][0] == 0
    assert figures["accuracy"][0] == pytest.approx(1, abs=1e-4)  # on annotated boxes


class BrightSingle(BrightDetector):
    """Tells every face to be masked, in one stage."""

    def _find(self, photo, min_score):
        found = super()._find(photo, min_score)
        return replace(found, probabilities=np.tile([0.8, 0.1, 0.1], (len(found.scores), 1)))


def test_single_stage_has_no_figures_on_annotated_boxes(base):
    figures = measure_system(Predictor(BrightSingle(), None), "own", base, base)["set"]
    assert "accuracy" not in figures
    assert figures["fnr"][0] == 0


def test_labels_are_those_of_the_base_whatever_the_crops_folder_says(base):
    faces = base.faces.assign(label="with_mask")
    figures = measure_system(stand_ins(), "own", base, replace(base, faces=faces))["set"]
    assert figures["accuracy"][0] == pytest.approx(1, abs=1e-4)


def one_face(label, shares, detection=0.8):
    """A face, and a detection on its very box."""
    scene = make_scene(0)
    truth = replace(
        scene.truth,
        photo=np.zeros(1, np.int64),
        boxes=np.array([[0.0, 0, 10, 10]]),
        labels=np.array([label]),
        difficult=np.zeros(1, bool),
    )
    detections = replace(
        scene.detections.take(np.zeros(1, np.int64), np.zeros(1, np.int64)),
        boxes=truth.boxes,
        labels=np.array([int(np.argmax(shares))]),
        scores=np.array([detection * max(shares)]),
        detection=np.array([detection]),
        probabilities=np.array([shares]),
    )
    return truth, detections


@pytest.mark.parametrize(
    ("reading", "given", "shares", "label", "is_difficult"),
    [
        (merge_incorrect, [0.4, 0.25, 0.35], [0.4, 0.6, 0], WITHOUT, False),
        (leave_out_incorrect, [0.2, 0.3, 0.5], [0.4, 0.6, 0], WRONG, True),
        (leave_out_incorrect, [0, 0, 1], [0.5, 0.5, 0], WRONG, True),
    ],
)
def test_a_face_worn_wrongly(reading, given, shares, label, is_difficult):
    truth, detections = reading(*one_face(WRONG, given))
    assert truth.labels.tolist() == [label]
    assert truth.difficult.tolist() == [is_difficult]
    assert detections.labels.tolist() == [int(np.argmax(shares))]
    assert detections.probabilities[0] == pytest.approx(shares)
    assert detections.scores[0] == pytest.approx(0.8 * max(shares))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reading", [merge_incorrect, leave_out_incorrect])
def test_everything_but_the_third_class_stays(seed, reading):
    scene = make_scene(seed)
    truth, detections = reading(scene.truth, scene.detections)
    others = scene.truth.labels != WRONG
    assert np.array_equal(truth.labels[others], scene.truth.labels[others])
    assert np.array_equal(truth.difficult[others], scene.truth.difficult[others])
    assert np.array_equal(detections.boxes, scene.detections.boxes)
    assert np.array_equal(detections.detection, scene.detections.detection)
    assert detections.probabilities.sum(axis=1) == pytest.approx(1)
    assert not detections.probabilities[:, WRONG].any()
    headline = describe_headline(make_case(truth, detections))
    first, second, third = headline["ap50"].values()
    assert third is None
    assert headline["map50"] == pytest.approx((first + second) / 2)


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_of_merged_classes_is_that_of_the_alarm(seed):
    """The alarm merges by its own code: among found faces both must agree."""
    scene = make_scene(seed)
    merged = merge_incorrect(scene.truth, scene.detections)
    headline = describe_headline(make_case(*merged))
    alarm = describe_alarm(make_case(scene.truth, scene.detections, thresh=0.0))
    counts = alarm["counts"]
    right = sum(counts[name]["right"] for name in CLASSES)
    wrong = sum(counts[name]["wrong"] for name in CLASSES)
    assert headline["accuracy"] == pytest.approx(right / (right + wrong))
