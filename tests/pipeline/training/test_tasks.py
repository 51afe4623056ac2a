"""Tasks: done once, done again when anything that counts has changed, whole after a kill."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.runs.recipe import RecipeError
from pipeline.training import tasks
from pipeline.training.short import open_faces
from pipeline.training.tasks import Plan, read_views, run_tasks
from tests.pipeline.makers import CPU, Told
from tests.pipeline.tables import TINY


@pytest.fixture
def plan(prepared, tmp_path):
    faces = open_faces(prepared, TINY)
    return Plan(faces.table, TINY, tmp_path / "out", faces.scale)


def make(plan, number=0):
    table = plan.table
    train = table[table.index % 3 != number]
    return plan.make_task(f"part {number}", f"part-{number}", train, table)


def run(*some, jobs=1):
    lines = []
    return run_tasks(some, device=CPU, log=Told(lines), jobs=jobs), lines


def test_answers_come_in_the_order_of_the_tasks(plan, by_colour):
    views, lines = run(make(plan, 1), make(plan, 0))
    assert [call.what for call in by_colour] == ["part 1", "part 0"]
    assert [len(call.faces) for call in by_colour] == [32, 32]
    assert all(view.probabilities.shape == (48, 3) for view in views)
    assert lines[-1] == "part 0: agrees with 100.0% of 16 unseen labels"


def test_finished_ones_are_read_back(plan, by_colour):
    first, _ = run(make(plan))
    again, lines = run(make(plan), make(plan, 1))
    assert [call.what for call in by_colour] == ["part 0", "part 1"]
    assert np.array_equal(first[0].probabilities, again[0].probabilities)
    assert lines[0] == "1 of 2 trainings were done before"


def relabel(task):
    train = task.train.copy()
    train.iloc[3, train.columns.get_loc("label")] = "without_mask"
    assert not train.equals(task.train)
    return replace(task, train=train)


@pytest.mark.parametrize(
    "change",
    [
        relabel,
        lambda task: replace(task, train=task.train.iloc[1:]),
        lambda task: replace(task, judge=task.judge.iloc[1:]),
        lambda task: replace(task, judge=task.judge.assign(xmin=task.judge["xmin"] + 1)),
        lambda task: replace(task, recipe=task.recipe.model_copy(update={"seed": 1})),
        lambda task: replace(task, scale=2.0),
    ],
    ids=["label", "face to learn", "face to judge", "box", "recipe", "scale"],
)
def test_what_counts_is_done_again(plan, by_colour, change):
    task = make(plan)
    run(task)
    run(change(task))
    assert len(by_colour) == 2


def test_other_weights_to_start_from_count(plan, by_colour, tmp_path):
    path = tmp_path / "start.safetensors"
    path.write_bytes(b"one")
    recipe = plan.recipe.model_copy(update={"init": str(path)})
    task = replace(make(plan), recipe=recipe)
    run(task)
    path.write_bytes(b"another")
    assert read_views(task) is None
    run(task)
    assert len(by_colour) == 2


@pytest.mark.parametrize("changed", [{"members": 2}, {"rare_odds": 2.0}])
def test_recipes_of_more_than_one_plain_network_are_refused(plan, by_colour, changed):
    recipe = plan.recipe.model_copy(update=changed)
    with pytest.raises(RecipeError, match="use --set members=1 --set rare_odds=1"):
        run(replace(make(plan), recipe=recipe))
    assert not by_colour


def test_teachers_who_know_the_answers_are_refused(plan, by_colour):
    recipe = plan.recipe.model_copy(update={"teachers": ["a.safetensors"]})
    with pytest.raises(RecipeError, match="teachers have learnt from faces"):
        run(replace(make(plan), recipe=recipe))
    assert not by_colour


def test_prepared_folder_may_move(plan, by_colour):
    task = make(plan)
    run(task)
    moved = task.judge.assign(crop="elsewhere/" + task.judge["crop"])
    assert read_views(replace(task, judge=moved)) is not None


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_torn_file_is_done_again(plan, by_colour, keep):
    task = make(plan)
    run(task)
    task.file.write_bytes(task.file.read_bytes()[:keep])
    assert read_views(task) is None
    run(task)
    assert len(by_colour) == 2
    assert read_views(task) is not None


class Touches:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_are_not_read(plan, tmp_path):
    task = make(plan)
    buffer = io.BytesIO()
    np.savez(buffer, fingerprint=np.array([Touches(tmp_path / "run")], dtype=object))
    task.file.parent.mkdir()
    task.file.write_bytes(buffer.getvalue())
    assert read_views(task) is None
    assert not (tmp_path / "run").exists()


def test_killed_between_two_keeps_the_first(plan, by_colour, monkeypatch):
    train = tasks.train_short

    def fail(faces, crops, recipe, *, what, **options):
        if what == "part 1":
            raise KeyboardInterrupt
        return train(faces, crops, recipe, what=what, **options)

    monkeypatch.setattr(tasks, "train_short", fail)
    with pytest.raises(KeyboardInterrupt):
        run(make(plan), make(plan, 1))
    monkeypatch.setattr(tasks, "train_short", train)
    run(make(plan), make(plan, 1))
    assert [call.what for call in by_colour] == ["part 0", "part 1"]


def test_rate_must_be_known(plan, by_colour):
    task = make(replace(plan, recipe=TINY.model_copy(update={"lr": "find"})))
    with pytest.raises(RecipeError, match="lr is 'find'"):
        run(task)
    assert by_colour == []


def test_network_that_saw_all_tells_so(plan, by_colour):
    task = plan.make_task("in sample", "in-sample", plan.table, plan.table)
    assert run(task)[1][-1] == "in sample: agrees with 100.0% of 48 learnt labels"


@pytest.mark.slow
def test_two_at_a_time_give_the_same_numbers(plan, tmp_path):
    one, _ = run(make(plan, 0), make(plan, 1))
    elsewhere = replace(plan, folder=tmp_path / "other")
    two, _ = run(make(elsewhere, 0), make(elsewhere, 1), jobs=2)
    for mine, other in zip(one, two, strict=True):
        assert np.array_equal(mine.probabilities, other.probabilities)
        assert np.array_equal(mine.features, other.features)
