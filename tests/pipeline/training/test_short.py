"""Short trainings: what they learn, what is made of them, and what is kept of them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.optimizer import Adam
from torch import nn

from data_prep.base.errors import UserError
from data_prep.base.labels import CLASSES
from data_prep.grouping.split import SplitError
from pipeline.training.data import read_file
from pipeline.training.short import (
    Plan,
    Views,
    join_folds,
    label_codes,
    make_adamw,
    open_faces,
    plan_folds,
    plan_in_sample,
    read_views,
    run_tasks,
    train_short,
    view_faces,
    write_views,
)
from tests.pipeline.makers import CPU, Killed, Told
from tests.pipeline.tables import TINY, table_of

SMALL = TINY.model_copy(update={"architecture": "sequential", "lr": 3e-3})


def train(faces, log, **changes):
    recipe = SMALL.model_copy(update=changes)
    return recipe, train_short(faces, read_file, recipe, device=CPU, what="fold 1", log=log)


@pytest.mark.usefixtures("one_thread")
def test_colours_are_learnt_in_two_stages(prepared):
    faces = open_faces(prepared, SMALL).table
    log = Told()
    recipe, state = train(faces, log, sizes=[32, 48], epochs=[4, 1])
    pixels = list(map(read_file, faces["crop"]))
    views = view_faces(state, recipe, pixels, CPU)
    assert (views.probabilities.argmax(axis=1) == label_codes(faces)).mean() > 0.6
    assert views.features.shape == (48, 128)
    assert [line.split(":")[0] for line in log.lines] == [
        *(f"fold 1, epoch {epoch} of 4" for epoch in range(1, 5)),
        "fold 1, epoch 1 of 1",
    ]
    mirrored = view_faces(state, recipe, [crop[:, ::-1] for crop in pixels[:5]], CPU)
    np.testing.assert_allclose(mirrored.probabilities, views.probabilities[:5], atol=1e-2)
    two = view_faces(state, recipe, pixels, CPU, CLASSES[:2]).probabilities
    assert not two[:, 2].any()
    np.testing.assert_allclose(two.sum(axis=1), 1, atol=1e-5)


@pytest.mark.usefixtures("one_thread")
def test_seed_decides(prepared):
    some = open_faces(prepared, SMALL).table.head(24)
    one, same, other = (train(some, Told(), seed=seed)[1] for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["head.3.weight"], other["head.3.weight"])


def test_optimiser_follows_the_rule_of_fastai():
    torch.manual_seed(0)
    nets = [nn.Linear(5, 3, bias=False) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    rules = [
        make([list(net.parameters())], lr=1e-2)
        for make, net in zip((Adam, make_adamw), nets, strict=True)
    ]
    for step in range(20):
        gradient = torch.randn(3, 5)
        for net, rule in zip(nets, rules, strict=True):
            net.weight.grad = gradient.clone()
            rule.set_hypers(lr=1e-2 * (1 + step / 10), mom=0.95 - step / 200, wd=0.05)
            rule.step()
    torch.testing.assert_close(nets[0].weight, nets[1].weight, rtol=1e-5, atol=1e-6)


@pytest.fixture
def plan(prepared, tmp_path):
    faces = open_faces(prepared, TINY)
    return Plan(faces.table, TINY, tmp_path / "out", faces.scale)


def make(plan, number=0, **changes):
    table = plan.table
    task = plan.make_task(
        f"part {number}", f"part-{number}", table[table.index % 3 != number], table
    )
    return replace(task, recipe=task.recipe.model_copy(update=changes))


def run(*some, jobs=1, stop=None):
    log = Told(stop=stop)
    return run_tasks(some, device=CPU, log=log, jobs=jobs), log.lines


def test_answers_come_in_the_order_of_the_tasks_and_finished_ones_are_read_back(plan, by_colour):
    first, lines = run(make(plan, 1), make(plan, 0))
    assert [call.what for call in by_colour] == ["part 1", "part 0"]
    assert [len(call.faces) for call in by_colour] == [32, 32]
    assert all(view.probabilities.shape == (48, 3) for view in first)
    assert lines[-1] == "part 0: agrees with 100.0% of 16 unseen labels"
    again, lines = run(make(plan, 1), make(plan, 2))
    assert [call.what for call in by_colour[2:]] == ["part 2"]
    assert np.array_equal(first[0].probabilities, again[0].probabilities)
    assert lines[0] == "1 of 2 trainings were done before"


@pytest.mark.parametrize(
    "change",
    [
        lambda task: replace(
            task, train=task.train.assign(label=["with_mask", *task.train["label"][1:]])
        ),
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


def test_other_weights_to_start_from_count_but_not_where_the_crops_lie(plan, tmp_path):
    path = tmp_path / "start.safetensors"
    path.write_bytes(b"one")
    task = make(plan, init=str(path))
    write_views(task, Views(np.zeros((48, 3)), np.zeros((48, 2))))
    moved = task.judge.assign(crop="elsewhere/" + task.judge["crop"])
    assert read_views(replace(task, judge=moved)) is not None
    path.write_bytes(b"another")
    assert read_views(task) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rare_odds": 2.0}, "use --set rare_odds=1"),
        ({"teachers": ["a.safetensors"]}, "teachers have learnt from faces"),
        ({"lr": "find"}, "lr is 'find'"),
        ({"init": "a.safetensors"}, "a.safetensors: can't be read"),
        ({"incorrect": "exclude"}, "needs three classes"),
    ],
)
def test_recipes_of_more_than_a_plain_short_training_are_refused(plan, by_colour, changed, message):
    with pytest.raises(UserError, match=message):
        run(make(plan, **changed))
    assert not by_colour
    assert not plan.folder.exists(), "nothing is made before all is checked"


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_torn_file_is_done_again(plan, by_colour, keep):
    task = make(plan)
    run(task)
    task.file.write_bytes(task.file.read_bytes()[:keep])
    assert read_views(task) is None
    run(task)
    assert len(by_colour) == 2
    assert read_views(task) is not None


def test_features_stay_on_the_disk_and_crops_are_asked_for_in_parts(plan, by_colour, monkeypatch):
    (whole,), _ = run(make(plan))
    with np.load(make(plan).file) as stored:
        assert np.array_equal(whole.features, stored["features"])
    assert isinstance(whole.features, np.memmap)
    assert not whole.features.flags.writeable
    make(plan).file.unlink()
    monkeypatch.setattr("pipeline.training.short._CROPS_AT_ONCE", 7)
    (parts,), _ = run(make(plan))
    assert np.array_equal(parts.features, whole.features)
    assert np.array_equal(parts.probabilities, whole.probabilities)


def test_features_that_were_spoilt_are_made_again(plan, by_colour):
    task = make(plan)
    (views,), _ = run(task)
    data = bytearray(task.file.read_bytes())
    data[views.features.offset + 100] ^= 1
    task.file.write_bytes(data)
    assert read_views(task) is None


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickles_are_not_read(plan, tmp_path):
    task = make(plan)
    task.file.parent.mkdir()
    np.savez(task.file, fingerprint=np.array([Touches(tmp_path / "run")], dtype=object))
    assert read_views(task) is None
    assert not (tmp_path / "run").exists()


def test_killed_between_two_keeps_the_first(plan, by_colour):
    with pytest.raises(Killed):
        run(make(plan), make(plan, 1), stop="part 1: trained")
    run(make(plan), make(plan, 1))
    assert [call.what for call in by_colour] == ["part 0", "part 1", "part 1"]


def test_network_that_saw_all_says_so(plan, by_colour):
    _, (task,) = plan_in_sample(plan)
    assert run(task)[1][-1] == "in sample: agrees with 100.0% of 48 learnt labels"


@pytest.mark.slow
def test_two_at_a_time_give_the_same_numbers(plan, tmp_path):
    one, _ = run(make(plan, 0), make(plan, 1))
    elsewhere = replace(plan, folder=tmp_path / "other")
    two, _ = run(make(elsewhere, 0), make(elsewhere, 1), jobs=2)
    for mine, other in zip(one, two, strict=True):
        assert np.array_equal(mine.probabilities, other.probabilities)
        assert np.array_equal(mine.features, other.features)


def fold_of(groups, strata, folds=5, seed=0):
    """The fold of each face, of a stratum that is its source."""
    table = table_of([0] * len(groups), groups).assign(source=strata)
    return plan_folds(Plan(table, TINY.model_copy(update={"seed": seed}), Path(), 1.5), folds)[0]


def test_folds_hold_out_whole_groups_once_and_spread_the_strata():
    random = np.random.default_rng(0)
    groups = [f"g{index}" for index in random.integers(0, 60, 300)]
    strata = random.choice(["a", "b", "c"], 300, p=[0.7, 0.2, 0.1]).tolist()
    folds, same, other = (fold_of(groups, strata, seed=seed) for seed in (0, 0, 2))
    assert sorted(set(folds)) == [0, 1, 2, 3, 4]
    assert len(set(zip(groups, folds, strict=True))) == len(set(groups))
    rare = Counter(fold for fold, stratum in zip(folds, strata, strict=True) if stratum == "c")
    assert max(rare.values()) - min(rare.values()) <= 4
    assert (folds == same).all()
    assert (folds != other).any()


def test_too_few_groups():
    with pytest.raises(SplitError, match="can't be split into 5 folds"):
        fold_of(["a", "b"] * 5, ["x"] * 10)


def test_networks_never_see_the_faces_they_judge(tmp_path):
    groups = [f"g{index // 3}" for index in range(30)]
    plan = Plan(table_of([0, 1, 2] * 10, groups), TINY, tmp_path, 1.5, "noise")
    fold, planned = plan_folds(plan, 5)
    assert [task.what for task in planned] == [f"noise, fold {n} of 5" for n in range(1, 6)]
    assert [task.file.name for task in planned] == [f"fold-{n}.npz" for n in range(1, 6)]
    for number, task in enumerate(planned):
        held = plan.table[fold == number]
        assert len(held)
        assert not set(task.train["group"]) & set(held["group"])
        assert len(task.train) + len(held) == 30
        assert task.judge.equals(plan.table)


def test_each_face_is_judged_by_its_fold():
    views = [Views(np.full((4, 3), value), np.full((4, 2), value)) for value in (0.1, 0.2)]
    joined = join_folds(np.array([1, 0, 0, 1]), views)
    assert joined[:, 0].tolist() == [0.2, 0.1, 0.1, 0.2]
