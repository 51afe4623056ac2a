"""Systems of two classes, measured with stand-ins that are known to be right or wrong."""

from dataclasses import replace

import numpy as np
import pytest

from data_prep.base.labels import CLASSES
from evaluate.measures.alarm import describe_alarm
from evaluate.measures.headline import describe_headline
from pipeline.experiments.measure import PreparedData
from pipeline.inference.predictor import Predictor
from tests.benchmarks.systems import leave_out_incorrect, measure_system, merge_incorrect
from tests.evaluate.scenes import make_case, make_scene
from tests.pipeline.makers import BrightDetector, ColourClassifier, stand_ins

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
    faces = base.table.assign(label="with_mask")
    figures = measure_system(stand_ins(), "own", base, replace(base, table=faces))["set"]
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
