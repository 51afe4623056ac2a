"""COCO's figures against the library used plainly, and every definition against the slow one."""

from __future__ import annotations

import json
import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster

from data_prep.base.labels import CLASSES
from evaluate.arrays import Detections, GroundTruth
from evaluate.measures import coco
from evaluate.measures.headline import describe_at, list_conventions
from evaluate.measures.matching import Overlaps
from tests.evaluate.scenes import Seen, as_detections, as_truth, make_case, make_clutter
from tests.evaluate.slow_voc import Found, Truth, slow_ap


def measure_coco(truth: GroundTruth, detections: Detections) -> dict[str, Any]:
    """All of a pair's figures."""
    return coco.measure_coco(Overlaps.find(truth, detections))


FACE = (0.0, 0.0, 10.0, 10.0)

LIBRARY_NAMES = {
    **{"map50_95": "AP_all", "map50": "AP_50", "map75": "AP_75"},
    **{f"map_{size}": f"AP_{size}" for size in ("small", "medium", "large")},
    **{f"ar_{size}": f"AR_{size}" for size in ("small", "medium", "large")},
}


def write_json(folder: Path, truth: GroundTruth, detections: Detections) -> tuple[str, str]:
    """COCO's two files, box by box."""

    def describe(rows: GroundTruth | Detections, number: int) -> dict[str, Any]:
        xmin, ymin, xmax, ymax = map(float, rows.boxes[number])
        return {
            "image_id": int(rows.photo[number]) + 7,
            "category_id": int(rows.labels[number]) + 3,
            "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
            "area": (xmax - xmin) * (ymax - ymin),
        }

    faces = [
        {"id": number + 1, "iscrowd": int(difficult), **describe(truth, number)}
        for number, difficult in enumerate(truth.difficult)
    ]
    found = [
        {"score": float(score), **describe(detections, number)}
        for number, score in enumerate(detections.scores)
    ]
    dataset = {
        "images": [{"id": number + 7} for number in range(len(truth.photos))],
        "categories": [{"id": c + 3, "name": name} for c, name in enumerate(truth.classes)],
        "annotations": faces,
    }
    for name, content in (("faces.json", dataset), ("found.json", found)):
        (folder / name).write_text(json.dumps(content))
    return str(folder / "faces.json"), str(folder / "found.json")


def run_library(
    files: tuple[str, str], *, category: int | None = None, limits: list[int] | None = None
) -> dict[str, float | None]:
    faces = COCO(files[0])
    evaluation = COCOeval_faster(faces, faces.loadRes(files[1]), "bbox")
    if category is not None:
        evaluation.params.catIds = [category]
    if limits:
        evaluation.params.maxDets = limits
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {
        name: None if value == -1 else value for name, value in evaluation.stats_as_dict.items()
    }


def check_against_library(folder: Path, truth: GroundTruth, detections: Detections) -> None:
    files = write_json(folder, truth, detections)
    record = measure_coco(truth, detections)
    plain = run_library(files)
    names = {**LIBRARY_NAMES, "ar1": "AR_all", "ar10": "AR_second", "ar100": "AR_third"}
    for name, theirs in names.items():
        assert record[name] == pytest.approx(plain[theirs], abs=1e-12), name
    many = run_library(files, limits=[1, 10, 5000])
    for name, theirs in {**LIBRARY_NAMES, "ar": "AR_5000"}.items():
        assert record["without_limit"][name] == pytest.approx(many[theirs], abs=1e-12), name
    for index, label in enumerate(truth.classes):
        one = run_library(files, category=index + 3)
        assert record["ap50_95"][label] == pytest.approx(one["AP_all"], abs=1e-12)
        assert record["ap50"][label] == pytest.approx(one["AP_50"], abs=1e-12)
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_library_used_plainly(tmp_path: Path, seed: int) -> None:
    truth, detections = make_clutter(seed, photos=8, faces=60, found=120, room=300)
    record = measure_coco(truth, detections)
    assert record["map_small"]
    assert record["map_large"] is not None
    assert truth.difficult.any()
    check_against_library(tmp_path, truth, detections)


def test_hand_computed() -> None:
    # Two faces; one is found after a false detection, the other not: precision 1/2 up to recall
    # 1/2, that is at 51 of the 101 recalls, and 0 beyond.
    truth = as_truth([Seen(0, 0, FACE), Seen(0, 0, (20, 0, 30, 10))])
    found = as_detections([Seen(0, 0, (50, 50, 60, 60), 0.9), Seen(0, 0, FACE, 0.8)])
    record = measure_coco(truth, found)
    for name in ("map50", "map75", "map50_95", "map_small"):
        assert record[name] == pytest.approx(51 / 101 / 2)
    assert record["ap50"] == {
        "with_mask": pytest.approx(51 / 101 / 2),
        "without_mask": None,
        "mask_weared_incorrect": None,
    }
    assert (record["ar1"], record["ar10"], record["ar100"]) == (0, 0.5, 0.5)
    assert record["map_large"] is None
    assert record["ar_large"] is None


def test_only_the_iou_counts_that_is_reached() -> None:
    # 10 × 8 of 10 × 10: IoU 0.8 reaches 0.50 to 0.80, 7 of 10 thresholds.
    record = measure_coco(as_truth([Seen(0, 0, FACE)]), as_detections([Seen(0, 0, (0, 0, 10, 8))]))
    assert record["map50_95"] == pytest.approx(0.7)
    assert record["ar100"] == pytest.approx(0.7)
    assert (record["map50"], record["map75"]) == (1, 1)


def test_an_area_on_an_edge_is_in_both_ranges() -> None:
    face = Seen(0, 0, (0, 0, 32, 32))
    record = measure_coco(as_truth([face]), as_detections([face]))
    assert (record["map_small"], record["map_medium"], record["map_large"]) == (1, 1, None)


def test_crowded_photos_meet_the_limit() -> None:
    faces = [Seen(0, 0, (20.0 * x, 0, 20.0 * x + 10, 10), 1 - x / 200) for x in range(115)]
    record = measure_coco(as_truth(faces), as_detections(faces))
    # Recall 100/115 takes 87 of the 101 recalls.
    assert record["map50"] == pytest.approx(87 / 101)
    assert record["ar100"] == pytest.approx(100 / 115)
    assert record["without_limit"]["map50"] == 1
    assert record["without_limit"]["ar"] == 1
    assert record["limit"] == {"max_detections": 100, "most_detections": 115, "differs": True}
    fewer = measure_coco(as_truth(faces[:100]), as_detections(faces[:100]))
    assert fewer["limit"] == {"max_detections": 100, "most_detections": 100, "differs": False}
    assert fewer["map50"] == fewer["without_limit"]["map50"] == 1


def test_difficult_faces_swallow_detections() -> None:
    faces = [Seen(0, 0, FACE, difficult=True), Seen(0, 0, (20, 0, 30, 10))]
    # Two on the difficult face, one of them a quarter of it and all inside, come first.
    found = [
        Seen(0, 0, FACE, 0.9),
        Seen(0, 0, (0, 0, 5, 5), 0.8),
        Seen(0, 0, (20, 0, 30, 10), 0.7),
    ]
    assert measure_coco(as_truth(faces), as_detections(found))["map50_95"] == 1
    easy = [face._replace(difficult=False) for face in faces]
    assert measure_coco(as_truth(easy), as_detections(found))["map50"] < 0.9
    # For its own class only.
    others = [row._replace(label=1) for row in found[:2]]
    faces.append(Seen(0, 1, (40, 0, 50, 10)))
    found = [*others, found[2], Seen(0, 1, (40, 0, 50, 10), 0.6)]
    ap = measure_coco(as_truth(faces), as_detections(found))["ap50"]
    assert ap["with_mask"] == 1
    assert ap["without_mask"] == pytest.approx(1 / 3)


def test_nothing_found_and_nothing_to_find() -> None:
    faces, nothing = [Seen(0, 0, FACE)], as_detections([])
    record = measure_coco(as_truth(faces, photos=2), nothing)
    assert record["map50_95"] == record["map50"] == record["ar100"] == 0
    assert record["ap50"]["with_mask"] == 0
    assert record["ap50"]["without_mask"] is None
    assert record["limit"]["most_detections"] == 0
    for found in (nothing, as_detections(faces)):
        record = measure_coco(as_truth([], photos=2), found)
        figures = [*record.values(), *record["ap50"].values(), *record["ap50_95"].values()]
        assert all(value is None for value in figures if not isinstance(value, dict))


def test_says_nothing(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        measure_coco(as_truth([Seen(0, 0, FACE)]), as_detections([Seen(0, 0, FACE)]))
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


@pytest.fixture(scope="module")
def boxes() -> tuple[GroundTruth, Detections]:
    """Small faces, each with a detection off by a pixel or two; some with wrong labels."""
    rng = np.random.default_rng(5)
    truth, _ = make_clutter(5, photos=12, faces=48, room=60, sizes=(5, 8, 12), difficult=0)
    moved = truth.boxes + np.sort(rng.integers(-3, 4, (48, 2, 2)), axis=1).reshape(48, 4)
    given = np.where(rng.random(48) < 0.25, (truth.labels + 1) % 3, truth.labels)
    chances = np.where(np.arange(3) == given[:, None], 0.75, 0.125)
    detection = rng.permutation(48) / 64 + 0.2
    return truth, Detections(truth.photo, moved, given, detection * 0.75, detection, chances)


def slow_map(truth, detections, keep=None, ranked_by_all=False, **options):
    values = {}
    for index, name in enumerate(CLASSES):
        mine = truth.labels == index
        truths = [
            Truth(photo, tuple(box))
            for photo, box in zip(truth.photo[mine], truth.boxes[mine].astype(int), strict=True)
        ]
        rows = np.full(len(detections), True) if keep is None else keep
        scores = detections.scores
        if ranked_by_all:
            scores = detections.detection * detections.probabilities[:, index]
        else:
            rows = rows & (detections.labels == index)
        found = [
            Found(photo, tuple(box), Fraction(score))
            for photo, box, score in zip(
                *(detections.photo[rows], detections.boxes[rows].astype(int), scores[rows]),
                strict=True,
            )
        ]
        values[name] = float(slow_ap(truths, found, iou=Fraction(1, 2), **options))
    return values


def test_every_row_follows_its_definition(boxes):
    truth, detections = boxes
    rows = {row["name"]: row for row in list_conventions(make_case(truth, detections))}
    wanted = {
        "VOC 2010, every point": {},
        "VOC 2007, 11 points": {"eleven_point": True},
        "VOC 2010, inclusive pixels": {"inclusive": True},
        "VOC 2007, inclusive pixels": {"inclusive": True, "eleven_point": True},
        "every class of each row": {"ranked_by_all": True},
        "only detections from 0.5": {"keep": detections.detection >= 0.5},
    }
    assert set(rows) == {*wanted, "COCO, 101 points"}
    for name, options in wanted.items():
        slow = slow_map(truth, detections, **options)
        assert rows[name]["ap50"] == pytest.approx(slow, abs=1e-9), name
        assert rows[name]["map50"] == pytest.approx(np.mean(list(slow.values())), abs=1e-9)
    assert rows["COCO, 101 points"]["map50"] == make_case(truth, detections).coco["map50"]
    # The fixture must be able to tell them apart.
    assert len({round(row["map50"], 6) for row in rows.values()}) == len(rows)


def test_headline_row_is_marked(boxes):
    for rules, name in (
        ({}, "VOC 2010, every point"),
        ({"inclusive": True}, "VOC 2010, inclusive pixels"),
        ({"all_classes": True}, "every class of each row"),
    ):
        rows = list_conventions(make_case(*boxes, **rules))
        assert [row["name"] for row in rows if row["headline"]] == [name]


def test_any_threshold(boxes):
    truth, detections = boxes
    low, high = describe_at(make_case(truth, detections, iou=[0.3, 0.7]))
    assert (low["iou"], high["iou"]) == (0.3, 0.7)
    assert low["map"] > high["map"]
    assert low["map"] == pytest.approx(np.mean(list(low["ap"].values())))
