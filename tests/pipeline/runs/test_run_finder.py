"""Run folders are found again by recipe, data and, for a detector, what it started from."""

import json

from pipeline.runs.folder import find_run, start_run
from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe

DATA = {"faces_sha256": "abc", "sources": ["set"], "options": {}}


def test_another_recipe_or_other_data_is_another_run(tmp_path):
    run = start_run(tmp_path, ClassifierRecipe(lr=1e-3), DATA)
    assert find_run(tmp_path, ClassifierRecipe(lr=1e-3), DATA) == run
    assert find_run(tmp_path, ClassifierRecipe(lr=3e-3), DATA) is None
    assert find_run(tmp_path, ClassifierRecipe(lr=1e-3), {**DATA, "faces_sha256": "d"}) is None


def test_a_run_from_before_a_key_was_there_counts_as_its_default(tmp_path):
    run = start_run(tmp_path, ClassifierRecipe(), DATA)
    about = json.loads((run.folder / "run.json").read_text())
    del about["recipe"]["members"]
    (run.folder / "run.json").write_text(json.dumps(about))
    assert find_run(tmp_path, ClassifierRecipe(), DATA) == run
    assert find_run(tmp_path, ClassifierRecipe(members=2), DATA) is None


def test_a_detector_is_known_by_what_its_start_holds_wherever_that_lies(tmp_path):
    for name, data in (("a.pth", b"one"), ("b.pth", b"two"), ("c/a.pth", b"one")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    runs = tmp_path / "runs"
    run = start_run(runs, DetectorRecipe(), DATA, start=tmp_path / "a.pth")
    assert find_run(runs, DetectorRecipe(), DATA, start=tmp_path / "c" / "a.pth") == run
    assert find_run(runs, DetectorRecipe(), DATA, start=tmp_path / "b.pth") is None
    assert find_run(runs, DetectorRecipe(), DATA) is None
