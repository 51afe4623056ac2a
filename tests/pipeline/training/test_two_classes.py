"""Recipes that learn two classes, a frozen body, or drawn masks only, trained on painted faces."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from data_prep.base.labels import BARE, CLASSES, MASKED, RARE_CLASS
from data_prep.base.tables import read_faces
from data_prep.prepare.build import build
from data_prep.prepare.options import BuildOptions
from pipeline.inference.classifier import Classifier
from pipeline.nets.cards import DetectorCard, load_weights
from pipeline.nets.classifiers import from_detector, make_sequential
from pipeline.nets.options import SHIPPED
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training import drawn_faces
from pipeline.training.class_policy import count_incorrect
from pipeline.training.data import class_weights, select_faces
from pipeline.training.drawn_faces import mask_bare_faces
from tests.pipeline.makers import CPU, paint_dataset
from tests.pipeline.training.test_drawn_faces import HEAD
from tests.pipeline.training.test_drawn_faces import faces as few_faces
from tests.pipeline.training.test_train_classifier import SHORT, train


@pytest.fixture(autouse=True)
def _without_plots(without_plots):
    pass


def change(**values):
    return SHORT.model_copy(update=values)


@pytest.mark.parametrize(
    ("incorrect", "expected"),
    [("own", [MASKED, BARE, RARE_CLASS]), ("without_mask", [MASKED, BARE, BARE])],
)
def test_what_a_mask_worn_wrongly_counts_as(incorrect, expected):
    table = pd.DataFrame({"label": list(CLASSES)})
    assert count_incorrect(table, incorrect)["label"].tolist() == expected
    assert table["label"].tolist() == list(CLASSES), "the table given stays"


def test_left_out_of_both_splits(prepared):
    chosen = select_faces(read_faces(prepared), change(incorrect="exclude"))
    assert set(chosen["label"]) == {MASKED, BARE}
    assert set(chosen["split"]) == {"train", "valid"}


def test_a_class_that_is_not_learnt_leaves_the_weights_finite():
    labels = pd.Series([MASKED] * 8 + [BARE] * 2)
    weights = class_weights(labels, change(class_weights="inverse"))
    assert weights[1] / weights[0] == pytest.approx(4)
    assert torch.isfinite(weights).all()
    assert float((weights[0] * 8 + weights[1] * 2) / 10) == pytest.approx(1)


def test_two_classes_are_all_that_is_ever_answered(prepared, tmp_path):
    recipe = change(architecture="sequential", incorrect="without_mask", epochs=[2])
    run = train(prepared, tmp_path / "a", recipe)
    assert run.card.learnt == (MASKED, BARE)
    assert run.card.results["valid"]["all"]["faces"] == 12
    classifier = Classifier.load(run.folder / "classifier.safetensors", device=CPU)
    noise = [np.random.default_rng(n).integers(0, 255, (40, 40, 3), np.uint8) for n in range(8)]
    answers = classifier.classify(noise)
    assert (answers[:, CLASSES.index(RARE_CLASS)] == 0).all()
    assert answers.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_a_frozen_body_stays_as_the_detector_made_it(prepared, tmp_path):
    recipe = change(architecture="mobilenet0.25", init="detector", freeze=True)
    run = train(prepared, tmp_path / "a", recipe)
    start = from_detector(*load_weights(SHIPPED / "detector.safetensors", DetectorCard))
    trained = load_file(run.folder / "classifier.safetensors")
    for name, tensor in start.items():
        assert torch.equal(trained[name], tensor.half() if tensor.is_floating_point() else tensor)
    assert trained["head.3.weight"].float().std() > 0


def test_layers_of_the_sequential_network():
    net = make_sequential()
    assert sum(p.numel() for p in net.parameters()) == (
        (3 * 9 + 1) * 16 + (16 * 9 + 1) * 32 + (32 * 9 + 1) * 64 + (64 * 256 + 1) * 128 + 129 * 3
    )
    assert net(torch.zeros(2, 3, 128, 128)).shape == (2, 3)


def test_crop_scale_of_the_prepared_folder_is_on_the_card(tmp_path):
    root = paint_dataset(tmp_path / "set", 16)
    tight = tmp_path / "tight"
    build(BuildOptions(roots=[root], out=tight, scale=1.0, blur_rule="none", workers=1))
    assert train(tmp_path / "tight", tmp_path / "a", SHORT).card.crop_scale == 1.0


def test_masks_are_drawn_on_every_bare_face_of_one_split():
    table, read = mask_bare_faces(few_faces(), lambda _: HEAD, split="train", seed=0)
    training_faces = table[table["split"] == "train"]
    assert training_faces["label"].value_counts().to_dict() == {BARE: 8, MASKED: 8}
    assert (table["split"] == "valid").sum() == 1, "the other split stays"
    drawn = training_faces[training_faces["label"] == MASKED]["crop"]
    assert {name.split("#")[0] for name in drawn} == {f"{index}.png" for index in range(8)}
    assert all(not np.array_equal(read(name), HEAD) for name in drawn)
    assert read("0.png") is HEAD


def test_learning_from_drawn_masks_only(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(drawn_faces, "draw_on_crop", lambda crop, *_: 255 - crop)
    recipe = change(masks="drawn", incorrect="exclude", architecture="sequential")
    run = train(prepared, tmp_path / "a", recipe)
    assert run.lines[1:3] == [
        "drawn masks in place of real ones",
        (
            "train: with_mask 12, without_mask 12, "
            "mask_weared_incorrect 0; valid: with_mask 4, without_mask 4, mask_weared_incorrect 0"
        ),
    ]


def test_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="incorrect"):
        ClassifierRecipe(incorrect="drop")
