"""`run.py` against another version of itself, in turn: start, inside, memory, the same faces.

python -m tests.benchmarks.before CHECKOUT PHOTOS [ROUNDS]

Each run is a process of its own with its drawings, in the environment of a user who set nothing.
Inside is what summary.json tells of the seconds after the nets are loaded. The photos are some of
PHOTOS, brought to the sizes of `SETS`. Five rounds take under 8 minutes on two quiet cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from data_prep.base.files import read_object
from data_prep.base.progress import log
from data_prep.base.tables import markdown_table
from data_prep.formats.predictions import FILE
from pipeline.inference.sources import find_photos
from tests.benchmarks.rivals import ROOT, measure

SETS: dict[str, tuple[int, Sequence[tuple[int, int]]]] = {
    "same-size 1600 px": (12, [(1600, 1200)]),
    "mixed 800 px": (24, [(800, 600), (600, 800), (800, 450), (533, 800), (800, 640)]),
    "4000 px": (5, [(4000, 3000)]),
}
"""How many photos, and their sizes in turn."""

BUSY, LOOPS = "mixed 800 px", 3
ROUNDING = {"boxes": 0.1, "scores": 1e-3}  # Pixels of a thousand; shares.
BOX = ["xmin", "ymin", "xmax", "ymax"]


def make_sets(photos: str, folder: Path) -> dict[str, Path]:
    """Folders of photos in the sizes of `SETS`; each of them shows faces of the size it has."""
    found = find_photos(photos)
    paths = [found.root / name for name in found.images]
    large = [path for path in paths if min(Image.open(path).size) >= 300] or paths
    for name, (count, sizes) in SETS.items():
        (folder / name).mkdir()
        for number in range(count):
            photo = Image.open(large[number * len(large) // count]).convert("RGB")
            fitted = ImageOps.fit(photo, sizes[number % len(sizes)])
            fitted.save(folder / name / f"{number:02d}.jpg", quality=90)
    return {name: folder / name for name in SETS}


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many processes that do nothing but compute, beside what is done meanwhile."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def tell_differences(before: Path, now: Path) -> str:
    """How many faces of two tables differ by more than rounding."""
    tables = [pd.read_csv(folder / FILE).sort_values(["image", *BOX]) for folder in (before, now)]
    first, second = (table.reset_index(drop=True) for table in tables)
    pairs = first.merge(second, on="image", suffixes=("", "_now"))
    boxes = np.abs(pairs[BOX].to_numpy() - pairs[[f"{side}_now" for side in BOX]].to_numpy())
    large = first.groupby("image")[["xmax", "ymax"]].max().max().max() / 1000
    near = pairs[boxes.max(axis=1) <= ROUNDING["boxes"] * max(1, large)]
    scores = np.abs(near[["score", "detection"]].to_numpy() - near[["score_now", "detection_now"]])
    same = (scores.max(axis=1) <= ROUNDING["scores"]) & (near["label"] == near["label_now"])
    return f"{max(len(first), len(second)) - int(same.sum())} of {len(first)}"


class Versions:
    """Both, run on photos into new folders."""

    def __init__(self, before: Path, out: Path) -> None:
        self.folders = {"before": before.resolve(), "now": ROOT}
        self.out, self.runs = out, 0

    def run(self, version: str, photos: Path, *options: str) -> tuple[float, float, float, Path]:
        """Seconds in all and inside, MiB, and the folder of the results."""
        self.runs += 1
        out = self.out / f"{self.runs}"
        command = [sys.executable, "run.py", str(photos), *options]
        seconds, peak = measure(command, out, self.folders[version])
        inside = (read_object(out / "summary.json") or {})["seconds"]["total"]
        return seconds, inside, peak, out


def main(before: Path, photos: str, rounds: int = 5) -> None:
    """Print the table: medians of all rounds, before and now in turn."""
    for name in [name for name in os.environ if name.startswith(("OMP_", "GOMP_", "MKL_"))]:
        del os.environ[name]
    ways = {"before": ("before", ()), "onnx": ("now", ()), "torch": ("now", ("--engine", "torch"))}
    rows = []
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "sets").mkdir()
        sets = make_sets(photos, Path(work) / "sets")
        versions = Versions(before, Path(work))

        def compare(what: str, folder: Path, kinds: Sequence[str], turns: int, most: dict) -> None:
            told: dict[str, list[tuple[float, float, float, Path]]] = {kind: [] for kind in kinds}
            for _ in range(turns):
                for kind in kinds:
                    told[kind].append(versions.run(ways[kind][0], folder, *ways[kind][1]))
            middle = {
                kind: np.median([run[:3] for run in runs], axis=0) for kind, runs in told.items()
            }
            for kind in kinds[1:]:
                wall, inside, peak = (middle[kind] / middle["before"]).tolist()
                shown = [f"{what}, {kind}", f"{wall:.2f}", f"{1 / inside:.2f}", f"{peak:.2f}"]
                rows.append([*shown, most[kind]])
                log(", ".join(rows[-1]))

        first = sorted(sets[BUSY].iterdir())[0]
        aims = {"onnx": "wall 0.25", "torch": "wall 0.60"}
        compare("one photo", first, list(ways), rounds, aims)
        for name, aim in zip(SETS, ("2.2", "1.8", "2.5"), strict=True):
            known = {"onnx": f"inside {aim}, memory 0.5"}
            compare(name, sets[name], ["before", "onnx"], rounds, known)
        with busy(LOOPS):
            known = {"onnx": "inside 4"}
            compare(f"{BUSY} beside {LOOPS} loops", sets[BUSY], ["before", "onnx"], 3, known)
        for name, folder in sets.items():
            pair = [versions.run(v, folder, "--fp32", "--no-draw")[3] for v in ("before", "now")]
            log(f"{name}: faces that differ by more than rounding: {tell_differences(*pair)}")
    heads = ["now against before", "wall ×", "inside: times as fast", "memory ×", "to reach"]
    print(markdown_table(heads, rows))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
