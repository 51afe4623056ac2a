"""Choices tried on painted faces: who learns from what, and what comes of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from data_prep.base.crop import crop_face
from data_prep.base.errors import OptionError
from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.records import Box
from pipeline.experiments.sweep import Judged
from pipeline.runs.folder import PreparedError
from pipeline.runs.options import TrialOptions
from pipeline.runs.recipe import ClassifierRecipe, change_recipe, load_recipe
from pipeline.training.short import open_faces
from tests.benchmarks.choices import (
    BASE,
    CHOICES,
    Choice,
    app,
    describe_choices,
    find_choices,
    judge_choices,
    measure_choices,
)
from tests.pipeline.makers import Told
from tests.pipeline.prepared_copy import copy_prepared
from tests.pipeline.tables import TINY


def attempt(prepared, out, chosen, cleaned=None, recipe=TINY):
    faces, options = open_faces(prepared, recipe), TrialOptions(device="cpu", jobs=1)
    chosen = [BASE, *chosen]
    return faces, judge_choices(
        chosen, faces, recipe, out, options, Told(), folds=2, cleaned=cleaned
    )


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: choice.name)
def test_every_choice_changes_something(choice):
    recipe = load_recipe("suspects", ClassifierRecipe)
    changed = change_recipe(recipe, list(choice.sets))
    others = (choice.scale, choice.blur, choice.source, choice.cleaned or None)
    assert (changed != recipe) + sum(other is not None for other in others) == 1


@pytest.mark.parametrize(
    ("only", "sources", "has_cleaned", "names"),
    [
        ("", ["a", "b"], True, [*(one.name for one in CHOICES), "only-a", "only-b"]),
        ("", ["a"], False, [one.name for one in CHOICES if one.name != "cleaned"]),
        ("tight, grey", [], False, ["tight", "grey"]),
        ("base", ["a", "b"], False, []),
    ],
)
def test_choices_are_found_by_name(only, sources, has_cleaned, names):
    found = [one.name for one in find_choices(only, sources, has_cleaned=has_cleaned)]
    assert found == names
    assert len(set(found)) == len(found)


def test_what_can_not_be_tried_is_refused():
    with pytest.raises(OptionError, match="no choice 'gray': did you mean 'grey'"):
        find_choices("gray", [], has_cleaned=False)
    with pytest.raises(OptionError, match="'cleaned' needs --cleaned"):
        find_choices("cleaned", [], has_cleaned=False)


def test_every_face_is_judged_once_by_a_network_that_saw_none_of_its_kin(
    prepared, tmp_path, by_colour
):
    faces, judged = attempt(prepared, tmp_path, find_choices("grey", [], has_cleaned=False))
    learnt = [set(call.faces["group"]) for call in by_colour]
    assert learnt[0] | learnt[1] == set(faces.table["group"])
    assert not learnt[0] & learnt[1]
    assert learnt[2:] == learnt[:2]
    right = judged[0].probabilities.argmax(axis=1) == faces.table["label"].map(CLASSES.index)
    assert right.all()
    attempt(prepared, tmp_path, find_choices("grey,flat", [], has_cleaned=False))
    assert [call.recipe.schedule for call in by_colour[4:]] == ["flat", "flat"]


def test_one_dataset_learnt_from_and_all_judged(prepared, tmp_path, by_colour):
    faces, judged = attempt(prepared, tmp_path, [Choice("only", source="set")])
    assert all(set(call.faces["source"]) == {"set"} for call in by_colour[2:])
    assert judged[1].probabilities.shape == (len(faces.table), 3)


def test_cleaned_labels_are_learnt_and_annotated_ones_judged(prepared, tmp_path, by_colour):
    cleaned = open_faces(copy_prepared(prepared, tmp_path / "cleaned", lambda f: f), TINY)
    cleaned = replace(cleaned, table=cleaned.table.assign(label=CLASSES[0], split="train"))
    choice = Choice("cleaned", cleaned=True)
    faces, judged = attempt(prepared, tmp_path / "out", [choice], cleaned)
    assert all(set(call.faces["label"]) == {CLASSES[0]} for call in by_colour[2:])
    assert not set(by_colour[2].faces["group"]) & set(by_colour[3].faces["group"])
    rows = measure_choices([BASE, choice], judged, faces.table)
    assert rows[1]["all"]["accuracy"]["after"] == 1
    with pytest.raises(PreparedError, match="build both with the same --scale"):
        attempt(prepared, tmp_path / "other", [choice], replace(cleaned, scale=2.0))


def test_blur_rule_thins_out_training_faces_only(prepared, tmp_path, by_colour, monkeypatch):
    seen = []

    def keep(faces, *, rule):
        seen.append((rule, len(faces)))
        return np.arange(len(faces)) % 2 == 0

    monkeypatch.setattr("tests.benchmarks.choices.keep_balanced", keep)
    attempt(prepared, tmp_path, [Choice("blur", blur="global")])
    assert [rule for rule, _ in seen] == ["global", "global"]
    assert [len(call.faces) for call in by_colour[2:]] == [-(-count // 2) for _, count in seen]


def test_crops_at_another_scale_are_cut_by_a_build_of_their_own(prepared, tmp_path, by_colour):
    faces, judged = attempt(prepared, tmp_path, [Choice("tight", scale=1.0)])
    assert judged[1].probabilities.shape == (len(faces.table), 3)
    read = by_colour[2].read
    for row in faces.table.itertuples():
        photo = read_photo(faces.roots[row.source] / row.image).pixels
        cut = crop_face(photo, Box(row.xmin, row.ymin, row.xmax, row.ymax), 1.0)
        path = tmp_path / "tight" / "crops" / Path(row.crop).relative_to(faces.folder)
        assert np.abs(read(str(path)).astype(int) - cut).mean() < 12, "JPEG"


def test_too_few_faces_to_learn_from(prepared, tmp_path, by_colour):
    large = TINY.model_copy(update={"batch_size": 999})
    with pytest.raises(PreparedError, match=r"base: .* don't fill a batch of 999"):
        attempt(prepared, tmp_path, [], recipe=large)
    assert not by_colour


def test_differences_are_from_the_first_choice():
    table = pd.DataFrame({"source": ["a"] * 6, "label": list(CLASSES) * 2, "group": list("aabbcc")})
    truth = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    wrong = truth.copy()
    wrong[2] = [1, 0, 0]
    judged = [Judged(wrong, 60.0), Judged(truth, 90.0)]
    chosen = [Choice("base", what="as is"), Choice("x", what="better")]
    rows = measure_choices(chosen, judged, table)
    assert rows[1]["all"]["accuracy"]["difference"] == pytest.approx(1 / 6, abs=1e-4)
    assert rows[1]["a"]["macro_recall"]["after"] == 1
    lines = describe_choices(rows).splitlines()
    assert lines[1] == "|---" * 6 + "|"
    assert lines[2].startswith("| `base` as is | 0.833 (")
    assert lines[2].endswith(") | 1.0 |")
    value, low, high = rows[0]["all"]["accuracy"]["alone"]
    assert value == pytest.approx(5 / 6)
    assert low < value < high <= 1
    assert "+0.167 (" in lines[3]


@pytest.mark.usefixtures("by_colour")
def test_command_writes_figures_and_plot(prepared, tmp_path):
    out = tmp_path / "out"
    given = [prepared, "-o", out, "--only", "grey", "--folds", 2, "--jobs", 1]
    given += ["--set", "batch_size=8"]
    result = CliRunner().invoke(app, [*map(str, given)])
    assert result.exit_code == 0, result.output
    assert "`grey` grey levels instead of colours" in result.output
    stored = json.loads((out / "choices.json").read_text())
    assert [line["name"] for line in stored["lines"]] == ["base", "grey"]
    assert len(pd.read_csv(out / "probabilities.csv")) == stored["faces"]
