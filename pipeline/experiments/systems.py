"""The systems that are compared, what the originals of the field claimed, and their data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.base.crop import CROP_SCALE
from data_prep.base.errors import suggest
from data_prep.base.tables import KEY
from data_prep.grouping.split import naive_split
from data_prep.prepare.blur import BlurRule
from data_prep.prepare.build import build
from pipeline.experiments.engine import ExperimentError, PreparedData
from pipeline.runs.folder import PreparedError
from pipeline.runs.log import Log
from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe, Incorrect, load_recipe

BY_CROP = "by crop"
"""How the split of data that leaks is called in run folders."""


@dataclass(frozen=True)
class System:
    """A system and the data it wants."""

    name: str
    recipe: str | None  # that trains it; None for the shipped weights as they are
    single: bool = False  # one network finds faces and tells classes, without the shipped detector
    scale: float = CROP_SCALE
    blur: BlurRule | None = None  # as in the folder it is compared on when None
    cleaned: bool = False  # it learns from the labels after reviewers' decisions
    by_crop: bool = False  # its split is one by crop, as the original's was: the leak shows
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

    @property
    def learns_drawn_masks(self) -> bool:
        """Whether it knows masks from drawings alone."""
        recipe = None if self.recipe is None else self.load_recipe()
        return isinstance(recipe, ClassifierRecipe) and recipe.masks == "drawn"


_GRAY = "accuracy 0.88, split by crop"
_COLOUR = "accuracy over 0.93, split by crop"

SYSTEMS: tuple[System, ...] = (
    System("shipped", None),
    System("default", "default"),
    System("fast", "fast"),
    System("sams-gray", "sams-gray", scale=1.0, claim=_GRAY),
    System("sams-colour", "sams-colour", scale=1.0, claim=_COLOUR),
    System("sams-gray-by-crop", "sams-gray", scale=1.0, by_crop=True, claim=_GRAY),
    System("sams-colour-by-crop", "sams-colour", scale=1.0, by_crop=True, claim=_COLOUR),
    System(
        "dataroots",
        "dataroots",
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
            raise ExperimentError(f"no system '{name}': {suggest(name, known)}")
    return tuple(system for system in SYSTEMS if not names or system.name in names)


def prepare_data(
    system: System, base: PreparedData, out: Path, decisions: Sequence[Path], log: Log
) -> PreparedData:
    """The data of a system, built if it is not there yet.

    Every other scale, blur rule or labels than those of `base`, which all systems are measured by,
    get a prepared folder in `out`.

    Raises:
        PreparedError: The datasets have changed since `base` was built.
    """
    options = base.built
    wanted = replace(options, scale=system.scale, blur_rule=system.blur or options.blur_rule)
    ledgers = list(decisions) if system.cleaned else []
    if system.cleaned and not decisions:
        log(f"{system.name}: no --decisions, so its labels are as annotated", "note")
    data = base
    if ledgers or wanted != options:
        name = f"{wanted.blur_rule}-{wanted.scale:g}" + ("-cleaned" if ledgers else "")
        log(f"{system.name}: building {out / name}", "build", folder=out / name)
        build(replace(wanted, out=out / name, decisions=ledgers))
        data = PreparedData.open(out / name)
        both = base.faces.merge(data.faces, on=list(KEY), suffixes=("", "_other"))
        if len(both) < len(data.faces) or (both["split"] != both["split_other"]).any():
            raise PreparedError(
                f"{base.folder}: the datasets have changed since it was built; build it again."
            )
    if not system.by_crop:
        return data
    faces = data.faces.assign(split=naive_split(len(data.faces), seed=options.seed))
    return replace(data, faces=faces, data={**data.data, "split": BY_CROP})
