"""Drawn faces: made from bare training faces only, on faces that are really there."""

import numpy as np
import pandas as pd
import pytest
import torch

from data_prep.base.crop import resize_crop
from data_prep.base.labels import BARE, MASKED, RARE_CLASS
from pipeline.drawing.demo import read_portrait
from pipeline.inference.detector import Detector
from pipeline.nets.options import SHIPPED
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.drawn_faces import (
    LOOK,
    WAYS,
    add_drawn_faces,
    draw_on_crop,
    mask_bare_faces,
    pick_colour,
)
from tests.makers import make_pixels

RECIPE = ClassifierRecipe(sizes=[32], epochs=[1], drawn=2.0)
HEAD = np.ascontiguousarray(read_portrait()[20:220, 120:320])


@pytest.fixture(scope="module")
def detector():
    return Detector.load(SHIPPED / "detector.safetensors", device=torch.device("cpu"))


def faces(bare=8, rare=2):
    labels = ["without_mask"] * bare + [RARE_CLASS] * rare + ["with_mask", "without_mask"]
    split = ["train"] * (bare + rare + 1) + ["valid"]
    crops = [f"{index}.png" for index in range(len(labels))]
    return pd.DataFrame({"crop": crops, "label": labels, "split": split})


def test_how_many_of_which_class():
    table, read = add_drawn_faces(faces(), lambda _: HEAD, RECIPE)
    added = table.iloc[len(faces()) :]
    assert added["label"].value_counts().to_dict() == {RARE_CLASS: 6, "with_mask": 2}
    assert set(added["split"]) == {"train"}
    assert added["crop"].is_unique
    originals = {name.split("#")[0] for name in added["crop"]}
    assert originals <= {f"{index}.png" for index in range(8)}
    assert not any(np.array_equal(read(name), resize_crop(HEAD, LOOK)) for name in added["crop"])
    assert read("0.png") is HEAD


def test_too_few_bare_faces_give_fewer():
    given = faces(bare=1, rare=6)
    assert len(add_drawn_faces(given, lambda _: HEAD, RECIPE)[0]) == len(given) + len(WAYS)


def test_nothing_is_drawn_unless_asked_for(monkeypatch):
    monkeypatch.setattr(Detector, "load", None)
    given = faces()
    table, _ = add_drawn_faces(given, lambda _: HEAD, RECIPE.model_copy(update={"drawn": 0.0}))
    assert table is given


def test_the_seed_tells_which():
    def crops(seed):
        recipe = RECIPE.model_copy(update={"seed": seed, "drawn": 0.5})
        table, read = add_drawn_faces(faces(), lambda _: HEAD, recipe)
        return [read(name).sum() for name in table["crop"]]

    assert crops(1) == crops(1)
    assert crops(1) != crops(2)


def test_masks_are_drawn_on_every_bare_face_of_one_split():
    table, read = mask_bare_faces(faces(), lambda _: HEAD, split="train", seed=0)
    training_faces = table[table["split"] == "train"]
    assert training_faces["label"].value_counts().to_dict() == {BARE: 8, MASKED: 8}
    assert (table["split"] == "valid").sum() == 1, "the other split stays"
    drawn = training_faces[training_faces["label"] == MASKED]["crop"]
    assert {name.split("#")[0] for name in drawn} == {f"{index}.png" for index in range(8)}
    assert all(not np.array_equal(read(name), HEAD) for name in drawn)
    assert read("0.png") is HEAD


def test_mask_covers_the_mouth_and_leaves_the_eyes(detector):
    drawn = draw_on_crop(HEAD, detector, "below_nose", np.random.default_rng(0))
    assert drawn.shape == (LOOK, LOOK, 3)
    small = resize_crop(HEAD, 60)
    assert draw_on_crop(small, detector, "on_chin", np.random.default_rng(0)).shape == small.shape
    changed = (drawn != resize_crop(HEAD, LOOK)).any(axis=2)
    (face,) = detector.detect([resize_crop(HEAD, LOOK)], resize=1.0)
    left, right, nose, *mouth = face.landmarks[0]
    x, y = np.rint((mouth[0] + mouth[1]) / 2).astype(int)
    assert changed[y, x]
    for x, y in np.rint([left, right, nose]).astype(int):
        assert not changed[y, x]


@pytest.mark.parametrize(
    "crop", [resize_crop(HEAD, 20), make_pixels(100, 100)], ids=["tiny", "no face"]
)
def test_where_no_face_is_seen_nothing_is_drawn(detector, crop):
    assert draw_on_crop(crop, detector, "below_nose", np.random.default_rng(0)) is None


def test_colours_are_colours():
    random = np.random.default_rng(0)
    colours = np.array([pick_colour(random) for _ in range(300)])
    assert colours.min() >= 0
    assert colours.max() <= 255
    assert (colours.max(axis=1) < 70).mean() > 0.1, "black ones, too"
    assert len(np.unique(colours, axis=0)) > 150
