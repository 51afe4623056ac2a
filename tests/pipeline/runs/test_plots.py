"""The pictures of a run folder, read back."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from data_prep.base.files import OutputError
from data_prep.base.photo import photo_size
from pipeline.runs.plots import plot_confusion, plot_curves, plot_top_losses
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
    assert list(left.lines[2].get_xdata()) == [2.5, 2.5], "a line where the stage changes"
    assert min(photo_size(tmp_path / "a.png")) > 300


def test_curves_of_one_epoch(tmp_path):
    plot_curves(HISTORY[:1], tmp_path / "a.png")
    assert (tmp_path / "a.png").is_file()
    with pytest.raises(OutputError, match=r"a\.png: can't be written"):
        plot_curves(HISTORY, tmp_path / "none" / "a.png")


def test_confusion_counts_truth_by_row(tmp_path, figures):
    plot_confusion(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), tmp_path / "a.png")
    texts = [text.get_text().split("\n") for text in figures[0].axes[0].texts]
    assert [int(count) for count, _ in texts] == [2, 1, 0, 0, 1, 0, 0, 0, 0]
    assert [texts[0][1], texts[-1][1]] == ["66.7%", "0.0%"]
    assert figures[0].axes[0].get_ylabel() == "annotated"


@pytest.mark.parametrize("count", [0, 1, 10, 13])
def test_top_losses(tmp_path, figures, count):
    rows = pd.DataFrame({"loss": np.linspace(9, 1, count)})
    rows[["label", "predicted"]] = "with_mask", "without_mask"
    plot_top_losses([make_pixels(20 + i, 20 + i) for i in range(count)], rows, tmp_path / "a.png")
    titles = [axes.get_title() for axes in figures[0].axes if axes.images]
    assert len(titles) == count
    if count:
        assert titles[0] == "with → without\nloss 9.0"
