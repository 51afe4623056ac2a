"""Before and after cleaning: the same validation faces, labels as annotated."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from data_prep.base.labels import CLASSES
from pipeline.experiments.clean_effect import (
    CleanEffectOptions,
    describe_effect,
    measure_clean_effect,
    pair_sides,
)
from pipeline.experiments.tables import compare_sides
from pipeline.runs.folder import PreparedError
from pipeline.training import short
from pipeline.training.short import open_faces
from tests.benchmarks.choices import measure_side
from tests.pipeline.makers import Told
from tests.pipeline.prepared_copy import copy_prepared
from tests.pipeline.tables import TINY, write_tiny


@pytest.fixture
def cleaned(prepared, tmp_path):
    """Relabelled, dropped and boxed anew, and split another way."""

    def change(faces):
        train = faces.index[faces["split"] == "train"]
        valid = faces.index[faces["split"] == "valid"]
        faces.loc[train[0], "label"] = CLASSES[2 - CLASSES.index(faces.loc[train[0], "label"])]
        faces.loc[train[1], "xmin"] += 1
        faces.loc[valid[0], "label"] = "without_mask"
        faces.loc[train, "split"] = "valid"
        faces.loc[valid, "split"] = "train"
        return faces.drop(index=[train[2], valid[1]])

    return copy_prepared(prepared, tmp_path / "cleaned", change)


@pytest.fixture
def both(prepared, cleaned):
    return open_faces(prepared, TINY), open_faces(cleaned, TINY)


def test_sides_stand_on_the_split_before_cleaning(both):
    before, after = both
    sides = pair_sides(before, after)
    train = before.table[before.table["split"] == "train"]
    assert set(sides.after["image"]) == set(sides.before["image"]) == set(train["image"])
    assert len(sides.after) == len(sides.before) - 1
    valid = before.table[before.table["split"] == "valid"].reset_index(drop=True)
    pd.testing.assert_frame_equal(sides.valid, valid)
    changes = {"faces": 36, "relabelled": 1, "reboxed": 1, "dropped": 1, "added": 0}
    assert sides.count_changes() == changes


def test_what_can_not_be_compared_is_refused(both):
    before, after = both
    table = after.table.copy()
    table.loc[4, "image"] = "images/new.jpg"
    with pytest.raises(PreparedError, match=r"photo set/images/new\.jpg is not in train or valid"):
        pair_sides(before, replace(after, table=table))
    # A photo that the folder before cleaning keeps for testing.
    kept = before.table[before.table["image"] != before.table["image"][0]]
    with pytest.raises(PreparedError, match="build both folders from the same datasets"):
        pair_sides(replace(before, table=kept), after)
    with pytest.raises(PreparedError, match=r"at 2\.0 times the box"):
        pair_sides(before, replace(after, scale=2.0))


def measure(prepared, cleaned, out):
    recipe = write_tiny(out.parent)
    options = CleanEffectOptions(prepared, cleaned, out, 2, recipe=recipe, device="cpu", jobs=1)
    return measure_clean_effect(options, Told())


def test_same_seeds_on_both_sides(prepared, cleaned, tmp_path, by_colour):
    result = measure(prepared, cleaned, tmp_path / "out")
    assert [(call.what, call.recipe.seed, len(call.faces)) for call in by_colour] == [
        ("seed 0, before", 0, 36),
        ("seed 0, after", 0, 35),
        ("seed 1, before", 1, 36),
        ("seed 1, after", 1, 35),
    ]
    assert result["faces"] == 12
    assert result["figures"]["accuracy"]["before"] == 1
    assert json.loads((tmp_path / "out" / "clean-effect.json").read_text()) == result
    assert "| accuracy | 1.000 | 1.000 | +0.000 (+0.000 to +0.000) |" in describe_effect(result)
    measure(prepared, cleaned, tmp_path / "out")
    assert len(by_colour) == 4
    with pytest.raises(PreparedError, match="the same faces and labels as before"):
        measure(prepared, prepared, tmp_path / "out")
    assert len(by_colour) == 4, "nothing was trained for that"


def test_difference_is_after_minus_before(prepared, cleaned, tmp_path, by_colour, monkeypatch):
    view = short.view_faces

    def worse(net, *given):
        views = view(net, *given)
        if "before" in net:
            views.probabilities[:] = views.probabilities[:, [1, 0, 2]]
        return views

    monkeypatch.setattr(short, "view_faces", worse)
    figures = measure(prepared, cleaned, tmp_path / "out")["figures"]
    assert figures["with_mask"]["difference"] == 1
    assert figures["mask_weared_incorrect"]["difference"] == 0
    assert figures["macro_recall"]["difference"] == pytest.approx(2 / 3, abs=1e-4)


def test_figures_against_counting():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 60)
    before, after = rng.random((3, 60)) < 0.6, rng.random((3, 60)) < 0.8
    photos = pd.Series([f"p{index // 3}" for index in range(60)])
    figures = compare_sides(before, after, truth, photos)

    def recall(right, label):
        return np.mean([right[s, truth == label].mean() for s in range(3)])

    for index, name in enumerate(CLASSES):
        row = figures[name]
        assert row["before"] == pytest.approx(recall(before, index), abs=1e-4)
        assert row["after"] == pytest.approx(recall(after, index), abs=1e-4)
        assert row["difference"] == pytest.approx(row["after"] - row["before"], abs=1e-4)
        low, high = row["interval"]
        assert low < row["difference"] < high
    assert figures["accuracy"]["after"] == pytest.approx(after.mean(), abs=1e-4)
    assert figures["accuracy"]["by_seed"] == pytest.approx(
        (after.mean(axis=1) - before.mean(axis=1)).tolist(), abs=1e-4
    )
    # Two sides that are right and wrong on the same faces do not differ, whatever is drawn.
    assert compare_sides(after, after, truth, photos)["accuracy"]["interval"] == [0, 0]
    value, low, high = measure_side(after[0], truth, photos)["accuracy"]
    assert value == pytest.approx(after[0].mean())
    assert low < value < high


def test_class_without_validation_faces():
    right = np.ones((1, 4), bool)
    figures = compare_sides(right, right, np.zeros(4, int), pd.Series(list("abcd")))
    assert figures["without_mask"]["difference"] is None
    assert figures["without_mask"]["interval"] == [None, None]
    assert figures["macro_recall"]["before"] == 1
    counts = dict(zip(CLASSES, (4, 0, 0), strict=True))
    told = describe_effect({"faces": 4, "seeds": 1, "figures": figures, "of_class": counts})
    assert "| recall, without_mask, of 0 faces | – | – | – | – |" in told
    assert "| recall, with_mask, of 4 faces | 1.000 |" in told
