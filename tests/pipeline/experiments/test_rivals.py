"""Orders of cleanlab as the benchmark takes them."""

import sys

import numpy as np
import pytest

from pipeline.cleaning.ranking import margins
from pipeline.experiments.noise_benchmark import (
    MissingRivalError,
    import_cleanlab,
    score_by_issues,
    score_by_margin,
)
from tests.pipeline.cleaning.test_label_noise import noisy


def test_issues_come_first_then_the_rest_by_quality():
    issues = pytest.importorskip("cleanlab.filter")
    _, given, p = noisy()
    found = issues.find_label_issues(given, p, return_indices_ranked_by="self_confidence", n_jobs=1)
    order = np.argsort(-score_by_issues(given, p), kind="stable")
    assert order[: len(found)].tolist() == found.tolist()
    own = p[np.arange(len(given)), given]
    assert (np.diff(own[order[len(found) :]]) >= 0).all()


def test_margin_orders_as_ours():
    pytest.importorskip("cleanlab.rank")
    _, given, p = noisy()
    theirs = score_by_margin(given, p)
    np.testing.assert_allclose(theirs, (1 - margins(p, given)) / 2, atol=1e-9)


def test_without_cleanlab(monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(MissingRivalError, match="pip install cleanlab"):
        import_cleanlab()
