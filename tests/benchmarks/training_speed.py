"""How fast the recipe `fast` trains, against a version from before, in turn.

python -m tests.benchmarks.training_speed DATASET [COMMIT] [MINUTES]

Photos of a VOC dataset (`images`, `annotations`) are prepared by both versions; then each trains in
turn for as long as there are minutes. Of the epochs those after the first count, in which crops are
read. Both do what they do by themselves: no number of threads is set.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import median

from data_prep.base.progress import log

ROOT = Path(__file__).parents[2]
PHOTOS, EPOCHS = 250, 4
BEFORE = "55766b8"  # Before crops stayed in memory and the backward pass went on beside.
RECIPE = ["--recipe", "fast", "--set", f"epochs=[{EPOCHS}]", "--set", "lr=1e-3", "--log", "json"]


def call(root: Path, *arguments: object) -> str:
    """What a command of a version prints."""
    command = [sys.executable, *map(str, arguments)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{root}: {done.stderr[-2000:]}")
    return done.stdout


def time_epoch(root: Path, prepared: Path, runs: Path) -> tuple[float, float, float]:
    """Seconds of an epoch, of the processors in the whole training, and the validation loss."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = call(root, "-m", "pipeline", "train", prepared, "-o", runs, *RECIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    epochs = [one for one in map(json.loads, text.splitlines()) if one["event"] == "epoch"]
    ends = [datetime.fromisoformat(one["time"]).timestamp() for one in epochs]
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (ends[-1] - ends[0]) / (EPOCHS - 1), spent, epochs[-1]["valid_loss"]


def main(dataset: str, commit: str = BEFORE, minutes: float = 7) -> None:
    """Print a line for each round, and the medians of all."""
    end = time.monotonic() + 60 * float(minutes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(["git", "worktree", "add", folder / "before", commit], cwd=ROOT, check=True)
        try:
            photos = sorted((Path(dataset) / "images").iterdir())
            for path in photos[:: max(1, len(photos) // PHOTOS)][:PHOTOS]:
                for part, file in (("images", path.name), ("annotations", path.stem + ".xml")):
                    (folder / "set" / part).mkdir(parents=True, exist_ok=True)
                    shutil.copy(Path(dataset) / part / file, folder / "set" / part)
            versions = {"before": folder / "before", "now": ROOT}
            for way, root in versions.items():
                call(
                    root,
                    "-m",
                    "data_prep",
                    "build",
                    folder / "set",
                    "-o",
                    folder / f"{way}-prepared",
                )
            rounds, longest = [], 0.0
            while time.monotonic() + longest < end or not rounds:
                began = time.monotonic()
                times = [
                    time_epoch(root, folder / f"{way}-prepared", folder / "runs")
                    for way, root in versions.items()
                ]
                (old, old_cpu, old_loss), (new, new_cpu, loss) = times
                rounds.append((old / new, old_cpu / new_cpu))
                longest = max(longest, time.monotonic() - began)
                told = f"{old:.2f} s and {new:.2f} s an epoch: {old / new:.2f} times as fast"
                log(f"{told}; processors {old_cpu:.0f} and {new_cpu:.0f} s")
                log(f"validation losses {old_loss:.6f} and {loss:.6f}")
        finally:
            command = ["git", "worktree", "remove", "--force", folder / "before"]
            subprocess.run(command, cwd=ROOT, check=True)
    speed, processors = (median(one) for one in zip(*rounds, strict=True))
    low, high = min(rounds)[0], max(rounds)[0]
    line = f"medians of {len(rounds)}: {speed:.2f} ({low:.2f} to {high:.2f}) times the images/s"
    log(f"{line}, {processors:.2f} times fewer seconds of processors, start and end with them")


if __name__ == "__main__":
    main(*sys.argv[1:])
