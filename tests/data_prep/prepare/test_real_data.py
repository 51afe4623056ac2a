"""The whole build on the real datasets; skipped where they are not at hand."""

import time
from pathlib import Path

import pytest

from data_prep.base.tables import read_faces
from data_prep.prepare.build import build
from data_prep.prepare.options import BuildOptions

LEDGERS = Path(__file__).parents[3] / "data_prep" / "ledgers"
DATA = Path(__file__).parents[4] / "shared" / "data"
ROOTS = [DATA / "facemask", DATA / "ilc"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real datasets are not here"),
]

COUNTS = {
    ("facemask", "with_mask"): 2594,
    ("facemask", "without_mask"): 575,
    ("facemask", "mask_weared_incorrect"): 99,
    ("ilc", "with_mask"): 971,
    ("ilc", "without_mask"): 762,
    ("ilc", "mask_weared_incorrect"): 221,
}
"""As stated in the README of the data."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared")
    started = time.monotonic()
    result = build(BuildOptions(roots=ROOTS, out=out))
    return out, result, time.monotonic() - started


def test_build_takes_less_than_two_minutes(prepared):
    assert prepared[2] < 120


def test_counts_are_those_of_the_readme(prepared):
    faces = read_faces(prepared[0])
    assert faces.groupby(["source", "label"]).size().to_dict() == COUNTS
    assert faces.groupby("source")["image"].nunique().to_dict() == {"facemask": 682, "ilc": 781}


def test_nothing_leaks_and_nothing_is_left_out(prepared):
    manifest = prepared[1].record
    assert manifest["leaked_share"]["ours"] == 0
    assert manifest["leaked_share"]["naive"] > 0.8
    assert manifest["left_out"] == 0
    assert set(manifest["findings"]) <= {"clipped-box", "not-read"}


def test_classes_are_spread_over_the_split(prepared):
    faces = read_faces(prepared[0])
    shares = faces["split"].eq("valid").groupby([faces["source"], faces["label"]]).mean()
    assert shares.between(0.17, 0.23).all()


def test_balance(prepared):
    faces = read_faces(prepared[0])
    train = faces[faces["split"] == "train"]
    counts, kept = train["label"].value_counts(), train[train["kept"]]["label"].value_counts()
    assert kept["with_mask"] == int(1.5 * counts["without_mask"])
    assert kept["mask_weared_incorrect"] == counts["mask_weared_incorrect"]
    lost = ~train.loc[train["label"] == "with_mask", "kept"]
    short = (train["xmax"] - train["xmin"]).clip(upper=train["ymax"] - train["ymin"])[lost.index]
    # The rule drops no size in preference to another: medians of both are within 10 %.
    assert short[lost].median() == pytest.approx(short[~lost].median(), rel=0.1)


def test_second_build_takes_seconds(prepared):
    started = time.monotonic()
    assert build(BuildOptions(roots=ROOTS, out=prepared[0])).up_to_date
    assert time.monotonic() - started < 10


def test_every_decision_of_the_shipped_ledger_fits(prepared, tmp_path):
    ledger = LEDGERS / "facemask-ilc.jsonl"
    manifest = build(BuildOptions(roots=ROOTS, out=tmp_path / "cleaned", decisions=[ledger])).record
    decided = manifest["decisions"]
    assert decided["applied"] == {"relabel": 32, "drop": 3, "keep": 63}
    assert decided["not_applied"] == {}
    before, after = read_faces(prepared[0]), read_faces(tmp_path / "cleaned")
    both = before.merge(after, on=["source", "image", "object"], suffixes=("", "_after"))
    assert len(before) - len(both) == 3
    assert (both["label"] != both["label_after"]).sum() == 32
    assert (both["split"] == both["split_after"]).all(), "cleaning moves no photo between splits"
