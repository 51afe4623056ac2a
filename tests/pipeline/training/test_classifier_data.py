"""Which faces are trained on, with which pixels and weights."""

import random

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.vision.core import imagenet_stats

from data_prep.base.crop import resize_crop
from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.tables import read_faces
from pipeline.runs.folder import PreparedError
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.data import (
    SMALLEST_SIDE,
    CropDataset,
    class_weights,
    make_loaders,
    select_faces,
    shrink_crop,
)
from tests.makers import make_pixels
from tests.pipeline.makers import CPU

PLAIN = ClassifierRecipe(
    batch_size=3, rotate=0, zoom=1, warp=0, lighting=0, downscale=0, sizes=[32], epochs=[1]
)


def table(**columns):
    rows = {
        "label": ["with_mask", "without_mask", "mask_weared_incorrect"] * 4,
        "split": ["train"] * 9 + ["valid"] * 3,
        "kept": [True] * 12,
        "source": ["a"] * 6 + ["b"] * 6,
    }
    return pd.DataFrame({**rows, **columns})


def test_all_sources_when_none_is_named():
    assert len(select_faces(table(), PLAIN)) == 12


def test_only_the_named_sources():
    chosen = select_faces(table(), PLAIN.model_copy(update={"sources": ["b"]}))
    assert set(chosen["source"]) == {"b"}
    assert list(chosen.index) == list(range(6))


def test_dropped_faces_are_left_out_of_training_only():
    kept = [False, True] * 6
    chosen = select_faces(table(kept=kept), PLAIN)
    assert chosen["split"].value_counts().to_dict() == {"train": 4, "valid": 3}
    everything = PLAIN.model_copy(update={"faces": "all"})
    assert len(select_faces(table(kept=kept), everything)) == 12


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"split": ["train"] * 12}, "no face for the validation split"),
        ({"split": ["valid"] * 12}, "no face for class with_mask in training"),
        ({"label": ["with_mask", "without_mask"] * 6}, "class mask_weared_incorrect in training"),
    ],
)
def test_nothing_to_train_on(columns, what):
    recipe = PLAIN.model_copy(update={"sources": ["a", "b"]})
    with pytest.raises(PreparedError, match=what):
        select_faces(table(**columns), recipe)


def read_from(prepared):
    return lambda crop: read_photo(prepared / crop).pixels


@pytest.fixture
def loaders(prepared):
    faces = select_faces(read_faces(prepared), PLAIN)
    return make_loaders(faces, read_from(prepared), PLAIN, 32, CPU), faces


def test_validation_batches_are_the_pixels_of_use(loaders, prepared):
    """What the network is measured on in training is what `Classifier.classify` feeds it."""
    loaders, faces = loaders
    valid = faces[faces["split"] == "valid"]
    photos, labels = next(iter(loaders.valid))
    assert labels.tolist() == [CLASSES.index(label) for label in valid["label"]][: len(labels)]
    mean, std = np.array(imagenet_stats)
    for photo, crop in zip(photos, valid["crop"], strict=False):
        pixels = resize_crop(read_photo(prepared / crop).pixels, 32)
        expected = ((pixels / 255 - mean) / std).transpose(2, 0, 1)
        np.testing.assert_allclose(photo.cpu().numpy(), expected, atol=1e-4)


def test_validation_order_is_that_of_the_table(loaders):
    loaders, faces = loaders
    labels = torch.cat([labels for _, labels in loaders.valid]).tolist()
    assert labels == [CLASSES.index(n) for n in faces.loc[faces["split"] == "valid", "label"]]


def test_training_batches_are_whole_and_shuffled(loaders):
    loaders, faces = loaders
    count = (faces["split"] == "train").sum()
    batches = list(loaders.train)
    assert len(batches) == count // 3
    assert all(photos.shape == (3, 3, 32, 32) for photos, _ in batches)
    orders = {tuple(torch.cat([b for _, b in loaders.train]).tolist()) for _ in range(3)}
    assert len(orders) > 1


def test_downscaling_stays_between_the_limits():
    crop = make_pixels(100, 100)
    sides = [shrink_crop(crop, draw).shape for draw in np.linspace(0, 1, 30)]
    assert sides[0] == (SMALLEST_SIDE, SMALLEST_SIDE, 3)
    assert sides[-1] == crop.shape
    assert sides == sorted(sides)


def test_rare_faces_are_shown_again(prepared):
    faces = select_faces(read_faces(prepared), PLAIN)
    often = PLAIN.model_copy(update={"repeat_rare": 3})
    loaders = make_loaders(faces, read_from(prepared), often, 32, CPU)
    labels = torch.cat([labels for _, labels in loaders.train]).tolist()
    counts = np.bincount(labels)
    assert counts.tolist() == [12, 12, 36]
    assert len(loaders.valid.dataset) == 12


def test_shifted_crops_move_by_so_much_at_most(prepared):
    faces = select_faces(read_faces(prepared), PLAIN)
    dot = np.zeros((65, 65, 3), np.uint8)
    dot[30:35, 30:35] = 255
    recipe = PLAIN.model_copy(update={"shift": 0.25})
    loaders = make_loaders(faces, lambda _: dot, recipe, 65, CPU)
    grey = torch.cat([torch.Tensor(photos).mean(dim=1) for photos, _ in loaders.train])
    places = torch.stack([(image == image.max()).nonzero().float().mean(dim=0) for image in grey])
    moved = (places - 32).abs()
    assert moved.max() <= 0.25 * 65 + 3
    assert (moved > 3).float().mean() > 0.5


def test_small_crops_are_not_shrunk():
    crop = make_pixels(SMALLEST_SIDE, SMALLEST_SIDE)
    assert shrink_crop(crop, 0.5) is crop


@pytest.mark.parametrize(("share", "changed"), [(0.0, 0), (0.5, 5), (1.0, 9)])
def test_the_share_of_training_crops_that_are_shrunk(share, changed):
    crop = make_pixels(300, 300)
    faces = table(crop="a").iloc[:9]
    random.seed(1)
    np.random.seed(1)
    items = CropDataset(lambda _: crop, faces, 32, share, "rgb")
    plain = torch.from_numpy(resize_crop(crop, 32)).permute(2, 0, 1)
    differ = [not torch.equal(torch.Tensor(items[i][0]), plain.float()) for i in range(len(items))]
    assert sum(differ) == pytest.approx(changed, abs=3 if 0 < share < 1 else 0)


def test_validation_crops_are_not_shrunk(prepared):
    shrinking = PLAIN.model_copy(update={"downscale": 1.0})
    faces = select_faces(read_faces(prepared), PLAIN)
    ours = next(iter(make_loaders(faces, read_from(prepared), shrinking, 32, CPU).valid))[0]
    theirs = next(iter(make_loaders(faces, read_from(prepared), PLAIN, 32, CPU).valid))[0]
    assert torch.equal(torch.Tensor(ours), torch.Tensor(theirs))


@pytest.mark.parametrize(("rule", "power"), [("inverse", 1.0), ("sqrt", 0.5)])
def test_class_weights(rule, power):
    labels = pd.Series(["with_mask"] * 90 + ["without_mask"] * 9 + ["mask_weared_incorrect"])
    weights = class_weights(labels, PLAIN.model_copy(update={"class_weights": rule})).numpy()
    counts = np.array([90, 9, 1])
    assert weights[1] / weights[0] == pytest.approx(10**power)
    assert weights[2] / weights[1] == pytest.approx(9**power)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)


def test_no_class_weights():
    assert (
        class_weights(table()["label"], PLAIN.model_copy(update={"class_weights": "none"})) is None
    )


def test_fewer_faces_than_a_batch(prepared):
    recipe = PLAIN.model_copy(update={"batch_size": 64})
    with pytest.raises(PreparedError, match=r"36 training faces .* batch of 64"):
        select_faces(read_faces(prepared), recipe)
