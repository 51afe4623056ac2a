"""Figures of systems whose answers are known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from data_prep.base.labels import CLASSES
from pipeline.experiments import compare_measures as measuring
from pipeline.experiments.compare_measures import (
    measure_drawn_masks,
    measure_own_split,
    measure_system,
)
from pipeline.experiments.systems import SystemData, valid_faces
from pipeline.inference.predictor import Predictor
from tests.pipeline.makers import BrightDetector, ColourClassifier, stand_ins

OWN = ("accuracy", "macro_recall", "map50", "map50_95", "precision", "recall")


@pytest.fixture(scope="module")
def base(prepared):
    return SystemData.open(prepared)


class Shuffling(ColourClassifier):
    """Tells a class by the columns of another order."""

    def __init__(self, order):
        super().__init__()
        self.order = order

    def classify(self, crops):
        return super().classify(crops)[:, self.order]


class Nothing(BrightDetector):
    """Finds no face."""

    def _find(self, photo, min_score):
        return super()._find(photo * 0, min_score)


def test_who_tells_all_rightly_has_ones(base):
    figures = measure_system(stand_ins(), "own", base, base, seed=0)["set"]
    assert (figures["photos"], figures["faces"]) == (4, 12)
    for name in (*OWN, "two_map50", "two_accuracy", "tnr", "auc", "incorrect_recall"):
        assert figures[name] == pytest.approx([1, 1, 1], abs=1e-4), name
    assert figures["fnr"] == [0, 0, 0]


def test_who_takes_bare_faces_for_worn_wrongly(base):
    """Two thirds are told wrong; as an alarm, for which both are the same, all is right."""
    swapped = Predictor(BrightDetector(), Shuffling([0, 2, 1]))
    figures = measure_system(swapped, "own", base, base, seed=0)["set"]
    assert figures["accuracy"][0] == pytest.approx(1 / 3, abs=1e-4)
    assert figures["precision"][0] == figures["recall"][0] == pytest.approx(1 / 3, abs=1e-4)
    assert figures["incorrect_recall"][0] == 0
    assert figures["map50"][0] == pytest.approx(1 / 3, abs=1e-4)
    assert figures["tnr"][0] == 1
    merged = measure_system(swapped, "without_mask", base, base, seed=0)["set"]
    assert merged["accuracy"][0] == merged["map50"][0] == pytest.approx(1, abs=1e-4)
    assert merged["incorrect_recall"] is None


def test_two_classes_are_measured_without_the_third(base):
    """Faces worn wrongly are told to be masked, which counts neither way when they are left out."""

    class Two(ColourClassifier):
        def classify(self, crops):
            shares = super().classify(crops)
            shares[:, 0] += shares[:, 2]
            shares[:, 2] = 0
            return shares

    figures = measure_system(Predictor(BrightDetector(), Two()), "exclude", base, base, seed=0)
    figures = figures["set"]
    for name in OWN:
        assert figures[name][0] == pytest.approx(1, abs=1e-4), name


def test_who_finds_nothing(base):
    figures = measure_system(Predictor(Nothing(), ColourClassifier()), "own", base, base, seed=0)
    figures = figures["set"]
    assert figures["map50"][0] == figures["recall"][0] == figures["tnr"][0] == 0
    assert figures["precision"] is None
    assert figures["accuracy"][0] == pytest.approx(1, abs=1e-4)  # on annotated boxes


def test_labels_are_those_of_the_base_whatever_the_crops_folder_says(base):
    faces = base.faces.assign(label="with_mask")
    figures = measure_system(stand_ins(), "own", base, replace(base, faces=faces), seed=0)["set"]
    assert figures["accuracy"][0] == pytest.approx(1, abs=1e-4)


def test_own_split_against_another_library(base):
    """A fixed wrong answer for every third crop."""

    class Wrong(ColourClassifier):
        def classify(self, crops):
            shares = super().classify(crops)
            shares[::3] = shares[::3][:, [1, 2, 0]]
            return shares

    faces = valid_faces(base, "set")
    truth = [CLASSES.index(label) for label in faces["label"]]
    told = np.array(truth)
    told[::3] = [[1, 2, 0].index(code) for code in told[::3]]
    figures = measure_own_split(Wrong(), "own", base, seed=0)["set"]
    assert figures["accuracy"][0] == pytest.approx(accuracy_score(truth, told), abs=1e-4)
    expected = balanced_accuracy_score(truth, told)
    assert figures["macro_recall"][0] == pytest.approx(expected, abs=1e-4)
    assert figures["faces"] == 12


def test_drawn_masks_are_measured_apart_from_real_ones(base, monkeypatch):
    """Where a bare face can be drawn on, it is there bare and masked; real masks are not."""

    def masked(faces, read, *, split, seed):
        bare = faces[faces["label"] == "without_mask"]
        drawn = bare.assign(label="with_mask", crop=bare["crop"] + "#")
        table = pd.concat([bare, drawn], ignore_index=True)
        return table, lambda crop: read(crop.rstrip("#"))

    monkeypatch.setattr(measuring, "mask_bare_faces", masked)
    figures = measure_drawn_masks(ColourClassifier(), base, seed=0)
    assert figures["faces"] == 8
    assert figures["accuracy"][0] == pytest.approx(0.5, abs=1e-4)  # drawn ones still look bare
    assert figures["tnr"][0] == figures["fnr"][0] == 1
