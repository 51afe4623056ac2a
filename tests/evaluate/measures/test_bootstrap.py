"""Resampling of photos, and what holds for every measure on top of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from evaluate.arrays import Detections, GroundTruth
from evaluate.evaluation import measure_case
from evaluate.measures import bootstrap
from evaluate.measures.alarm import describe_alarm
from evaluate.measures.bootstrap import RankedCounts, draw_weights, find_ends, resample
from evaluate.measures.calibration import describe_calibration
from evaluate.measures.curves import describe_operating_points
from evaluate.measures.errors import describe_budget
from evaluate.measures.headline import (
    compute_headline,
    describe_classifier,
    describe_difference,
    describe_headline,
)
from evaluate.measures.sizes import describe_sizes
from tests.evaluate.scenes import (
    Scene,
    collect_statistics,
    make_case,
    make_clutter,
    make_scene,
    repeat_photos,
)


@pytest.mark.parametrize("heaviest", [3, 40])
def test_counts_by_rank_are_those_of_a_product(heaviest: int) -> None:
    """Of rows without a face, of few and of thousands; also of photos drawn very often."""
    rng = np.random.default_rng(heaviest)
    ranks = np.r_[rng.geometric(0.01, 4000).clip(max=800), np.full(3000, 7), 900]
    photo, flags = rng.integers(0, 50, len(ranks)), rng.random(len(ranks)) < 0.7
    weights, start = rng.integers(0, heaviest + 1, (9, 50)), rng.integers(0, 9, (2, 9))
    weights[0, 0] = heaviest
    rows = np.zeros((901, 2, 50))
    np.add.at(rows, (ranks, flags.astype(int), photo), 1)
    expected, done = rows @ weights.T, 0
    for sums, before in RankedCounts.tally(photo, ranks, flags).weigh(weights, start):
        own = slice(done, done := done + len(sums))
        np.testing.assert_array_equal(sums, expected[own])
        up_to = start + [expected[:end].sum(axis=0) for end in range(own.start, own.stop + 1)]
        np.testing.assert_array_equal(before, up_to)
    assert done == 901
    assert [*RankedCounts.tally(*(part[:0] for part in (photo, ranks, flags))).weigh(weights)] == []


def mean_of(values: np.ndarray, weights: np.ndarray) -> Mapping[str, np.ndarray]:
    return {"mean": weights @ values / weights.sum(axis=1)}


def test_weights_are_draws_with_replacement() -> None:
    weights = np.concatenate(list(draw_weights(50, 2000, seed=1)))[1:]
    assert weights.shape == (2000, 50)
    assert (weights.sum(axis=1) == 50).all()
    # A photo is in a resample with probability 1 - (1 - 1/50)^50.
    assert (weights > 0).mean() == pytest.approx(1 - (1 - 1 / 50) ** 50, abs=0.01)


def test_slices_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(draw_weights(7, 100, seed=3)))
    assert (whole[0] == 1).all()
    monkeypatch.setattr(bootstrap, "_CELLS_AT_ONCE", 70)
    parts = list(draw_weights(7, 100, seed=3))
    assert len(parts) == 11
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_interval_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(size=400)
    drawn = resample(partial(mean_of, values), photos=400, resamples=4000, seed=0)
    lower, upper = find_ends(drawn)["mean"]
    # The normal approximation: ± 1.96 standard errors.
    half = 1.96 * values.std() / np.sqrt(400)
    assert lower == pytest.approx(values.mean() - half, abs=0.01)
    assert upper == pytest.approx(values.mean() + half, abs=0.01)


def test_undefined_resamples_are_left_out() -> None:
    def statistic(weights: np.ndarray) -> Mapping[str, np.ndarray]:
        never = np.full(len(weights), np.nan)
        return {"pair": np.stack([np.where(weights[:, 0] > 0, 1.0, np.nan), never], axis=1)}

    ends = find_ends(resample(statistic, photos=3, resamples=100))["pair"]
    np.testing.assert_array_equal(ends, [[1, np.nan], [1, np.nan]])


def make_crowd(seed: int) -> Scene:
    """Clutter; scores are distinct, since equal ones are told apart by photo."""
    truth, detections = make_clutter(seed, photos=4, found=60)
    scores = np.random.default_rng(seed).permutation(len(detections)) / len(detections)
    none = np.empty(0, dtype=np.int64)
    detections = replace(detections, scores=scores, detection=scores)
    return Scene(truth, detections, detections.take(none, none), none)


@pytest.mark.parametrize(
    ("measure", "options"),
    [
        (describe_headline, {}),
        (describe_headline, {"eleven_point": True}),
        (describe_operating_points, {}),
        (describe_sizes, {}),
        (describe_budget, {}),
        (describe_calibration, {}),
        (describe_classifier, {}),
        *((describe_alarm, {"incorrect": policy}) for policy in ("alarm", "leave-out")),
    ],
)
def test_weights_are_repeated_photos(measure: Any, options: dict[str, Any]) -> None:
    scenes = [make_scene(3)]
    if measure not in (describe_calibration, describe_classifier, describe_alarm):
        scenes += [make_crowd(seed) for seed in range(2)]
    defined: dict[str, bool] = {}
    for number, scene in enumerate(scenes):
        times = np.random.default_rng(number).integers(0, 4, (3, len(scene.truth.photos)))

        def collect(scene: Scene) -> list:
            crops = scene.crops if len(scene.crops) else None
            case = make_case(scene.truth, scene.detections, crops=crops, **options)
            return collect_statistics(measure, case)

        for index, row in enumerate(times):
            once = np.ones((1, np.maximum(row, 1).sum()))
            for plain, repeated in zip(
                collect(scene), collect(repeat_photos(scene, row)), strict=True
            ):
                weighted = plain(times.astype(float))
                for name, values in repeated(once).items():
                    if "aurc" in weighted and name != "aurc":
                        continue  # their limits are chosen on the faces at hand
                    # Photos of weight 0 stay as empty ones, which only "per photo" can tell.
                    scale = once.sum() / row.sum() if name.endswith("per_photo") else 1
                    np.testing.assert_allclose(
                        weighted[name][index], values[0] * scale, atol=1e-12, err_msg=name
                    )
                    defined[name] = defined.get(name, False) or bool(np.isfinite(values).any())
    assert defined
    assert all(defined.values()), "of no face, nothing would be tested"


def pair_up(numbers: Any, intervals: Mapping[str, Any]) -> Iterator[tuple[str, float, list]]:
    for name, ends in intervals.items():
        if isinstance(ends, dict):
            yield from pair_up(numbers[name], ends)
        elif ends is not None:
            yield name, numbers[name], ends


def find_intervals(record: Any) -> Iterator[tuple[str, float, list]]:
    """Numbers with intervals at any depth; definitions say how the latter were made."""
    if isinstance(record, dict):
        yield from pair_up(record, record.get("intervals") or {})
        parts = [part for name, part in record.items() if name not in ("definitions", "intervals")]
    else:
        parts = record if isinstance(record, list) else []
    for part in parts:
        yield from find_intervals(part)


def test_every_interval_holds_its_number_and_the_record_is_json() -> None:
    scene = make_scene(4, photos=60)
    case = make_case(
        scene.truth, scene.detections, crops=scene.crops, other=scene.crops, resamples=200, seed=5
    )
    record = measure_case(case).metrics
    json.dumps(record, allow_nan=False)
    found = list(find_intervals(record))
    assert len(found) > 140
    for name, value, (low, high) in found:
        # That of a resample tends to be larger.
        assert low <= value + (0.1 if name == "ece" else 1e-12), name
        assert value <= high + 1e-12, name
    assert measure_case(replace(case)).metrics == record
    without = measure_case(replace(case, options=replace(case.options, bootstrap=0)))
    assert not list(find_intervals(without.metrics))


@pytest.mark.parametrize("classes", [("with_mask", "without_mask", "mask_weared_incorrect"), "ab"])
def test_nothing_found_and_nothing_to_find(classes: Any) -> None:
    scene = make_scene(2, classes=tuple(classes))
    none = np.empty(0, dtype=np.int64)
    blind = make_case(scene.truth, scene.detections.take(none, none), resamples=5)
    nobody = replace(scene.truth, difficult=np.ones(len(scene.truth.photo), dtype=bool))
    for case in (blind, make_case(nobody, scene.detections, crops=scene.crops, resamples=5)):
        record = measure_case(case).metrics
        json.dumps(record, allow_nan=False)
        assert record["map50"] == (0 if case is blind else None)
        assert record["accuracy"] is None
        assert ("alarm" in record) == (len(classes) == 3)


PHOTOS = 40


def make(seed: int, wrong: float) -> tuple[GroundTruth, Detections]:
    """Two faces in each photo, found exactly; a share of them gets the wrong label."""
    rng = np.random.default_rng(0)
    photo = np.repeat(np.arange(PHOTOS), 2)
    boxes = np.tile([[0.0, 0, 10, 10], [20, 0, 30, 10]], (PHOTOS, 1))
    labels = rng.integers(0, 3, 2 * PHOTOS)
    names = tuple(f"{n:02}" for n in range(PHOTOS))
    truth = GroundTruth(names, photo, boxes, labels, np.zeros(2 * PHOTOS, bool))
    other = np.random.default_rng(seed)
    given = np.where(other.random(2 * PHOTOS) < wrong, (labels + 1) % 3, labels)
    scores = other.random(2 * PHOTOS)
    return truth, Detections(photo, boxes, given, scores, scores, None)


def compare(mine, other, **options):
    truth, detections = make(*mine)
    return describe_difference(make_case(truth, detections, other=make(*other)[1], **options))


def test_same_tables_do_not_differ():
    record = compare((1, 0.3), (1, 0.3), resamples=50)
    for row in (record["accuracy"], record["ap50"]["with_mask"]):
        assert (row["difference"], row["interval"], row["better"]) == (0, [0, 0], 0)
    record = compare((1, 0.1), (2, 0.2))
    assert record["map50"]["interval"] is record["map50"]["better"] is None
    assert record["map50"]["difference"] is not None
    assert describe_difference(make_case(*make(1, 0.1))) is None


def test_a_better_table_is_better_and_the_interval_is_paired():
    row = compare((1, 0.05), (2, 0.5), resamples=400, seed=3)["accuracy"]
    assert row["difference"] == pytest.approx(row["mine"] - row["other"])
    assert row["interval"][0] > 0
    assert row["better"] == 1
    good, bad = (make_case(*make(*side)) for side in ((1, 0.05), (2, 0.5)))
    weights = np.concatenate(list(draw_weights(PHOTOS, 400, 3)))[1:]
    slow = np.subtract(*(compute_headline(side, weights)["accuracy"] for side in (good, bad)))
    assert row["interval"] == pytest.approx(np.percentile(slow, [2.5, 97.5]))


def test_pairing_narrows_the_interval():
    """One more fault on top of the same faults: unpaired intervals would overlap widely."""
    truth, detections = make(1, 0.4)
    labels = detections.labels.copy()
    right = np.flatnonzero(labels == truth.labels)[:6]
    labels[right] = (labels[right] + 1) % 3
    worse = replace(detections, labels=labels)
    case = make_case(truth, detections, other=worse, resamples=500)
    row = describe_difference(case)["accuracy"]
    spread = row["interval"][1] - row["interval"][0]
    alone = [compute_headline(case, w)["accuracy"] for w in draw_weights(PHOTOS, 500, 0)]
    unpaired = np.subtract(*np.percentile(np.concatenate(alone), [97.5, 2.5]))
    assert row["interval"][0] > 0
    assert spread < unpaired
