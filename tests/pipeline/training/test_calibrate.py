"""Temperature and crop figures against sklearn, a grid, and arithmetic by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, recall_score

from data_prep.base.labels import CLASSES
from pipeline.nets.classifiers import fill_net, join_members, make_mobilenet
from pipeline.training.export import (
    RANGE,
    fit_temperature,
    lean_to_rare,
    measure_crops,
    shift_logits,
    undo_class_weights,
)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def draw(temperature, count=4000, seed=0):
    """Probabilities that are wrong by this temperature: labels are drawn from the true ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (count, 3))
    truth = (softmax(logits).cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    return softmax(logits * temperature), truth


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_known_temperature_is_found(temperature):
    assert fit_temperature(*draw(temperature)) == pytest.approx(temperature, rel=0.1)


def test_no_temperature_of_a_grid_is_better():
    probabilities, truth = draw(1.8, count=500, seed=1)
    found = fit_temperature(probabilities, truth)

    def loss(temperature):
        return log_loss(truth, softmax(np.log(probabilities) / temperature), labels=[0, 1, 2])

    assert loss(found) <= min(loss(t) for t in np.geomspace(*RANGE, 60)) + 1e-6


@pytest.mark.parametrize("right", [True, False])
def test_temperature_stays_in_its_range(right):
    truth = np.array([0, 1, 2] * 4)
    sure = np.eye(3)[truth if right else (truth + 1) % 3] * 0.9 + 0.1 / 3
    temperature = fit_temperature(sure, truth)
    assert RANGE[0] <= temperature <= RANGE[1]
    assert temperature == pytest.approx(RANGE[0] if right else RANGE[1], rel=0.01)


def test_probabilities_of_zero_are_survived():
    probabilities = np.array([[1.0, 0, 0], [0, 1.0, 0], [1.0, 0, 0]], np.float32)
    assert np.isfinite(fit_temperature(probabilities, np.array([0, 1, 2])))


def test_figures_are_those_of_sklearn():
    probabilities, truth = draw(1.0, count=300)
    sources = pd.Series(["b"] * 100 + ["a"] * 200)
    figures = measure_crops(probabilities, truth, sources)
    assert list(figures) == ["all", "a", "b"]
    predicted = probabilities.argmax(axis=1)
    for name, rows in (("all", slice(None)), ("a", slice(100, None)), ("b", slice(100))):
        got, p, t = figures[name], predicted[rows], truth[rows]
        assert got["faces"] == len(t)
        assert got["accuracy"] == pytest.approx(accuracy_score(t, p))
        assert got["macro_recall"] == pytest.approx(recall_score(t, p, average="macro"))
        recalls = recall_score(t, p, average=None)
        assert [got[label] for label in CLASSES] == pytest.approx(list(recalls))


def test_class_without_faces_is_left_out_of_the_mean():
    probabilities = np.eye(3)[[0, 0, 1]]
    figures = measure_crops(probabilities, np.array([0, 1, 1]), pd.Series(["s"] * 3))["s"]
    assert figures == {
        "faces": 3.0,
        "accuracy": pytest.approx(2 / 3),
        "macro_recall": 0.75,
        "with_mask": 1.0,
        "without_mask": 0.5,
    }


@pytest.mark.parametrize("members", [1, 3])
def test_odds_of_the_rare_class_are_multiplied_and_the_others_keep_theirs(members, tmp_path):
    states = []
    for seed in range(members):
        torch.manual_seed(seed)
        states.append(make_mobilenet().state_dict())
    state = states[0] if members == 1 else join_members(states)
    leaning = shift_logits(state, lean_to_rare(2.5, 0.8), "mobilenet0.25")
    faces = torch.randn(6, 3, 64, 64)
    odds = []
    for weights in (state, leaning):
        net = fill_net(weights, "mobilenet0.25", tmp_path).eval()
        with torch.inference_mode():
            odds.append((net(faces) / 0.8).softmax(dim=1))
    before, after = odds
    torch.testing.assert_close(after[:, 2] / after[:, 0], 2.5 * before[:, 2] / before[:, 0])
    torch.testing.assert_close(after[:, 1] / after[:, 0], before[:, 1] / before[:, 0])


def test_class_weights_are_taken_back():
    weights = torch.tensor([0.5, 1.0, 4.0])
    shares = torch.tensor([[0.6, 0.3, 0.1]])
    taught = shares * weights / (shares * weights).sum()
    back = (taught.log() + undo_class_weights(weights, 1.0)).softmax(dim=1)
    torch.testing.assert_close(back, shares)
    assert undo_class_weights(weights, 0.0).tolist() == [0, 0, 0]
    assert undo_class_weights(None, 1.0).tolist() == [0, 0, 0]
