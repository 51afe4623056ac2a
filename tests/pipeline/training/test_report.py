"""What a training tells at its ends: kept epochs, classes, the page, and how far it is."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_recall_fscore_support

from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.tables import read_faces
from pipeline.runs.folder import Run, find_kept, identify_data, start_run
from pipeline.runs.recipe import ClassifierRecipe, write_recipe
from pipeline.training import export
from pipeline.training.export import describe_result, judge_classes, make_picture, write_page


@pytest.mark.parametrize(
    ("stages", "losses", "kept"),
    [
        ([0, 0, 0], [3.0, 1.0, 2.0], 1),
        ([0, 0, 1, 1], [0.1, 0.2, 0.9, 0.8], 3),
        ([0, 1, 1], [0.1, 0.5, 0.5], 1),
        ([0, 0], [float("nan")] * 2, 1),
    ],
    ids=["least", "of the last size only", "the first of two alike", "no number"],
)
def test_kept_epoch(stages, losses, kept):
    history = pd.DataFrame({"stage": stages, "valid_loss": losses}, index=range(7, 7 + len(stages)))
    assert find_kept(history) == kept


def answers_of(truth, told):
    table = pd.DataFrame({"label": truth, "predicted": told, "loss": np.arange(len(truth)) / 10})
    table = table.assign(source="set", image="a.jpg", object=range(len(truth)))
    return table.assign(**{f"p_{name}": 0.5 for name in CLASSES})


def test_classes_are_judged_as_by_sklearn():
    rng = np.random.default_rng(0)
    truth, told = (rng.choice(CLASSES, 60, p=[0.6, 0.3, 0.1]) for _ in range(2))
    rows = judge_classes(answers_of(truth, told))
    precision, recall, _, faces = precision_recall_fscore_support(truth, told, labels=list(CLASSES))
    assert [row.recall for row in rows] == pytest.approx(list(recall))
    assert [row.precision for row in rows] == pytest.approx(list(precision))
    assert [row.faces for row in rows] == list(faces)
    wrong = pd.crosstab(pd.Series(truth), pd.Series(told)).loc[rows[0].label].drop(rows[0].label)
    assert rows[0].mistakes == f"{wrong.max()} called {wrong.idxmax()}"
    (row,) = judge_classes(answers_of([CLASSES[0]] * 2, [CLASSES[1]] * 2))
    assert (row.right, row.precision) == (0, None)


@pytest.fixture
def run(prepared, tmp_path):
    """A run folder of a training that told three of the validation faces wrong."""
    data, _ = identify_data(prepared)
    run = start_run(tmp_path / "runs", ClassifierRecipe(name="mine"), data)
    rows = [(0, 0.7), (0, 0.4), (0, 0.5)]
    names = ("train_loss", "accuracy", "recall_score")
    run.write_history([{"stage": s, "valid_loss": v, **dict.fromkeys(names, v)} for s, v in rows])
    for name, text in (("safetensors", ""), ("json", '{"results": {"valid": {"all": {}}}}')):
        (run.folder / f"classifier.{name}").write_text(text)
    faces = read_faces(prepared)
    valid = faces[faces["split"] == "valid"].reset_index(drop=True)
    table = answers_of(valid["label"], valid["label"].where(valid.index > 2, CLASSES[0]))
    table["image"] = valid["image"]
    table.to_csv(run.folder / "valid.csv")
    return Run(run.folder, data), valid, table


def test_page_shows_wrong_answers_only_and_needs_nothing_else(prepared, run):
    run, valid, table = run
    batch = [make_picture(read_photo(prepared / valid["crop"][0]).pixels, "fed")]
    write_page(run, prepared, crops=valid["crop"].tolist(), batch=batch)
    page = unescape((run.folder / "run.html").read_text())
    wrong = table[table["label"] != table["predicted"]].sort_values("loss", ascending=False)
    shown = re.findall(r"<figcaption>(\S+ → \S+) 0.50<br>(\S+), face (\d+)<", page)
    assert len(shown) == len(wrong) == 2
    names = [(row.image.removeprefix("images/"), str(row.object)) for row in wrong.itertuples()]
    assert [(image, face) for _, image, face in shown] == names
    assert "Kept: epoch 2 of 3" in page
    assert "<p>4 validation faces of with_mask: one told" in page
    assert f"python run.py PHOTOS -o out --weights {run.folder}" in page
    assert all(key in page for key in ClassifierRecipe.model_fields)
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert page.index("expect a little less") < page.index("told right"), "above the number"


def test_next_commands_are_called_as_this_one_was(prepared, run, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/home/me/bin/trimask", "train"])
    told = [line.split(" ", 2)[:2] for line in describe_result(run[0], prepared)[-3:]]
    assert told == [["use:", "trimask"], ["measure:", "trimask"], ["clean:", "trimask"]]


def test_every_dataset_has_a_command_that_measures_on_it(prepared, run, monkeypatch):
    roots = {"one": Path("data/one"), "two": Path("my data/two")}
    monkeypatch.setattr(export, "identify_data", lambda _: ({}, roots))
    told = dict(line.split(": ", 1) for line in describe_result(run[0], prepared)[-4:])
    assert list(told) == ["use", "measure on one", "measure on two", "clean"]
    assert "'my data/two' -o all/two " in told["measure on two"]
    assert told["measure on two"].endswith("--photos 'my data/two' --source two")


def test_last_lines_have_the_classes_and_quote_paths(prepared, run, tmp_path):
    folder = tmp_path / "my runs"
    run[0].folder.rename(folder)
    lines = describe_result(replace(run[0], folder=folder, warning="learnt from"), prepared)
    assert lines[0] == "As noted above, the figures flatter."
    assert "| with_mask | 4 | 4 | 1.000 | 0.667 |" in "\n".join(lines)
    assert not any("\n" in line for line in lines)
    assert "| without_mask | 4 | 3 | 0.750 | 1.000 | 1 called with_mask |" in lines
    assert f"use: python run.py PHOTOS -o out --weights '{folder}'" in lines
    assert not any("mirror" in line for line in lines)
    recipe = write_recipe(ClassifierRecipe(name="mine", mirror=True))
    (folder / "recipe.toml").write_text(recipe)
    (line,) = (
        line
        for line in describe_result(replace(run[0], folder=folder), prepared)
        if "mirror" in line
    )
    assert "unlike the epochs" in line
