"""Limits for --unsure: fitted on a prepared folder, tried on other photos, put on the card."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from data_prep.base.labels import CLASSES
from data_prep.base.tables import KEY, TableError, read_faces
from pipeline.inference.classifier import Classifier
from pipeline.inference.unsure import fit_sets, name_sets
from pipeline.nets.cards import ClassifierCard, read_card, write_json
from tests.benchmarks import coverage as covering
from tests.benchmarks.coverage import PROBABILITIES, measure_coverage, read_answers
from tests.pipeline.makers import ColourClassifier


def make_faces(count=240, seed=0):
    """Faces in groups of three, told right four times of five."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, count)
    shares = (
        rng.dirichlet(np.ones(3), count)
        + 2 * np.eye(3)[np.where(rng.random(count) < 0.8, truth, 0)]
    )
    faces = pd.DataFrame(shares / shares.sum(axis=1, keepdims=True), columns=PROBABILITIES)
    sides = rng.integers(8, 90, count)
    return faces.assign(
        **{"label": [CLASSES[i] for i in truth], "group": np.arange(count) // 3},
        **{"xmin": 0, "ymin": 0, "xmax": sides, "ymax": sides + 5},
    )


def test_coverage_is_that_of_a_plain_loop_over_halves(monkeypatch):
    monkeypatch.setattr(covering, "SPLITS", 4)
    faces, rng, told = make_faces(), np.random.default_rng(0), {}
    groups = sorted(set(faces["group"]))
    for _ in range(4):
        order = rng.permutation(len(groups))
        half = {
            group for group, place in zip(groups, order, strict=True) if place < len(groups) / 2
        }
        own = faces["group"].isin(half).to_numpy()
        some, rest = faces[own], faces[~own]
        codes = some["label"].map(CLASSES.index).to_numpy()
        sets = fit_sets(some[PROBABILITIES].to_numpy(), codes, 0.9)
        names = name_sets(rest[PROBABILITIES].to_numpy().tolist(), sets)
        for (_, face), name in zip(rest.iterrows(), names, strict=True):
            shares = face[PROBABILITIES].to_numpy(float)
            likeliest = CLASSES[int(shares.argmax())]
            inside = shares[CLASSES.index(face["label"])] >= sets.limits[face["label"]]
            size = np.searchsorted([16, 32, 64], face["xmax"], side="right")
            for part in ("all", face["label"], ("<16 px", "16–32 px", "32–64 px", "≥64 px")[size]):
                told.setdefault(part, []).append((inside, bool(name), likeliest == face["label"]))
    found = measure_coverage(faces, 0.9)
    assert set(found.index) == set(told)
    for part in ("all", *CLASSES):
        covered, unsure, right = np.array(told[part], float).T
        assert found.loc[part, "faces"] == len(covered) / 4
        # Halves weigh alike, whatever their faces.
        row = found.loc[part, ["covered", "unsure", "accuracy"]].to_numpy(float)
        assert row == pytest.approx([covered.mean(), unsure.mean(), right.mean()], abs=0.01)
        assert found.loc[part, "low"] <= found.loc[part, "covered"] <= found.loc[part, "high"]
        assert found.loc[part, "sure"] == pytest.approx(right[unsure == 0].mean(), abs=0.02)
    assert found.loc["all", "covered"] == pytest.approx(0.9, abs=0.04)


def judge(*arguments):
    return CliRunner().invoke(covering.app, [str(one) for one in arguments], catch_exceptions=False)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A card whose net tells classes by colour."""
    path = tmp_path / "own" / "classifier.safetensors"
    path.parent.mkdir()
    path.touch()
    net = ColourClassifier()
    write_json(path.with_suffix(".json"), net.card.model_dump(mode="json"))
    monkeypatch.setattr(Classifier, "load", lambda *_, **__: net)
    return path


def test_limits_go_on_the_card(prepared, weights):
    result = judge(prepared, "--weights", weights)
    assert "| with_mask | | " in result.stdout, "too few faces for a coverage of 0.95"
    assert read_card(weights.with_suffix(".json"), ClassifierCard).sets is None
    judge(prepared, "--weights", weights, "--coverage", 0.75, "--write")
    sets = read_card(weights.with_suffix(".json"), ClassifierCard).sets
    assert sets.coverage == 0.75
    assert sets.faces == dict.fromkeys(CLASSES, 4)
    assert sets.limits == pytest.approx(dict.fromkeys(CLASSES, 0.8))


def test_answers_of_kin_get_the_temperature_and_the_odds_of_the_card(prepared, weights, tmp_path):
    faces, path = read_faces(prepared), tmp_path / "probabilities.csv"
    columns = dict(zip(PROBABILITIES, (0.6, 0.3, 0.1), strict=True))
    faces[[*KEY]].assign(**columns).to_csv(path, index=False)
    card = ClassifierCard(temperature=0.5, training={"recipe": {"rare_odds": 2.0}})
    (row,) = {tuple(row) for row in read_answers(path, faces, card)[PROBABILITIES].to_numpy()}
    assert row == pytest.approx(np.array([0.36, 0.09, 0.02]) / 0.47)
    result = judge(prepared, "--weights", weights, "--probabilities", path)
    assert f"{len(faces)} faces: annotated boxes, judged by nets" in result.stderr
    path.write_text("source,image,object\n")
    with pytest.raises(TableError, match="no column p_with_mask, p_without_mask"):
        read_answers(path, faces, card)
