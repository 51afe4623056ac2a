"""The annotators' box convention: four medians, fitted on other photos than they are applied to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data_prep.base.boxes import SIDES, BoxOffsets, OffsetsError
from evaluate.arrays import Detections, GroundTruth
from evaluate.measures.alignment import align, describe_aligned, describe_offsets, fit_offsets
from evaluate.measures.headline import describe_headline
from tests.evaluate.scenes import Seen, as_detections, as_truth, make_case

HAIR = np.array([0.02, -0.3, -0.04, 0.05])  # Hair in, as some annotate; of width and height.


def draw(
    offsets: np.ndarray, *, photos: int = 60, faces: int = 2
) -> tuple[GroundTruth, Detections]:
    """Faces that lie off the predicted boxes by offsets (4,) or, by photo, (P, 4)."""
    rng = np.random.default_rng(3)
    offsets = np.broadcast_to(offsets, (photos, 4))
    truth, found = [], []
    for photo in range(photos):
        for number in range(faces):
            x, y, w, h = *(100 + 300 * number + rng.integers(0, 50, 2)), *rng.integers(20, 90, 2)
            box = np.array([x, y, x + w, y + h], dtype=float)
            side = np.array([w, h, w, h])
            found.append(Seen(photo, 0, tuple(box), 0.9))
            truth.append(Seen(photo, 0, tuple(box + side * offsets[photo])))
    return as_truth(truth, photos=photos), as_detections(found)


@pytest.mark.parametrize("at_once", [1, 128])
def test_offsets_are_medians_of_shares(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("evaluate.measures.bootstrap.RANKS_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    predicted = np.hstack([rng.uniform(0, 9, (75, 2)), rng.uniform(20, 60, (75, 2))])
    annotated = predicted + rng.normal(0, 3, (75, 4))
    found = fit_offsets(annotated, predicted, rng.integers(0, 30, 75), source="rival")
    for number, side in enumerate(SIDES):
        low, high = number % 2, 2 + number % 2
        shares = [
            (a[number] - p[number]) / (p[high] - p[low])
            for a, p in zip(annotated, predicted, strict=True)
        ]
        assert getattr(found, side) == pytest.approx(sorted(shares)[37])
        assert found.interval is not None
        ends = found.interval[side]
        assert ends[0] <= getattr(found, side) <= ends[1]
        assert 0.01 < ends[1] - ends[0] < 0.1
    assert (found.faces, found.source) == (75, "rival")


def test_boxes_of_another_convention_are_aligned() -> None:
    case = make_case(*draw(HAIR), resamples=20)
    record, aligned = describe_headline(case), describe_aligned(case)
    assert aligned is not None
    assert record["map75"] == 0
    assert aligned["map75"] == aligned["map50_95"] == aligned["face_ap75"] == 1
    assert aligned["intervals"]["map75"] == [1, 1]
    offsets = describe_offsets(case)
    assert [offsets[side] for side in SIDES] == pytest.approx(HAIR)
    assert (offsets["faces"], offsets["photos"]) == (120, 60)


def test_no_photo_has_a_say_in_its_own_boxes() -> None:
    """Where either half draws in its own way, its boxes get the way of the other."""
    half = np.random.default_rng(0).permutation(60) % 2
    truth, detections = draw(np.array([[0.0] * 4, HAIR])[half])
    aligned = align(make_case(truth, detections))
    assert aligned is not None
    sides = np.tile(detections.boxes[:, 2:] - detections.boxes[:, :2], 2)
    moved = (aligned.boxes - detections.boxes) / sides
    np.testing.assert_allclose(
        moved, np.array([HAIR, [0.0] * 4])[half[detections.photo]], atol=1e-9
    )


def test_few_faces_tell_no_convention() -> None:
    case = make_case(*draw(HAIR, photos=20, faces=1), resamples=5)
    assert describe_aligned(case) is None
    none = case.detections.take(np.zeros(20, dtype=bool))
    assert describe_offsets(replace(case, detections=none))["left"] is None


def test_offsets_as_a_file(tmp_path) -> None:
    offsets = BoxOffsets(0.1, -0.2, 0.0, 0.25, {"left": [0.0, 0.2]}, 40, 7, "ilc")
    path = tmp_path / "boxes.json"
    offsets.write(path)
    assert BoxOffsets.read(path) == offsets
    for text in (
        "",
        "[]",
        "{}",
        '{"offsets": {"left": 0.1}}',
        path.read_text().replace("0.1", "[]"),
    ):
        path.write_text(text)
        with pytest.raises(OffsetsError, match=r"boxes\.json: no offsets"):
            BoxOffsets.read(path)
    for value in ("0.6", "NaN", "-Infinity"):
        offsets.write(path)
        path.write_text(path.read_text().replace("-0.2", value))
        with pytest.raises(OffsetsError, match="top is"):
            BoxOffsets.read(path)
