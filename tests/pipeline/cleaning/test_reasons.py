"""Reasons in words."""

import numpy as np

from pipeline.cleaning.ranking import Evidence
from pipeline.cleaning.search import give_reasons
from tests.pipeline.tables import table_of

FACES = table_of([0, 1, 0], images=["a.jpg", "b.jpg", "c.jpg"])


def evidence(probabilities, votes):
    return Evidence(np.array([0, 1, 0]), np.array(probabilities), np.array(votes), np.zeros((3, 3)))


def test_all_that_speaks_against_a_label():
    found = evidence([[0.1, 0.7, 0.2], [0, 1, 0], [1, 0, 0]], [[0.2, 0.8, 0]] * 2 + [[1, 0, 0]])
    reasons = give_reasons(FACES, found, [[2, 1], [0], []])
    assert reasons == [
        "duplicate: without, in b.jpg; model: without 70%; look-alikes: 80% without",
        "duplicate: with, in a.jpg",
        "",
    ]


def test_agreement_is_no_reason():
    opinions = [[0.5, 0.4, 0.1], [0, 1, 0], [1, 0, 0]]
    found = evidence(opinions, [[0.4, 0.3, 0.3], [0.4, 0.6, 0], [1, 0, 0]])
    assert give_reasons(FACES, found, [[2], [], [0]]) == ["", "", ""]
