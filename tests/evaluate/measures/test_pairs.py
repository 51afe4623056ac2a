from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluate.measures.case import (
    CropsError,
    ProbabilityError,
    count_confusion,
    normalise_probabilities,
    pair_crops,
    pair_faces,
)
from tests.evaluate.random_faces import make_scene, without_probabilities


@pytest.mark.parametrize("thresh", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_every_face_gets_its_detection(seed: int, thresh: float) -> None:
    scene = make_scene(seed)
    truth, detections = scene.truth, scene.detections
    pairs = pair_faces(truth, detections, thresh=thresh)
    expected = []
    for face, row in enumerate(scene.row_of.tolist()):
        if not truth.difficult[face]:
            seen = row >= 0 and detections.detection[row] >= thresh
            expected.append((truth.photo[face], truth.labels[face], row if seen else -1))
    assert list(zip(pairs.photo, pairs.labels, pairs.rows, strict=True)) == expected
    on_faces = set(scene.row_of.tolist())
    assert pairs.false.tolist() == [
        row
        for row in range(len(detections))
        if row not in on_faces and detections.detection[row] >= thresh
    ]


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_confusion_matrix(seed: int) -> None:
    scene = make_scene(seed)
    pairs = pair_faces(scene.truth, scene.detections)
    confusion = count_confusion(scene.truth, scene.detections).sum(axis=0)
    assert confusion[:-1, :-1].sum() == pairs.found.sum() == len(pairs.found_only().rows)
    assert confusion[:-1, -1].sum() == (~pairs.found).sum()
    assert confusion[-1].sum() == len(pairs.false)


def test_the_surer_detection_comes_first() -> None:
    scene = make_scene(0)
    truth = replace(scene.truth, difficult=np.zeros(len(scene.truth.photo), dtype=bool))
    row = int(scene.row_of[scene.row_of >= 0][0])
    twice = np.sort(np.r_[np.arange(len(scene.detections)), row])
    detections = scene.detections.take(twice, scene.detections.photo[twice])
    sure = detections.detection.copy()
    sure[row + 1] = 1.0
    pairs = pair_faces(truth, replace(detections, detection=sure))
    assert row + 1 in pairs.rows
    assert row in pairs.false


def test_crops_are_known_by_their_box() -> None:
    scene = make_scene(1)
    pairs = pair_crops(scene.truth, scene.crops)
    assert pairs.rows.tolist() == np.flatnonzero(~scene.truth.difficult).tolist()
    assert not len(pairs.false)


def test_most_crops_must_be_there() -> None:
    scene = make_scene(1)
    truth = replace(scene.truth, difficult=np.zeros(len(scene.truth.photo), dtype=bool))
    faces = len(truth.photo)
    half = np.arange((faces + 1) // 2)
    assert pair_crops(truth, scene.crops.take(half, truth.photo[half])).found.sum() == len(half)
    few = half[: (faces - 1) // 2]
    message = f"a row for only {len(few)} of the {faces} annotated faces"
    with pytest.raises(CropsError, match=message):
        pair_crops(truth, scene.crops.take(few, truth.photo[few]))
    # Boxes of a detector are near the annotated ones, not on them.
    moved = replace(scene.crops, boxes=scene.crops.boxes + 4)
    with pytest.raises(CropsError, match="only 0 of"):
        pair_crops(truth, moved)


def test_probabilities_are_scaled_and_checked() -> None:
    scene = make_scene(2)
    probabilities = scene.detections.probabilities.copy()
    probabilities[3] = [0.33, 0.33, 0.33]
    rounded = replace(scene.detections, probabilities=probabilities)
    assert normalise_probabilities(scene.truth, rounded)[3] == pytest.approx([1 / 3] * 3)
    probabilities[3] = [0.9, 0.9, 0.1]
    box = scene.detections.boxes[3]
    photo = scene.truth.photos[scene.detections.photo[3]]
    with pytest.raises(ProbabilityError, match=rf"^{photo}, face at \({box[0]:g}, .*up to 1\.9"):
        normalise_probabilities(scene.truth, rounded)
    assert normalise_probabilities(scene.truth, without_probabilities(rounded)) is None
