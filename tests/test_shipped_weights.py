"""What the README says of the shipped weights, measured again on the real data (slow)."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from data_prep.build import BuildOptions, build
from data_prep.faces import read_faces
from evaluate.cli import app as evaluate_app
from pipeline.cli import app as pipeline_app
from pipeline.run_cli import app as run_app
from pipeline.weights import ClassifierCard, DetectorCard, read_card

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
WEIGHTS = ROOT / "weights"
LEAST = {"map50": 0.78, "face_ap50": 0.93}
LEAST_ON_CROPS = {"accuracy": 0.95, "macro_recall": 0.80}
LEAST_SPEED_UP = 3.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real data is not here"),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "prepared"
    build([DATA / "facemask", DATA / "ilc"], folder, BuildOptions())
    return folder


@pytest.fixture(scope="module")
def photos(prepared):
    """The validation photos of facemask, linked into a folder of their own."""
    faces = read_faces(prepared)
    valid = faces[(faces["split"] == "valid") & (faces["source"] == "facemask")]
    folder = prepared.parent / "photos" / "facemask" / "images"
    folder.mkdir(parents=True)
    for image in sorted(set(valid["image"])):
        (folder / Path(image).name).symlink_to(DATA / "facemask" / image)
    return folder.parent.parent


def run_command(app, *arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def measure(prepared, table):
    out = table.parent / f"{table.stem}-report"
    options = ["--split", "valid", "--source", "facemask", "--bootstrap", 0]
    run_command(evaluate_app, prepared / "faces.csv", table, "-o", out, *options)
    return json.loads((out / "metrics.json").read_text())


def test_validation_photos_were_not_trained_on(prepared):
    hashes = {
        read_card(WEIGHTS / f"{name}.json", kind).training["data"]["faces_sha256"]
        for name, kind in (("detector", DetectorCard), ("classifier", ClassifierCard))
    }
    manifest = json.loads((prepared / "manifest.json").read_text())
    assert hashes == {manifest["faces_sha256"]}


def test_mean_average_precision_is_reached(prepared, photos):
    out = prepared.parent / "out"
    run_command(run_app, photos, "-o", out, "--thresh", 0.02, "--no-draw")
    metrics = measure(prepared, out / "predictions.csv")
    assert {name: metrics[name] for name in LEAST if metrics[name] < LEAST[name]} == {}


def test_crop_accuracy_is_reached(prepared):
    table = prepared.parent / "crops.csv"
    run_command(pipeline_app, "classify", prepared, "-o", table)
    metrics = measure(prepared, table)
    assert {
        name: metrics[name] for name in LEAST_ON_CROPS if metrics[name] < LEAST_ON_CROPS[name]
    } == {}


def test_pipeline_is_faster_than_a_plain_loop(photos, tmp_path):
    from pipeline.benchmark import compare_speed
    from pipeline.photos import find_photos

    found = find_photos(str(photos), leave_out=tmp_path)
    cpu = torch.device("cpu")
    result = compare_speed(
        found, WEIGHTS, tmp_path, device=cpu, thresh=0.3, rounds=3, say=lambda line: None
    )
    assert result.ratio >= LEAST_SPEED_UP, result.describe()
