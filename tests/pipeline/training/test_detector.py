"""Figures of detectors whose answers are known, and a whole fine-tuning on painted faces."""

from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.tables import read_faces
from pipeline.inference.detector import Detector
from pipeline.nets.cards import DetectorCard, WeightsError, load_weights
from pipeline.runs.folder import PreparedError, Run, identify_data, start_run
from pipeline.runs.recipe import DetectorRecipe
from pipeline.training import detector as training
from pipeline.training.detector import measure_faces, measure_sources, train_detector
from pipeline.training.detector_data import collect_scenes
from tests.pipeline.makers import (
    CPU,
    BrightDetector,
    ColourClassifier,
    Killed,
    Told,
    make_shy_net,
)

FIGURES = [f"set_{name}" for name in ("face_ap50", "face_ap75", "recall", "precision")]


def scenes_of(prepared, **numbers):
    roots = {"set": prepared.parent / "set"}
    return collect_scenes(read_faces(prepared), roots, DetectorRecipe(**numbers))


def test_perfect_detector_has_perfect_figures_and_a_blind_one_none(prepared):
    """Painted faces are bright: what finds them exactly has an AP of 1."""
    scenes = scenes_of(prepared)
    figures = measure_faces(BrightDetector(), scenes)
    assert list(figures.values()) == pytest.approx([1, 1, 1, 1], abs=1e-6)
    blind = BrightDetector()
    blind._find = lambda photo, _: BrightDetector._find(blind, photo * 0, 0.5)
    assert set(measure_faces(blind, scenes).values()) == {0.0}


def test_sources_have_figures_of_their_own(prepared):
    scenes = scenes_of(prepared)
    wrong = [replace(scene, source="wrong", boxes=scene.boxes + 60) for scene in scenes[:2]]
    figures = measure_sources(BrightDetector(), [*scenes[2:], *wrong])
    assert list(figures)[:4] == FIGURES
    assert len(figures) == 8
    assert figures["set_face_ap50"] == pytest.approx(1, abs=1e-6)
    assert figures["wrong_face_ap50"] < 0.5


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


def test_mean_ap_of_classes_told_rightly_and_wrongly(prepared):
    scenes = scenes_of(prepared, classify=True)
    assert measure_faces(ColourDetector(), scenes)["map50"] == pytest.approx(1, abs=1e-6)
    swapped = measure_faces(ColourDetector(swap=True), scenes)
    assert swapped["map50"] == pytest.approx(1 / 3, abs=1e-6)
    assert swapped["face_ap50"] == pytest.approx(1, abs=1e-6)


def test_class_that_was_not_taught_counts_neither_way(prepared):
    """The faces left out are found all the same, and told to be of a class they are not."""
    scenes = scenes_of(prepared, classify=True, incorrect="exclude")
    figures = measure_faces(ColourDetector(learnt=CLASSES[:2]), scenes)
    assert figures == pytest.approx(dict.fromkeys(figures, 1), abs=1e-6)
    of_two = [
        replace(s, boxes=s.boxes[s.classes > 0], classes=s.classes[s.classes > 0]) for s in scenes
    ]
    assert measure_faces(ColourDetector(learnt=CLASSES[:2]), of_two)["precision"] < 0.7


def test_photos_with_faces_of_other_classes_alone_have_no_ap(prepared):
    """It would be no number, which no card can hold."""
    scenes = [replace(scene, classes=-abs(scene.classes)) for scene in scenes_of(prepared)]
    assert {*measure_faces(ColourDetector(), scenes)} == {"recall", "precision"}


RECIPE = DetectorRecipe(
    name="tiny",
    steps=2,
    batch_size=2,
    input_size=64,
    longest=(64.0, 128.0),
    validate_every=1,
    min_face=4.0,
)


def train(prepared, folder, recipe=RECIPE, stop=None, start=None):
    """Train into this folder, judged by one photo; be killed when `stop` begins a line."""
    data, roots = identify_data(prepared)
    faces = read_faces(prepared)
    others = faces.loc[faces["split"] == "valid", "image"].unique()[1:]
    if not folder.exists():
        start_run(folder.parent, recipe, data).folder.rename(folder)
    told = Told(stop=stop)
    card = train_detector(
        faces[~faces["image"].isin(others)],
        roots,
        recipe,
        make_shy_net().state_dict() if start is None else start,
        Run(folder, data),
        device=CPU,
        log=told,
    )
    return SimpleNamespace(card=card, folder=folder, lines=told.lines)


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    return train(prepared, tmp_path_factory.mktemp("runs") / "whole")


def test_run_folder_is_complete(trained):
    assert sorted(path.name for path in trained.folder.iterdir()) == [
        "detector.json",
        "detector.safetensors",
        "history.csv",
        "recipe.toml",
        "run.json",
    ]
    history = pd.read_csv(trained.folder / "history.csv")
    assert history["step"].tolist() == [0, 1, 2]
    figures = history[FIGURES].to_numpy()
    assert ((figures >= 0) & (figures <= 1)).all()
    assert np.isfinite(history["loss"][1:]).all()
    assert trained.lines[0] == "12 training and 1 validation photos; step 0 of 2"
    steps = [line.split(",")[0] for line in trained.lines if "face_ap50" in line]
    assert steps == ["step 0", "step 1", "step 2"]


def test_weights_have_moved_and_load_with_their_card(trained):
    state, card = load_weights(trained.folder / "detector.safetensors", DetectorCard)
    assert card == trained.card
    assert card.negative_slope == 0.1
    assert card.training["recipe"] == RECIPE.model_dump(mode="json")
    results = card.results["valid"]
    assert (results["step"], results["before"]["step"], results["photos"]) == (2, 0, 1)
    start = make_shy_net().state_dict()
    moved = [name for name in start if not torch.equal(start[name], state[name])]
    assert len(moved) > 200
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    Detector.load(trained.folder / "detector.safetensors", device=CPU)


def test_killed_again_and_again_equals_an_uninterrupted_run(
    trained, prepared, tmp_path, monkeypatch
):
    """Before the first checkpoint, after it, and while the weights are written."""
    for stop in ("step 1", "step 2"):
        with pytest.raises(Killed):
            train(prepared, tmp_path / "a", stop=stop)
        assert (tmp_path / "a" / "checkpoint.pt").exists() == (stop == "step 2")
    with monkeypatch.context() as patch:
        patch.setattr(training.cards, "save_weights", Mock(side_effect=Killed))
        with pytest.raises(Killed):
            train(prepared, tmp_path / "a")
    run = train(prepared, tmp_path / "a")
    assert len(run.lines) == 1, "nothing was left to train"
    ours, theirs = (load_file(r.folder / "detector.safetensors") for r in (run, trained))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name in ("history.csv", "recipe.toml", "detector.json"):
        assert (run.folder / name).read_bytes() == (trained.folder / name).read_bytes()
    assert not (run.folder / "checkpoint.pt").exists()


def test_averaged_weights_are_kept_not_the_last_ones(prepared, tmp_path, monkeypatch):
    name, seen = "body.stage1.0.0.weight", []
    real = training._Trainer.learn

    def spy(self, *batch):
        loss = real(self, *batch)
        seen.append(self.net.state_dict()[name].detach().clone())
        return loss

    monkeypatch.setattr(training._Trainer, "learn", spy)
    run = train(prepared, tmp_path / "a", RECIPE.model_copy(update={"ema": 0.75}))
    kept = load_file(run.folder / "detector.safetensors")[name]
    torch.testing.assert_close(kept, 0.75 * seen[0] + 0.25 * seen[1], rtol=1e-4, atol=1e-6)


def test_network_that_tells_the_classes(prepared, tmp_path):
    recipe = RECIPE.model_copy(update={"classify": True, "incorrect": "exclude", "steps": 1})
    run = train(prepared, tmp_path / "a", recipe)
    assert run.card.learnt == ("with_mask", "without_mask")
    assert {"set_map50", "set_face_ap50"} <= set(run.card.results["valid"])
    state = load_file(run.folder / "detector.safetensors")
    assert state["ClassHead.0.conv1x1.bias"].shape == (2 * 3,)
    detector = Detector.load(run.folder / "detector.safetensors", device=CPU)
    found = detector.detect([read_photo(prepared.parent / "set/images/000.jpg").pixels])[0]
    assert (found.probabilities[:, CLASSES.index("mask_weared_incorrect")] == 0).all()
    further = train(prepared, tmp_path / "b", recipe, start=state)
    assert further.card.learnt == run.card.learnt
    with pytest.raises(
        WeightsError, match=r"with this body, .* of the classes that the recipe learns"
    ):
        train(prepared, tmp_path / "c", start=state)


def test_start_weights_that_do_not_fit(prepared, tmp_path):
    with pytest.raises(WeightsError, match="start weights do not fit retinaface"):
        train(prepared, tmp_path / "a", start={"conv.weight": torch.zeros(3)})


@pytest.mark.parametrize("lost", ["train", "valid"])
def test_empty_split(prepared, tmp_path, lost):
    faces = read_faces(prepared)
    faces = faces[faces["split"] != lost]
    roots, run = {"set": prepared.parent / "set"}, Run(tmp_path, {})
    with pytest.raises(PreparedError, match=f"no photo in the {lost} split: check sources all"):
        train_detector(faces, roots, RECIPE, {}, run, device=CPU, log=Told())
