"""Agreement of two reviewers, against scikit-learn and numbers worked out by hand."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from data_prep.base.records import Box
from data_prep.decisions.ledger import Decision, Ledger, read_ledger
from pipeline.review.agreement import (
    OUTCOMES,
    AgreementOptions,
    UserError,
    compare_reviewers,
    describe_agreement,
    report_agreement,
)
from tests.pipeline.review.makers import decide

WITH, WITHOUT, WRONGLY, DROP = OUTCOMES
ROOT = Path(__file__).parents[3]


def say(by: str, number: int, outcome: str, **changes) -> Decision:
    """A reviewer's decision on face `number`, two to a photo, given with_mask."""
    action = {WITH: "keep", DROP: "drop"}.get(outcome, "relabel")
    to = outcome if action == "relabel" else None
    image = f"{number // 2:03}.jpg"
    return decide(number, by=by, image=image, **{"action": action, "to": to} | changes)


def compare(first, second, *names):
    lines = [say("ada", n, o) for n, o in enumerate(first)]
    lines += [say("bob", n, o) for n, o in enumerate(second)]
    return compare_reviewers(Ledger(tuple(lines), ()), names)


def test_kappa_by_hand():
    # 50 faces, 20 both with, 15 both without, 5 and 10 disputed: p_o 0.7, p_e 0.5, kappa 0.4
    # (the example of Wikipedia's article on Cohen's kappa).
    first = [WITH] * 25 + [WITHOUT] * 25
    second = [WITH] * 20 + [WITHOUT] * 5 + [WITH] * 10 + [WITHOUT] * 15
    found = compare(first, second)
    assert found.observed[0] == pytest.approx(0.7)
    assert found.kappa[0] == pytest.approx(0.4)
    assert found.table[:2, :2].tolist() == [[20, 5], [10, 15]]
    assert found.kappa[1] < 0.4 < found.kappa[2]


def test_kappa_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    first = rng.choice(OUTCOMES, 60, p=[0.5, 0.3, 0.1, 0.1]).tolist()
    second = [o if rng.random() < 0.7 else str(rng.choice(OUTCOMES)) for o in first]
    found = compare(first, second)
    assert found.kappa[0] == pytest.approx(cohen_kappa_score(first, second))
    assert found.observed[0] == pytest.approx(np.mean(np.array(first) == np.array(second)))
    # The interval, by drawing photos one by one.
    photos = [range(n, n + 2) for n in range(0, 60, 2)]
    drawn = []
    for _ in range(400):
        rows = [r for i in rng.integers(0, len(photos), len(photos)) for r in photos[i]]
        drawn.append(cohen_kappa_score([first[r] for r in rows], [second[r] for r in rows]))
    assert found.kappa[1:] == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.06)


def test_blind_judges_of_the_rare_class_agree_as_the_readme_says():
    ledger = read_ledger(ROOT / "data_prep" / "ledgers" / "facemask-ilc-rare.jsonl")
    assert not ledger.warnings
    last = {(one.by, one.key): one.action for one in ledger.decisions}
    assert Counter(last.values()) == {"keep": 303, "relabel": 46, "skip": 48, "undo": 3}
    text = describe_agreement(compare_reviewers(ledger, ()))
    assert "both decided 170 faces" in text
    assert "kappa: 0.958 (95 % interval 0.889 to 1.000" in text


def test_perfect_and_undefined():
    assert compare([WITH, WITHOUT], [WITH, WITHOUT]).kappa[0] == 1
    alone = compare([WITH] * 4, [WITH] * 4)
    assert math.isnan(alone.kappa[0])
    assert "not defined" in describe_agreement(alone)
    assert "100.0%" in describe_agreement(alone)


def test_disputes_are_listed():
    box = Box(2, 2, 9, 9)
    lines = (
        say("ada", 0, WITH),
        say("bob", 0, WITHOUT),
        say("ada", 1, WITH, action="rebox", to=WITH, to_box=box),
        say("bob", 1, WITH),
        say("ada", 2, DROP),
        say("bob", 2, DROP),
        say("ada", 3, WITH),
        say("bob", 4, WITH),
        say("ada", 5, WITH),
        say("bob", 5, WITHOUT),
        say("bob", 5, WITHOUT, action="undo", to=None),
    )
    found = compare_reviewers(Ledger(lines, ()), [])
    assert found.table.sum() == 3, "only faces that both have decided"
    names = ["source", "image", "object", "from", "a", "b", "a_box", "b_box", "about"]
    assert list(found.disputes) == names
    assert found.disputes[names[2:]].to_numpy().tolist() == [
        [0, WITH, WITH, WITHOUT, "", "", "label"],
        [1, WITH, WITH, WITH, "2 2 9 9", "", "box"],
    ]
    assert "Disputes: 1 about the label, 1 about the box." in describe_agreement(found)


def test_disputes_are_not_written_over_another_file(tmp_path):
    ledger = ROOT / "data_prep" / "ledgers" / "facemask-ilc-rare.jsonl"
    (out := tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.txt: is there, but no table of disputes"):
        report_agreement(AgreementOptions(ledger, out=out))
    assert out.read_text() == "mine"
    for _ in range(2):
        report_agreement(AgreementOptions(ledger, out=tmp_path / "disputes.csv"))


def test_redrawn_boxes_are_disputed_when_they_overlap_too_little():
    """The second box shares 60 of 140 (0.43), the third 70 of 130 (0.54) with the first."""
    lines = [
        say(by, n, WITH, action="rebox", to=WITH, to_box=Box(left, 0, left + 10, 10))
        for by, n, left in (("ada", 0, 0), ("ada", 1, 0), ("bob", 0, 4), ("bob", 1, 3))
    ]
    found = compare_reviewers(Ledger(tuple(lines), ()), [])
    assert found.disputes["object"].tolist() == [0]


def test_two_reviewers_are_needed():
    lines = tuple(say(by, 0, WITH) for by in ("ada", "bob", "cyd"))
    for names in ((), ("ada",), ("ada", "ada"), ("ada", "dan"), ("ada", "bob", "cyd")):
        with pytest.raises(UserError, match="ada, bob, cyd"):
            compare_reviewers(Ledger(lines, ()), names)
    assert compare_reviewers(Ledger(lines, ()), ("cyd", "ada")).reviewers == ("cyd", "ada")
    with pytest.raises(UserError, match="no face"):
        compare_reviewers(Ledger((say("ada", 0, WITH), say("bob", 1, WITH)), ()), ())
