"""Figures of detectors whose answers are known."""

from dataclasses import replace

import pytest

from data_prep.base.labels import CLASSES
from data_prep.base.tables import read_faces
from pipeline.nets.cards import DetectorCard
from pipeline.runs.recipe import DetectorRecipe
from pipeline.training.detector import measure_faces, measure_sources
from pipeline.training.detector_data import collect_scenes
from tests.pipeline.makers import BrightDetector, ColourClassifier

RECIPE = DetectorRecipe()


def test_perfect_detector_has_perfect_figures(prepared):
    """Painted faces are bright: what finds them exactly has an AP of 1."""
    faces = read_faces(prepared)
    scenes = collect_scenes(faces, {"set": prepared.parent / "set"}, RECIPE)
    figures = measure_faces(BrightDetector(), scenes)
    assert list(figures) == ["face_ap50", "face_ap75", "recall", "precision"]
    assert list(figures.values()) == pytest.approx([1, 1, 1, 1], abs=1e-6)


def test_detector_that_finds_nothing_has_zero_figures(prepared):
    scenes = collect_scenes(read_faces(prepared), {"set": prepared.parent / "set"}, RECIPE)
    blind = BrightDetector()
    blind._find = lambda photo, _: BrightDetector._find(blind, photo * 0, 0.5)
    assert set(measure_faces(blind, scenes).values()) == {0.0}


def test_sources_have_figures_of_their_own(prepared):
    scenes = collect_scenes(read_faces(prepared), {"set": prepared.parent / "set"}, RECIPE)
    wrong = [replace(scene, source="wrong", boxes=scene.boxes + 60) for scene in scenes[:2]]
    figures = measure_sources(BrightDetector(), [*scenes[2:], *wrong])
    assert figures["set_face_ap50"] == pytest.approx(1, abs=1e-6)
    assert figures["wrong_face_ap50"] < 0.5
    assert len(figures) == 8


class ColourDetector(BrightDetector):
    """Finds bright rectangles and tells their class by the colour, with 0.8."""

    def __init__(self, learnt=CLASSES, swap=False):
        super().__init__()
        self.card = DetectorCard(sha256="colour", learnt=learnt)
        self.swap = swap

    def _find(self, photo, min_score):
        faces = super()._find(photo, min_score)
        crops = [photo[y0:y1, x0:x1] for x0, y0, x1, y1 in faces.boxes.astype(int)]
        told = ColourClassifier().classify(crops)
        return replace(faces, probabilities=told[:, [1, 0, 2]] if self.swap else told)


def scenes_of(prepared, **numbers):
    roots = {"set": prepared.parent / "set"}
    return collect_scenes(read_faces(prepared), roots, DetectorRecipe(classify=True, **numbers))


def test_mean_ap_of_classes_told_rightly_and_wrongly(prepared):
    scenes = scenes_of(prepared)
    assert measure_faces(ColourDetector(), scenes)["map50"] == pytest.approx(1, abs=1e-6)
    swapped = measure_faces(ColourDetector(swap=True), scenes)
    assert swapped["map50"] == pytest.approx(1 / 3, abs=1e-6)
    assert swapped["face_ap50"] == pytest.approx(1, abs=1e-6)


def test_class_that_was_not_taught_counts_neither_way(prepared):
    """The faces left out are found all the same, and told to be of a class they are not."""
    scenes = scenes_of(prepared, incorrect="exclude")
    figures = measure_faces(ColourDetector(learnt=CLASSES[:2]), scenes)
    assert figures == pytest.approx(dict.fromkeys(figures, 1), abs=1e-6)
    of_two = [
        replace(s, boxes=s.boxes[s.classes > 0], classes=s.classes[s.classes > 0]) for s in scenes
    ]
    assert measure_faces(ColourDetector(learnt=CLASSES[:2]), of_two)["precision"] < 0.7
