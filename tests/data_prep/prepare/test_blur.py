"""The blur score and the balancing rule."""

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.prepare.blur import SIZE_EDGES, blur_score, keep_balanced, size_bin
from tests.makers import make_pixels

KERNEL = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])


def score_slowly(grey):
    padded = np.pad(grey.astype(float), 1, mode="reflect")
    height, width = grey.shape
    response = np.zeros((height, width))
    for dy in range(3):
        for dx in range(3):
            response += KERNEL[dy, dx] * padded[dy : dy + height, dx : dx + width]
    return np.mean((response - response.mean()) ** 2)


@pytest.mark.parametrize(("width", "height"), [(30, 30), (2, 5), (64, 17)])
def test_score_is_the_variance_of_the_laplacian(width, height):
    grey = make_pixels(width, height)[:, :, 0]
    assert blur_score(np.dstack([grey] * 3)) == pytest.approx(score_slowly(grey))


def test_colour_is_weighed_as_the_eye_does():
    crop = make_pixels(30, 30)
    grey = np.rint(crop @ np.array([0.299, 0.587, 0.114]))
    assert blur_score(crop) == pytest.approx(score_slowly(grey), rel=0.02)


def test_blurring_lowers_the_score():
    crop = make_pixels(40, 40)
    scores = [blur_score(cv2.GaussianBlur(crop, (0, 0), sigma)) for sigma in (0.5, 1, 2, 4)]
    assert scores == sorted(scores, reverse=True)


def test_flat_and_single_pixel_crops_score_zero():
    assert blur_score(np.full((9, 9, 3), 77, np.uint8)) == 0
    assert blur_score(np.zeros((1, 1, 3), np.uint8)) == 0


def test_size_bins():
    assert size_bin([1, 7.9, 8, 11.9, 12, 127, 128, 999]).tolist() == [0, 0, 1, 1, 2, 8, 9, 9]
    assert len(SIZE_EDGES) == 9


@st.composite
def tables(draw):
    counts = [draw(st.integers(0, 90)), draw(st.integers(0, 40)), draw(st.integers(0, 20))]
    names = ["with_mask", "without_mask", "mask_weared_incorrect"]
    labels = np.repeat(names, counts)
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    rng.shuffle(labels)
    sides = np.exp(rng.uniform(np.log(4), np.log(200), len(labels)))
    blur = np.round(rng.exponential(500, len(labels)) / sides, draw(st.sampled_from([0, 3])))
    return pd.DataFrame({"label": labels, "blur": blur, "short_side": sides})


@given(tables(), st.sampled_from(["binned", "global", "none"]), st.sampled_from([0.5, 1, 1.5, 3]))
def test_exactly_the_excess_of_the_largest_class_goes(faces, rule, ratio):
    keep = keep_balanced(faces, rule=rule, ratio=ratio)
    before, after = faces["label"].value_counts(), faces["label"][keep].value_counts()
    largest = before.index[0] if len(before) else None
    for label in before.index:
        expected = before[label]
        if label == largest and label != "mask_weared_incorrect" and rule != "none":
            expected = min(expected, int(ratio * before.iloc[1])) if len(before) > 1 else expected
        assert after.get(label, 0) == expected


@given(tables())
def test_global_rule_drops_the_lowest_scores(faces):
    keep = keep_balanced(faces, rule="global")
    if keep.all():
        return
    largest = faces["label"] == faces["label"].value_counts().index[0]
    dropped, kept = faces["blur"][~keep], faces["blur"][keep & largest]
    assert kept.empty or dropped.max() <= kept.min()


@given(tables())
def test_binned_rule_drops_one_share_of_every_bin(faces):
    keep = keep_balanced(faces, rule="binned")
    if keep.all():
        return
    pool = faces["label"] == faces["label"].value_counts().index[0]
    bins = size_bin(faces["short_side"].to_numpy())
    low, high = 0.0, 1.0
    for index in np.unique(bins[pool]):
        inside = pool & (bins == index)
        size, lost = inside.sum(), (~keep[inside]).sum()
        # The shares that round to this loss; one share has to be common to all bins.
        low, high = max(low, (lost - 0.5) / size), min(high, (lost + 0.5) / size)
        blur = faces["blur"][inside]
        assert lost in (0, size) or blur[~keep[inside]].max() <= blur[keep[inside]].min()
    assert low <= high + 1e-9


def test_binned_rule_does_not_favour_small_faces():
    rng = np.random.default_rng(0)
    sides = np.repeat([10.0, 40.0], 200)
    blur = rng.exponential(1, 400) * np.where(sides == 10, 3000, 300)  # small faces score high
    labels = ["with_mask"] * 400 + ["without_mask"] * 100
    faces = pd.DataFrame(
        {
            "label": labels,
            "blur": np.append(blur, np.ones(100)),
            "short_side": np.append(sides, np.full(100, 20.0)),
        }
    )
    lost = {}
    for rule in ("binned", "global"):
        keep = keep_balanced(faces, rule=rule)[:400]
        lost[rule] = [(~keep[sides == side]).sum() for side in (10, 40)]
    assert lost["binned"] == [125, 125]
    assert lost["global"][1] > 2 * lost["global"][0]


def test_rare_class_is_never_cut_even_when_it_is_the_largest():
    labels = ["mask_weared_incorrect"] * 50 + ["with_mask"] * 3
    faces = pd.DataFrame({"label": labels, "blur": 1.0, "short_side": 20.0})
    assert keep_balanced(faces).all()
