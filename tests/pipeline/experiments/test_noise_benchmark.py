"""The noise benchmark on painted faces, where every flip can be found."""

import numpy as np
import pandas as pd
import pytest

from data_prep.base.photo import photo_size
from data_prep.base.tables import read_faces
from pipeline.experiments.noise_benchmark import ORDERS, NoisePlan, NoiseRun, run_noise_benchmark
from pipeline.experiments.noise_report import (
    FIGURES,
    describe_runs,
    measure_runs,
    order_faces,
    write_report,
)
from tests.pipeline.makers import CPU, Told
from tests.pipeline.tables import TINY, table_of

pytest.importorskip("cleanlab")
PLAN = NoisePlan(("uniform", "likely"), 2, 0.1, 3, TINY)


def run(prepared, out, lines=None):
    return run_noise_benchmark(prepared, out, PLAN, device=CPU, log=Told(lines), jobs=1)


def test_only_training_labels_are_flipped_and_all_are_found(prepared, tmp_path, by_colour):
    table, runs = run(prepared, tmp_path)
    faces = read_faces(prepared)
    assert len(table) == (faces["split"] == "train").sum() == 36
    assert [(run.kind, run.seed) for run in runs] == [
        ("uniform", 0),
        ("likely", 0),
        ("uniform", 1),
        ("likely", 1),
    ]
    assert len(by_colour) == 4 * (3 + 1)
    for one in runs:
        assert one.wrong.sum() == 4
        assert tuple(one.scores) == ORDERS
        for order in ("in-sample", "out-of-fold", "cleanlab", "cleanlab margin", "merged"):
            assert one.wrong[order_faces(one.scores[order])[:4]].all(), order
    # Networks learn from the flipped labels, not from the true ones.
    first = by_colour[0].faces
    true = faces.set_index(["source", "image", "object"])["label"]
    known = true.loc[list(zip(first["source"], first["image"], first["object"], strict=True))]
    assert (first["label"].to_numpy() != known.to_numpy()).any()
    assert {call.recipe.seed for call in by_colour} == {0, 1}


def test_goes_on_where_it_was_stopped(prepared, tmp_path, by_colour):
    run(prepared, tmp_path)
    (tmp_path / "likely-1" / "fold-2.npz").unlink()
    lines = []
    run(prepared, tmp_path, lines)
    assert [call.what for call in by_colour[16:]] == ["likely noise, seed 1, fold 2 of 3"]
    assert lines[0] == "15 of 16 trainings were done before"


def made_runs():
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
        scores["cleanlab"] = scores["cleanlab"].copy()
        scores["cleanlab"][39] = -1
        runs.append(NoiseRun("uniform", seed, true, given, scores, 5.0))
    return table, runs


def test_figures_by_hand():
    table, runs = made_runs()
    measured = measure_runs(table, runs).set_index(["order", "figure", "seed"])

    def value(*key):
        return measured.loc[key, "value"]

    for seed in ("0", "1", "mean"):
        assert value("merged", "recall_at_k", seed) == 1
        assert value("cleanlab", "recall_at_k", seed) == 0.75
        assert value("cleanlab", "from_rare", seed) == 1
        assert value("cleanlab", "average_precision", seed) == pytest.approx((3 + 4 / 40) / 4)
    lead = measured.loc[("merged", "recall_at_k", "mean minus cleanlab")]
    assert lead["value"] == 0.25
    assert 0 <= lead["low"] <= 0.25 <= lead["high"] <= 1
    assert lead["low"] < lead["high"]
    assert value("cleanlab", "recall_at_k", "mean minus cleanlab") == 0


def test_table_csv_and_plot(tmp_path):
    table, runs = made_runs()
    measured = measure_runs(table, runs)
    text = describe_runs(measured, runs)
    assert text.startswith("**uniform**: 4 of 40 labels flipped, 2 seeds")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(ORDERS)
    assert {line.count("|") for line in rows} == {len(FIGURES) + 3}
    assert next(line for line in rows if line.startswith("| cleanlab |")).endswith("| – |")
    assert "no order can reach 1" in text
    write_report(measured, runs, tmp_path)
    assert len(pd.read_csv(tmp_path / "noise.csv")) == len(measured)
    assert min(photo_size(tmp_path / "noise.png")) > 300
