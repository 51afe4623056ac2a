"""The pictures of a run folder, read back."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from data_prep.base.files import OutputError
from data_prep.base.photo import photo_size
from pipeline.runs.plots import draw_history, plot_curves, plot_top_losses
from tests.makers import make_pixels

HISTORY = [
    {"stage": stage, "epoch": epoch, "train_loss": 1 / (epoch + 1), "valid_loss": 1.0,
     "accuracy": 0.5, "recall_score": 0.4}
    for stage, epoch in ((0, 0), (0, 1), (1, 0))
]  # fmt: skip


@pytest.fixture
def figures(monkeypatch):
    """The figures as they are saved."""
    saved = []
    real = Figure.savefig

    def spy(self, *arguments, **options):
        saved.append(self)
        return real(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    return saved


def test_curves(tmp_path, figures):
    plot_curves(HISTORY, tmp_path / "a.png")
    left, right = figures[0].axes
    labels = [line.get_label() for line in (*left.lines[:2], *right.lines[:2])]
    assert labels == ["training", "validation", "accuracy", "macro recall"]
    assert list(left.lines[0].get_ydata()) == [1, 0.5, 1]
    upright = [line.get_xdata()[0] for line in left.lines[2:]]
    assert upright == [2.5, 3], "where the stage changes, and the kept epoch"
    assert min(photo_size(tmp_path / "a.png")) > 300


def test_curves_of_one_epoch(tmp_path, figures):
    plot_curves(HISTORY[:1], tmp_path / "a.png")
    low, high = figures[0].axes[0].get_xlim()
    assert [at for at in figures[0].axes[0].get_xticks() if low <= at <= high] == [1]
    assert (tmp_path / "a.png").is_file()
    with pytest.raises(OutputError, match=r"a\.png: can't be written"):
        plot_curves(HISTORY, tmp_path / "none" / "a.png")


@pytest.mark.parametrize("count", [0, 1, 10, 13])
def test_top_losses(tmp_path, figures, count):
    rows = pd.DataFrame({"loss": np.linspace(9, 1, count)})
    rows[["label", "predicted"]] = "with_mask", "without_mask"
    plot_top_losses([make_pixels(20 + i, 20 + i) for i in range(count)], rows, tmp_path / "a.png")
    titles = [axes.get_title() for axes in figures[0].axes if axes.images]
    assert len(titles) == count
    if count:
        assert titles[0] == "with → without\nloss 9.0"


def test_scores_of_members_and_of_a_detector():
    members = pd.DataFrame([{"member": n, **row} for n in range(2) for row in HISTORY])
    (axes,) = draw_history(members)[1].axes
    assert [text.get_text() for text in axes.get_legend().texts] == [
        "accuracy",
        "macro recall",
        "kept",
    ]
    steps = pd.DataFrame({"step": [0, 5], "set_face_ap50": [0.5, 0.75], "loss": [np.nan, 1.0]})
    (axes,) = draw_history(steps)[1].axes
    assert list(axes.lines[0].get_xdata()) == [0, 5]
    assert axes.get_xlabel() == "step"
