"""The wheel holds all that is needed, and works from another folder."""

import base64
import csv
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with what the wheel holds, as an installation would lay it."""
    folder = tmp_path_factory.mktemp("wheel")
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    site = folder / "site"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    return site


def call(site, *arguments, folder):
    program = "import sys, trimask; sys.argv[0] = 'trimask'; trimask.main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_wheel_has_code_pages_recipes_and_weights(installed):
    for name in (
        "trimask.py",
        "data_prep/base/templates/base.html",
        "evaluate/report/templates/report.html",
        "pipeline/inference/templates/gallery.html",
        "pipeline/recipes/default.toml",
        "pipeline/review/static/index.html",
        "pipeline/weights/classifier.safetensors",
        "pipeline/weights/detector.json",
    ):
        assert (installed / name).is_file(), name
    assert not (installed / "tests").exists()
    assert not (installed / "weights").exists(), "a name that others may use, too"


def test_wheel_lists_the_hashes_that_the_cards_state(installed):
    (record,) = installed.glob("trimask-*.dist-info/RECORD")
    listed = {row[0]: row[1] for row in csv.reader(record.open(newline=""))}
    for net in ("classifier", "detector"):
        stated = json.loads((installed / f"pipeline/weights/{net}.json").read_text())["sha256"]
        packed = base64.urlsafe_b64encode(bytes.fromhex(stated)).decode().rstrip("=")
        assert listed[f"pipeline/weights/{net}.safetensors"] == f"sha256={packed}"


def test_command_works_from_another_folder(installed, tmp_path):
    shown = call(installed, "--version", folder=tmp_path)
    assert shown.stdout.startswith("trimask "), shown.stderr
    made = call(installed, "demo-photos", "photos", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    done = call(installed, "run", "photos", "-o", "out", "--no-draw", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) > 5
