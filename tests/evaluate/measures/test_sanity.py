"""What is said above the figures: photos never run or learnt from, ties, other boxes."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

import evaluate
import trimask
from data_prep.base.records import Box
from data_prep.formats.input_files import InputError
from data_prep.formats.predictions import (
    PhotoRow,
    PredictionRow,
    tabulate_predictions,
    write_photos,
)
from evaluate import EvaluateOptions
from evaluate.evaluation import measure_case
from evaluate.inputs.predictions import make_predictions, place_predictions
from evaluate.measures.alignment import describe_offsets
from evaluate.measures.case import Case
from evaluate.measures.headline import describe_headline, summarise
from evaluate.measures.sanity import (
    PARTED,
    describe_ties,
    describe_unlearnt,
    list_doubts,
)
from tests.evaluate.scenes import Seen, as_detections, as_truth, make_case, make_scene

DATA = Path(__file__).parents[4] / "shared" / "data"
FACE, SIDE = (0.0, 0.0, 50.0, 50.0), (100.0, 100.0, 150.0, 150.0)


def as_case(faces: Sequence[Seen], found: Sequence[Seen], photos: int = 1) -> Case:
    return make_case(as_truth([*faces], photos=photos), as_detections([*found]))


def doubts(case: Case) -> list[str]:
    record = measure_case(case).metrics
    assert record["warnings"] == list_doubts(case, record)
    return record["warnings"]


def test_ties_are_told_whatever_the_order_of_the_rows():
    """What stands in shared case 85: a hit and a false face of the same score."""
    rows = [Seen(0, 0, FACE), Seen(0, 0, SIDE)]
    for order in permutations(rows):
        told, *_ = doubts(as_case([Seen(0, 0, FACE)], order))
        assert "mAP@0.5 between 0.500 and 1.000" in told
        assert "face AP@0.5 between 0.500 and 1.000" in told
    different = [rows[0], rows[1]._replace(score=0.9)]
    assert not any("Equal scores" in told for told in doubts(as_case([rows[0]], different)))


def test_figures_without_an_error_are_told_with_what_may_be():
    """With p = 3/60 a sample of 60 has none with a probability of 5 %."""
    faces = [Seen(photo, 0, FACE) for photo in range(60)]
    assert (1 - 3 / 60) ** 60 < 0.05
    for label, told in ((0, 1), (1, 0)):
        case = as_case(faces, [faces[0]._replace(label=label), *faces[1:]], photos=60)
        said = doubts(replace(case, options=EvaluateOptions(bootstrap=20)))
        assert sum("up to 5.0% of such photos" in one for one in said) == told


@pytest.mark.parametrize("seed", range(4))
def test_ties_bound_every_order(seed):
    """Least and most over all orders of the tied rows."""
    rng = np.random.default_rng(seed)
    faces = [Seen(photo, 0, FACE) for photo in range(3)]
    found = [
        Seen(photo, 0, FACE if rng.random() < 0.5 else SIDE, rng.integers(1, 4) / 4)
        for photo in (0, 0, 1, 1, 2)
    ]
    values = []
    for order in permutations(range(5)):
        ranked = sorted(order, key=lambda row: -found[row].score)
        hits = [row for row in ranked if found[row].box == FACE]
        first = {found[row].photo: row for row in reversed(hits)}
        true = [row in first.values() for row in ranked]
        precision = np.cumsum(true) / np.arange(1, 6)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        values.append(best[np.array(true)].sum() / 3 if any(true) else 0.0)
    ties = describe_ties(as_case(faces, found, photos=3))
    assert ties["map50"] == pytest.approx([min(values), max(values)])


def run_all(case: Case, **rows: str) -> Case:
    """All photos were run; those named have a reason or were learnt from, or were not run (-)."""

    def row(name: str) -> PhotoRow | None:
        told = rows.get(name.removesuffix(".jpg"), "")
        learnt = told if told in ("exact", "near") else ""
        why = "" if learnt else told
        return None if told == "-" else PhotoRow(name, 9, 9, learnt=learnt, reason=why)

    return replace(case, ran=tuple(map(row, case.truth.photos)))


def test_photos_never_run_unreadable_and_learnt_from():
    scene = make_scene(3, photos=60)
    scene.detections.detection[0] = 0.1
    case = make_case(scene.truth, scene.detections)
    told = doubts(run_all(case, **{"000": "-", "001": "-", "002": "is no photo", "003": "exact"}))
    assert told[0].startswith("2 of 60 photos were never run")
    assert told[1].startswith("1 of 60 photos could not be read when run, the first: 002.jpg (is")
    assert told[2].startswith("1 of 58 photos was learnt from")
    assert "the 56 that were not give mAP@0.5 0." in told[2]
    few = make_scene(3, photos=2)
    alone = doubts(run_all(make_case(few.truth, few.detections), **{"000": "exact"}))
    assert any("the one that was not gives mAP@0.5" in line for line in alone)
    assert len(told) == 3
    record = measure_case(run_all(case)).metrics
    assert record["warnings"] == []
    assert record["coverage"]["never_run"] == record["coverage"]["learnt_from"] == 0


def test_figures_of_the_others_are_those_of_a_set_without_the_learnt():
    """The photos learnt from are gone as if they, and all on them, had never been there."""
    scene = make_scene(5, photos=20)
    case = make_case(scene.truth, scene.detections, crops=scene.crops, resamples=20)
    names = [f"{number:03}" for number in range(20)]
    record = describe_unlearnt(run_all(case, **dict.fromkeys(names[::2], "near")))
    kept = np.arange(20) % 2 == 1
    faces, rows = kept[scene.truth.photo], np.flatnonzero(kept[scene.detections.photo])
    truth = as_truth(
        [
            Seen(photo // 2, label, tuple(box), difficult=difficult)
            for photo, label, box, difficult in zip(
                *(scene.truth.photo[faces], scene.truth.labels[faces]),
                *(scene.truth.boxes[faces], scene.truth.difficult[faces]),
                strict=True,
            )
        ],
        photos=10,
    )
    alone = make_case(
        truth, scene.detections.take(rows, scene.detections.photo[rows] // 2), resamples=20
    )
    assert record == describe_headline(alone)
    assert describe_unlearnt(case) is describe_unlearnt(run_all(case)) is None
    assert describe_unlearnt(run_all(case, **dict.fromkeys(names, "exact"))) is None


def test_another_box_convention_is_told_from_two_dozen_faces_on():
    boxes = [(x * 100.0, 0.0, x * 100.0 + 40, 50.0) for x in range(24)]
    taller = [(x0, y0 - 10, x1, y1) for x0, y0, x1, y1 in boxes]
    faces, found = ([Seen(0, 0, box) for box in some] for some in (taller, boxes))
    offsets = describe_offsets(as_case(faces, found))
    sides = {"left": 0, "top": -0.2, "right": 0, "bottom": 0}
    assert offsets == {"faces": 24, "photos": 1, **sides, "intervals": None}
    assert any("their top sides 20% further up" in told for told in doubts(as_case(faces, found)))
    few = as_case(faces[:10], found[:10])
    same = as_case(found, found)
    assert not any("convention" in told for case in (few, same) for told in doubts(case))
    assert describe_offsets(as_case(faces, []))["top"] is None
    record = measure_case(same).metrics
    record |= dict.fromkeys(PARTED, 0.5)
    for moved, told in ((0.6, True), (0.4, False)):  # What alignment worsens, it doesn't explain.
        other = record | {"aligned": dict.fromkeys(PARTED, moved)}
        assert any("convention" in doubt for doubt in list_doubts(same, other)) == told


def test_the_sentence():
    faces = [Seen(0, 0, FACE), Seen(0, 1, SIDE), Seen(1, 2, FACE), Seen(2, 2, FACE)]
    found = [
        Seen(0, 0, FACE, 0.9),
        Seen(0, 1, SIDE, 0.8),
        Seen(1, 0, FACE, 0.7),
        Seen(2, 2, FACE, 0.4),
        Seen(2, 2, SIDE, 0.6),
    ]
    record = measure_case(as_case(faces, found, photos=3)).metrics
    assert record["sentence"] == (
        "From a detection score of 0.5 on, it finds 3 of 4 faces, names 2 of those 3 right; "
        "weakest: worn wrongly, 0 of 2; 1 box is on no face."
    )
    for count, words in {1: "1 of 4 faces, names it right;", 2: "names all of them right;"}.items():
        part = measure_case(as_case(faces, found[:count], photos=3)).metrics
        assert words in part["sentence"]
    nobody = measure_case(as_case([], found, photos=3)).metrics
    assert summarise(nobody) == "There is no annotated face to measure against."


def test_part_of_the_photos_predicted(annotations, predictions, tmp_path):
    """Shared case 86: without photos.csv a question, with it a fact; and the rest alone."""
    lines = predictions.read_text().splitlines()
    predictions.write_text("\n".join(lines[:3]) + "\n")  # Only of a.jpg.
    only = EvaluateOptions(bootstrap=0, only_predicted=True)
    record = evaluate.evaluate(annotations, predictions, EvaluateOptions(bootstrap=0)).metrics
    assert "1 of 2 photos has annotated faces but no prediction" in record["warnings"][0]
    rest = evaluate.evaluate(annotations, predictions, only).metrics
    assert rest["counts"]["photos"] == 1
    assert rest["face_ap50"] == 1 > record["face_ap50"]
    assert any(
        "1 of 2 photos is left out by --only-predicted, which" in w for w in rest["warnings"]
    )
    photos = tmp_path / "photos.csv"
    write_photos(photos, [PhotoRow("a.jpg", 100, 100, faces=2), PhotoRow("b.jpg", 100, 100)])
    record = evaluate.evaluate(annotations, predictions, EvaluateOptions(bootstrap=0)).metrics
    assert {told.split(":")[0] for told in record["warnings"]} == {
        *("No detection scores under 0.80", "Few faces")
    }
    assert evaluate.evaluate(annotations, predictions, only).metrics["counts"]["photos"] == 2
    write_photos(photos, [PhotoRow("c.jpg", 100, 100)])
    with pytest.raises(InputError, match="none of the annotated photos was run"):
        evaluate.evaluate(annotations, predictions, only)


def test_photos_without_a_face_that_fit_two_names_stay_unknown():
    truth = replace(as_truth([Seen(0, 0, FACE)], photos=3), photos=("a.jpg", "x/b.jpg", "y/b.jpg"))
    row = PredictionRow("a.jpg", Box(*FACE), "with_mask", 0.9, 1.0, (0.9, 0.1, 0.0))
    for names, known in ((["a.jpg", "b.jpg"], False), (["a.jpg", "x/b.jpg"], True)):
        ran = tuple(PhotoRow(name, 90, 90) for name in names)
        found = make_predictions(tabulate_predictions([row]), Path("p.csv"), ran)
        placed = place_predictions(found, truth)
        assert len(placed.detections) == 1
        assert (placed.ran is not None) == known
    assert [one and one.image for one in placed.ran] == ["a.jpg", "x/b.jpg", None]


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the real data is not here")
@pytest.mark.parametrize(("name", "top"), [("ilc", -0.09), ("facemask", 0.0)])
def test_real_annotators_draw_faces_as_measured_before(name, top, tmp_path):
    """Offsets of the whole sets, by another program: of 40 photos they come out near those."""
    root = tmp_path / "set"
    for xml in sorted((DATA / name / "annotations").glob("*.xml"))[:40]:
        photo = next((DATA / name / "images").glob(f"{glob.escape(xml.stem)}.*"))
        for path in (xml, photo):
            (root / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / path.parent.name)
    record = trimask.evaluate(root, trimask.load(device="cpu").predict(root / "images")).metrics
    assert record["coverage"]["run"] == 40
    assert record["coverage"]["never_run"] == 0
    offsets = record["box_offsets"]
    assert offsets["top"] == pytest.approx(top, abs=0.04)
    assert offsets["bottom"] == pytest.approx(-0.04 if name == "ilc" else 0.0, abs=0.04)
    assert any("their top sides" in told for told in record["warnings"]) == (name == "ilc")
