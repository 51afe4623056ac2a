from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from evaluate.inputs.predictions import place_predictions, read_predictions
from evaluate.inputs.truth import read_ground_truth
from evaluate.measures import bootstrap
from evaluate.measures.bootstrap import bootstrap_intervals, draw_weights
from evaluate.measures.case import match_predictions
from tests.evaluate.scenes import compute_headline


def mean_of(values: np.ndarray, weights: np.ndarray) -> Mapping[str, np.ndarray]:
    return {"mean": weights @ values / weights.sum(axis=1)}


def test_weights_are_draws_with_replacement() -> None:
    weights = np.concatenate(list(draw_weights(50, 2000, seed=1)))
    assert weights.shape == (2000, 50)
    assert (weights.sum(axis=1) == 50).all()
    # A photo is in a resample with probability 1 - (1 - 1/50)^50.
    assert (weights > 0).mean() == pytest.approx(1 - (1 - 1 / 50) ** 50, abs=0.01)


def test_slices_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(draw_weights(7, 100, seed=3)))
    monkeypatch.setattr(bootstrap, "_CELLS_AT_ONCE", 300)
    parts = list(draw_weights(7, 100, seed=3, rows=30))
    assert len(parts) == 10
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_interval_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=400)
    lower, upper = bootstrap_intervals(
        partial(mean_of, values), photos=400, resamples=4000, seed=0
    )["mean"]
    # The normal approximation: ± 1.96 standard errors.
    half = 1.96 * values.std() / np.sqrt(400)
    assert lower == pytest.approx(values.mean() - half, abs=0.01)
    assert upper == pytest.approx(values.mean() + half, abs=0.01)


def test_same_seed_same_interval() -> None:
    run = partial(bootstrap_intervals, partial(mean_of, np.arange(9.0)), photos=9, resamples=200)
    assert run(seed=5)["mean"].tolist() == run(seed=5)["mean"].tolist()
    assert run(seed=5)["mean"].tolist() != run(seed=6)["mean"].tolist()


def test_undefined_resamples_are_left_out() -> None:
    def statistic(weights: np.ndarray) -> Mapping[str, np.ndarray]:
        never = np.full(len(weights), np.nan)
        return {"pair": np.stack([np.where(weights[:, 0] > 0, 1.0, np.nan), never], axis=1)}

    ends = bootstrap_intervals(statistic, photos=3, resamples=100)["pair"]
    np.testing.assert_array_equal(ends, [[1, np.nan], [1, np.nan]])


def test_all_weights_one_is_the_plain_value(annotations: Path, predictions: Path) -> None:
    truth = read_ground_truth(annotations)
    placed = place_predictions(read_predictions(predictions), truth)
    matches = match_predictions(truth, placed.detections)
    plain = compute_headline(matches)
    weighted = compute_headline(matches, np.ones((3, 2)))
    for name, values in plain.items():
        for row in weighted[name]:
            np.testing.assert_array_equal(row, values[0])
