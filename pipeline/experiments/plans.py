"""What experiments try: a recipe with some numbers changed, and grids of them."""

import hashlib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from data_prep.base.errors import OptionError
from pipeline.runs.recipe import ClassifierRecipe, load_recipe


@dataclass(frozen=True)
class Trial:
    """One thing that is done otherwise than by a recipe as it is."""

    name: str
    sets: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Of its trainings: its name, or a hash where a file can't be called so."""
        if re.fullmatch(r"[\w.=-]+", self.name):
            return self.name
        return hashlib.sha256(self.name.encode()).hexdigest()[:16]


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
        raise OptionError(f"--set …={text}: an empty value.")
    return values


def make_grid(recipe: str, sets: Sequence[str]) -> list[Trial]:
    """Every combination of the values, `key=v1,v2`, the last key changing fastest.

    Raises `OptionError`: nothing is swept, or something twice; `RecipeError`: no valid recipe.
    """
    lists: dict[str, list[str]] = {}
    for text in sets:
        key, equals, told = text.partition("=")
        key = key.strip()
        if not equals:
            raise OptionError(f"--set {text}: write key=value,value.")
        if key in lists:
            raise OptionError(f"--set {key}: given twice; write all its values after one --set.")
        lists[key] = split_values(told)
        if key in ("sources", "faces") and len(lists[key]) > 1:
            raise OptionError(f"--set {key}: would judge other faces; sweep one by one.")
    if all(len(values) == 1 for values in lists.values()):
        raise OptionError("nothing to sweep: give a key several values, as in --set lr=1e-3,3e-3.")
    grid: list[Trial] = []
    known: list[ClassifierRecipe] = []
    for point in product(*lists.values()):
        values = {key: f"{key}={value}" for key, value in zip(lists, point, strict=True)}
        numbers = load_recipe(recipe, ClassifierRecipe, [*values.values()])
        name = ", ".join(values[key] for key in lists if len(lists[key]) > 1)
        if numbers in known:
            raise OptionError(f"{name}: the same numbers as {grid[known.index(numbers)].name}.")
        grid.append(Trial(name, tuple(values.values())))
        known.append(numbers)
    return grid
