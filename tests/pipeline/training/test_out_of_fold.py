"""Out-of-fold views: each face by the one network that saw neither it nor its kin."""

import numpy as np

from pipeline.training.short import Views
from pipeline.training.tasks import Plan, join_folds, plan_folds, plan_in_sample
from tests.pipeline.tables import TINY, table_of


def make_plan(tmp_path):
    groups = [f"g{index // 3}" for index in range(30)]
    return Plan(table_of([0, 1, 2] * 10, groups), TINY, tmp_path, 1.5, "noise")


def test_networks_never_see_the_faces_they_judge(tmp_path):
    plan = make_plan(tmp_path)
    fold, tasks = plan_folds(plan, 5)
    assert [task.what for task in tasks] == [f"noise, fold {n} of 5" for n in range(1, 6)]
    assert [task.file.name for task in tasks] == [f"fold-{n}.npz" for n in range(1, 6)]
    for number, task in enumerate(tasks):
        held = plan.table[fold == number]
        assert len(held)
        assert not set(task.train["group"]) & set(held["group"])
        assert len(task.train) + len(held) == 30
        assert task.judge.equals(plan.table)


def test_in_sample_sees_all(tmp_path):
    plan = make_plan(tmp_path)
    fold, (task,) = plan_in_sample(plan)
    assert task.train.equals(plan.table)
    assert fold.tolist() == [0] * 30


def test_each_face_is_told_by_its_fold():
    views = [Views(np.full((4, 3), value), np.full((4, 2), value)) for value in (0.1, 0.2)]
    joined = join_folds(np.array([1, 0, 0, 1]), views)
    assert joined.probabilities[:, 0].tolist() == [0.2, 0.1, 0.1, 0.2]
    assert [space[0, 0] for space in joined.features] == [0.1, 0.2]
