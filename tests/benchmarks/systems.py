"""Systems of the field and ours: trained, measured on the same photos, timed, and shown.

python -m tests.benchmarks.systems PREPARED -o OUT
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
import typer

from data_prep.base.command import as_command
from data_prep.base.crop import CROP_SCALE, encode_crop
from data_prep.base.errors import OptionError, suggest
from data_prep.base.files import make_folder, read_object, write_atomically, write_json
from data_prep.base.labels import BARE, CLASSES, MASKED, RARE_CLASS
from data_prep.base.photo import read_photo
from data_prep.base.progress import show_progress
from data_prep.base.tables import markdown_table
from data_prep.formats.predictions import tabulate_predictions
from data_prep.grouping.split import TRAIN
from data_prep.prepare.options import BlurRule, Decisions
from evaluate.arrays import Detections, GroundTruth
from evaluate.inputs.predictions import make_predictions, place_predictions
from evaluate.inputs.truth import take_faces
from evaluate.measures.alarm import describe_alarm
from evaluate.measures.case import Case
from evaluate.measures.headline import describe_headline
from evaluate.options import EvaluateOptions
from pipeline.experiments.measure import (
    THRESH,
    PreparedData,
    classify_faces,
    pick_figures,
    predict_photos,
)
from pipeline.experiments.tables import show_figure
from pipeline.inference.detector import Detector
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import Frame
from pipeline.nets.cards import load_state
from pipeline.nets.compute import pick_device
from pipeline.nets.options import CLASSIFIER, DETECTOR, SHIPPED, Device, LogAs, Prepared
from pipeline.runs.folder import CHECKPOINT, Recipe, Run
from pipeline.runs.log import Log, report_as
from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe, Incorrect, load_recipe
from pipeline.training.classifier import train_classifier
from pipeline.training.data import draw_on_crop
from pipeline.training.detector import train_detector
from tests.benchmarks.repeated import (
    open_annotated,
    prefix_log,
    read_built,
    rebuild,
    train_once,
)

PHOTOS = 40
ROUNDS = 5
BATCH = 8

TABLE, TEXT, SECONDS = "compare.json", "compare.md", "seconds.json"

SHOWN = {
    "accuracy": "crop accuracy",
    "macro_recall": "macro recall",
    "map50": "mAP@0.5",
    "map50_95": "mAP@[.5:.95]",
    "two_map50": "two classes: mAP@0.5",
    "tnr": "TNR",
    "fnr": "FNR",
    "auc": "AUC",
}
"""Figures of the table, by the names that people know."""


@dataclass(frozen=True)
class CompareOptions:
    """Which systems are compared, and on what."""

    prepared: Prepared
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets runs, table and plot.")]
    only: Annotated[
        list[str], typer.Option(metavar="NAME", help="Only this system; may be repeated.")
    ] = field(default_factory=list)
    decisions: Decisions = field(default_factory=list)
    device: Device = "auto"
    log: LogAs = "text"


@dataclass(frozen=True)
class System:
    """A system and the data it wants."""

    name: str
    recipe: str | None  # that trains it; None for the shipped weights as they are
    single: bool = False  # one network finds faces and tells classes, without the shipped detector
    scale: float = CROP_SCALE
    blur: BlurRule | None = None  # as in the folder it is compared on when None
    cleaned: bool = False  # it learns from the labels after reviewers' decisions
    drawn: bool = False  # it learns from bare faces and masks drawn on these alone
    claim: str = "–"  # of the original, and on what
    sets: tuple[str, ...] = ()  # numbers of the recipe that are changed

    def load_recipe(self) -> ClassifierRecipe | DetectorRecipe:
        """The recipe of a system that has one, under the system's name."""
        assert self.recipe is not None
        sets = [f"name={self.name}", *self.sets]
        if self.single:
            return load_recipe(self.recipe, DetectorRecipe, sets)
        return load_recipe(self.recipe, ClassifierRecipe, sets)

    @property
    def incorrect(self) -> Incorrect:
        """What a mask worn wrongly is to it."""
        return "own" if self.recipe is None else self.load_recipe().incorrect


SYSTEMS: tuple[System, ...] = (
    System("shipped", None),
    System("default", "default"),
    System("fast", "fast"),
    System("sams-gray", "sams-gray", scale=1.0, claim="accuracy 0.88, split by crop"),
    System("sams-colour", "sams-colour", scale=1.0, claim="accuracy over 0.93, split by crop"),
    System(
        "dataroots",
        "dataroots",
        drawn=True,
        claim="TNR 0.885, FNR 0.118, classifier 0.90, on 524 faces of its own",
    ),
    System(
        "covid-fastai",
        "covid-fastai",
        blur="global",
        cleaned=True,
        claim="accuracy 0.980, mAP@0.5 0.903 of two classes, on the set it had cleaned itself",
    ),
    System(
        "single-stage",
        "single-stage",
        single=True,
        claim="YOLOv5s: mAP@0.5 0.94, mAP@[.5:.95] 0.53, P 0.93, R 0.89, turned before the split",
    ),
)


def choose_systems(names: Sequence[str]) -> tuple[System, ...]:
    """The systems of these names, in the order of `SYSTEMS`; all when none is named."""
    known = [system.name for system in SYSTEMS]
    for name in names:
        if name not in known:
            raise OptionError(f"no system '{name}': {suggest(name, known)}")
    return tuple(system for system in SYSTEMS if not names or system.name in names)


def prepare_data(
    system: System, base: PreparedData, out: Path, decisions: Sequence[Path], log: Log
) -> PreparedData:
    """The data of a system: those of `base`, which all are measured by, or a folder in `out`.

    Raises:
        PreparedError: The datasets have changed since `base` was built.
    """
    blur = system.blur or read_built(base).blur_rule
    ledgers = list(decisions) if system.cleaned else []
    if system.cleaned and not decisions:
        log(f"{system.name}: no --decisions, so its labels are as annotated", "note")
    if not ledgers and (system.scale, blur) == (base.scale, read_built(base).blur_rule):
        return base
    folder = out / (f"{blur}-{system.scale:g}" + ("-cleaned" if ledgers else ""))
    log(f"{system.name}: building {folder}", "build", folder=folder)
    changes = {"scale": system.scale, "blur_rule": blur, "decisions": ledgers}
    return rebuild(base, folder, ["split"], fewer=bool(ledgers), **changes)


START = SHIPPED / f"{DETECTOR}.safetensors"  # Of a single stage.


def mask_bare_faces(faces: pd.DataFrame, folder: Path, crops: Path) -> pd.DataFrame:
    """Masked training faces replaced by the bare ones with masks drawn on them, put into `crops`.

    The folder has the crops there are. Bare faces whose landmarks are found are there twice.
    """
    detector, random = Detector.load(START, device=torch.device("cpu")), np.random.default_rng(0)
    training, bare = faces["split"] == TRAIN, faces["label"] == BARE
    rows = []
    for number, row in enumerate(faces[training & bare].to_dict("records")):
        crop = read_photo(folder / row["crop"]).pixels
        if (drawn := draw_on_crop(crop, detector, "properly", random)) is not None:
            path = crops.absolute() / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, encode_crop(drawn))
            rows.append({**row, "crop": str(path), "label": MASKED})
    return pd.concat([faces[~training | bare], pd.DataFrame(rows)], ignore_index=True)


SURE = 0.5  # Detection score at which alarms are counted.

ALARM = ("tnr", "fnr", "auc")

Sides = tuple[GroundTruth, Detections]

_BARE, _RARE = CLASSES.index(BARE), CLASSES.index(RARE_CLASS)


def merge_incorrect(truth: GroundTruth, detections: Detections) -> Sides:
    """Masks worn wrongly count as no mask, in the annotations and in what is predicted."""
    assert detections.probabilities is not None
    labels = np.where(truth.labels == _RARE, _BARE, truth.labels)
    shares = detections.probabilities.copy()
    shares[:, _BARE] += shares[:, _RARE]
    shares[:, _RARE] = 0
    return replace(truth, labels=labels), _relabel(detections, shares)


def leave_out_incorrect(truth: GroundTruth, detections: Detections) -> Sides:
    """Faces with masks worn wrongly are not asked about, as if difficult.

    The probabilities of the other two classes are scaled to add up to 1; where both are 0, each is
    a half.
    """
    assert detections.probabilities is not None
    shares = detections.probabilities.copy()
    shares[:, _RARE] = 0
    total = shares.sum(axis=1, keepdims=True)
    two = np.arange(len(CLASSES)) != _RARE
    shares = np.where(total > 0, shares / np.where(total > 0, total, 1), 0.5 * two)
    difficult = truth.difficult | (truth.labels == _RARE)
    return replace(truth, difficult=difficult), _relabel(detections, shares)


def _relabel(detections: Detections, shares: np.ndarray) -> Detections:
    return replace(
        detections,
        labels=shares.argmax(axis=1),
        scores=detections.detection * shares.max(axis=1, initial=0),
        probabilities=shares,
    )


def read_classes(incorrect: Incorrect, truth: GroundTruth, detections: Detections) -> Sides:
    """What a system's classes make of annotations and predictions."""
    if incorrect == "own":
        return truth, detections
    change = merge_incorrect if incorrect == "without_mask" else leave_out_incorrect
    return change(truth, detections)


def measure_system(
    nets: Predictor, incorrect: Incorrect, base: PreparedData, crops: PreparedData
) -> dict[str, dict[str, Any]]:
    """Run a system over the validation photos of each source; `base` gives photos and labels.

    `incorrect` is what a mask worn wrongly is to the system, `crops` the same faces cut at the
    scale of its classifier.

    Returns:
        For each source `photos` and `faces`; by its own classes `map50`, `map50_95`, and on
        annotated boxes `accuracy` and `macro_recall`; by two classes that every system has, masks
        worn wrongly left out, `two_map50`; as an alarm, for which masks worn wrongly are as good as
        none, at a detection score of `SURE`, `tnr`, `fnr`, `auc`. All but the first two as [value,
        low, high], None where not defined.
    """
    results = {}
    for source, faces in base.valid.items():
        truth = take_faces(faces)
        found = predict_photos(replace(nets, thresh=THRESH), base.list_valid(source))
        files = {f"{source}/{image}": base.roots[source] / image for image in faces["image"]}
        detections = place_predictions(found, truth, files).detections
        figures = {
            "photos": len(truth.photos),
            "faces": len(truth.labels),
            **_headline(read_classes(incorrect, truth, detections), "map50", "map50_95"),
            "two_map50": _headline(leave_out_incorrect(truth, detections), "map50")["map50"],
            **pick_figures(
                describe_alarm(Case(truth, detections, EvaluateOptions(thresh=SURE))), *ALARM
            ),
        }
        if nets.classifier is not None:
            # The labels are the base's: those of the crops' folder may be cleaned ones.
            rows = classify_faces(nets.classifier, crops.valid[source], crops.folder)
            told = make_predictions(tabulate_predictions(rows), Path("crops"))
            sides = truth, place_predictions(told, truth).detections
            figures |= _headline(read_classes(incorrect, *sides), "accuracy", "macro_recall")
        results[source] = figures
    return results


def _headline(sides: Sides, *names: str) -> dict[str, Any]:
    return pick_figures(describe_headline(Case(*sides)), *names)


def train_system(
    recipe: Recipe, data: PreparedData, run: Run, *, device: torch.device, log: Log
) -> None:
    """Train the one net of a system that it doesn't share with others.

    Its folder gets the processor seconds, those of loaders of photos too; None where it was stopped
    in between.
    """
    is_fresh = not (run.folder / CHECKPOINT).exists()
    began = sum(os.times()[:4])
    if isinstance(recipe, DetectorRecipe):
        faces, roots, state = data.table, dict(data.roots), load_state(START)
        train_detector(faces, roots, recipe, state, run, device=device, log=log)
    else:
        train_classifier(data.table, data.folder, recipe, run, device=device, log=log)
    seconds = round(sum(os.times()[:4]) - began, 1)
    write_json(run.folder / SECONDS, {"seconds": seconds if is_fresh else None})


def compare_systems(options: CompareOptions, log: Log) -> list[dict[str, Any]]:
    """Train what is left to train, measure all on the validation split of the folder, time all.

    Returns:
        Of each its `system`, number of `classes`, `figures` by source, of `measure_system`,
        `minutes` of a core for the training (None where not known), `megabytes` of its weights, the
        detector's included, `run` (a folder's name), and `seconds` per photo.
    """
    systems, out, device = choose_systems(options.only), options.out, pick_device(options.device)
    base = open_annotated(options.prepared, options.out)
    make_folder(out)
    compared: list[dict[str, Any]] = []
    timed: dict[str, Predictor] = {}
    for system in systems:
        data = prepare_data(system, base, out / "data", options.decisions, log)
        if system.drawn:
            drawn = mask_bare_faces(data.table, data.folder, out / "data" / "drawn")
            data = replace(data, table=drawn)
        seconds, weights = None, SHIPPED
        if system.recipe is not None:
            recipe, own = system.load_recipe(), prefix_log(log, system.name, system=system.name)
            train = partial(train_system, recipe, data, device=device, log=own)
            start = START if system.single else None
            run = train_once(out / "runs", recipe, data.data, train, start=start, log=own)
            seconds = (read_object(run.folder / SECONDS) or {}).get("seconds")
            weights = run.folder
        nets = timed[system.name] = Predictor.load(weights, device=device)
        log(f"{system.name}: measuring", "measuring", system=system.name)
        crops = base if data.scale == base.scale else data
        files = [weights / f"{DETECTOR if system.single else CLASSIFIER}.safetensors"]
        files += [] if system.single else [SHIPPED / f"{DETECTOR}.safetensors"]
        record = {
            "system": asdict(system),
            "classes": 3 if system.incorrect == "own" else 2,
            "figures": measure_system(nets, system.incorrect, base, crops),
            "minutes": None if seconds is None else seconds / 60,
            "megabytes": sum(file.stat().st_size for file in files) / 1e6,
            "run": "" if system.recipe is None else weights.name,
        }
        compared.append(record)
    took = time_systems(timed, base)
    return [record | {"seconds": took[record["system"]["name"]]} for record in compared]


def time_systems(systems: Mapping[str, Predictor], base: PreparedData) -> dict[str, float]:
    """Seconds per photo of each system, nets alone, on decoded validation photos.

    Of the fastest of `ROUNDS` rounds over `PHOTOS` photos, spread evenly: the least is what the
    machine can do when nothing else disturbs it.
    """
    images = [
        (source, image) for source, rows in base.valid.items() for image in sorted({*rows["image"]})
    ]
    chosen = [images[i] for i in np.linspace(0, len(images) - 1, PHOTOS).round().astype(int)]
    photos = [
        Frame(image, pixels=read_photo(base.roots[source] / image).pixels)
        for source, image in chosen
    ]
    best = dict.fromkeys(systems, float("inf"))
    turns = [name for _ in range(ROUNDS) for name in systems]
    for name in show_progress(turns, len(turns), "timing"):
        began = time.perf_counter()
        for first in range(0, len(photos), BATCH):
            systems[name](photos[first : first + BATCH])
        best[name] = min(best[name], (time.perf_counter() - began) / len(photos))
    return best


def describe(compared: Sequence[Mapping[str, Any]]) -> str:
    """Markdown tables of what the systems cost, and of their figures for each source."""
    of = {one["system"]["name"]: one for one in compared}
    base = "default" if "default" in of else next(iter(of))
    heads = ["system", "classes", "claimed", "training, minutes of a core", "MB", "ms per photo"]
    rows = []
    for name, one in of.items():
        minutes = "–" if one["minutes"] is None else f"{one['minutes']:.1f}"
        costs = [minutes, f"{one['megabytes']:.1f}", f"{1000 * one['seconds']:.0f}"]
        ratio = f"{one['seconds'] / of[base]['seconds']:.2f} ×"
        rows.append([f"`{name}`", one["classes"], one["system"]["claim"], *costs, ratio])
    parts = [markdown_table([*heads, f"against {base}"], rows)]
    for source, about in of[base]["figures"].items():
        parts.append(f"{source}, {about['photos']} validation photos, {about['faces']} faces:")
        rows = [
            [f"`{name}`", *(show_figure(one["figures"][source].get(key)) for key in SHOWN)]
            for name, one in of.items()
        ]
        parts.append(markdown_table(["system", *SHOWN.values()], rows))
    return "\n\n".join(parts)


def compare(options: CompareOptions) -> None:
    """Train the systems of the field and ours, measure all on the same validation photos.

    Prints Markdown tables; goes on where it was stopped.
    """
    with report_as(options.log) as report:
        compared, out = compare_systems(options, report.log), options.out
        text = describe(compared)
        write_json(out / TABLE, compared)
        write_atomically(out / TEXT, text + "\n")
        report.finish("", text, folder=out, table=out / TABLE, systems=compared)


app = typer.Typer(add_completion=False)
app.command()(as_command(compare))

if __name__ == "__main__":
    app()
