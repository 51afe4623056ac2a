"""Twins: the same face in near-duplicate photos, and nothing else."""

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.cleaning.evidence import find_twins
from tests.makers import make_pixels
from tests.pipeline.tables import table_of


@pytest.fixture
def faces(tmp_path):
    """Two faces, then both again in a copy of the photo, then one of them in a photo of no kin."""

    def make(crops, groups, images):
        table = table_of([0] * len(crops), groups, images)
        for index, crop in enumerate(crops):
            Image.fromarray(crop).save(tmp_path / f"{index}.png")
        return table.assign(crop=[str(tmp_path / f"{index}.png") for index in range(len(crops))])

    return make


ONE, TWO = make_pixels(40, 40, seed=1), make_pixels(40, 40, seed=2)


def test_same_face_in_a_copy_of_the_photo(faces):
    table = faces(
        [ONE, TWO, TWO, ONE, ONE],
        ["g", "g", "g", "g", "h"],
        ["a.jpg", "a.jpg", "b.jpg", "b.jpg", "c.jpg"],
    )
    assert find_twins(table) == [[3], [2], [1], [0], []]


def test_same_face_in_three_photos(faces):
    assert find_twins(faces([ONE] * 3, ["g"] * 3, ["a", "b", "c"])) == [[1, 2], [0, 2], [0, 1]]


@pytest.mark.parametrize(
    "change",
    [
        lambda crop: crop[:, ::-1],
        lambda crop: cv2.resize(crop, (25, 25), interpolation=cv2.INTER_AREA),
        lambda crop: np.clip(crop * 0.7 + 20, 0, 255).astype(np.uint8),
        lambda crop: crop[1:, 1:],
    ],
    ids=["mirrored", "smaller", "paler", "cut a little differently"],
)
def test_copies_are_known_again(faces, change):
    other = np.ascontiguousarray(change(ONE))
    assert find_twins(faces([ONE, other], ["g", "g"], ["a", "b"])) == [[1], [0]]


def test_another_face_in_the_same_scene_is_no_twin(faces):
    assert find_twins(faces([ONE, TWO], ["g", "g"], ["a", "b"])) == [[], []]


def test_each_face_has_one_twin_in_a_photo(faces):
    noise = np.random.default_rng(0).normal(0, 20, ONE.shape)
    near = np.clip(ONE + noise, 0, 255).astype(np.uint8)
    assert find_twins(faces([near, ONE, ONE], ["g"] * 3, ["a", "a", "b"])) == [[], [2], [1]]
    assert find_twins(faces([near, ONE], ["g"] * 2, ["a", "b"])) == [[1], [0]]


def test_faces_of_one_photo_are_no_twins(faces):
    assert find_twins(faces([ONE, ONE], ["g", "g"], ["a", "a"])) == [[], []]


def test_even_crops_are_like_nothing(faces):
    even = np.full((20, 20, 3), 90, np.uint8)
    assert find_twins(faces([even, even], ["g", "g"], ["a", "b"])) == [[], []]


def test_no_groups_at_all(faces):
    assert find_twins(faces([ONE, ONE], ["g", "h"], ["a", "b"])) == [[], []]
