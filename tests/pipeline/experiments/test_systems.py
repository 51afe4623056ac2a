"""The list of systems against the recipes that ship."""

import pytest

from pipeline.experiments.systems import SYSTEMS, UnknownSystemError, choose_systems
from pipeline.runs.recipe import RECIPES, ClassifierRecipe, DetectorRecipe


def test_every_system_has_a_recipe_that_ships_and_its_own_name():
    names = [system.name for system in SYSTEMS]
    assert len(set(names)) == len(names)
    for system in SYSTEMS:
        if system.recipe is None:
            with pytest.raises(ValueError, match="not trained"):
                system.load_recipe()
            continue
        assert (RECIPES / f"{system.recipe}.toml").is_file()
        recipe = system.load_recipe()
        assert recipe.name == system.name
        assert isinstance(recipe, DetectorRecipe if system.single else ClassifierRecipe)


def test_systems_of_the_field_are_there_as_their_originals_were():
    of = {system.name: system for system in SYSTEMS}
    assert of["sams-gray"].scale == of["sams-colour"].scale == 1.0
    assert of["sams-gray"].load_recipe().colour == "grey"
    assert of["dataroots"].load_recipe().masks == "drawn"
    assert of["covid-fastai"].load_recipe().incorrect == "without_mask"
    assert (of["covid-fastai"].blur, of["covid-fastai"].cleaned) == ("global", True)
    assert of["single-stage"].load_recipe().incorrect == "exclude"
    assert of["single-stage"].load_recipe().rotated == [90, 180, 270]


def test_systems_are_chosen_by_name_in_their_order():
    assert [system.name for system in choose_systems(["fast", "shipped"])] == ["shipped", "fast"]
    assert choose_systems([]) == SYSTEMS
    with pytest.raises(UnknownSystemError, match="no system 'covid-fast': did you mean 'covid-f"):
        choose_systems(["fast", "covid-fast"])
    with pytest.raises(UnknownSystemError, match="there are shipped, default, fast"):
        choose_systems(["zzz"])
