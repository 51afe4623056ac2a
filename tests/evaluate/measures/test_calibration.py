from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss

from evaluate.measures.calibration import (
    BINS,
    LEAST_PROBABILITY,
    GradedFaces,
    compute_calibration,
    count_grades,
    describe_grades,
    grade_faces,
)
from evaluate.measures.case import pair_faces
from tests.evaluate.random_faces import Scene, make_scene, repeat_photos, without_probabilities
from tests.evaluate.scenes import describe_calibration, make_case


def grade(percents: list[tuple[int, int, int]], labels: list[int]) -> GradedFaces:
    """Faces, each in a photo of its own, with probabilities in percent."""
    return GradedFaces(
        photos=len(labels),
        photo=np.arange(len(labels)),
        labels=np.array(labels, dtype=np.int64),
        probabilities=np.array(percents, dtype=np.float64).reshape(-1, 3) / 100,
    )


def slow_bins(percents: list[tuple[int, int, int]], labels: list[int]) -> list[list]:
    """Of each bin (confidence, right) of its faces, in whole numbers and fractions."""
    bins: list[list] = [[] for _ in range(BINS)]
    for row, label in zip(percents, labels, strict=True):
        top = Fraction(max(row), 100)
        number = next(m for m in range(BINS) if Fraction(m, BINS) < top <= Fraction(m + 1, BINS))
        bins[number].append((top, row.index(max(row)) == label))
    return bins


def random_percents(seed: int, faces: int) -> tuple[list[tuple[int, int, int]], list[int]]:
    rng = np.random.default_rng(seed)
    first = rng.integers(1, 98, faces)
    second = rng.integers(1, 100 - first)
    labels = rng.integers(0, 3, faces).tolist()
    columns = zip(first.tolist(), second.tolist(), (100 - first - second).tolist(), strict=True)
    return list(columns), labels


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_a_loop_and_sklearn(seed: int) -> None:
    percents, labels = random_percents(seed, 200)
    # On the edges 6/15, 9/15 and 12/15.
    percents += [(40, 30, 30), (60, 20, 20), (10, 80, 10), (0, 100, 0)]
    labels += [0, 1, 1, 1]
    faces = grade(percents, labels)
    scene = make_scene(0, photos=len(labels))
    record = describe_grades(make_case(scene.truth, scene.detections), faces)
    bins = slow_bins(percents, labels)
    assert [row["count"] for row in record["bins"]] == [len(rows) for rows in bins]
    gap = Fraction(0)
    for row, pairs in zip(record["bins"], bins, strict=True):
        if not pairs:
            assert row["confidence"] is row["accuracy"] is None
            continue
        confidence = sum(top for top, _ in pairs) / len(pairs)
        accuracy = Fraction(sum(right for _, right in pairs), len(pairs))
        assert row["confidence"] == pytest.approx(float(confidence))
        assert row["accuracy"] == pytest.approx(float(accuracy))
        gap += abs(confidence - accuracy) * Fraction(len(pairs), len(labels))
    assert record["ece"] == pytest.approx(float(gap))
    assert record["brier"] == pytest.approx(
        brier_score_loss(labels, faces.probabilities, labels=[0, 1, 2])
    )
    # No annotated class was given 0 here.
    assert record["log_loss"] == pytest.approx(
        log_loss(labels, faces.probabilities, labels=[0, 1, 2])
    )
    everyone = [pair for pairs in bins for pair in pairs]
    assert record["accuracy"] == pytest.approx(sum(right for _, right in everyone) / len(labels))
    assert record["confidence"] == pytest.approx(
        float(sum(top for top, _ in everyone) / len(labels))
    )


def test_a_written_0_is_not_taken_for_impossible() -> None:
    values = compute_calibration(count_grades(grade([(100, 0, 0)], [1])), np.ones((1, 1)))
    assert values["log_loss"][0] == pytest.approx(-np.log(LEAST_PROBABILITY))
    assert values["brier"][0] == pytest.approx(2)


def test_sections_are_of_their_own_faces() -> None:
    scene = make_scene(1)
    truth, detections = scene.truth, scene.detections
    record = describe_calibration(
        truth, detections, crops=scene.crops, thresh=0.5, resamples=20, seed=1
    )
    json.dumps(record, allow_nan=False)
    asked = ~truth.difficult
    seen = [
        (face, row)
        for face, row in enumerate(scene.row_of.tolist())
        if asked[face] and row >= 0 and detections.detection[row] >= 0.5
    ]
    for name, rows, answers in (
        ("pipeline", seen, detections),
        ("crops", [(face, face) for face in np.flatnonzero(asked)], scene.crops),
    ):
        section = record[name]
        assert section["faces"] == len(rows)
        losses = []
        for face, row in rows:
            wanted = np.eye(3)[truth.labels[face]]
            losses.append(((answers.probabilities[row] - wanted) ** 2).sum())
        assert section["brier"] == pytest.approx(np.mean(losses))
        assert section["unsure"]["accuracy"]["100"] == pytest.approx(section["accuracy"])


def test_no_section_without_probabilities() -> None:
    scene = make_scene(1)
    plain = without_probabilities(scene.detections)
    record = describe_calibration(scene.truth, plain, crops=scene.crops, resamples=0)
    assert record["pipeline"] is None
    assert record["crops"]["intervals"] is None
    record = describe_calibration(scene.truth, scene.detections, resamples=0)
    assert record["crops"] is None
    assert record["pipeline"] is not None


def test_nothing_found() -> None:
    scene = make_scene(2)
    none = np.empty(0, dtype=np.int64)
    record = describe_calibration(scene.truth, scene.detections.take(none, none), resamples=5)
    json.dumps(record, allow_nan=False)
    assert record["pipeline"]["faces"] == 0
    assert record["pipeline"]["ece"] is record["pipeline"]["intervals"]["ece"] is None


def test_weights_are_repeated_photos() -> None:
    scene = make_scene(3)
    times = np.random.default_rng(2).integers(0, 4, (4, len(scene.truth.photos)))

    def count(scene: Scene):
        case = make_case(scene.truth, scene.detections)
        return count_grades(grade_faces(case, case.detections, pair_faces(*pair_of(scene))))

    def pair_of(scene: Scene):
        return scene.truth, scene.detections

    weighted = compute_calibration(count(scene), times.astype(float))
    for index, row in enumerate(times):
        for name, values in compute_calibration(
            count(repeat_photos(scene, row)), np.ones((1, np.maximum(row, 1).sum()))
        ).items():
            np.testing.assert_allclose(weighted[name][index], values[0], err_msg=name)


def test_intervals_hold_the_numbers() -> None:
    scene = make_scene(4, photos=60)
    run = {"resamples": 300, "seed": 5}
    section = describe_calibration(scene.truth, scene.detections, **run)["pipeline"]
    assert set(section["intervals"]) == {
        *("accuracy", "confidence", "ece", "brier", "log_loss", "unsure")
    }
    for name in ("accuracy", "confidence", "brier", "log_loss"):
        low, high = section["intervals"][name]
        assert low < section[name] < high
    low, high = section["intervals"]["ece"]
    assert 0 < low < high
    low, high = section["intervals"]["unsure"]["aurc"]
    assert low < section["unsure"]["aurc"] < high
    assert describe_calibration(scene.truth, scene.detections, **run)["pipeline"] == section


def test_other_classes() -> None:
    scene = make_scene(6, classes=("car", "bus", "tram", "bike"))
    section = describe_calibration(scene.truth, scene.crops, resamples=0)["pipeline"]
    asked = ~scene.truth.difficult
    assert section["accuracy"] == pytest.approx(
        (scene.crops.labels == scene.truth.labels)[asked].mean()
    )
    assert section["brier"] == pytest.approx(
        brier_score_loss(
            scene.truth.labels[asked], scene.crops.probabilities[asked], labels=[0, 1, 2, 3]
        )
    )
