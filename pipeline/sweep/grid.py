"""The grid: lists of values per key, and the recipe of every combination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from data_prep.errors import UserError
from pipeline.recipe import ClassifierRecipe, load_recipe

MANY = 100
"""More combinations than that are a mistake more often than a wish."""


class SweepError(UserError, ValueError):
    """A sweep that can't be done; the message says what to do."""


@dataclass(frozen=True)
class Combination:
    """One point of the grid.

    Attributes:
        values: What is swept, as it was written, by key.
        recipe: Every number.
    """

    values: dict[str, str]
    recipe: ClassifierRecipe

    @property
    def name(self) -> str:
        """For people: `lr=1e-3, repeat_rare=2`."""
        return ", ".join(f"{key}={value}" for key, value in self.values.items())


def split_values(text: str) -> list[str]:
    """Split at commas that are neither inside brackets nor quotes.

    >>> split_values("[96], [96,128]")
    ['[96]', '[96,128]']
    >>> split_values("'a,b',c")
    ["'a,b'", 'c']

    Raises:
        SweepError: A value is empty, or a bracket or quote is not closed.
    """
    values, depth, quote = [""], 0, ""
    for mark in text:
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "'\"":
            quote = mark
        elif mark in "[{":
            depth += 1
        elif mark in "]}":
            depth -= 1
        elif mark == "," and depth == 0:
            values.append("")
            continue
        values[-1] += mark
    values = [value.strip() for value in values]
    if quote or depth or "" in values:
        raise SweepError(
            f"--set …={text}: an empty value, or a bracket or quote without its other."
        )
    return values


def make_grid(recipe: str, sets: Sequence[str], *, many: bool = False) -> list[Combination]:
    """Every combination of the values, the last key changing fastest.

    Args:
        recipe: A recipe's name or TOML file.
        sets: `key=v1,v2`; a key with one value is set in all combinations.
        many: Whether more than `MANY` combinations are wanted.

    Raises:
        SweepError: Nothing is swept, a key comes twice, a value comes twice, or there are too many
            combinations.
        RecipeError: A combination is not a valid recipe.
    """
    lists: dict[str, list[str]] = {}
    for text in sets:
        key, equals, values = text.partition("=")
        key = key.strip()
        if not equals:
            raise SweepError(f"--set {text}: write key=value,value.")
        if key in lists:
            raise SweepError(f"--set {key}: given twice; write all its values after one --set.")
        lists[key] = split_values(values)
    count = 1
    for values_of_key in lists.values():
        count *= len(values_of_key)
    if count < 2:
        raise SweepError("nothing to sweep: give a key several values, as in --set lr=1e-3,3e-3.")
    if count > MANY and not many:
        raise SweepError(f"{count} combinations are more than {MANY}: add --yes-many to train all.")
    swept = [key for key, values_of_key in lists.items() if len(values_of_key) > 1]
    grid: list[Combination] = []
    for point in product(*lists.values()):
        told = dict(zip(lists, point, strict=True))
        numbers = load_recipe(recipe, ClassifierRecipe, [f"{k}={v}" for k, v in told.items()])
        combination = Combination({key: told[key] for key in swept}, numbers)
        for other in grid:
            if other.recipe == numbers:
                raise SweepError(f"{combination.name}: the same numbers as {other.name}.")
        grid.append(combination)
    return grid
