"""Opening a suspects folder, good and bad."""

import json

import numpy as np
import pandas as pd
import pytest

from data_prep.base.records import Box
from pipeline.review.suspects import SuspectsError, open_suspects
from tests.pipeline.review.suspects_folder import BOXES, EXPECTED, make_suspects, write_about


@pytest.fixture
def own(tmp_path):
    return make_suspects(tmp_path / "own")


def rewrite(folder, change):
    table = pd.read_csv(folder / "suspects.csv", dtype=str, keep_default_na=False)
    change(table).to_csv(folder / "suspects.csv", index=False)


def test_every_row_is_told(found):
    suspects = open_suspects(found)
    table = pd.read_csv(found / "suspects.csv")
    assert len(suspects) == len(table) == 12
    for row, entry in table.iterrows():
        face = suspects.face(row)
        assert face.key == (entry["source"], entry["image"], entry["object"])
        assert suspects.rows[face.key] == row
        assert (face.label, face.suggested) == (entry["label"], entry["suggested"])
        assert face.box == Box(*BOXES[row % 3])
        assert face.similar == tuple(int(rank) - 1 for rank in entry["similar"].split())
        assert face.score == entry["score"]
    assert suspects.expected_wrong == {name: tuple(ends) for name, ends in EXPECTED.items()}


def test_odd_names_and_empty_fields(own):
    def change(table):
        table.loc[0, ["image", "suggested", "p_with_mask", "similar", "reasons"]] = ""
        table.loc[0, "image"] = "NA"
        table.loc[1, "similar"] = "3 999 0 -2 x 1"
        table.loc[2, "score"] = ""
        return table

    rewrite(own, change)
    suspects = open_suspects(own)
    face = suspects.face(0)
    assert (face.key, face.suggested, face.probabilities, face.similar) == (
        ("set", "NA", 0), "", None, ()
    )  # fmt: skip
    assert suspects.face(1).similar == (2, 0)
    assert suspects.face(2).score is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop(columns="reasons"), "reasons"),
        (lambda table: table.assign(rank=table["rank"][::-1].to_numpy()), "csv:2: the ranks"),
        (lambda table: table.assign(label=["hat", *table["label"][1:]]), "csv:2: the label"),
        (lambda table: table.assign(object="0", image="a"), "csv:3: the face stands there twice"),
        (lambda table: table.assign(xmin="left"), "not a readable table"),
        (lambda table: table.assign(source="other"), "'other'"),
        (lambda table: table[:0], "no faces"),
    ],
)
def test_bad_tables_are_named(own, change, words):
    rewrite(own, change)
    with pytest.raises(SuspectsError, match=words):
        open_suspects(own)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2, "roots": {}}', '{"roots": {}}'])
def test_bad_descriptions_are_named(own, text):
    (own / "suspects.json").write_text(text)
    with pytest.raises(SuspectsError, match=r"suspects\.json"):
        open_suspects(own)


def test_missing_files_say_what_to_do(own, tmp_path):
    with pytest.raises(SuspectsError, match="python -m pipeline suspects"):
        open_suspects(tmp_path)
    (own / "suspects.csv").unlink()
    with pytest.raises(SuspectsError, match="python -m pipeline suspects"):
        open_suspects(own)


def test_estimates_that_are_no_estimates_are_left_out(own):
    expected = {"with_mask": [1, 0, 2], "without_mask": [1], "x": None, "y": ["a", 1, 2]}
    root = json.loads((own / "suspects.json").read_text())["roots"]["set"]
    write_about(own, {"set": root}, own, expected_wrong=expected)
    assert open_suspects(own).expected_wrong == {"with_mask": (1, 0, 2)}
    assert np.isfinite(open_suspects(own).columns["score"]).all()
