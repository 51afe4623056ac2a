"""Crops in memory are those of the files."""

import numpy as np
import pytest
from PIL import Image

from data_prep.base.crop import resize_crop
from data_prep.base.photo import PhotoError
from pipeline.training.short import load_crops
from tests.makers import make_pixels


def test_large_crops_are_shrunk_and_small_ones_left(tmp_path):
    small, large = make_pixels(20, 20, 1), make_pixels(90, 90, 2)
    for name, pixels in (("a.png", small), ("b.png", large)):
        Image.fromarray(pixels).save(tmp_path / name)
    paths = [str(tmp_path / name) for name in ("b.png", "a.png", "b.png")]
    crops = load_crops(paths, 64)
    assert sorted(crops) == sorted(set(paths))
    assert np.array_equal(crops[paths[1]], small)
    assert np.array_equal(crops[paths[0]], resize_crop(large, 64))


def test_damaged_crop_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no photo")
    with pytest.raises(PhotoError, match=r"a\.jpg"):
        load_crops([str(tmp_path / "a.jpg")], 64)


def test_no_crops_at_all():
    assert load_crops([], 64) == {}
