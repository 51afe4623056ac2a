"""Turned copies: boxes stay on their faces, and only training is turned."""

import numpy as np
import pandas as pd
import pytest

from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe, RecipeError, load_recipe
from pipeline.training import detector_data
from pipeline.training.data import add_turned_faces
from pipeline.training.detector_data import Scene, WindowDataset, turn_photo
from tests.makers import make_photo, make_pixels

BOXES = np.array([[10, 20, 40, 33], [60.5, 0, 80, 50]], np.float32)


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_boxes_turn_with_the_photo(angle):
    photo = np.zeros((60, 90, 3), np.uint8)
    photo[20:33, 10:40] = 255
    turned, boxes = turn_photo(photo, BOXES, angle)
    assert np.array_equal(turned, np.rot90(photo, angle // 90))
    rows, columns = np.nonzero(turned[:, :, 0])
    bright = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert boxes[0].tolist() == bright
    assert boxes.dtype == np.float32


def test_four_turns_are_none():
    photo = make_pixels(90, 60)
    pixels, boxes = photo, BOXES
    for _ in range(4):
        pixels, boxes = turn_photo(pixels, boxes, 90)
    assert np.array_equal(pixels, photo)
    assert np.array_equal(boxes, BOXES)


def test_photo_without_faces_turns():
    _, boxes = turn_photo(make_pixels(90, 60), np.zeros((0, 4), np.float32), 90)
    assert boxes.shape == (0, 4)


def faces():
    split = ["train", "valid", "train"]
    return pd.DataFrame({"crop": ["a", "b@90", "c"], "label": list("xyz"), "split": split})


def read(path):
    return make_pixels(30, 30, seed=["a", "b@90", "c"].index(path))


def test_every_training_face_gets_a_copy_for_every_angle():
    recipe = ClassifierRecipe(rotated=[90, 270])
    table, reads = add_turned_faces(faces(), read, recipe)
    pd.testing.assert_frame_equal(table.iloc[:3], faces())
    added = table.iloc[3:]
    assert added["crop"].tolist() == ["a@90", "c@90", "a@270", "c@270"]
    assert added["label"].tolist() == ["x", "z", "x", "z"]
    assert set(added["split"]) == {"train"}
    assert np.array_equal(reads("b@90"), read("b@90")), "a validation crop of such a name"
    for angle, turns in ((90, 1), (270, 3)):
        assert np.array_equal(reads(f"c@{angle}"), np.rot90(read("c"), turns))


def test_nothing_is_turned_unless_asked_for():
    given = faces()
    table, reads = add_turned_faces(given, read, ClassifierRecipe())
    assert table is given
    assert reads is read


@pytest.mark.parametrize(
    ("name", "kind"), [("default", ClassifierRecipe), ("detector", DetectorRecipe)]
)
def test_other_angles_are_refused(name, kind):
    with pytest.raises(RecipeError, match=r"rotated\.0: .*90, 180 or 270"):
        load_recipe(name, kind, ["rotated=[45]"])
    assert load_recipe(name, kind).rotated == []
    assert load_recipe(name, kind, ["rotated=[90,180]"]).rotated == [90, 180]


def test_windows_are_of_turned_photos_in_equal_shares(tmp_path, monkeypatch):
    photo = make_photo(tmp_path / "a.png")
    box = np.array([[20, 15, 60, 55]], np.float32)
    scene = Scene("a", tmp_path / "a.png", (120, 90), box, np.array([1]))
    seen = []

    def spy(pixels, boxes, recipe, rng):
        seen.append((pixels, boxes, rng.random()))
        return np.zeros((64, 64, 3), np.uint8), boxes, np.ones(len(boxes), bool)

    monkeypatch.setattr(detector_data, "cut_window", spy)
    turning = WindowDataset([scene], DetectorRecipe(input_size=64, rotated=[90, 180]))
    for index in range(150):
        turning[index]
    counts = [sum(np.array_equal(p, np.rot90(photo, k)) for p, _, _ in seen) for k in range(4)]
    assert counts[3] == 0
    assert all(30 < count < 70 for count in counts[:3])
    for pixels, boxes, _ in seen:
        turns = next(k for k in range(3) if np.array_equal(pixels, np.rot90(photo, k)))
        assert np.array_equal(boxes, turn_photo(photo, box, 90 * turns)[1])
    draws = [draw for _, _, draw in seen]
    seen.clear()
    plain = WindowDataset([scene], DetectorRecipe(input_size=64))
    for index in range(150):
        plain[index]
    assert all(np.array_equal(pixels, photo) for pixels, _, _ in seen)
    assert [draw for _, _, draw in seen] == draws, "the other draws stay"
