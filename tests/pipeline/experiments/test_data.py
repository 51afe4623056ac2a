"""Data of systems, built from painted photos."""

import json
import shutil

import pytest

from data_prep.base.photo import read_photo
from data_prep.grouping.split import TRAIN, VALID, leaked_share
from data_prep.prepare.build import build
from data_prep.prepare.options import BuildOptions
from pipeline.experiments.systems import BY_CROP, System, open_base, prepare_data, valid_faces
from pipeline.runs.folder import PreparedError
from tests.pipeline.makers import Told

PLAIN = System("plain", "fast")


def test_what_the_base_has_is_not_built_again(prepared, tmp_path):
    base = open_base(prepared)
    told = Told()
    assert prepare_data(PLAIN, base, tmp_path / "data", (), told) is base
    assert not told.lines
    assert not (tmp_path / "data").exists()


def test_other_crops_have_the_same_split(prepared, tmp_path):
    base, told = open_base(prepared), Told()
    system = System("tight", "fast", scale=1.0)
    data = prepare_data(system, base, tmp_path / "data", (), told)
    assert data.folder == tmp_path / "data" / "none-1"
    assert told.lines == [f"tight: building {data.folder}"]
    assert (data.scale, base.scale) == (1.0, 1.5)
    keys = ["source", "image", "object", "label", "split", "group"]
    assert data.faces[keys].equals(base.faces[keys])
    sides = [
        read_photo(one.folder / one.faces["crop"].iloc[0]).pixels.shape[0] for one in (data, base)
    ]
    assert sides[0] * 1.5 == pytest.approx(sides[1], abs=1)
    assert prepare_data(system, base, tmp_path / "data", (), Told()).data == data.data


def test_split_by_crop_leaks_and_is_called_so(prepared, tmp_path):
    base = open_base(prepared)
    system = System("leak", "fast", by_crop=True)
    data = prepare_data(system, base, tmp_path / "data", (), Told())
    assert data.data["split"] == BY_CROP
    assert {**data.data, "split": None} == {**base.data, "split": None}
    share = leaked_share(data.faces["group"].tolist(), data.faces["split"].tolist())
    assert share > 0.5
    assert (data.faces["split"] == VALID).mean() == pytest.approx(0.2, abs=0.02)
    assert (base.faces["split"] == TRAIN).sum() == 36
    assert leaked_share(base.faces["group"].tolist(), base.faces["split"].tolist()) == 0


def test_system_with_cleaned_labels_says_when_there_are_none(prepared, tmp_path):
    told = Told()
    system = System("clean", "fast", cleaned=True)
    data = prepare_data(system, open_base(prepared), tmp_path / "data", (), told)
    assert data.folder == prepared
    assert told.lines == ["clean: no --decisions, so its labels are as annotated"]


def test_base_with_decisions_is_refused(prepared, tmp_path):
    folder = tmp_path / "prepared"
    shutil.copytree(prepared, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["decisions"] = {"applied": {"relabel": 1}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PreparedError, match="built with decisions; build it without"):
        open_base(folder)
    with pytest.raises(PreparedError, match="not a prepared folder"):
        open_base(tmp_path)


def test_changed_datasets_are_noticed(prepared, tmp_path):
    shutil.copytree(prepared.parent / "set", tmp_path / "set")
    out = tmp_path / "prepared"
    build(BuildOptions(roots=[tmp_path / "set"], out=out, blur_rule="none", workers=1))
    base = open_base(tmp_path / "prepared")
    faces = base.faces
    other = faces["split"].where(faces["image"] != faces["image"].iloc[0], "elsewhere")
    changed = type(base)(base.folder, faces.assign(split=other), base.data, base.roots)
    with pytest.raises(PreparedError, match="have changed since it was built"):
        prepare_data(System("t", "fast", scale=1.2), changed, tmp_path / "data", (), Told())


def test_validation_faces_of_a_source(prepared):
    base = open_base(prepared)
    assert len(valid_faces(base, "set")) == 12
    assert valid_faces(base, "other").empty
