"""The figures of a run's page."""

import numpy as np
import pandas as pd

from pipeline.runs.plots import draw_history

HISTORY = [
    {"stage": stage, "epoch": epoch, "train_loss": 1 / (epoch + 1), "valid_loss": 1.0,
     "accuracy": 0.5, "recall_score": 0.4}
    for stage, epoch in ((0, 0), (0, 1), (1, 0))
]  # fmt: skip


def draw(rows):
    return [figure.axes[0] for figure in draw_history(pd.DataFrame(rows))]


def labels_of(axes):
    return [text.get_text() for text in axes.get_legend().texts]


def test_curves():
    losses, scores = draw(HISTORY)
    assert labels_of(losses) == ["training", "validation", "kept"]
    assert labels_of(scores) == ["accuracy", "macro recall", "kept"]
    assert list(losses.lines[0].get_ydata()) == [1, 0.5, 1]
    upright = [line.get_xdata()[0] for line in losses.lines[2:]]
    assert upright == [2.5, 3], "where the stage changes, and the kept epoch"


def test_curves_of_one_epoch():
    axes = draw(HISTORY[:1])[0]
    low, high = axes.get_xlim()
    assert [at for at in axes.get_xticks() if low <= at <= high] == [1]


def test_scores_of_a_classifier_and_of_a_detector():
    axes = draw(HISTORY)[1]
    assert labels_of(axes) == ["accuracy", "macro recall", "kept"]
    axes = draw({"step": [0, 5], "set_face_ap50": [0.5, 0.75], "loss": [np.nan, 1.0]})[1]
    assert list(axes.lines[0].get_xdata()) == [0, 5]
    assert axes.get_xlabel() == "step"
