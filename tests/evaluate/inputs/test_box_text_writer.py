from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data_prep.base.files import OutputError
from data_prep.base.labels import Vocabulary
from data_prep.formats.text import flatten_names
from evaluate.arrays import Detections, GroundTruth
from evaluate.inputs.inputs import InputOptions, read_predicted, read_truth, write_text_boxes
from evaluate.measures.headline import HEADLINES, describe_headline
from tests.evaluate.scenes import make_case

WORDS = Vocabulary(classes=("with mask", "without"), aliases={})
OPTIONS = InputOptions(vocabulary=WORDS)


def make_truth(
    boxes: list[tuple[float, ...]], photo: list[int], photos: tuple[str, ...]
) -> GroundTruth:
    return GroundTruth(
        photos=photos,
        photo=np.array(photo, dtype=np.int64),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        labels=np.arange(len(boxes), dtype=np.int64) % 2,
        difficult=np.zeros(len(boxes), dtype=np.bool_),
        classes=WORDS.classes,
    )


def make_detections(
    boxes: list[tuple[float, ...]], photo: list[int], scores: list[float]
) -> Detections:
    return Detections(
        photo=np.array(photo, dtype=np.int64),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        labels=np.arange(len(boxes), dtype=np.int64) % 2,
        scores=np.array(scores, dtype=np.float64),
        detection=np.array(scores, dtype=np.float64),
        probabilities=None,
    )


def test_what_is_written(tmp_path: Path) -> None:
    truth = make_truth([(0.1, 2, 0.3, 5)], [1], ("a.jpg", "b.c.png"))
    # 0.1 + 0.2 is 0.30000000000000004 in floats; the sides are those of the decimals.
    found = make_detections([(0.1, 20, 0.3, 21.25), (1, 2, 3, 4)], [0, 0], [0.5, 1e-7])
    assert write_text_boxes(truth, found, tmp_path / "new" / "out") == ()
    texts = {
        path.relative_to(tmp_path / "new" / "out").as_posix(): path.read_text()
        for path in (tmp_path / "new" / "out").rglob("*.txt")
    }
    assert texts == {
        "groundtruths/a.txt": "",
        "groundtruths/b.c.txt": "with_mask 0.1 2 0.2 3\n",
        "detections/a.txt": "with_mask 0.5 0.1 20 0.2 1.25\nwithout 1e-07 1 2 2 2\n",
        "detections/b.c.txt": "",
    }


far = st.floats(0, 1e5, allow_subnormal=True)
side = st.floats(1, 1e5)
anywhere = st.floats(-1e5, 1e5, allow_subnormal=True)


@settings(max_examples=40, deadline=None)
@given(
    truths=st.lists(st.tuples(st.integers(0, 2), far, far, side, side), max_size=5),
    found=st.lists(
        st.tuples(st.integers(0, 2), anywhere, anywhere, anywhere, anywhere, st.floats(0, 1)),
        max_size=6,
    ),
)
def test_round_trip_is_exact(
    truths: list[tuple[int, float, float, float, float]],
    found: list[tuple[int, float, float, float, float, float]],
) -> None:
    photos = ("a.jpg", "b.jpg", "c.jpg")
    truths.sort(key=lambda row: row[0])
    found.sort(key=lambda row: row[0])
    truth = make_truth(
        [(x, y, x + width, y + height) for _, x, y, width, height in truths],
        [row[0] for row in truths],
        photos,
    )
    # Adding may have rounded a side of 1 down; such a face is left out when read.
    assume((truth.boxes[:, 2:] - truth.boxes[:, :2] >= 1).all())
    detections = make_detections(
        [(min(a, c), min(b, d), max(a, c), max(b, d)) for _, a, b, c, d, _ in found],
        [row[0] for row in found],
        [row[-1] for row in found],
    )
    # Read as shares of the photo, and refused.
    for boxes in (truth.boxes, detections.boxes):
        assume(not len(boxes) or (np.abs(boxes - 0.5) > 0.5).any())
    with tempfile.TemporaryDirectory() as folder:
        write_text_boxes(truth, detections, Path(folder))
        truth_again = read_truth(Path(folder) / "groundtruths", OPTIONS)
        placed = read_predicted(Path(folder) / "detections", truth_again, OPTIONS)
    assert truth_again.photos == ("a", "b", "c")
    for name in ("photo", "boxes", "labels", "difficult"):
        np.testing.assert_array_equal(getattr(truth, name), getattr(truth_again, name))
    for name in ("photo", "boxes", "labels", "scores", "detection"):
        np.testing.assert_array_equal(getattr(detections, name), getattr(placed.detections, name))
    first = describe_headline(make_case(truth, detections))
    second = describe_headline(make_case(truth_again, placed.detections))
    for name in HEADLINES:
        assert first[name] == second[name]


def test_photos_in_folders(tmp_path: Path) -> None:
    photos = ("a/1.jpg", "a/1.png", "b/1.jpg", "classes.jpg")
    boxes = [(index, 0.0, index + 10, 10.0) for index in range(4)]
    truth = make_truth(boxes, [0, 1, 2, 3], photos)
    detections = make_detections(boxes, [0, 1, 2, 3], [0.9, 0.8, 0.7, 0.6])
    write_text_boxes(truth, detections, tmp_path)
    again = read_truth(tmp_path / "groundtruths", OPTIONS)
    placed = read_predicted(tmp_path / "detections", again, OPTIONS)
    assert again.photos == ("a_1", "a_1-2", "b_1", "classes-2")
    headline = describe_headline(make_case(again, placed.detections))
    assert headline["map50"] == 1


def test_flat_names() -> None:
    names = [
        "a/b.jpg",
        "a_b.jpg",
        "A/B.png",
        "../x.jpg",
        "/r/x.jpg",
        "c:\\x.jpg",
        ".h.jpg",
        "n\n.x",
    ]
    flat = flatten_names(names)
    assert flat == ("a_b", "a_b-2", "A_B-3", "_.._x", "r_x", "c__x", "_.h", "n_.x")


def test_other_files_stay(tmp_path: Path) -> None:
    for name in ("detections/a.txt", "detections/other.txt", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    truth = make_truth([], [], ("a.jpg",))
    write_text_boxes(truth, make_detections([], [], []), tmp_path)
    assert (tmp_path / "detections/a.txt").read_text() == ""
    assert (tmp_path / "detections/other.txt").read_text() == "mine"
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_difficult_faces_are_mentioned(tmp_path: Path) -> None:
    truth = make_truth([(0, 0, 9, 9), (0, 0, 8, 8)], [0, 0], ("a.jpg",))
    truth = replace(truth, difficult=np.array([True, False]))
    warnings = write_text_boxes(truth, make_detections([], [], []), tmp_path)
    assert warnings[0].startswith("1 difficult faces are written like all others")
    assert len((tmp_path / "groundtruths/a.txt").read_text().splitlines()) == 2


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    (tmp_path / "groundtruths").write_text("mine")
    with pytest.raises(OutputError, match="can't be written"):
        write_text_boxes(make_truth([], [], ("a",)), make_detections([], [], []), tmp_path)
    assert (tmp_path / "groundtruths").read_text() == "mine"
