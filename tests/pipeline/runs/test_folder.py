"""Run folders: made, taken up, found again; and the data that they were trained on."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from data_prep.base.files import OutputError, sha256_of
from pipeline.runs.folder import (
    PreparedError,
    Run,
    RunError,
    check_twin,
    hash_code,
    identify_data,
    name_weights,
    resume_run,
    start_run,
)
from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe, load_recipe
from tests.benchmarks.repeated import find_run

RECIPE = ClassifierRecipe(name="first try", seed=5)
DATA = {"faces_sha256": "abc", "sources": ["a"]}
OTHER_DATA = {**DATA, "faces_sha256": "xyz"}


def test_folders_are_numbered_on(tmp_path):
    names = [start_run(tmp_path / "runs", RECIPE, DATA).folder.name for _ in range(2)]
    assert names == ["001-first-try", "002-first-try"]
    (tmp_path / "runs" / "041-other").mkdir()
    (tmp_path / "runs" / "notes").mkdir()
    assert start_run(tmp_path / "runs", RECIPE, DATA).folder.name == "042-first-try"


def test_trainings_that_begin_at_once_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(lambda _: start_run(tmp_path, RECIPE, DATA).folder, range(16)))
    assert len(set(begun)) == 16


@pytest.mark.parametrize("name", ["../../escape", "a/b", "naïve 口罩", ""])
def test_names_stay_in_the_folder(tmp_path, name):
    run = start_run(tmp_path / "runs", RECIPE.model_copy(update={"name": name}), DATA)
    assert run.folder.parent == tmp_path / "runs"


def test_new_run_holds_what_is_needed_to_repeat_it(tmp_path):
    run = start_run(tmp_path, RECIPE, DATA)
    assert load_recipe(run.folder / "recipe.toml", ClassifierRecipe) == RECIPE
    about = json.loads((run.folder / "run.json").read_text())
    assert (about["data"], about["recipe"]["seed"]) == (DATA, 5)
    assert about["code_sha256"] == hash_code()
    assert {"fastai", "torch", "torchvision", "numpy"} <= set(about["versions"])


def test_unwritable_runs_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/001-first-try: can't be written"):
        start_run(tmp_path / "file", RECIPE, DATA)


def test_resuming_a_finished_training_would_overwrite_it(tmp_path):
    run = start_run(tmp_path, RECIPE, DATA)
    (run.folder / "classifier.safetensors").write_bytes(b"weights")
    assert resume_run(run.folder, DATA) == run, "killed before the card"
    (run.folder / "classifier.json").write_text("{}")
    with pytest.raises(RunError, match="this training is done"):
        resume_run(run.folder, DATA)
    (run.folder / "checkpoint.pt").write_bytes(b"killed between the two")
    assert resume_run(run.folder, DATA) == run


def test_what_cannot_be_resumed(tmp_path):
    run = start_run(tmp_path, RECIPE, DATA)
    done = start_run(tmp_path, RECIPE, DATA).folder
    for name in ("classifier.safetensors", "classifier.json"):
        (done / name).write_text("{}")
    for none in (tmp_path / "009", tmp_path, tmp_path.parent / "none"):
        near = "none" if none.name == "none" else run.folder
        with pytest.raises(RunError, match=rf"--runs, such as .* near it: {near}\."):
            resume_run(none, DATA)
    with pytest.raises(RunError, match=rf"no finished training of .* near it: {done}\."):
        check_twin(tmp_path, DATA)
    (done / "classifier.safetensors").rename(done / "detector.safetensors")
    (done / "classifier.json").rename(done / "detector.json")
    with pytest.raises(RunError, match=r"no finished training of .* near it: none\."):
        check_twin(done, DATA)
    with pytest.raises(RunError, match="begun on another prepared folder"):
        resume_run(run.folder, OTHER_DATA)
    for text in ("", "[]", '{"recipe": 1}', None):
        about = run.folder / "run.json"
        about.unlink() if text is None else about.write_text(text)
        with pytest.raises(RunError, match=r"run\.json: can't be read"):
            resume_run(run.folder, DATA)


def test_another_recipe_or_other_data_is_another_run(tmp_path):
    """A key that a run is older than counts as its default."""
    run = start_run(tmp_path, RECIPE, DATA)
    about = json.loads((run.folder / "run.json").read_text())
    for key in (None, "rare_odds"):
        about["recipe"].pop(key, None)
        (run.folder / "run.json").write_text(json.dumps(about))
        assert find_run(tmp_path, RECIPE, DATA) == run
        assert find_run(tmp_path, RECIPE.model_copy(update={"lr": 3e-3}), DATA) is None
        assert find_run(tmp_path, RECIPE.model_copy(update={"rare_odds": 2.0}), DATA) is None
        assert find_run(tmp_path, RECIPE, OTHER_DATA) is None


def test_a_detector_is_known_by_what_its_start_holds_wherever_that_lies(tmp_path):
    for name, data in (("a.pth", b"one"), ("b.pth", b"two"), ("c/a.pth", b"one")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    runs = tmp_path / "runs"
    run = start_run(runs, DetectorRecipe(), DATA, start=tmp_path / "a.pth")
    assert find_run(runs, DetectorRecipe(), DATA, start=tmp_path / "c" / "a.pth") == run
    assert find_run(runs, DetectorRecipe(), DATA, start=tmp_path / "b.pth") is None
    assert find_run(runs, DetectorRecipe(), DATA) is None


def test_history_is_a_table(tmp_path):
    rows = [{"epoch": 0, "loss": 0.12345678}, {"epoch": 1, "loss": 2.0, "more": 1.0}]
    Run(tmp_path, DATA).write_history(rows)
    table = pd.read_csv(tmp_path / "history.csv")
    assert list(table.columns) == ["epoch", "loss", "more"]
    assert table["loss"].tolist() == [0.123457, 2.0]


def test_data_of_a_prepared_folder(prepared):
    data, roots = identify_data(prepared)
    assert data["faces_sha256"] == sha256_of(prepared / "faces.csv")
    assert data["sources"] == ["set"]
    assert data["options"]["scale"] == 1.5
    assert roots == {"set": prepared.parent / "set"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("manifest.json", '{"format": 2, "inputs": null}'),
        ("manifest.json", "[]"),
        ("manifest.json", None),
        ("faces.csv", None),
    ],
)
def test_folder_that_is_not_whole(prepared, tmp_path, name, content):
    copy = tmp_path / "copy"
    shutil.copytree(prepared, copy, ignore=shutil.ignore_patterns("crops"))
    (copy / name).unlink() if content is None else (copy / name).write_text(content)
    with pytest.raises(PreparedError, match=r"copy: not a prepared folder; make it with: python"):
        identify_data(copy)
    with pytest.raises(PreparedError, match=r"cppy: no such folder; make it with: python -m data"):
        identify_data(tmp_path / "cppy")


def test_code_hash_changes_with_the_code(tmp_path):
    (tmp_path / "pipeline").mkdir()
    hashes = [hash_code(tmp_path)]
    for name, text in (("a.py", "1"), ("a.py", "2"), ("b.py", "2")):
        (tmp_path / "pipeline" / name).write_text(text)
        hashes.append(hash_code(tmp_path))
    (tmp_path / "pipeline" / "notes.txt").write_text("not code")
    assert len(set(hashes)) == 4
    assert hash_code(tmp_path) == hashes[-1]


def test_weights_are_named_by_what_they_hold(tmp_path):
    path = tmp_path / "teacher.safetensors"
    path.write_bytes(b"weights")
    named = f"teacher.safetensors, sha256 {sha256_of(path)}"
    assert name_weights(str(path)) == named
    assert name_weights("detector").startswith("detector, sha256 ")
    assert name_weights("imagenet") == "imagenet"
    recipe = RECIPE.model_copy(update={"teachers": [str(path)]})
    assert Run(tmp_path, DATA).describe_training(recipe)["recipe"]["teachers"] == [named]
