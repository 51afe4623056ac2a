"""One training in several processes: whole batches shared, and what they come to."""

import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from data_prep.base.tables import read_faces
from pipeline.runs.recipe import RecipeError
from pipeline.training import data, ranks
from pipeline.training.data import TrainingFaces, make_loaders, read_crops
from pipeline.training.ranks import check_ranks, join_ranks, share
from tests.pipeline.makers import CPU, call
from tests.pipeline.tables import TINY, write_tiny

psutil = pytest.importorskip("psutil")
ROOT = Path(__file__).parents[3]

WITHOUT_CHANCE = """
import sys
from pipeline.cli import app
from pipeline.training import data
data.aug_transforms = lambda **_: []
app(sys.argv[1:])
"""


@pytest.fixture
def of_two(monkeypatch):
    """Makes the loaders of one rank of some."""
    pytest.importorskip("accelerate")

    def use(rank, count=2):
        monkeypatch.setattr(ranks, "count_ranks", lambda: count)
        monkeypatch.setattr(data, "count_ranks", lambda: count)
        monkeypatch.setattr(ranks.distributed, "get_rank", lambda: rank)

    return use


def list_batches(loader):
    """The labels of each batch, shuffled by one seed."""
    loader.rng.seed(3)
    return [codes.tolist() for _, codes in loader]


@pytest.mark.parametrize("count", [2, 3])
def test_ranks_share_every_batch_and_all_validation_faces(prepared, of_two, count):
    faces = read_faces(prepared)
    labels = faces["label"].sample(frac=1, random_state=0).tolist()
    shown = TrainingFaces(faces.assign(label=labels), read_crops(prepared), faces["label"])
    whole = make_loaders(shown, TINY, 32, CPU)
    parts = []
    for rank in range(count):
        of_two(rank, count)
        loaders = make_loaders(shown, TINY, 32, CPU)
        assert len(loaders.train) == len(whole.train) == 3
        assert len(loaders.train.one_batch()[1]) == TINY.batch_size // count
        parts.append((list_batches(loaders.train), list_batches(loaders.valid)))
    for step, batch in enumerate(list_batches(whole.train)):
        assert [*chain(*(train[step] for train, _ in parts))] == batch
    judged = [*chain(*chain(*(valid for _, valid in parts)))]
    assert judged == [*chain(*list_batches(whole.valid))]


def test_what_can_not_be_shared(of_two):
    of_two(0, 5)
    with pytest.raises(RecipeError, match="batch_size 12 is no multiple of 5 processes"):
        check_ranks(TINY)
    of_two(0, 2)
    with pytest.raises(RecipeError, match="lr is 'find'"):
        check_ranks(TINY.model_copy(update={"lr": "find"}))


def test_one_process_is_as_ever():
    with join_ranks(CPU) as rank:
        assert (rank, share("a")) == (0, "a")
        check_ranks(TINY.model_copy(update={"lr": "find"}))


def launch(*arguments):
    """Two processes; what they write comes back together."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [sys.executable, *command, *map(str, arguments), "--device", "cpu"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo's launcher takes POSIX")
def test_two_processes_learn_what_one_does(prepared, tmp_path):
    """Without chance, by a net without batch norm, they are the same but for rounding."""
    path = tmp_path / "script.py"
    path.write_text(WITHOUT_CHANCE)
    same = ["dropout=0.0", "architecture=sequential", "epochs=[3]", "downscale=0.0"]
    recipe = ["--recipe", write_tiny(tmp_path), *chain(*(["--set", one] for one in same))]
    train = ["train", prepared, *recipe, "-o"]
    one = [sys.executable, path, *train, tmp_path / "one", "--device", "cpu"]
    subprocess.run(one, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    process = launch(path, *train, tmp_path / "two")
    told = process.communicate(timeout=400)[0]
    assert process.returncode == 0, told
    assert told.count("2 processes share every batch of 12") == 1
    assert told.count("epoch 3 of 3: ") == 1
    first, second = (tmp_path / way / "001-tiny" for way in ("one", "two"))
    files = [sorted(path.name for path in folder.iterdir()) for folder in (first, second)]
    assert files[0] == files[1]
    tables = [pd.read_csv(folder / "history.csv") for folder in (first, second)]
    np.testing.assert_allclose(*tables, rtol=2e-3, atol=2e-3)
    for name, tensor in load_file(first / "classifier.safetensors").items():
        other = load_file(second / "classifier.safetensors")[name]
        torch.testing.assert_close(other, tensor, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("killed", ["0", "1"])
def test_a_rank_that_is_killed_ends_the_other_and_one_process_goes_on(prepared, tmp_path, killed):
    recipe, run = write_tiny(tmp_path), tmp_path / "runs" / "001-tiny"
    train = ["train", prepared, "--recipe", recipe]
    for one in ("epochs=[60]", "patience=60", "architecture=sequential"):
        train += ["--set", one]
    process, end = launch("-m", "pipeline", *train, "-o", tmp_path / "runs"), time.monotonic() + 300
    while not (run / "checkpoint.pt").exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)
    for kin in psutil.Process(process.pid).children(recursive=True):
        if kin.environ().get("RANK") == killed:
            kin.send_signal(signal.SIGKILL)
    told = process.communicate(timeout=200)[0]
    assert process.returncode == 1
    other = 1 - int(killed)
    assert f"error: rank {other} ends: another process of this training was ended" in told
    assert "--resume with the run folder goes on" in told
    assert told.count("Traceback") == 1, "the launcher's own"
    done = len(pd.read_csv(run / "history.csv"))
    result = call("train", prepared, "--resume", run, "--device", "cpu")
    assert result.exit_code == 0, result.output
    # Rank 0 may be killed when an epoch is in the history, and not yet in the checkpoint.
    resumed = [n for n in (done - 1, done) if f"resuming after epoch {n} of 60" in result.output]
    assert resumed
