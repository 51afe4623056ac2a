"""What experiments try: choices of a recipe, grids of its numbers."""

import hashlib
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pydantic import TypeAdapter

from data_prep.base.errors import UserError, suggest
from data_prep.prepare.options import BlurRule
from pipeline.runs.recipe import ClassifierRecipe, load_recipe


class ExperimentError(UserError, ValueError):
    """What can't be tried or compared; the message says what to do."""


def split_names(text: str, known: Iterable[str], what: str) -> list[str]:
    """Names with commas between, each once; `ExperimentError` about one that isn't known."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            raise ExperimentError(f"no {what} '{name}': {suggest(name, known)}")
    return names


@dataclass(frozen=True)
class Choice:
    """One thing that is done otherwise."""

    name: str  # for `--only`, and of its folder
    what: str  # for people
    sets: tuple[str, ...] = ()
    scale: float | None = None  # of the crops; that of the prepared folder when None
    blur: BlurRule | None = None  # thins out the majority class in training
    source: str | None = None  # the only dataset that is learnt from
    cleaned: bool = False  # learns from the labels of the folder built with decisions

    @property
    def folder(self) -> str:
        """Of its trainings: its name, or a hash where a file can't be called so."""
        if re.fullmatch(r"[\w.=-]+", self.name):
            return self.name
        return hashlib.sha256(self.name.encode()).hexdigest()[:16]


BASE = Choice("base", "the recipe as it is")

_TABLE = tomllib.loads(Path(__file__).with_name("choices.toml").read_text(encoding="utf-8"))
CHOICES = TypeAdapter(tuple[Choice, ...]).validate_python(_TABLE["choices"])
"""One per dataset, that learns from it alone, is added to these."""


def find_choices(only: str, sources: list[str], *, has_cleaned: bool) -> list[Choice]:
    """The choices that can be tried, or those named, separated by commas; none for `base`.

    Raises `ExperimentError`: an unknown name, or one that needs a folder built with decisions.
    """
    alone = [Choice(f"only-{name}", f"learning from {name} alone", source=name) for name in sources]
    known = {one.name: one for one in [*CHOICES, *(alone if len(sources) > 1 else [])]}
    if not only:
        return [one for one in known.values() if has_cleaned or not one.cleaned]
    names = [name for name in split_names(only, [BASE.name, *known], "choice") if name != BASE.name]
    for name in names:
        if known[name].cleaned and not has_cleaned:
            raise ExperimentError(f"choice '{name}' needs --cleaned FOLDER.")
    return [known[name] for name in names]


def split_values(text: str) -> list[str]:
    """Values with commas between, as in TOML, or words.

    >>> split_values("[96], [96,128]"), split_values("fast,slow")
    (['[96]', '[96, 128]'], ['fast', 'slow'])
    """
    try:
        values = [str(value) for value in tomllib.loads(f"values = [{text}]")["values"]]
    except (ValueError, RecursionError):
        values = [value.strip() for value in text.split(",")]
    if "" in values or not values:
        raise ExperimentError(f"--set …={text}: an empty value.")
    return values


def make_grid(recipe: str, sets: Sequence[str]) -> list[Choice]:
    """Every combination of the values, `key=v1,v2`, the last key changing fastest.

    Raises `ExperimentError`: nothing is swept, or something comes twice; `RecipeError`: a
    combination is not a valid recipe.
    """
    lists: dict[str, list[str]] = {}
    for text in sets:
        key, equals, told = text.partition("=")
        key = key.strip()
        if not equals:
            raise ExperimentError(f"--set {text}: write key=value,value.")
        if key in lists:
            raise ExperimentError(
                f"--set {key}: given twice; write all its values after one --set."
            )
        lists[key] = split_values(told)
        if key in ("sources", "faces") and len(lists[key]) > 1:
            raise ExperimentError(f"--set {key}: would judge other faces; sweep one by one.")
    if all(len(values) == 1 for values in lists.values()):
        raise ExperimentError(
            "nothing to sweep: give a key several values, as in --set lr=1e-3,3e-3."
        )
    grid: list[Choice] = []
    known: list[ClassifierRecipe] = []
    for point in product(*lists.values()):
        values = {key: f"{key}={value}" for key, value in zip(lists, point, strict=True)}
        numbers = load_recipe(recipe, ClassifierRecipe, [*values.values()])
        name = ", ".join(values[key] for key in lists if len(lists[key]) > 1)
        if numbers in known:
            raise ExperimentError(f"{name}: the same numbers as {grid[known.index(numbers)].name}.")
        grid.append(Choice(name, "", tuple(values.values())))
        known.append(numbers)
    return grid
