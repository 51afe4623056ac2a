"""Run folders: numbered, and holding all that is needed to repeat the run."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from data_prep.base.errors import UserError
from data_prep.base.files import OutputError, sha256_of, write_atomically, write_json
from data_prep.prepare.build import read_manifest
from pipeline.nets.cards import DETECTOR
from pipeline.nets.options import SHIPPED
from pipeline.runs.recipe import ClassifierRecipe, Recipe, write_recipe

RECIPE, HISTORY, ABOUT, CHECKPOINT = "recipe.toml", "history.csv", "run.json", "checkpoint.pt"
MEMBERS = "members"
"""Folder in the run folder of an ensemble, with the run folders of its members."""

LIBRARIES = ("fastai", "numpy", "opencv-python", "torch", "torchvision")
_READING = frozenset({"aliases", "format", "names", "columns", "crop_scale"})


class PreparedError(UserError, ValueError):
    """A prepared folder that can't be trained on; the message says what to do."""


@dataclass(frozen=True)
class Run:
    """A run folder and the data it was trained on.

    Attributes:
        folder: Where weights, figures and plots go.
        data: What identifies the data: hash of `faces.csv`, sources, split options.
    """

    folder: Path
    data: dict[str, Any]

    def write_history(self, rows: Sequence[dict[str, float]]) -> None:
        """Write `history.csv`, one row per epoch or validation."""
        table = pd.DataFrame(list(rows))
        write_atomically(self.folder / HISTORY, table.to_csv(index=False, float_format="%.6g"))

    def describe_training(self, recipe: Recipe) -> dict[str, Any]:
        """Recipe, data, code and versions, for the card."""
        values = recipe.model_dump(mode="json")
        if isinstance(recipe, ClassifierRecipe):
            values["init"] = name_weights(recipe.init)
            values["teachers"] = [name_weights(teacher) for teacher in recipe.teachers]
            if recipe.drawn:
                values["drawn_on_landmarks_of"] = name_weights("detector")
        return {
            "recipe": values,
            "data": self.data,
            "code_sha256": hash_code(),
            "versions": {name: version(name) for name in LIBRARIES},
            "python": platform.python_version(),
        }


def name_weights(name: str) -> str:
    """What tells weights that a recipe names from any others; a word for none stays as it is.

    A card goes further than the folders of the machine it was made on.

    >>> name_weights("random")
    'random'
    """
    path = SHIPPED / f"{DETECTOR}.safetensors" if name == "detector" else Path(name)
    if not path.is_file():
        return name
    return f"{name if name == 'detector' else path.name}, sha256 {sha256_of(path)}"


def open_run(
    resume: Path | None,
    runs: Path,
    recipe: Recipe,
    data: dict[str, Any],
    *,
    start: Path | None = None,
) -> Run:
    """The run folder to go on with, or the next new one; `start` as of `start_run`.

    Raises:
        PreparedError: `resume` can't be gone on with.
        OutputError: A new folder can't be made.
    """
    if resume is not None:
        return resume_run(resume, data)
    return start_run(runs, recipe, data, start=start)


def start_run(
    runs: Path, recipe: Recipe, data: dict[str, Any], *, start: Path | None = None
) -> Run:
    """Make the next numbered folder, `runs/007-name`, with the resolved recipe in it.

    Args:
        runs: Holds the run folders.
        recipe: Every number.
        data: From `identify_data`.
        start: Weights that a detector starts from.

    Raises:
        OutputError: It can't be made.
    """
    taken = [int(m[1]) for p in runs.glob("*") if (m := re.match(r"(\d+)-", p.name))]
    slug = re.sub(r"[^\w.-]+", "-", recipe.name)
    folder = runs / f"{max(taken, default=0) + 1:03d}-{slug}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"{folder}: can't be made ({error.strerror or error}).") from error
    run = Run(folder, data)
    write_atomically(folder / RECIPE, write_recipe(recipe))
    write_json(folder / ABOUT, run.describe_training(recipe) | name_start(start))
    return run


def name_start(start: Path | None) -> dict[str, str]:
    """Of a detector's `run.json`: the weights it started from; nothing for other runs."""
    return {} if start is None else {"start": name_weights(str(start))}


def resume_run(folder: Path, data: dict[str, Any]) -> Run:
    """Take up a run folder.

    Raises:
        PreparedError: It was not made by a training, the training is done, or it was on other data,
            whose validation faces may be training faces here.
    """
    if not (folder / RECIPE).is_file():
        raise PreparedError(f"{folder}: no {RECIPE} there; --resume takes a run folder.")
    if is_finished(folder):
        raise PreparedError(f"{folder}: this training is done; start another without --resume.")
    if _trained_on(folder) != data:
        raise PreparedError(f"{folder}: this training was begun on another prepared folder.")
    return Run(folder, data)


def is_finished(folder: Path) -> bool:
    """Whether a run's weights and card, which is written last, are there and nothing is left."""
    cards = (path.with_suffix(".json") for path in folder.glob("*.safetensors"))
    return any(card.is_file() for card in cards) and not (folder / CHECKPOINT).is_file()


def _trained_on(folder: Path) -> Any:
    try:
        return json.loads((folder / ABOUT).read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise PreparedError(f"{folder / ABOUT}: can't be read ({error}).") from error


def identify_data(prepared: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """What identifies a prepared folder, and the dataset folder of each source.

    Raises:
        PreparedError: The folder is not a whole result of `data_prep build`.
    """
    manifest = read_manifest(prepared)
    # A build killed in its last step leaves a manifest without inputs.
    if not manifest or not manifest.get("inputs") or not (prepared / "faces.csv").is_file():
        raise PreparedError(
            f"{prepared}: not a prepared folder; make it with: python -m data_prep build."
        )
    data = {
        "faces_sha256": sha256_of(prepared / "faces.csv"),
        "sources": [dataset["source"] for dataset in manifest["datasets"]],
        # How datasets were read shows in the faces; paths and names need not.
        "options": {k: v for k, v in manifest["options"].items() if k not in _READING},
    }
    return data, {d["source"]: Path(d["root"]) for d in manifest["datasets"]}


def hash_code(root: Path = Path(__file__).parents[2]) -> str:
    """Hash of the project's own Python files, so that a run knows which code made it."""
    digest = hashlib.sha256()
    for package in ("data_prep", "evaluate", "pipeline"):
        for file in sorted((root / package).rglob("*.py")):
            digest.update(file.relative_to(root).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()
