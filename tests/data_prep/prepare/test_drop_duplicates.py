"""`--drop-duplicates`: one of each stays, the others are listed, contradictions are left alone."""

import json
import shutil

import pytest

from data_prep.base.tables import read_faces
from tests.makers import add_example, make_dataset

FACE, MASK = ("face", (20, 15, 60, 55)), ("with_mask", (20, 15, 60, 55))
OTHER = ("with_mask", (70, 30, 110, 80))


def copy(root, name, twin, edit=None):
    """A photo again under another name, with its annotation, maybe edited."""
    photo = root / "images" / f"{name}.jpg"
    shutil.copy(photo, photo.with_stem(twin))
    text = (root / "annotations" / f"{name}.xml").read_text().replace(f"{name}.jpg", f"{twin}.jpg")
    for old, new in (edit or {}).items():
        assert old in text
        text = text.replace(old, new)
    (root / "annotations" / f"{twin}.xml").write_text(text)


@pytest.fixture
def root(tmp_path):
    root = make_dataset(tmp_path / "set", photos=10)
    add_example(root, "twice", 90, [FACE, OTHER, FACE, FACE])
    add_example(root, "both", 91, [FACE, MASK])
    add_example(root, "own", 92, [FACE, OTHER])
    copy(root, "own", "own2")
    copy(root, "own", "own3", edit={">face<": ">with_mask<"})
    copy(root, "own", "own4", edit={"<xmin>20<": "<xmin>59<"})
    return root


def build(run, root, out, *options):
    result = run("build", root, "-o", out, "--blur", "none", *options)
    assert result.exit_code == 0, result.output
    faces = read_faces(out)
    found = faces.groupby(faces["image"].str.removeprefix("images/").str[:-4])["object"].agg(list)
    return result, json.loads((out / "manifest.json").read_text()), found


def test_one_of_each_stays_and_the_others_are_listed(run, root, tmp_path):
    _, before, all_faces = build(run, root, tmp_path / "all")
    assert all_faces["twice"] == [0, 1, 2, 3]
    assert "dropped_duplicates" not in before
    assert "drop_duplicates" not in before["options"]
    result, manifest, faces = build(run, root, tmp_path / "out", "--drop-duplicates")
    assert faces["twice"] == [0, 1]
    assert (faces["both"], faces["own"]) == ([0, 1], [0, 1]), "contradictions stay whole"
    assert "own2" not in faces
    assert (faces["own3"], faces["own4"]) == ([0, 1], [0, 1])
    name = "set/images/{}.jpg".format
    assert manifest["dropped_duplicates"] == [
        {"photo": name("own2"), "object": None, "kept": name("own"), "why": "twin-photo"},
        {"photo": name("twice"), "object": 2, "kept": 0, "why": "duplicate-box"},
        {"photo": name("twice"), "object": 3, "kept": 0, "why": "duplicate-box"},
    ]
    kinds = {"contradicting-labels": 3, "duplicate-box": 1, "twin-photo": 1}
    assert manifest["findings"].items() >= kinds.items()
    assert "duplicates 2 boxes and 1 photo there twice left out" in result.output
    assert "own4.jpg: looks just like set/images/own.jpg, but has other boxes" in result.stderr
    assert manifest["faces"] == before["faces"] - 4
    assert "up to date" in build(run, root, tmp_path / "out", "--drop-duplicates")[0].output
    assert "up to date" not in build(run, root, tmp_path / "out")[0].output


def test_twins_of_several_datasets(run, root, tmp_path):
    """The dataset that is named first keeps its photos."""
    again = tmp_path / "again"
    shutil.copytree(root, again)
    result = run("audit", again, root, "-o", tmp_path / "audit", "--drop-duplicates")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "audit" / "audit.json").read_text())
    whole = [one for one in record["dropped_duplicates"] if one["object"] is None]
    assert {one["photo"].split("/")[0] for one in whole} == {"again", "set"}
    assert sum(one["photo"].startswith("again/") for one in whole) == 1
    assert {one["kept"].split("/")[0] for one in whole} == {"again"}
