"""Flipped labels: how many, where they go, and which order finds them."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from data_prep.base.labels import CLASSES
from data_prep.base.tables import read_faces
from tests.benchmarks.label_noise import (
    KINDS,
    ORDERS,
    NoiseOptions,
    NoiseRun,
    describe_runs,
    flip_labels,
    measure_runs,
    recall_at_flipped,
    run_noise_benchmark,
    score_by_cleanlab,
)
from tests.pipeline.cleaning.test_evidence import noisy
from tests.pipeline.makers import Told
from tests.pipeline.tables import table_of, write_tiny

find_label_issues = pytest.importorskip("cleanlab.filter").find_label_issues
LABELS = np.random.default_rng(0).choice(3, 4000, p=[0.7, 0.25, 0.05])


@pytest.mark.parametrize("rate", [0.0, 0.0101, 0.5])
def test_rate_is_exact_and_the_seed_decides(rate):
    before = LABELS.copy()
    flipped, same, other = (flip_labels(LABELS, "likely", rate=rate, seed=s) for s in (1, 1, 2))
    assert (flipped != LABELS).sum() == round(rate * 4000)
    assert (flipped == same).all()
    assert (flipped != other).any() == (rate > 0)
    assert (before == LABELS).all()


@pytest.mark.parametrize("kind", KINDS)
def test_flips_go_where_they_should(kind):
    many = np.repeat(np.arange(3), 30_000)
    flipped = flip_labels(many, kind, rate=0.5, seed=2)
    for true, name in enumerate(CLASSES):
        moved = flipped[(many == true) & (flipped != true)]
        shares = np.bincount(moved, minlength=3) / len(moved)
        expected = [KINDS[kind][name].get(new, 0) for new in CLASSES]
        assert sum(expected) == pytest.approx(1)
        np.testing.assert_allclose(shares, expected, atol=0.015)


def test_issues_of_cleanlab_come_first_then_the_rest_by_quality():
    _, given, p = noisy()
    found = find_label_issues(given, p, return_indices_ranked_by="self_confidence", n_jobs=1)
    scores = score_by_cleanlab(given, p)
    order = np.argsort(-scores, kind="stable")
    assert order[: len(found)].tolist() == found.tolist()
    own = p[np.arange(len(given)), given]
    assert (np.diff(own[order[len(found) :]]) >= 0).all()


def test_two_classes_as_if_there_were_no_third():
    true, given, p = noisy()
    two = (true < 2) & (given < 2)
    pair = p[two][:, :2] / p[two][:, :2].sum(axis=1, keepdims=True)
    ours = score_by_cleanlab(given[two], np.pad(pair, ((0, 0), (0, 1))))
    np.testing.assert_allclose(ours, score_by_cleanlab(given[two], pair))
    assert set(flip_labels(given[two], "likely", rate=0.5, seed=0)) == {0, 1}


rng = np.random.default_rng(7)
WRONG = rng.random(300) < 0.1
SCORES = rng.random(300) + 0.5 * WRONG
ORDER = np.argsort(-SCORES, kind="stable")


def test_recall_against_counting_repeated_faces():
    times = np.vstack([np.ones(300, int), rng.integers(0, 3, (5, 300))])
    recalls = recall_at_flipped(ORDER, WRONG, times.astype(float))
    for row, recall in zip(times, recalls, strict=True):
        ranked = [WRONG[face] for face in ORDER for _ in range(row[face])]
        k = sum(ranked)
        assert recall == pytest.approx(sum(ranked[:k]) / k)
    assert np.isnan(recall_at_flipped(ORDER, np.zeros(300, bool), np.ones((1, 300))))[0]


def run(prepared, out, lines=None):
    recipe = write_tiny(out.parent)
    options = NoiseOptions(prepared, out, 2, rate=0.1, folds=3, recipe=recipe, device="cpu", jobs=1)
    return run_noise_benchmark(options, Told(lines))


def test_only_training_labels_are_flipped_and_all_are_found(prepared, tmp_path, by_colour):
    measured, runs = run(prepared, tmp_path / "out")
    faces, kinds = read_faces(prepared), ("uniform", "likely")
    assert [(run.seed, run.kind) for run in runs] == [*product((0, 1), kinds)]
    assert len(by_colour) == 4 * (3 + 1)
    for one in runs:
        assert len(one.true) == (faces["split"] == "train").sum() == 36
        assert one.wrong.sum() == 4
        assert tuple(one.scores) == ORDERS
        for order in ORDERS:
            assert one.wrong[np.argsort(-one.scores[order], kind="stable")[:4]].all(), order
    # Networks learn from the flipped labels, not from the true ones.
    first = by_colour[0].faces
    true = faces.set_index(["source", "image", "object"])["label"]
    known = true.loc[list(zip(first["source"], first["image"], first["object"], strict=True))]
    assert (first["label"].to_numpy() != known.to_numpy()).any()
    assert {call.recipe.seed for call in by_colour} == {0, 1}
    assert len(pd.read_csv(tmp_path / "out" / "noise.csv")) == len(measured)
    # Goes on where it was stopped.
    (tmp_path / "out" / "likely-1" / "fold-2.npz").unlink()
    lines = []
    again, _ = run(prepared, tmp_path / "out", lines)
    assert [call.what for call in by_colour[16:]] == ["likely noise, seed 1, fold 2 of 3"]
    assert lines[0] == "15 of 16 trainings were done before"
    pd.testing.assert_frame_equal(again, measured)


def test_figures_by_hand():
    """Two seeds of one kind; each order puts all wrong ones first, save `cleanlab` one of four."""
    table = table_of([0] * 40, [f"g{index // 2}" for index in range(40)])
    runs = []
    for seed in range(2):
        true = np.zeros(40, int)
        true[:4] = 2
        given = true.copy()
        given[seed : 30 + seed : 10] = [1, 2, 2]
        given[39] = 1
        wrong = (given != true).astype(float)
        scores = {order: wrong + np.linspace(0.4, 0, 40) for order in ORDERS}
        scores["cleanlab"][39] = -1
        runs.append(NoiseRun("uniform", seed, true, given, scores, [5.0, 2, 9]))
    rows = measure_runs(table, runs)
    measured = rows.set_index("order")
    assert measured.loc["merged", "value"] == 1
    assert measured.loc["cleanlab", "value"] == 0.75
    lead = measured.loc["merged"]
    assert lead["lead_value"] == 0.25
    assert 0 <= lead["lead_low"] < lead["lead_high"] <= 1
    assert measured.loc["cleanlab", "lead_value"] == 0
    text = describe_runs(rows, runs)
    begin = "**uniform**: 4 of 40 labels flipped, 2 seeds; estimated to be wrong: 5 (2 to 9), 5 (2 "
    assert text.splitlines()[2].startswith(begin)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 1 + len(ORDERS)
    assert {line.count("|") for line in lines} == {4}
    assert next(line for line in lines if line.startswith("| cleanlab |")).endswith("| – |")
    assert "no order can reach 1" in text
