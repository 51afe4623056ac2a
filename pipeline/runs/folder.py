"""Run folders: numbered, holding all that is needed to repeat the run, read back with care."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from data_prep.base import files
from data_prep.base.command import spell
from data_prep.base.errors import UserError, suggest
from data_prep.base.files import sha256_of, write_atomically, write_json, writing
from data_prep.base.labels import CLASSES
from pipeline.nets.options import CLASSIFIER, DETECTOR, SHIPPED
from pipeline.runs.recipe import ClassifierRecipe, Recipe, write_recipe

RECIPE, HISTORY, ABOUT, CHECKPOINT = "recipe.toml", "history.csv", "run.json", "checkpoint.pt"
PREDICTIONS, WEIGHTS = "valid.csv", f"{CLASSIFIER}.safetensors"

FEW_FACES = 20  # With fewer of a class in the validation split, its recall says little.

Row = dict[str, float]  # Of a history: an epoch or a validation.

LIBRARIES = ("fastai", "numpy", "opencv-python", "torch", "torchvision")
_READING = frozenset({"aliases", "format", "names", "columns", "crop_scale"})


class PreparedError(UserError, ValueError):
    """A prepared folder that can't be trained on; the message says what to do."""


class RunError(UserError, ValueError):
    """A run folder that can't be read, gone on with or compared; the message says what to do."""


@dataclass(frozen=True)
class Run:
    """A run folder and what identifies the data it was trained on (`identify_data`)."""

    folder: Path
    data: dict[str, Any]
    photos: tuple[str, ...] = ()  # What the card keeps of the training photos.
    warning: str = ""  # what makes its figures mean less
    refit: Path | None = None  # the run that it repeats on all photos

    def warn(self, warning: str) -> Run:
        """The same run with a warning, which `run.json` keeps."""
        write_json(self.folder / ABOUT, _read_json(self.folder / ABOUT) | {"warning": warning})
        return replace(self, warning=warning)

    def write_history(self, rows: Sequence[Row]) -> None:
        """Write `history.csv`, one row per epoch or validation."""
        table = pd.DataFrame(list(rows))
        write_atomically(self.folder / HISTORY, table.to_csv(index=False, float_format="%.6g"))

    def describe_training(self, recipe: Recipe) -> dict[str, Any]:
        """Recipe, data, code and versions, for the card."""
        values = recipe.model_dump(mode="json")
        values["init"] = name_weights(recipe.init)
        if isinstance(recipe, ClassifierRecipe):
            values["teachers"] = [name_weights(teacher) for teacher in recipe.teachers]
            if recipe.drawn:
                values["drawn_on_landmarks_of"] = name_weights("detector")
        twin = {"refit": name_weights(str(self.refit / WEIGHTS))} if self.refit else {}
        return twin | {
            "recipe": values,
            "data": self.data,
            "code_sha256": hash_code(),
            "versions": {name: version(name) for name in LIBRARIES},
            "python": platform.python_version(),
        }


def name_weights(name: str) -> str:
    """File name and hash of weights that a recipe names; a word for none stays as it is."""
    path = SHIPPED / f"{DETECTOR}.safetensors" if name == "detector" else Path(name)
    if not path.is_file():
        return name
    return f"{name if name == 'detector' else path.name}, sha256 {sha256_of(path)}"


def start_run(
    runs: Path,
    recipe: Recipe,
    data: dict[str, Any],
    *,
    start: Path | None = None,
    refit: Path | None = None,
) -> Run:
    """Make the next numbered folder, `runs/007-name`, with its recipe; a detector has a start."""
    taken = [int(m[1]) for p in runs.glob("*") if (m := re.match(r"(\d+)-", p.name))]
    slug = re.sub(r"[^\w.-]+", "-", recipe.name)
    for number in count(max(taken, default=0) + 1):
        folder = runs / f"{number:03d}-{slug}"
        with writing(folder), suppress(FileExistsError):  # Taken just now by another training.
            folder.mkdir(parents=True)
            break
    run = Run(folder, data, refit=refit)
    write_atomically(folder / RECIPE, write_recipe(recipe))
    begun_with = {"start": name_weights(str(start))} if start else {}
    begun_with |= {"repeats": str(refit)} if refit else {}
    write_json(folder / ABOUT, run.describe_training(recipe) | begun_with)
    return run


def resume_run(folder: Path, data: dict[str, Any]) -> Run:
    """Take up a run; raises `RunError` if it is none, done, or was begun on other data."""
    if not (folder / RECIPE).is_file():
        raise RunError(f"{folder}: {_tell_no_run(folder, finished=False)}")
    if is_finished(folder):
        raise RunError(f"{folder}: this training is done; start another without --resume.")
    about = read_run(folder).about
    if about["data"] != data:
        raise RunError(f"{folder}: this training was begun on another prepared folder.")
    refit = about.get("repeats")
    return Run(folder, data, refit=None if refit is None else check_twin(Path(refit), data))


def _tell_no_run(folder: Path, *, finished: bool) -> str:
    """What a run folder is, and which lie in this one, beside it or in `runs` there."""
    places = (folder, folder.parent, folder.parent / "runs")
    near = sorted({path.parent for place in places for path in place.glob(f"*/{RECIPE}")})
    fit = (one for one in near if (_has_classifier(one) if finished else not is_finished(one)))
    names = ", ".join(map(str, fit)) or "none"
    what = "no finished training of a classifier" if finished else "no such run folder"
    kind = "Finished" if finished else "Unfinished"
    made = "training makes a folder in --runs, such as runs/001-default"
    return f"{what}; {made}. {kind} ones near it: {names}."


def check_twin(folder: Path, data: dict[str, Any]) -> Path:
    """A run that another may repeat on all photos; `RunError`: not done, or on other data."""
    if not _has_classifier(folder):
        raise RunError(f"{folder}: {_tell_no_run(folder, finished=True)}")
    about = read_run(folder).about
    if about["data"] != data or "refit" in about:
        why = "repeats another itself" if "refit" in about else "learnt from another folder"
        raise RunError(f"{folder}: {why}; its figures would not be those of the new one's recipe.")
    return folder


def _has_classifier(folder: Path) -> bool:
    return is_finished(folder) and (folder / WEIGHTS).is_file()


def is_finished(folder: Path) -> bool:
    """Whether a run's weights and card, which is written last, are there and nothing is left."""
    cards = (path.with_suffix(".json") for path in folder.glob("*.safetensors"))
    return any(card.is_file() for card in cards) and not (folder / CHECKPOINT).is_file()


@dataclass(frozen=True)
class RunRecord:
    """All that a run folder says of itself."""

    folder: Path
    recipe: dict[str, Any]
    about: dict[str, Any]  # run.json: data, code hash, versions
    history: pd.DataFrame  # empty before the first row
    results: dict[str, Any]  # on the validation split, from the card; empty before the end
    recalls: dict[str, tuple[int, int]]  # of the same weights, by class: faces told right, and all

    @property
    def kept(self) -> int | None:
        """The epoch, from 1, that the weights are of; a detector's step; none before the first."""
        if self.history.empty or "step" in self.history:
            return int(self.history["step"].iloc[-1]) if len(self.history) else None
        return find_kept(self.history) + 1

    @property
    def saved(self) -> dict[str, float]:
        """Figures of the written weights on the validation split; empty before the end."""
        own = self.results.get("all", {})
        figures = {name: own[name] for name in ("accuracy", "macro_recall") if name in own}
        aps = [value for name, value in self.results.items() if name.endswith("_face_ap50")]
        return figures | ({"face_ap50": sum(aps) / len(aps)} if aps else {})


def find_kept(history: pd.DataFrame) -> int:
    """The place of the epoch that is kept: with the least validation loss of the last stage."""
    losses = history.loc[history["stage"] == history["stage"].iloc[-1], "valid_loss"]
    kept = losses.index[-1] if losses.isna().all() else losses.idxmin()
    return history.index.tolist().index(kept)


def read_run(folder: Path) -> RunRecord:
    """Read a run folder; raises `RunError`, naming the file, if one can't be read."""
    path = folder / RECIPE
    if not folder.is_dir():
        others = (one.parent.name for one in sorted(folder.parent.glob(f"*/{RECIPE}")))
        raise RunError(f"{folder}: no such run folder; {suggest(folder.name, others)}")
    try:
        recipe = tomllib.loads(path.read_text(encoding="utf-8"))
        path = folder / ABOUT
        about = _read_json(path)
        if not all(isinstance(source, str) for source in about["data"]["sources"]):
            raise ValueError("it does not name the data")
        path = folder / HISTORY
        history = pd.read_csv(path) if path.is_file() else pd.DataFrame()
        results: dict[str, Any] = {}
        for net in (CLASSIFIER, DETECTOR):
            path = folder / f"{net}.json"
            if path.is_file() and path.with_suffix(".safetensors").is_file():
                results = dict(_read_json(path).get("results", {}).get("valid", {}))
        path = folder / PREDICTIONS
        recalls = count_right(pd.read_csv(path)) if results and path.is_file() else {}
    except (OSError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        reason = reason or (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"{path}: can't be read ({reason}).") from error
    return RunRecord(folder, recipe, about, history, results, recalls)


def count_right(answers: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Of each class in the order of `CLASSES`, faces told right, and all; rows of `valid.csv`."""
    right = (answers["label"] == answers["predicted"]).groupby(answers["label"])
    counts = {name: (int(own.sum()), len(own)) for name, own in right}
    return {name: counts[name] for name in CLASSES if name in counts}


def _read_json(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError("it is not a record")
    return value


def identify_data(prepared: Path, *outs: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """What identifies a prepared folder, and the dataset folder of each source: none gets `outs`.

    Raises `PreparedError` if the folder is not a whole result of `data_prep build`.
    """
    from data_prep.prepare.build import read_manifest  # Here, for `runs` to be quick.

    manifest = read_manifest(prepared)
    # A build killed in its last step leaves a manifest without inputs.
    if not manifest or not manifest.get("inputs") or not (prepared / "faces.csv").is_file():
        why = "not a prepared folder" if prepared.exists() else "no such folder"
        raise PreparedError(f"{prepared}: {why}; make it with: {spell('build')}.")
    data = {
        "faces_sha256": sha256_of(prepared / "faces.csv"),
        "sources": [dataset["source"] for dataset in manifest["datasets"]],
        # How datasets were read shows in the faces; paths and names need not.
        "options": {k: v for k, v in manifest["options"].items() if k not in _READING},
    }
    roots = {d["source"]: Path(d["root"]) for d in manifest["datasets"]}
    files.refuse_dataset_folders(outs, roots.values(), around=True)
    return data, roots


def hash_code(root: Path = Path(__file__).parents[2]) -> str:
    """Hash of the project's own code and tables, so that a run knows what made it."""
    digest = hashlib.sha256()
    for package in ("data_prep", "evaluate", "pipeline"):
        for file in sorted((root / package).rglob("*.*")):
            if file.suffix in {".py", ".toml"}:
                digest.update(file.relative_to(root).as_posix().encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def flatten(values: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Nested records as one, keys joined by dots, lists as texts."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{before}{key}.")
        else:
            flat[f"{before}{key}"] = str(value) if isinstance(value, list) else value
    return flat
