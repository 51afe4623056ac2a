"""The grid of a sweep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.experiments.sweep import SweepError, make_grid, split_values
from pipeline.runs.recipe import RecipeError


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-3,3e-3", ["1e-3", "3e-3"]),
        ("[96],[96,128]", ["[96]", "[96,128]"]),
        ("[96, 128]", ["[96, 128]"]),
        ("[[1,2],[3]], [ ]", ["[[1,2],[3]]", "[ ]"]),
        ("'a,b',\"c,'d\",e", ["'a,b'", '"c,\'d"', "e"]),
        ("['a,]b'],c", ["['a,]b']", "c"]),
        ("find", ["find"]),
    ],
)
def test_commas_in_brackets_and_quotes_do_not_split(text, values):
    assert split_values(text) == values


@pytest.mark.parametrize("text", ["", "1,,2", "1,", ",1", "[1,2", "1],2", "'a,b", '"'])
def test_what_is_not_a_list_of_values(text):
    with pytest.raises(SweepError):
        split_values(text)


VALUES = st.one_of(
    st.integers().map(str),
    st.lists(st.integers(), min_size=1).map(str),
    st.text("ab,[]", min_size=1).map(lambda text: f"'{text}'"),
)


@given(st.lists(VALUES, min_size=1))
def test_what_is_joined_is_split_again(values):
    assert split_values(", ".join(values)) == values


def test_every_combination_the_last_key_fastest():
    grid = make_grid("default", ["lr=1e-3,3e-3", "seed=7", "repeat_rare=1,2"])
    told = [(one.recipe.lr, one.recipe.repeat_rare, one.recipe.seed) for one in grid]
    assert told == [(1e-3, 1, 7), (1e-3, 2, 7), (3e-3, 1, 7), (3e-3, 2, 7)]
    assert grid[1].values == {"lr": "1e-3", "repeat_rare": "2"}, "seed is not swept"
    assert grid[1].name == "lr=1e-3, repeat_rare=2"


def test_lists_are_single_values():
    grid = make_grid("suspects", ["sizes=[64],[96]"])
    assert [one.recipe.sizes for one in grid] == [[64], [96]]


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["lr"], "write key=value"),
        (["lr=1e-3"], "nothing to sweep"),
        (["lr=1e-3", "lr=3e-3"], "given twice"),
        (["lr=1e-3,0.001"], "lr=0.001: the same numbers as lr=1e-3"),
        (["seed=" + ",".join(map(str, range(101)))], "101 combinations are more than 100"),
    ],
)
def test_what_is_refused(sets, words):
    with pytest.raises(SweepError, match=words):
        make_grid("default", sets)


def test_many_if_wanted():
    sets = ["seed=" + ",".join(map(str, range(101)))]
    assert len(make_grid("default", sets, many=True)) == 101
    assert len(make_grid("default", ["seed=" + ",".join(map(str, range(100)))])) == 100


@pytest.mark.parametrize("sets", [["lrr=1,2"], ["lr=1e-3,fast"], ["sizes=[96],[96,128]"]])
def test_combination_that_is_no_recipe(sets):
    with pytest.raises(RecipeError):
        make_grid("default", sets)
