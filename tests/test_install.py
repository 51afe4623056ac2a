"""The wheel holds all that is needed, and works from another folder."""

import base64
import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from tests.demo import write_demo_photos
from tests.pipeline.drawing.test_demo import PortraitDetector

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


def test_wheel_has_code_pages_recipes_and_weights(installed):
    for name in (
        "trimask.py",
        "data_prep/base/templates/base.html",
        "evaluate/report/templates/report.html",
        "pipeline/inference/templates/gallery.html",
        "pipeline/recipes/default.toml",
        "pipeline/review/static/index.html",
        "pipeline/weights/classifier.safetensors",
        "pipeline/weights/detector.onnx",
        "pipeline/weights/detector.json",
    ):
        assert (installed / name).is_file(), name
    assert not (installed / "tests").exists()
    assert not (installed / "weights").exists(), "a name that others may use, too"


def test_wheel_lists_the_hashes_that_the_cards_state(installed):
    (record,) = installed.glob("trimask-*.dist-info/RECORD")
    listed = {row[0]: row[1] for row in csv.reader(record.open(newline=""))}
    for net in ("classifier", "detector"):
        card = json.loads((installed / f"pipeline/weights/{net}.json").read_text())
        for key, ending in (("sha256", "safetensors"), ("onnx", "onnx")):
            packed = base64.urlsafe_b64encode(bytes.fromhex(card[key])).decode().rstrip("=")
            assert listed[f"pipeline/weights/{net}.{ending}"] == f"sha256={packed}"


WITHOUT_TORCH = """
import json, sys
from importlib.machinery import PathFinder

HIDDEN = {"torch", "torchvision", "fastai", "fastcore", "timm", "sklearn", "scipy", "joblib"}

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, *rest):
        return None if name.partition(".")[0] in HIDDEN else super().find_spec(name, *rest)

sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
sys.argv[0] = "trimask"
import trimask
from pipeline.cli import trimask as app

for arguments in json.loads(sys.argv[1]):
    try:
        app(arguments, prog_name="trimask", obj=trimask.__version__)
    except SystemExit as end:
        print("ended", end.code, flush=True)
try:
    trimask.learner("prepared")
except Exception as error:
    print("learner:", error)
import pipeline.serve.api, pipeline.serve.service, pipeline.review.app
assert not HIDDEN & sys.modules.keys()
"""


def test_installed_commands_work_in_another_folder_without_torch(installed, dataset, tmp_path):
    weights = tmp_path / "weights"
    shutil.copytree(installed / "pipeline" / "weights", weights)
    (weights / "detector.onnx").unlink()
    write_demo_photos(PortraitDetector(), tmp_path / "photos")
    commands = [
        ["--version"],
        ["run", "photos", "-o", "out", "--no-draw"],
        ["run", str(dataset), "-o", "all", "--no-draw"],
        ["evaluate", str(dataset), "all/predictions.csv", "-o", "report"],
        ["build", str(dataset), "-o", "prepared", "--ratio", "9"],
        ["train", "prepared"],
        ["run", "photos", "-o", "none", "--weights", str(weights)],
        ["run", "photos", "-o", "none", "--engine", "torch"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, json.dumps(commands)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ends = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ended ")]
    assert ends == ["0"] * 5 + ["2"] * 3, done.stderr
    assert len((tmp_path / "out" / "predictions.csv").read_text().splitlines()) > 5
    assert 'pip install "trimask[train]"' in done.stderr
    assert (
        'learner: this takes torch, which is not here: pip install "trimask[train]"' in done.stdout
    )
    assert "detector.safetensors: --engine onnx takes PyTorch here" in done.stderr
    assert done.stderr.count("pip install 'trimask[train]'") == 2


@pytest.mark.parametrize("module", ["pipeline.cli:trimask", "pipeline.inference.command:app"])
def test_help_loads_no_net_and_no_table_library(module):
    place, name = module.split(":")
    program = f"""
import sys
from {place} import {name}
try:
    {name}(["--help"])
except SystemExit:
    slow = {{"torch", "torchvision", "fastai", "onnxruntime", "pandas", "sklearn", "scipy",
             "matplotlib"}}
    print("slow:", sorted(slow & sys.modules.keys()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "slow: []", done.stderr
