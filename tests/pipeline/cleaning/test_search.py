"""The suspects folder: every face of train and valid once, the wrong label first."""

import json

import numpy as np
import pandas as pd
import pytest

from data_prep.base.files import OutputError, hold_folder
from data_prep.base.labels import CLASSES
from data_prep.base.photo import photo_size
from data_prep.base.tables import TableError, read_faces
from pipeline.cleaning import search
from pipeline.cleaning.search import COLUMNS, SuspectsOptions, find_suspects
from pipeline.review.suspects import open_suspects
from pipeline.runs.folder import identify_data
from tests.makers import hash_tree
from tests.pipeline.makers import Told
from tests.pipeline.prepared_copy import copy_prepared
from tests.pipeline.tables import write_tiny


def find(prepared, out, order="merged", lines=None, overrides=None):
    recipe = write_tiny(out.parent)
    how = {"recipe": recipe, "overrides": overrides, "device": "cpu", "jobs": 1}
    return find_suspects(SuspectsOptions(prepared, out, order, 4, **how), Told(lines))[0]


PLOT = search.plot_faces


@pytest.fixture(autouse=True)
def _without_sheet(monkeypatch):
    """Drawing sixty faces takes longer than all the rest."""
    monkeypatch.setattr(search, "plot_faces", lambda *_: None)


@pytest.fixture
def mislabelled(prepared, tmp_path):
    """The prepared folder with one label wrong, and a test split; the wrong face's key."""

    def change(faces):
        faces.loc[faces["split"] == "train", "split"] = ["test"] * 3 + ["train"] * 33
        row = faces.index[(faces["label"] == "with_mask") & (faces["split"] == "train")][4]
        faces.loc[row, "label"] = "without_mask"
        return faces

    folder = copy_prepared(prepared, tmp_path / "prepared", change)
    before, after = read_faces(prepared), read_faces(folder)
    row = after[before["label"] != after["label"]].iloc[0]
    return folder, (row["source"], row["image"], row["object"])


def test_a_folder_that_another_command_holds(prepared, tmp_path, by_colour):
    with hold_folder(tmp_path / "out"), pytest.raises(OutputError, match="another command"):
        find(prepared, tmp_path / "out")
    assert not by_colour


def keys(table):
    return list(zip(table["source"], table["image"], table["object"], strict=True))


@pytest.mark.parametrize("order", ["merged", "out-of-fold", "in-sample"])
def test_wrong_label_comes_first(mislabelled, tmp_path, by_colour, order):
    folder, wrong = mislabelled
    table = find(folder, tmp_path / "out", order)
    first = table.iloc[0]
    assert keys(table)[0] == wrong
    assert (first["label"], first["suggested"]) == ("without_mask", "with_mask")
    assert "model: with" in first["reasons"]
    assert (table["label"] == table["suggested"]).sum() == len(table) - 1
    folds = [f"fold {n} of 4" for n in (1, 2, 3, 4)]
    asked = {"merged": [*folds, "in sample"], "out-of-fold": folds, "in-sample": ["in sample"]}
    assert [call.what for call in by_colour] == asked[order]


def test_every_face_of_train_and_valid_and_no_other(mislabelled, tmp_path, by_colour):
    folder, _ = mislabelled
    find(folder, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "suspects.csv", keep_default_na=False)
    faces = read_faces(folder)
    looked_at = faces[faces["split"] != "test"]
    assert len(looked_at) == 45
    assert tuple(table.columns) == COLUMNS
    assert sorted(keys(table)) == sorted(keys(looked_at))
    assert table["rank"].tolist() == list(range(1, 46))
    assert (np.diff(table["score"]) <= 1e-6).all()
    joined = table.merge(faces, on=["source", "image", "object"], suffixes=("", "_there"))
    for name in ("label", "split", "xmin", "ymin", "xmax", "ymax", "width", "height", "crop"):
        assert (joined[name] == joined[f"{name}_there"]).all(), name
    learnt = {path for call in by_colour for path in call.faces["crop"]}
    assert learnt == {str(folder / crop) for crop in looked_at["crop"]}
    p = table[[f"p_{name}" for name in CLASSES]].to_numpy()
    own = p[np.arange(45), [CLASSES.index(label) for label in table["label"]]]
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(table["loss"], -np.log(own), atol=1e-3)


def test_similar_faces_are_ranks_of_other_photos(mislabelled, tmp_path, by_colour):
    table = find(mislabelled[0], tmp_path / "out")
    for row in table.itertuples():
        ranks = [int(rank) for rank in row.similar.split()]
        assert len(ranks) == 8
        similar = table.iloc[[rank - 1 for rank in ranks]]
        assert row.image not in set(similar["image"])
    twin_like = table.iloc[int(table.iloc[10]["similar"].split()[0]) - 1]
    assert twin_like["suggested"] == table.iloc[10]["suggested"], "painted alike"


def test_review_can_open_it(mislabelled, tmp_path, by_colour, monkeypatch):
    titles, headings = [], []

    def plot(crops, given, path, heading):
        titles.extend(given)
        headings.append(heading)
        PLOT(crops, given, path, heading)

    monkeypatch.setattr(search, "plot_faces", plot)
    monkeypatch.setattr(search, "ON_SHEET", 3)
    folder, wrong = mislabelled
    find(folder, tmp_path / "out")
    assert headings == ["The 3 most suspect of 45 labels; suspects.csv has all"]
    assert titles[0].startswith("1  without → with\n")
    assert not any("→" in title for title in titles[1:]), "suggested is what they are"
    suspects = open_suspects(tmp_path / "out")
    about, low, high = suspects.about.likely_errors
    assert low <= about <= high
    assert about == pytest.approx(1, abs=0.3)
    assert suspects.face(0).key == wrong
    assert len(suspects) == 45
    assert set(suspects.about.expected_wrong) == set(CLASSES)
    about = json.loads((tmp_path / "out" / "suspects.json").read_text())
    assert about["prepared"] == str(folder.resolve())
    assert about["order"] == "merged"
    assert about["folds"] == 4
    assert about["recipe"]["name"] == "tiny"
    assert min(photo_size(tmp_path / "out" / "suspects.png")) > 100


def test_done_folds_are_used_again_and_other_searches_said_to_be_replaced(
    mislabelled, tmp_path, by_colour
):
    folder, _ = mislabelled
    untouched, out, lines = hash_tree(folder), tmp_path / "out", []
    find(folder, out)
    first = (out / "suspects.csv").read_bytes()
    find(folder, out, lines=lines)
    assert lines.pop(0) == "5 of 5 trainings were done before", "the same search replaces nothing"
    assert (out / "suspects.csv").read_bytes() == first
    lines = []
    find(folder, out, "out-of-fold", lines)
    assert lines[0].startswith(f"note: {out} holds the suspects of another search, which will be")
    assert "replaced: order merged → out-of-fold. To keep them" in lines[0]
    assert lines[1] == "4 of 4 trainings were done before"
    assert hash_tree(folder) == untouched
    assert len(by_colour) == 5
    lines = []
    moved = copy_prepared(folder, tmp_path / "moved", lambda f: f.assign(xmax=f["xmax"] + 1))
    find(moved, out, "out-of-fold", lines, overrides=["lr=0.5", "epochs=[2]"])
    assert "other faces, labels or boxes; epochs [1] → [2]; lr 0.001 → 0.5. To" in lines[0]


def test_only_the_asked_for_datasets(mislabelled, tmp_path):
    with pytest.raises(TableError, match="no face of a dataset 'elsewhere'; there are: set"):
        find(mislabelled[0], tmp_path / "out", overrides=["sources=['elsewhere']"])


def test_nothing_is_written_into_a_dataset(mislabelled):
    (root,) = identify_data(mislabelled[0])[1].values()
    with pytest.raises(OutputError, match="meets the dataset"):
        find_suspects(SuspectsOptions(mislabelled[0], root / "suspects", device="cpu"), Told())
    assert not (root / "suspects").exists()
    other = SuspectsOptions(mislabelled[0], root.parent, device="cpu")
    with pytest.raises(OutputError, match="holds other files"):
        find_suspects(other, Told())


@pytest.mark.slow
def test_with_real_trainings(mislabelled, tmp_path):
    folder, wrong = mislabelled
    table = find(folder, tmp_path / "out", overrides=["epochs=[6]"])
    assert wrong in keys(table.head(5))


def test_nets_that_learnt_too_little_are_held_against_guessing():
    found = search.compare_with_guessing(np.array([0, 0, 0, 1]), np.eye(3)[[0, 1, 2, 1]])
    assert found == (0.5, 0.75)
