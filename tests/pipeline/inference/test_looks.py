"""Whether photos are called unlike: what is told of faces, ranges, and how often by chance."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import laplace
from scipy.stats import binom

from pipeline.inference.looks import (
    CHANCE,
    LOOKS,
    OUTSIDE,
    SIDE,
    describe_crops,
    find_unlike,
    fit_ranges,
    tell_chance,
)
from tests.makers import make_pixels


def describe_slowly(crop, shares):
    """Of a crop that has the side already."""
    grey = np.array([[0.299 * r + 0.587 * g + 0.114 * b for r, g, b in row] for row in crop])
    edges = laplace(grey)[1:-1, 1:-1].var() / (grey.var() + 1)
    chroma = np.mean([max(pixel) - min(pixel) for row in crop.astype(float) for pixel in row])
    told = [np.log2(len(crop)), np.log2(edges + 1e-4), np.log2(chroma + 1)]
    return [*told, grey.mean(), grey.std(), max(shares), 5.0]


def test_what_is_told_of_crops():
    crops = [make_pixels(SIDE, SIDE, seed) for seed in range(3)]
    shares = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    features = np.array([[3.0, 4.0]] * 3)
    expected = [describe_slowly(*pair) for pair in zip(crops, shares, strict=True)]
    assert describe_crops(crops, shares, features) == pytest.approx(np.array(expected), rel=1e-4)
    large = np.asarray(Image.fromarray(crops[0]).resize((96, 96), Image.Resampling.NEAREST))
    (first,) = describe_crops([large], shares[:1], features[:1])
    assert first[0] == pytest.approx(np.log2(96))
    assert first[1:] == pytest.approx(expected[0][1:], rel=1e-4)
    (shrunk,) = describe_crops(crops[:1], shares[:1], features[:1], [96])
    assert shrunk == pytest.approx(first, rel=1e-4)
    assert describe_crops([], shares[:0], features[:0]).shape == (0, len(LOOKS))


def draw(rng, photos, shift=0.0):
    """Looks of photos with one to four faces each, alike within a photo."""
    middles = rng.normal(shift, 1, (photos, 1, len(LOOKS)))
    counts = rng.integers(1, 5, photos)
    pairs = zip(middles, counts, strict=True)
    return [list(middle + rng.normal(0, 0.1, (count, len(LOOKS)))) for middle, count in pairs]


def fit(photos, source="a"):
    names = np.repeat(np.arange(len(photos)), [len(looks) for looks in photos])
    sources = pd.Series(np.full(len(names), source))
    return fit_ranges(np.concatenate(photos), pd.Series(names), sources)


def test_ranges_hold_most_photos_of_every_dataset_that_is_not_tiny():
    rng = np.random.default_rng(0)
    one, two, tiny = draw(rng, 400), draw(rng, 400, shift=3), draw(rng, 5, shift=50)
    names = pd.Series([n for n, looks in enumerate([*one, *two, *tiny]) for _ in looks])
    sources = names.map(lambda n: "one" if n < 400 else "two" if n < 800 else "tiny")
    ranges = fit_ranges(np.concatenate([*one, *two, *tiny]), names, sources)
    assert list(ranges) == list(LOOKS)
    for column, (low, high) in enumerate(ranges.values()):
        below = np.mean([np.median(looks, axis=0)[column] < low for looks in one])
        above = np.mean([np.median(looks, axis=0)[column] > high for looks in two])
        assert (below, above) == pytest.approx((0.025, 0.025), abs=0.01)
    assert all(np.isfinite(ends).all() for ends in fit(tiny).values())


@pytest.mark.parametrize("of", [1, 2, 7, 60, 4000, 10**6])
def test_chance_is_that_of_scipy(of):
    for least in {0, 1, of // 50, round(of * OUTSIDE), of // 20, of // 2, of}:
        expected = binom.sf(least - 1, of, OUTSIDE)
        assert tell_chance(least, of) == pytest.approx(expected, rel=1e-6, abs=1e-300)


@pytest.mark.parametrize("photos", [1, 10, 60])
def test_photos_of_the_same_kind_are_seldom_called_unlike(photos):
    rng = np.random.default_rng(1)
    ranges = fit(draw(rng, 2000))
    said = [find_unlike(draw(rng, photos), ranges) is not None for _ in range(300)]
    assert np.mean(said) <= 2 * CHANCE


def test_what_differs_is_said():
    rng = np.random.default_rng(2)
    ranges = fit(draw(rng, 500))
    plain, grey = ([[(np.arange(len(LOOKS)) == 2) * colour]] for colour in (0.0, -9.0))
    found = find_unlike([*grey * 20, *plain * 10, []], ranges)
    assert (found["photos"], found["of"], found["why"]) == (20, 30, {"less colour": 20})
    assert "20 of 30 photos with faces look unlike" in found["said"]
    assert "(less colour in 20)" in found["said"]
    for nothing in ([], [[], []]):
        assert find_unlike(nothing, ranges) is None
    assert find_unlike(grey * 20, {}) is None
