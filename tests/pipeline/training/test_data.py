"""Which faces are trained on, with which pixels and weights, drawn ones, too."""

import itertools
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.block import DataBlock
from fastai.vision.core import imagenet_stats

from data_prep.base.crop import resize_crop
from data_prep.base.labels import BARE, CLASSES, MASKED, RARE_CLASS
from data_prep.base.photo import PhotoError, read_photo
from data_prep.base.tables import read_faces
from pipeline.inference.detector import Detector
from pipeline.nets.options import SHIPPED
from pipeline.runs.folder import PreparedError
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.data import (
    LOOK,
    SMALLEST_SIDE,
    WAYS,
    FitCrop,
    TrainingFaces,
    add_drawn_faces,
    class_weights,
    draw_on_crop,
    make_loaders,
    read_crops,
    select_faces,
    shrink_crop,
)
from pipeline.training.export import make_card
from tests.demo import read_portrait
from tests.makers import make_photo, make_pixels
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


def change(**values):
    return PLAIN.model_copy(update=values)


def test_faces_of_the_named_sources_and_all_when_none_is_named():
    assert len(select_faces(table(), PLAIN)) == 12
    chosen = select_faces(table(), change(sources=["b"]))
    assert set(chosen["source"]) == {"b"}
    assert list(chosen.index) == list(range(6))


def test_dropped_faces_are_left_out_of_training_only():
    kept = [False, True] * 6
    chosen = select_faces(table(kept=kept), PLAIN)
    assert chosen["split"].value_counts().to_dict() == {"train": 4, "valid": 3}
    assert len(select_faces(table(kept=kept), change(faces="all"))) == 12


@pytest.mark.parametrize(
    ("incorrect", "counts"),
    [
        ("own", {MASKED: 4, BARE: 4, RARE_CLASS: 4}),
        ("without_mask", {MASKED: 4, BARE: 8}),
        ("exclude", {MASKED: 4, BARE: 4}),
    ],
)
def test_what_a_mask_worn_wrongly_counts_as(incorrect, counts):
    given = table()
    chosen = select_faces(given, change(incorrect=incorrect))
    assert chosen["label"].value_counts().to_dict() == counts
    assert set(chosen["split"]) == {"train", "valid"}
    assert given.equals(table()), "the table given stays"


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"split": ["train"] * 12}, "no face for the validation split"),
        ({"split": ["valid"] * 12}, "no face for class with_mask in training"),
        ({"label": ["with_mask"] * 12}, "12 faces in train and valid, of class with_mask alone"),
    ],
)
def test_nothing_to_train_on(columns, what):
    with pytest.raises(PreparedError, match=what):
        select_faces(table(**columns), change(sources=["a", "b"]))


def test_a_class_that_nobody_has_need_not_be_learnt_and_is_not_answered():
    two = table(label=[MASKED, BARE] * 6)
    assert len(select_faces(two, PLAIN)) == 12
    assert make_card(PLAIN, labels=two["label"]).learnt == (MASKED, BARE)
    assert make_card(change(drawn=1.0), labels=two["label"]).learnt == (MASKED, BARE, RARE_CLASS)


def load(prepared, recipe=PLAIN, read=None, size=32):
    """Loaders of a recipe, and the faces they are of."""
    faces = select_faces(read_faces(prepared), recipe)
    shown = TrainingFaces(faces, read or read_crops(prepared), faces["label"])
    return make_loaders(shown, recipe, size, CPU), faces


def test_validation_batches_are_the_pixels_of_use(prepared):
    """What the network is measured on in training is what `Classifier.classify` feeds it."""
    loaders, faces = load(prepared)
    valid = faces[faces["split"] == "valid"]
    photos, labels = (torch.cat(parts).numpy() for parts in zip(*loaders.valid, strict=True))
    assert labels.tolist() == [CLASSES.index(label) for label in valid["label"]]
    mean, std = np.array(imagenet_stats)
    for photo, crop in zip(photos, valid["crop"], strict=True):
        pixels = resize_crop(read_photo(prepared / crop).pixels, 32)
        expected = ((pixels / 255 - mean) / std).transpose(2, 0, 1)
        np.testing.assert_allclose(photo, expected, atol=1e-4)


@pytest.mark.parametrize(("device", "pinned"), [("cpu", False), ("cuda", True)])
def test_batches_for_a_gpu_come_from_pinned_memory(prepared, monkeypatch, device, pinned):
    faces = select_faces(read_faces(prepared), PLAIN)
    asked = {}
    monkeypatch.setattr(DataBlock, "dataloaders", lambda *_, **how: asked.update(how) or [])
    shown = TrainingFaces(faces, read_crops(prepared), faces["label"])
    make_loaders(shown, PLAIN, 32, torch.device(device))
    assert (asked["pin_memory"], asked["device"].type) == (pinned, device)


def test_training_batches_are_whole_and_shuffled(prepared):
    loaders, faces = load(prepared)
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
    small = make_pixels(SMALLEST_SIDE, SMALLEST_SIDE)
    assert shrink_crop(small, 0.5) is small


def test_rare_faces_are_shown_again(prepared):
    loaders, _ = load(prepared, change(repeat_rare=3))
    labels = torch.cat([labels for _, labels in loaders.train]).tolist()
    assert np.bincount(labels).tolist() == [12, 12, 36]
    assert len(loaders.valid.dataset) == 12


def test_shifted_crops_move_by_so_much_at_most(prepared):
    dot = np.zeros((65, 65, 3), np.uint8)
    dot[30:35, 30:35] = 255
    loaders, _ = load(prepared, change(shift=0.25), lambda _: dot, 65)
    grey = torch.cat([torch.Tensor(photos).mean(dim=1) for photos, _ in loaders.train])
    places = torch.stack([(image == image.max()).nonzero().float().mean(dim=0) for image in grey])
    moved = (places - 32).abs()
    assert moved.max() <= 0.25 * 65 + 3
    assert (moved > 3).float().mean() > 0.5


@pytest.mark.parametrize(("share", "changed"), [(0.0, 0), (0.5, 5), (1.0, 9)])
def test_the_share_of_training_crops_that_are_shrunk(share, changed):
    crop = make_pixels(300, 300)
    random.seed(1)
    np.random.seed(1)
    fit, whole = (FitCrop(300, "rgb", part) for part in (share, 0.0))
    as_it_is = whole(crop, split_idx=0)
    differ = [not torch.equal(fit(crop, split_idx=0), as_it_is) for _ in range(9)]
    assert sum(differ) == pytest.approx(changed, abs=3 if 0 < share < 1 else 0)


def test_validation_crops_are_not_shrunk(prepared):
    ours, theirs = (
        next(iter(load(prepared, recipe)[0].valid))[0] for recipe in (change(downscale=1.0), PLAIN)
    )
    assert torch.equal(torch.Tensor(ours), torch.Tensor(theirs))


@pytest.mark.parametrize(("rule", "power"), [("inverse", 1.0), ("sqrt", 0.5)])
@pytest.mark.parametrize("counts", [(90, 9, 1), (80, 20, 0)])
def test_class_weights(rule, power, counts):
    """By the share of the class, one on the average of all faces."""
    weights = class_weights(pd.Series(CLASSES).repeat(counts), change(class_weights=rule)).numpy()
    assert np.isfinite(weights).all()
    for one, other in itertools.pairwise(np.flatnonzero(counts)):
        share = counts[one] / counts[other]
        assert weights[other] / weights[one] == pytest.approx(share**power)
    assert np.average(weights, weights=counts) == pytest.approx(1)


def test_no_class_weights():
    assert class_weights(pd.Series(CLASSES), change(class_weights="none")) is None


def test_fewer_faces_than_a_batch(prepared):
    with pytest.raises(PreparedError, match=r"36 training faces .* batch of 64"):
        select_faces(read_faces(prepared), change(batch_size=64))


def test_large_crops_are_shrunk_small_ones_left_and_damaged_ones_named(tmp_path):
    small, large, damaged = (str(tmp_path / f"{name}.png") for name in ("s", "l", "d"))
    pixels = {small: make_photo(Path(small), 20, 20), large: make_photo(Path(large), 90, 90)}
    read = read_crops(side=64)
    assert np.array_equal(read(small), pixels[small])
    assert np.array_equal(read(large), resize_crop(pixels[large], 64))
    Path(large).unlink()
    assert read(large).shape == (64, 64, 3), "it stays in memory"
    Path(damaged).write_bytes(b"no photo")
    with pytest.raises(PhotoError, match=r"d\.png"):
        read(damaged)


DRAWN = ClassifierRecipe(sizes=[32], epochs=[1], drawn=2.0)
HEAD = np.ascontiguousarray(read_portrait()[20:220, 120:320])


@pytest.fixture(scope="module")
def detector():
    return Detector.load(SHIPPED / "detector.safetensors", device=CPU)


def drawn_table(bare=8, rare=2):
    labels = ["without_mask"] * bare + [RARE_CLASS] * rare + ["with_mask", "without_mask"]
    split = ["train"] * (bare + rare + 1) + ["valid"]
    crops = [f"{index}.png" for index in range(len(labels))]
    return pd.DataFrame({"crop": crops, "label": labels, "split": split})


def test_how_many_of_which_class():
    table, read = add_drawn_faces(drawn_table(), lambda _: HEAD, DRAWN)
    added = table.iloc[len(drawn_table()) :]
    assert added["label"].value_counts().to_dict() == {RARE_CLASS: 6, "with_mask": 2}
    assert set(added["split"]) == {"train"}
    assert added["crop"].is_unique
    originals = {name.split("#")[0] for name in added["crop"]}
    assert originals <= {f"{index}.png" for index in range(8)}
    assert not any(np.array_equal(read(name), resize_crop(HEAD, LOOK)) for name in added["crop"])
    assert read("0.png") is HEAD


def test_too_few_bare_faces_give_fewer():
    given = drawn_table(bare=1, rare=6)
    assert len(add_drawn_faces(given, lambda _: HEAD, DRAWN)[0]) == len(given) + len(WAYS)


def test_the_seed_tells_which():
    def crops(seed):
        recipe = DRAWN.model_copy(update={"seed": seed, "drawn": 0.5})
        table, read = add_drawn_faces(drawn_table(), lambda _: HEAD, recipe)
        return [read(name).sum() for name in table["crop"]]

    assert crops(1) == crops(1)
    assert crops(1) != crops(2)


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
