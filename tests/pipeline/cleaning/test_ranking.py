"""The merged order, what it is made of, and the reasons in words, by hand."""

import numpy as np
import pytest

from pipeline.cleaning.evidence import DUPLICATE, NETWORK, Evidence, Neighbours, gather_evidence
from pipeline.cleaning.search import give_reasons
from tests.pipeline.tables import table_of

LABELS = np.array([0, 1, 2])
SURE = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.0, 0.0, 1.0]])
NEAR = Neighbours(np.array([[1, 2], [0, 2], [0, 1]]), np.array([[0.6, 0.2], [1, 0], [0.5, 0.5]]))
NONE = ((), (), ())


def gather(duplicates=NONE, labels=LABELS, sure=SURE, near=NEAR):
    return gather_evidence(labels, sure, near, duplicates)


def test_evidence_by_hand():
    evidence = gather(((1,), (0,), ()))
    assert evidence.loss.tolist() == pytest.approx([-np.log(0.7), -np.log(0.3), 0], abs=1e-9)
    assert evidence.margin.tolist() == pytest.approx([0.5, -0.3, 1.0])
    np.testing.assert_allclose(evidence.votes, [[0, 0.75, 0.25], [1, 0, 0], [0.5, 0.5, 0]])
    assert evidence.disagreement.tolist() == [1, 1, 1]
    assert evidence.contradicted.tolist() == [True, True, False]


def test_duplicates_with_the_same_label_are_no_reason():
    assert not gather(((1,), (0,), ()), labels=np.array([0, 0, 2])).contradicted.any()


def test_impossible_label_has_a_finite_loss():
    assert np.isfinite(gather(labels=np.array([2, 2, 0])).loss).all()


def test_merged_opinion_by_hand():
    merged = gather(((1,), (0,), ())).opinions
    assert merged[0, 0] == pytest.approx(NETWORK * 0.7 / (1 + DUPLICATE))
    expected = (NETWORK * 0.2 + (1 - NETWORK) * 0.75 + DUPLICATE) / (1 + DUPLICATE)
    assert merged[0, 1] == pytest.approx(expected)
    np.testing.assert_allclose(merged.sum(axis=1), 1)


def test_score_rises_with_each_reason():
    base = gather().score
    assert gather(((1,), (), ())).score[0] > base[0]
    less = SURE.copy()
    less[0] = [0.4, 0.5, 0.1]
    assert gather(sure=less).score[0] > base[0]
    kinder = Neighbours(NEAR.index, np.array([[0.1, 0.9], [1, 0], [0.5, 0.5]]))
    labels = np.array([2, 1, 2])
    assert gather(labels=labels, near=kinder).score[0] < gather(labels=labels).score[0]


def test_what_was_learnt_has_half_the_weight():
    learnt = np.array([[0.1, 0.1, 0.8], [0, 1, 0], [0.5, 0.5, 0]])
    merged = gather_evidence(LABELS, SURE, NEAR, NONE, learnt).opinions
    np.testing.assert_allclose(merged, (gather().opinions + learnt) / 2)


FACES = table_of([0, 1, 0], images=["a.jpg", "b.jpg", "c.jpg"])


@pytest.mark.parametrize(
    ("probabilities", "votes", "duplicates", "reasons"),
    [
        (
            [[0.1, 0.7, 0.2], [0, 1, 0], [1, 0, 0]],
            [[0.2, 0.8, 0], [0.2, 0.8, 0], [1, 0, 0]],
            [[2, 1], [0], []],
            [
                "duplicate: without, in b.jpg; model: without 70%; look-alikes: 80% without",
                "duplicate: with, in a.jpg",
                "",
            ],
        ),
        (
            [[0.5, 0.4, 0.1], [0, 1, 0], [1, 0, 0]],
            [[0.4, 0.3, 0.3], [0.4, 0.6, 0], [1, 0, 0]],
            [[2], [], [0]],
            ["", "", ""],
        ),
    ],
    ids=["all that speaks against a label", "agreement is no reason"],
)
def test_reasons(probabilities, votes, duplicates, reasons):
    labels = np.array([0, 1, 0])
    evidence = Evidence(labels, np.array(probabilities), np.array(votes), np.zeros((3, 3)))
    assert give_reasons(FACES, evidence, duplicates) == reasons


def test_evidence_of_all_faces_is_drawn_up_once(monkeypatch):
    """Where each row asked for it, a million faces took hours."""
    asked = []
    shares = Evidence.disagreement.fget
    monkeypatch.setattr(
        Evidence, "disagreement", property(lambda self: asked.append(1) or shares(self))
    )
    assert len(give_reasons(FACES, gather(), NONE)) == 3
    assert len(asked) == 1
