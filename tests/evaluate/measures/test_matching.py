"""IoU, overlaps, hits and pairs, against slow ones and by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.formats.input_files import InputError
from evaluate.measures import matching
from evaluate.measures.average_precision import Rules
from evaluate.measures.case import (
    Case,
    normalise_probabilities,
    pair_crops,
    pair_faces,
)
from evaluate.measures.matching import (
    BoxGroups,
    Overlaps,
    best_overlaps,
    flag_hits,
    match_greedily,
    paired_iou,
)
from tests.evaluate.scenes import make_scene, without_probabilities
from tests.evaluate.slow_voc import Corners, slow_iou

BOX = (0, 0, 10, 10)
NONE = np.zeros(9, dtype=bool)


@pytest.mark.parametrize(
    ("other", "plain", "inclusive"),
    [
        ((0, 0, 10, 10), 1, 1),
        ((5, 0, 15, 10), 50 / 150, 66 / 176),
        ((0, 0, 5, 10), 0.5, 66 / 121),
        # Touching boxes share a column of pixels only when sides count inclusively.
        ((10, 0, 20, 10), 0, 11 / 231),
        ((30, 30, 40, 40), 0, 0),
        ((2, 2, 2, 2), 0, 1 / 121),
    ],
)
def test_hand_computed(other: tuple[int, ...], plain: float, inclusive: float) -> None:
    first, second = (BoxGroups(np.array([box], dtype=float), NONE[:1]) for box in (BOX, other))
    for rules, expected in ((Rules(), plain), (Rules(inclusive=True), inclusive)):
        sides = [rules.widen(side).boxes for side in (first, second)]
        for pair in (sides, sides[::-1]):
            assert paired_iou(*pair) == pytest.approx([expected], abs=1e-12)


CORNERS = st.builds(
    lambda x, y, width, height: (x, y, x + width, y + height),
    *(st.integers(0, 6) for _ in range(4)),
)
ROWS = st.lists(st.tuples(st.integers(0, 3), CORNERS), max_size=12)


def as_groups(rows: list[tuple[int, Corners]]) -> BoxGroups:
    return BoxGroups(
        np.array([box for _, box in rows], dtype=float).reshape(-1, 4),
        np.array([group for group, _ in rows], dtype=np.int64),
    )


@given(ROWS, ROWS, st.booleans(), st.sampled_from([1, 5, 100_000]), st.sampled_from([0, 2000]))
def test_equals_the_slow_implementation(
    found: list[tuple[int, Corners]],
    faces: list[tuple[int, Corners]],
    inclusive: bool,
    at_once: int,
    crowd: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "PAIRS_AT_ONCE", at_once)
        patch.setattr(matching, "CROWD", crowd)
        patch.setattr(matching, "_ROWS_AT_ONCE", at_once)
        widen = Rules(inclusive).widen
        ious, best = best_overlaps(widen(as_groups(found)), widen(as_groups(faces)))
    for row, (group, box) in enumerate(found):
        largest, face = Fraction(0), -1
        for number, (other_group, other) in enumerate(faces):
            overlap = slow_iou(box, other, inclusive)
            if group == other_group and overlap > largest:
                largest, face = overlap, number
        assert (best[row, 0], ious[row, 0]) == (face, pytest.approx(float(largest)))


def test_of_a_crowd_few_boxes_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also beside one as large as the photo; the pairs are the same."""
    rng = np.random.default_rng(0)
    looked: dict[int, int] = {}
    found: dict[int, list[np.ndarray]] = {}

    def make() -> BoxGroups:
        near = rng.uniform(0, 4000, (3000, 2))
        boxes = np.hstack([near, near + rng.lognormal(3, 0.6, (3000, 2))])
        boxes[0] = 0, 0, 4000, 4000
        return BoxGroups(boxes, np.repeat([0, 1], 1500))

    both = make(), make()
    repeat = np.repeat
    for crowd in (9999, 1000):
        monkeypatch.setattr(matching, "CROWD", crowd)
        counts: list[int] = []
        monkeypatch.setattr(
            np, "repeat", lambda a, n, c=counts: c.append(len(r := repeat(a, n))) or r
        )
        parts = zip(*matching._pairs(*both), strict=True)
        monkeypatch.setattr(np, "repeat", repeat)
        found[crowd], looked[crowd] = [np.concatenate(part) for part in parts], sum(counts)
        order = np.lexsort(found[crowd][:2])
        found[crowd] = [column[order] for column in found[crowd]]
    for one, other in zip(*found.values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(found[1000][0]) > 3000
    assert looked[1000] < looked[9999] / 10


def groups(*rows: tuple[int, float, float, float, float]) -> BoxGroups:
    return as_groups([(photo, box) for photo, *box in rows])


def match(detections: BoxGroups, truths: BoxGroups, difficult: np.ndarray) -> list[np.ndarray]:
    """Greedily, the surest detection first."""
    parts = [*matching._pairs(detections, truths)]
    near = tuple(np.concatenate(column) for column in zip(*parts, strict=True))
    return [*match_greedily(near, np.arange(len(detections.photo)), difficult)]


def test_second_hit_is_false_without_falling_back() -> None:
    # Both detections overlap box 0 most; the second also overlaps box 1 by more than 0.5.
    truths = groups((0, 0, 0, 10, 10), (0, 0, 0, 10, 14))
    detections = groups((0, 0, 0, 10, 10), (0, 0, 0, 10, 11))
    iou, best = (column[:, 0] for column in best_overlaps(detections, truths))
    true, ignored = flag_hits(iou, best, NONE[:2], iou=0.5)
    assert true.tolist() == [True, False]
    assert not ignored.any()
    # The pairing for labels does fall back.
    assert match(detections, truths, NONE[:2])[0].tolist() == [0, 1]


def test_iou_equal_to_the_threshold_is_a_hit() -> None:
    pair = groups((0, 0, 0, 10, 5)), groups((0, 0, 0, 10, 10))
    iou, best = (column[:, 0] for column in best_overlaps(*pair))
    assert flag_hits(iou, best, NONE[:1], iou=0.5)[0].tolist() == [True]
    assert flag_hits(iou, best, NONE[:1], iou=0.51)[0].tolist() == [False]
    found, _ = match(groups((0, 0, 0, 10, 5)), groups((0, 0, 0, 10, 10)), NONE[:1])
    assert found.tolist() == [0]


def test_difficult_faces_count_neither_way() -> None:
    truths = groups((0, 0, 0, 10, 10), (0, 40, 40, 50, 50))
    difficult = np.array([True, False])
    detections = groups(
        (0, 0, 0, 10, 10), (0, 0, 0, 10, 9), (0, 40, 40, 50, 50), (0, 0, 40, 10, 50)
    )
    iou, best = (column[:, 0] for column in best_overlaps(detections, truths))
    true, ignored = flag_hits(iou, best, difficult, iou=0.5)
    assert true.tolist() == [False, False, True, False]
    assert ignored.tolist() == [True, True, False, False]
    taken, passed = match(detections, truths, difficult)
    assert taken.tolist() == [-1, -1, 1, -1]
    assert passed.tolist() == [True, True, False, False]


def test_greedy_prefers_the_face_that_is_not_difficult() -> None:
    truths = groups((0, 0, 0, 10, 10), (0, 0, 0, 10, 9))
    taken, ignored = match(groups((0, 0, 0, 10, 10)), truths, np.array([True, False]))
    assert taken.tolist() == [1]
    assert not ignored.any()


@pytest.mark.parametrize("thresh", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_every_face_gets_its_detection(seed: int, thresh: float) -> None:
    scene = make_scene(seed)
    truth, detections = scene.truth, scene.detections
    pairs = pair_faces(Overlaps.find(truth, detections), thresh=thresh)
    expected = []
    for face, row in enumerate(scene.row_of.tolist()):
        if not truth.difficult[face]:
            seen = row >= 0 and detections.detection[row] >= thresh
            expected.append((truth.photo[face], truth.labels[face], row if seen else -1))
    assert list(zip(pairs.photo, pairs.labels, pairs.rows, strict=True)) == expected
    others = np.setdiff1d(np.arange(len(detections)), scene.row_of)
    assert pairs.false.tolist() == others[detections.detection[others] >= thresh].tolist()
    if not thresh:
        confusion = Case(truth, detections).count_confusion(pairs).sum(axis=0)
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
    pairs = pair_faces(Overlaps.find(truth, replace(detections, detection=sure)))
    assert row + 1 in pairs.rows
    assert row in pairs.false


def test_crops_are_known_by_their_box() -> None:
    scene = make_scene(1)
    pairs = pair_crops(Overlaps.find(scene.truth, scene.crops))
    assert pairs.rows.tolist() == np.flatnonzero(~scene.truth.difficult).tolist()
    assert not len(pairs.false)


def test_most_crops_must_be_there() -> None:
    scene = make_scene(1)
    truth = replace(scene.truth, difficult=np.zeros(len(scene.truth.photo), dtype=bool))
    faces = len(truth.photo)
    half = np.arange((faces + 1) // 2)
    own = Overlaps.find(truth, scene.crops.take(half, truth.photo[half]))
    assert pair_crops(own).found.sum() == len(half)
    few = half[: (faces - 1) // 2]
    message = f"a row for only {len(few)} of the {faces} annotated faces"
    with pytest.raises(InputError, match=message):
        pair_crops(Overlaps.find(truth, scene.crops.take(few, truth.photo[few])))
    # Boxes of a detector are near the annotated ones, not on them.
    moved = replace(scene.crops, boxes=scene.crops.boxes + 4)
    with pytest.raises(InputError, match="only 0 of"):
        pair_crops(Overlaps.find(truth, moved))


def test_probabilities_are_scaled_and_checked() -> None:
    scene = make_scene(2)
    probabilities = scene.detections.probabilities.copy()
    probabilities[3] = [0.33, 0.33, 0.33]
    rounded = replace(scene.detections, probabilities=probabilities)
    assert normalise_probabilities(scene.truth, rounded)[3] == pytest.approx([1 / 3] * 3)
    probabilities[3] = [0.9, 0.9, 0.1]
    box = scene.detections.boxes[3]
    photo = scene.truth.photos[scene.detections.photo[3]]
    with pytest.raises(InputError, match=rf"^{photo}, face at \({box[0]:g}, .*up to 1\.9"):
        normalise_probabilities(scene.truth, rounded)
    assert normalise_probabilities(scene.truth, without_probabilities(rounded)) is None


@pytest.mark.parametrize("scale", [1.0, 1e9, 1e100])
def test_crowds_and_giants_meet_whom_they_overlap(scale: float) -> None:
    """Only boxes that begin near each other are compared; none is lost."""
    rng = np.random.default_rng(5)
    corners = rng.uniform(-50, 900, (2, 400, 2))
    sides = rng.choice([1, 20, 30, 2000], (2, 400, 2), p=[0.1, 0.4, 0.4, 0.1])
    faces, found = np.concatenate([corners, corners + sides], axis=2) * scale
    photo = rng.integers(0, 3, 400)
    best, nearest = best_overlaps(BoxGroups(found, photo), BoxGroups(faces, photo))
    for row in range(400):
        own = np.flatnonzero(photo == photo[row])
        ious = paired_iou(np.tile(found[row], (len(own), 1)), faces[own])
        assert best[row, 0] == ious.max()
        assert nearest[row, 0] == (own[ious.argmax()] if ious.max() else -1)
