"""Spoilt files are read, or refused in the project's own words; nothing else, and soon.

`make fuzz` gives each target `FUZZ_SECONDS` seconds, other changes each time; what failed is kept
in `.hypothesis/fuzz` and tried first the next time. A fall found so belongs, as a small file, to
the cases of `tests/bad_input.py`, or to the tests of its reader.
"""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase

from data_prep.base.errors import UserError
from data_prep.base.photo import read_frame, read_photo
from data_prep.base.tables import read_faces
from data_prep.datasets.merge import read_recode
from data_prep.decisions.ledger import read_ledger
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.exif_frame import frame_photos
from data_prep.formats.predictions import AlarmRule, read_photos, read_prediction_table
from data_prep.formats.registry import read_dataset
from data_prep.grouping.groups import read_groups
from data_prep.grouping.split import find_parts
from evaluate.evaluation import read_case
from evaluate.inputs.truth import read_truth
from evaluate.options import EvaluateOptions
from tests.fuzz.mutations import changes, spoil
from tests.fuzz.seeds import TABLES, Seed, make_datasets, make_photos
from tests.makers import make_dataset

pytestmark = [pytest.mark.fuzz, pytest.mark.filterwarnings("ignore")]

SECONDS = float(os.environ.get("FUZZ_SECONDS", "8"))
LONGEST = 10.0  # Seconds of the processor for one file.
ROOT = Path(__file__).parents[2]

SETTINGS = settings(
    max_examples=50,
    deadline=None,
    derandomize=False,
    database=DirectoryBasedExampleDatabase(ROOT / ".hypothesis" / "fuzz"),
    suppress_health_check=list(HealthCheck),
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
)


def fuzz(seeds, read):
    """Read folders with one file spoilt, until the time is up; `read` gets folder and file."""
    places = [(seed, path) for seed in seeds for path in seed.files]
    if not places:
        pytest.skip("nothing to start from")
    whole = {path: path.read_bytes() for _, path in places}
    end = time.monotonic() + SECONDS

    @SETTINGS
    @given(st.integers(0, len(places) - 1), changes)
    def try_one(place, wanted):
        seed, path = places[place]
        path.write_bytes(spoil(whole[path], wanted))
        began = time.process_time()
        try:
            read(seed.root, path)
        except UserError as error:
            told = str(error)
            assert path.name in told or seed.root.name in told, told
        finally:
            took = time.process_time() - began
            path.write_bytes(whole[path])
        assert took < LONGEST

    while time.monotonic() < end:
        try_one()


@pytest.fixture(scope="session")
def datasets(tmp_path_factory):
    return make_datasets(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("form", [form for form in Format if form is not Format.CROPS])
def test_datasets(datasets, form):
    def read(root, _):
        frame_photos(read_dataset(root, ReadOptions(format=form)).photos)

    fuzz(datasets[form], read)


def test_datasets_of_any_format(datasets):
    fuzz(
        [seed for seeds in datasets.values() for seed in seeds], lambda root, _: read_dataset(root)
    )


def test_annotations_for_evaluate(datasets):
    def read(root, _):
        read_truth(root, EvaluateOptions())

    fuzz([seed for seeds in datasets.values() for seed in seeds], read)


@pytest.fixture
def truth(tmp_path):
    return make_dataset(tmp_path / "set", photos=2)


def make_table(folder, name, text=None):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text or TABLES[name])
    return Seed(folder, (folder / name,))


@pytest.mark.parametrize("name", ["predictions.csv", "results.json", "yolo"])
def test_predictions_for_evaluate(datasets, truth, tmp_path, name):
    seeds = []
    if name == "yolo":
        truth = datasets[Format.YOLO][0].root
        for stem in ("000", "001"):
            seeds.append(make_table(tmp_path / "found", f"{stem}.txt", "0 0.5 0.5 0.2 0.3 0.9\n"))
    elif name == "results.json":
        truth, seeds = datasets[Format.COCO][0].root, [make_table(tmp_path / "found", name)]
    else:
        seeds = [make_table(tmp_path / "found", name)]

    def read(root, path):
        read_case(truth, root if name == "yolo" else path, EvaluateOptions())

    fuzz(seeds, read)


READERS = {
    "faces.csv": lambda root, path: read_faces(path),
    "predictions.csv": lambda root, path: read_prediction_table(path),
    "photos.csv": lambda root, path: read_photos(path),
    "alarm.json": lambda root, path: AlarmRule.read(path),
    "groups.csv": lambda root, path: read_groups(root),
    "recode.toml": lambda root, path: read_recode(path),
}


@pytest.mark.parametrize("name", READERS)
def test_tables(tmp_path, name):
    make_dataset(tmp_path / "found" / "start", photos=1)
    fuzz([make_table(tmp_path / "found", name)], READERS[name])


def test_lists_of_a_split(truth):
    dataset = read_dataset(truth)
    make_table(truth, "val.txt", "images/001.jpg\n")
    fuzz([make_table(truth, "train.txt")], lambda root, path: find_parts(dataset))


def test_ledgers(tmp_path):
    ledger = (ROOT / "data_prep" / "ledgers" / "facemask-ilc.jsonl").read_text().splitlines()[:5]
    seed = make_table(tmp_path / "found", "decisions.jsonl", "\n".join(ledger) + "\n")
    fuzz([seed], lambda root, path: read_ledger(path))


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    return list(make_photos(tmp_path_factory.mktemp("fuzz") / "photos"))


@pytest.mark.parametrize("salvage", [False, True])
def test_photos(photos, salvage):
    fuzz(photos, lambda root, path: read_photo(path, upright=salvage, salvage=salvage))


def test_headers_of_photos(photos):
    fuzz(photos, lambda root, path: read_frame(path, fit_size=(30, 40)))


def test_recipes(tmp_path):
    from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe, load_recipe

    for kind, name in ((ClassifierRecipe, "default"), (DetectorRecipe, "detector")):
        text = (ROOT / "pipeline" / "recipes" / f"{name}.toml").read_text()
        seed = make_table(tmp_path / name, f"{name}.toml", text)
        fuzz([seed], lambda root, path, kind=kind: load_recipe(str(path), kind, []))


def test_weights_and_cards(tmp_path, random_weights):
    from pipeline.nets.cards import DetectorCard, load_weights
    from pipeline.nets.options import DETECTOR

    folder = tmp_path / "weights"
    folder.mkdir()
    files = [folder / f"{DETECTOR}{suffix}" for suffix in (".json", ".safetensors")]
    for path in files:
        path.write_bytes((random_weights / path.name).read_bytes())
    fuzz([Seed(folder, tuple(files))], lambda root, path: load_weights(files[1], DetectorCard))


def test_run_folders(tmp_path):
    from pipeline.runs.folder import read_run, start_run
    from pipeline.runs.recipe import ClassifierRecipe

    run = start_run(tmp_path, ClassifierRecipe(), {"faces_sha256": "a", "sources": ["b"]})
    (run.folder / "history.csv").write_text("stage,epoch,loss,accuracy\n0,0,0.5,0.7\n0,1,0.4,0.8\n")
    files = tuple(sorted(path for path in run.folder.iterdir() if path.is_file()))
    fuzz([Seed(run.folder, files)], lambda root, _: read_run(root))


def test_journals(tmp_path):
    """What can't be read of the journal of an earlier run counts as not done."""
    from data_prep.base.records import Box
    from data_prep.formats.predictions import PhotoRow
    from pipeline.inference.records import Face
    from pipeline.inference.sinks import JOURNAL, Entry, Journal

    made_with = {"format": 3, "thresh": 0.5}
    face = Face(Box(20, 15, 60, 55), 0.9, (0.8, 0.1, 0.1), (0.5,))
    lines = [json.dumps(made_with, sort_keys=True)]
    for name in ("a.jpg", "b/c.jpg"):
        entry = Entry(PhotoRow(name, 120, 90, 1, 1), (face,), (1000, 2))
        lines.append(json.dumps(asdict(entry)))
    seed = make_table(tmp_path / "out", JOURNAL, "\n".join([*lines, ""]))

    def read(root, _):
        journal = Journal(root, made_with)
        journal.close()
        return journal.entries

    assert len(read(seed.root, None)) == 2
    fuzz([seed], read)
