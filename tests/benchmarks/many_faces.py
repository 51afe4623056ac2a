"""What `suspects` and `review` take, by number of faces: seconds and memory, step by step.

python -m tests.benchmarks.many_faces SUSPECTS [COUNT …]

SUSPECTS is a folder that `suspects` wrote. Nothing is trained: its rows are repeated under further
object numbers, and the features of its first training with a little noise. The neighbours of one of
five trainings are looked up of `INDEXED` faces, and what a million takes is extrapolated; all other
steps are run. Seven minutes for 10,000, 100,000 and 1,000,000 faces where it is quiet.
"""

import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd

from data_prep.base.files import open_atomically
from data_prep.base.labels import CLASSES
from data_prep.base.progress import log
from data_prep.base.tables import markdown_table
from pipeline.cleaning import evidence, search
from pipeline.training.short import map_features

INDEXED = (30_000, 60_000, 120_000)
FOLDS = 5
DECISIONS = 20


def grow(suspects: Path, out: Path, count: int) -> None:
    """A suspects folder of so many faces: each row several times, one after the other."""
    out.mkdir(parents=True)
    shutil.copy(suspects / "suspects.json", out)
    table = pd.read_csv(suspects / "suspects.csv", keep_default_na=False)
    row, copy = np.divmod(np.arange(count), -(-count // len(table)))
    table = table.iloc[row].reset_index(drop=True)
    table["object"] += 10_000 * copy
    table["rank"] = np.arange(1, count + 1)
    table.to_csv(out / "suspects.csv", index=False)


def measure(step: Callable[..., Any], *how: Any) -> tuple[float, float]:
    """Seconds of the processor and the most memory, in MiB, of a step in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_run, step, *how).result()


def _run(step: Callable[..., Any], *how: Any) -> tuple[float, float]:
    began = time.process_time()
    step(*how)
    spent = time.process_time() - began
    return spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load_only() -> None:
    """What the libraries alone take."""


def look_up(suspects: Path, count: int, folder: Path) -> None:
    """The neighbours of one fold's faces, by features that lie on the disk."""
    features = map_features(sorted(suspects.glob("fold-*.npz"))[0])
    path = folder / "features.npy"
    shape, rng = (count, features.shape[1]), np.random.default_rng(0)
    grown = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    noise = 0.2 * features.std(axis=0, dtype=np.float32)
    for rows in np.array_split(np.arange(count), count // 10_000):
        grown[rows] = features[rows % len(features)] + rng.normal(0, noise, (len(rows), len(noise)))
    groups = (np.arange(count) // 4).astype(str).tolist()
    fold = np.where(np.arange(count) % FOLDS == 0, 0, -1)
    evidence.find_neighbours([np.load(path, mmap_mode="r")], fold, groups)


def write_table(folder: Path) -> None:
    """Evidence, the estimate and the table, from answers and neighbours drawn at random."""
    faces = pd.read_csv(folder / "suspects.csv", keep_default_na=False)
    count, rng = len(faces), np.random.default_rng(0)
    labels = faces["label"].map(CLASSES.index).to_numpy()
    sure = 0.9 * np.eye(len(CLASSES))[labels] + 0.1 * rng.dirichlet(np.ones(len(CLASSES)), count)
    near = evidence.Neighbours(
        rng.integers(0, count, (count, evidence.NEIGHBOURS), dtype=np.int32),
        rng.random((count, evidence.NEIGHBOURS), dtype=np.float32),
    )
    duplicates: list[list[int]] = [[] for _ in range(count)]
    found = evidence.gather_evidence(labels, sure.astype(np.float32), near, duplicates)
    table = search.tabulate(faces, found, near, duplicates, merged=True)
    with open_atomically(folder / "written.csv") as file:
        table.to_csv(file, index=False, float_format="%.6g")


def estimate(folder: Path) -> None:
    """How many labels are wrong, by 20 of the 200 resamples."""
    faces = pd.read_csv(folder / "suspects.csv", keep_default_na=False)
    labels = faces["label"].map(CLASSES.index).to_numpy()
    sure = faces[[f"p_{name}" for name in CLASSES]].to_numpy()
    groups = (faces["source"] + faces["image"]).tolist()
    evidence.estimate_wrong_labels(labels, sure, groups, resamples=evidence.RESAMPLES // 10)


def time_review(folder: Path) -> dict[str, float]:
    """Until the page's first face is there, of a decision, and the most memory in MiB.

    Seconds are of the wall; of the processor too until then, which a busy machine doesn't change.
    """
    command = [sys.executable, "-m", "pipeline", "review", str(folder), "--all", "--no-open"]
    command += ["--by", "ada", "--port", "0", "--ledger", str(folder / "timed.jsonl")]
    began = time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        address = next(line for line in server.stderr if "review: http" in line).split()[1]

        def ask(path: str, body: object = None) -> bytes:
            data = None if body is None else json.dumps(body).encode()
            headers = {"x-review": "1", "content-type": "application/json"}
            with urlopen(Request(address + path, data, headers)) as answer:
                told: bytes = answer.read()
            return told

        edition = json.loads(ask("api/session"))["edition"]
        ask("api/face/0")
        ask("picture/crop/0")
        opened = time.perf_counter() - began
        worked = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        processor = sum(map(int, worked)) / os.sysconf("SC_CLK_TCK")
        each = []
        for position in range(DECISIONS):
            body = {"edition": edition, "position": position, "version": 0, "action": "keep"}
            started = time.perf_counter()
            ask("api/decide", body)
            each.append(time.perf_counter() - started)
        status = Path(f"/proc/{server.pid}/status").read_text()
        server.terminate()
    held = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return {"seconds": opened, "processor": processor, "decision": median(each), "MiB": held}


def main(suspects: Path, *counts: int) -> None:
    """Print two tables."""
    rows: list[list[object]] = []

    def note(count: int, step: str, seconds: float, memory: float) -> None:
        log(f"{count} faces, {step}: {seconds:.1f} s, {memory:.0f} MiB")
        rows.append([f"{count:,}", step, f"{seconds:.1f}", f"{memory:.0f}"])

    alone = measure(load_only)
    note(0, "the libraries", *alone)
    taken = []
    for count in INDEXED:
        with tempfile.TemporaryDirectory() as folder:
            taken.append(measure(look_up, suspects, count, Path(folder)))
        note(count, "neighbours of one training", *taken[-1])
    for unit, values, before in zip(("s", "MiB"), zip(*taken, strict=True), alone, strict=True):
        power, least = np.polyfit(np.log(INDEXED), np.log(np.array(values) - before), 1)
        there = np.exp(least + power * np.log(1e6))
        log(f"neighbours: faces to the {power:.2f}; by that {there:.0f} {unit} for a million")
    reviews: list[list[object]] = []
    for count in counts or (10_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            found = Path(folder, "found")
            grow(suspects, found, count)
            note(count, "evidence and table", *measure(write_table, found))
            note(count, "estimate, 20 resamples", *measure(estimate, found))
            for which_time in ("first", "again"):
                told = time_review(found)
                Path(found, "timed.jsonl").unlink()
                log(f"{count} faces, {which_time}: {told}")
                reviews.append([count, which_time, *(f"{value:.3g}" for value in told.values())])
    steps = markdown_table(["faces", "step", "s of the processor", "MiB at most"], rows)
    head = ["faces", "opened", "seconds", "processor", "a decision", "MiB"]
    for line in [*steps.splitlines(), "", *markdown_table(head, reviews).splitlines()]:
        log(line)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
