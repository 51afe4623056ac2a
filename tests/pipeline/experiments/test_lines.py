"""The choices: every one fits the recipe it changes, and is found by its name."""

import pytest

from pipeline.experiments.choices import LINES, ChoiceNameError, choose_lines
from pipeline.runs.recipe import ClassifierRecipe, change_recipe, load_recipe


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_every_choice_changes_something(line):
    recipe = load_recipe("suspects", ClassifierRecipe)
    changed = change_recipe(recipe, list(line.sets))
    others = (line.scale, line.blur, line.source, line.cleaned or None)
    assert (changed != recipe) + sum(other is not None for other in others) == 1


def test_names_are_unique():
    assert len({line.name for line in LINES}) == len(LINES)


def test_all_when_none_is_named():
    names = [line.name for line in choose_lines("", ["a", "b"], has_cleaned=True)]
    assert names == [*(line.name for line in LINES), "only-a", "only-b"]


def test_what_can_not_be_run_is_left_out():
    names = [line.name for line in choose_lines("", ["a"], has_cleaned=False)]
    assert "cleaned" not in names
    assert "only-a" not in names


def test_named_ones_in_the_order_given():
    assert [line.name for line in choose_lines("tight, grey", [], has_cleaned=False)] == [
        "tight",
        "grey",
    ]


def test_the_recipe_alone():
    assert choose_lines("base", ["a", "b"], has_cleaned=False) == []


def test_unknown_name_is_refused():
    with pytest.raises(ChoiceNameError, match="no choice 'gray': did you mean 'grey'"):
        choose_lines("gray", [], has_cleaned=False)
    with pytest.raises(ChoiceNameError, match="'cleaned' needs --cleaned"):
        choose_lines("cleaned", [], has_cleaned=False)
