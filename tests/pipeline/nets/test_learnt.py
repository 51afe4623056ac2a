"""Photos known again by their look, against the formula written out; what cards list."""

import numpy as np
import pandas as pd
import pytest

from data_prep.base.photo import read_photo
from pipeline.nets.learnt import (
    NEAR,
    KnownPhotos,
    fingerprint_photo,
    hash_look,
    list_photos,
)
from tests.makers import make_photo, make_pixels


def hash_slowly(pixels):
    """The discrete cosine transform, its sums written out, of blocks of 8 × 8 pixels."""
    grey = (pixels @ np.array([0.299, 0.587, 0.114])).reshape(32, 8, 32, 8).mean(axis=(1, 3))
    place = np.arange(32) + 0.5
    bits = [
        (grey * np.outer(np.cos(np.pi * v * place / 32), np.cos(np.pi * u * place / 32))).sum() > 0
        for v in range(8)
        for u in range(8)
    ]
    return int("".join(str(int(bit)) for bit in bits), 2)


def differ(one, other):
    return (one ^ other).bit_count()


@pytest.mark.parametrize("seed", range(4))
def test_looks_are_those_of_the_formula_whatever_the_size(seed):
    pixels = make_pixels(256, 256, seed)
    look = hash_look(pixels)
    # Of sums near 0 rounding to whole grey levels may turn the sign.
    assert differ(look, hash_slowly(pixels)) <= 2
    large = np.repeat(np.repeat(pixels, 7, axis=0), 5, axis=1)
    assert differ(look, hash_look(large)) <= 2
    assert differ(look, hash_look(make_pixels(256, 256, seed + 9))) > NEAR


def test_known_photos_are_told_up_to_the_limit():
    looks = [hash_look(make_pixels(seed=seed)) for seed in range(20)]
    known = KnownPhotos(f"{number:016x}-{look:016x}" for number, look in enumerate(looks))
    assert known.tell(f"{3:016x}-{0:016x}") == "exact"
    mirrored = hash_look(make_pixels(seed=5)[:, ::-1])
    for number in (NEAR, NEAR + 1):
        flips = (1 << number) - 1
        for look in (looks[7] ^ flips, mirrored ^ flips):
            told = known.tell(f"{99:016x}-{look:016x}")
            assert told == known.tell(f"-{look:016x}") == ("near" if number == NEAR else "")
    assert KnownPhotos([]).tell(f"{3:016x}-{0:016x}") == known.tell("") == ""


def test_photos_of_a_table_are_listed_once_or_not_at_all(tmp_path):
    for number in range(3):
        make_photo(tmp_path / f"{number}.png", seed=number)
    rows = [("set", f"{number // 2}.png", 120, 90, 10, 10, 40, 40) for number in range(5)]
    names = ["source", "image", "width", "height", "xmin", "ymin", "xmax", "ymax"]
    faces, told = pd.DataFrame(rows, columns=names), []
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    marks = sorted(fingerprint_photo(read_photo(path).pixels, path) for path in paths)
    assert list_photos(faces, {"set": tmp_path}, told.append) == tuple(marks)
    assert not told
    crops = faces.assign(xmin=40, xmax=80, ymin=30, ymax=60)
    assert list_photos(crops, {"set": tmp_path}, told.append) == ()
    paths[1].unlink()
    assert list_photos(faces, {"set": tmp_path}, told.append) == ()
    assert ["crops have no photos" in told[0], "1.png: can't be read" in told[1]] == [True, True]
