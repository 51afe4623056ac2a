"""The plots are pictures, whatever the faces."""

import base64

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from data_prep.prepare.page import plot_blur, plot_sizes, rank_correlation


def make_faces(count):
    rng = np.random.default_rng(0)
    sides = rng.integers(5, 200, count).astype(float)
    labels = np.resize(["with_mask", "without_mask"], count)
    return pd.DataFrame(
        {"label": labels, "short_side": sides, "blur": rng.exponential(9, count) / sides}
    )


@pytest.mark.parametrize("plot", [plot_sizes, plot_blur])
@pytest.mark.parametrize("faces", [make_faces(500), make_faces(1), make_faces(9).assign(blur=0.0)])
def test_plot_is_a_png_with_something_on_it(plot, faces):
    uri = plot(faces)
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape[1] > 400
    assert pixels.std() > 5


def test_rank_correlation_is_spearmans():
    faces = make_faces(200)
    expected = stats.spearmanr(faces["blur"], faces["short_side"]).statistic
    assert rank_correlation(faces) == pytest.approx(expected)


@pytest.mark.parametrize("faces", [make_faces(2), make_faces(9).assign(short_side=7.0)])
def test_rank_correlation_of_too_little(faces):
    assert rank_correlation(faces) is None
