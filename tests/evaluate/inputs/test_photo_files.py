from __future__ import annotations

import json

import numpy as np
from PIL import Image

from evaluate.inputs.photos import find_photos


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    return path


def test_beside_the_annotations(tmp_path):
    photo = save(tmp_path / "images" / "a.jpg")
    (tmp_path / "annotations").mkdir()
    assert find_photos(["images/a.jpg"], tmp_path) == {"images/a.jpg": photo}
    assert find_photos(["a", "b"], tmp_path) == {"a": photo}
    assert find_photos(["a.png"], tmp_path / "annotations", tmp_path) == {"a.png": photo}
    assert find_photos(["a.png"], tmp_path / "annotations") == {}


def test_sources_of_a_faces_csv(tmp_path):
    photo = save(tmp_path / "set" / "a.jpg")
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "faces.csv").write_text("image\n")
    names = ["set/a.jpg", "set/b.jpg", "other/a.jpg"]
    assert find_photos(names, prepared) == {}
    manifest = {"datasets": [{"source": "set", "root": str(tmp_path / "set")}]}
    (prepared / "manifest.json").write_text(json.dumps(manifest))
    assert find_photos(names, prepared) == {"set/a.jpg": photo}
    assert find_photos(names, prepared / "faces.csv") == {"set/a.jpg": photo}
    (prepared / "manifest.json").write_text("[1, 2")
    assert find_photos(names, prepared) == {}


def test_names_that_fit_several_files_are_found_by_path_only(tmp_path):
    first = save(tmp_path / "one" / "a.jpg")
    save(tmp_path / "two" / "a.jpg")
    save(tmp_path / "three" / "a.jpg")
    assert find_photos(["a.jpg", "one/a.jpg"], tmp_path) == {"one/a.jpg": first}


def test_no_such_folder(tmp_path):
    assert find_photos(["a.jpg"], tmp_path / "none", tmp_path / "nowhere") == {}
