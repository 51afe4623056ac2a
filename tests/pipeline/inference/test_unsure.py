"""Sets of classes: limits by their definition, and what a run tells of faces that are not sure."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

import trimask
from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from pipeline.inference import command
from pipeline.inference.draw import COLOURS, UNSURE_COLOUR, draw_faces
from pipeline.inference.folder import predict_folder
from pipeline.inference.records import Face
from pipeline.inference.sources import find_photos
from pipeline.inference.unsure import NONE, find_members, fit_sets, name_sets
from pipeline.nets.cards import PredictionSets, WeightsError
from pipeline.serve.api import FoundFace
from tests.pipeline.makers import save_photo, stand_ins

SETS = PredictionSets(
    coverage=0.95, limits=dict(zip(CLASSES, (0.7, 0.4, 0.1), strict=True)), faces={}
)


def test_a_new_face_is_covered_as_often_as_theory_says():
    """Of n + 1 faces drawn alike each is as likely the one below the k-th: 1 - k / (n + 1)."""
    rng, covered = np.random.default_rng(0), []
    for _ in range(400):
        truth = np.repeat(np.arange(3), (59, 39, 19))
        shares = rng.dirichlet(np.ones(3), len(truth))
        new = rng.dirichlet(np.ones(3), 60)
        covered.append(find_members(new, fit_sets(shares, truth, 0.9)).mean(axis=0))
    expected = [1 - int(0.1 * (n + 1)) / (n + 1) for n in (59, 39, 19)]
    assert np.mean(covered, axis=0) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("faces", "coverage", "place"), [(18, 0.95, 0), (19, 0.95, 1), (99, 0.9, 10)]
)
def test_limits_are_the_kth_smallest_probabilities_of_the_true_class(faces, coverage, place):
    own = np.random.default_rng(1).random(faces)
    shares = np.stack([own, 1 - own, np.zeros(faces)], axis=1)
    sets = fit_sets(shares, np.zeros(faces, int), coverage)
    assert sets.limits == ({"with_mask": sorted(own)[place - 1]} if place else {})
    assert sets.faces == {"with_mask": faces, "without_mask": 0, "mask_weared_incorrect": 0}


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ((0.8, 0.15, 0.05), ""),
        ((0.75, 0.1, 0.15), "with_mask|mask_weared_incorrect"),
        ((0.65, 0.3, 0.05), NONE),
        ((0.62, 0.2, 0.18), "with_mask|mask_weared_incorrect"),
        ((0.2, 0.45, 0.35), "without_mask|mask_weared_incorrect"),
        ((0.45, 0.5, 0.05), ""),
    ],
)
def test_faces_are_sure_of_one_class_or_told_what_they_may_be(shares, told):
    assert name_sets([shares], SETS) == [told]


def test_a_class_without_a_limit_is_in_the_set_where_it_is_the_likeliest():
    sets = SETS.model_copy(update={"limits": {"with_mask": 0.7}})
    shares = [[0.2, 0.5, 0.3], [0.71, 0.2, 0.09], [0.6, 0.3, 0.1]]
    assert name_sets(shares, sets) == ["", "", NONE]
    assert name_sets([], sets) == []


def make_predictors():
    """One that isn't asked, and one that is: masked faces are unlike any, bare ones sure."""
    predictor = stand_ins(0.3)
    limits = {"with_mask": 0.9, "without_mask": 0.5}
    predictor.classifier.card.sets = SETS.model_copy(update={"limits": limits})
    return predictor, replace(predictor, unsure=True)


@pytest.fixture
def photos(tmp_path):
    for index in range(3):
        save_photo(tmp_path / "photos" / f"{index}.png", seed=index)
    return tmp_path / "photos"


def read(out):
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_run_tells_what_is_unsure_and_nothing_else_changes(photos, tmp_path, capsys):
    plain, asked = make_predictors()
    found, out = find_photos(str(photos)), tmp_path / "out"
    predict_folder(found, tmp_path / "plain", plain)
    for done in (3, 0):  # The second run reads what the first kept.
        summary = predict_folder(found, out, asked)
        assert summary["photos_done_now"] == done
        rows = read(out)
        assert [row.pop("unsure") for row in rows] == [
            NONE if row["label"] == "with_mask" else "" for row in rows
        ]
        assert rows == read(tmp_path / "plain")
        assert summary["unsure"] == {
            **{"coverage": 0.95, "faces": 3, "of": 6, "may_be": {NONE: 3}},
            "classes_without_limit": ["mask_weared_incorrect"],
        }
    assert "unsure" not in json.loads((tmp_path / "plain" / "summary.json").read_text())
    drawn = [(tmp_path / name / "annotated" / "0.png").read_bytes() for name in ("plain", "out")]
    assert drawn[0] != drawn[1]
    command.tell_result(command.RunOptions(str(photos), out=out), summary, found, None)
    said = capsys.readouterr().out.splitlines()
    place = said.index("unsure: 3 of 6 faces: none 3")
    assert said[place + 1].startswith("faces: ")
    plain.classifier.card.sets.limits["with_mask"] = 0.5
    assert predict_folder(found, out, asked)["photos_done_now"] == 3, "by other limits"


def test_without_limits_it_is_refused_with_the_command_that_makes_them():
    with pytest.raises(WeightsError, match=r"no limits; fit them .*measure PREPARED"):
        stand_ins(unsure=True)


def test_from_python_faces_say_what_they_may_be(photos):
    plain, asked = map(trimask.Model, make_predictors())
    faces = asked.predict(str(photos / "0.png"))
    assert [(face.label, face.unsure) for face in faces] == [
        ("with_mask", NONE),
        ("without_mask", ""),
    ]
    assert faces.to_frame()["unsure"].tolist() == [NONE, ""]
    assert FoundFace.model_validate(faces[0], from_attributes=True).unsure == NONE
    faces.save(photos.parent / "saved")
    assert [row["unsure"] for row in read(photos.parent / "saved")] == [NONE, ""]
    faces = plain.predict(str(photos / "0.png"))
    assert faces[0].unsure is None
    assert "unsure" not in faces.to_frame()


def test_unsure_faces_are_drawn_grey_with_all_that_they_may_be(monkeypatch):
    written = []
    monkeypatch.setattr("pipeline.inference.draw._write", lambda *told: written.append(told[1]))
    photo = np.full((700, 900, 3), 90, np.uint8)
    shares = (0.6, 0.1, 0.3)
    for unsure, colour in (("", "with_mask"), ("with_mask|mask_weared_incorrect", ""), (NONE, "")):
        drawing = draw_faces(photo, [Face(Box(200, 300, 400, 500), 0.9, shares, unsure=unsure)])
        expected = COLOURS[colour] if colour else UNSURE_COLOUR
        assert np.abs(drawing[400, 200].astype(int) - expected).max() < 30
    assert written == [
        "mask 0.60",
        "grey: unsure",
        "mask or wrong 0.60",
        "grey: unsure",
        "like none 0.60",
    ]
