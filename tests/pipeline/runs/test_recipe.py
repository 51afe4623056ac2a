"""Recipes: shipped ones hold, wrong keys and values are named."""

import tomllib

import pytest
from pydantic import ValidationError

from pipeline.runs.recipe import (
    RECIPES,
    ClassifierRecipe,
    DetectorRecipe,
    RecipeError,
    load_recipe,
    write_recipe,
)

KINDS = {"classifier": ClassifierRecipe, "detector": DetectorRecipe}


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_hold(file):
    text = file.read_text(encoding="utf-8")
    values = tomllib.loads(text)
    recipe = load_recipe(file.stem, KINDS[values["kind"]])
    assert recipe.model_dump(mode="json").items() >= values.items()
    assert text.startswith("#"), "its header says what it is for"


def test_there_is_one_of_each_kind():
    load_recipe("default", ClassifierRecipe)
    load_recipe("detector", DetectorRecipe)


@pytest.mark.parametrize(
    "recipe",
    [
        ClassifierRecipe(),
        ClassifierRecipe(name="a b", sizes=[32], epochs=[1], lr="find", sources=["x"], init="a/b"),
        DetectorRecipe(steps=3, longest=(64.0, 128.5)),
    ],
)
def test_written_recipe_is_read_back_the_same(tmp_path, recipe):
    (tmp_path / "a.toml").write_text(write_recipe(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "a.toml", type(recipe)) == recipe


@pytest.mark.parametrize("pair", [("imagenet", "mobilenet0.25"), ("detector", "resnet34")])
def test_initial_weights_of_the_other_architecture(pair):
    overrides = [f"init={pair[0]}", f"architecture={pair[1]}"]
    with pytest.raises(RecipeError, match=f"init '{pair[0]}' is for architecture"):
        load_recipe("default", ClassifierRecipe, overrides)


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("lr=0.01", "lr", 0.01),
        ("lr=1e-3", "lr", 1e-3),
        ("lr=find", "lr", "find"),
        ("lr='find'", "lr", "find"),
        ("seed = 7", "seed", 7),
        ("sizes=[64]", "sizes", [64]),
        ("sources=['a', 'b']", "sources", ["a", "b"]),
        ("init=/tmp/a=b.safetensors", "init", "/tmp/a=b.safetensors"),
        ('name="with space"', "name", "with space"),
        ("name=", "name", ""),
    ],
)
def test_overrides(override, field, value):
    more = ["epochs=[2]"] if field == "sizes" else []
    recipe = load_recipe("default", ClassifierRecipe, [override, *more])
    assert getattr(recipe, field) == value


def test_later_override_wins():
    assert load_recipe("default", ClassifierRecipe, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["lr"], "--set lr: write key=value"),
        (["learning_rate=3"], "unknown key 'learning_rate'"),
        (["epoch=3"], "unknown key 'epoch': did you mean 'epochs'?"),
        (["bathc_size=3"], "did you mean 'batch_size'?"),
        (["zzz=3"], "known: name, kind"),
        (["batch_size=1"], "batch_size"),
        (["batch_size=many"], "batch_size"),
        (["dropout=1"], "dropout"),
        (["sizes=[]", "epochs=[]"], "sizes"),
        (["sizes=[64]"], "one value per stage"),
        (["sizes=[16, 32]"], "sizes start at 32 pixels"),
        (["epochs=[0, 1]"], "epochs at 1"),
        (["faces=some"], "faces"),
        (["lr=fast"], "lr"),
    ],
)
def test_wrong_overrides_are_named(overrides, message):
    with pytest.raises(RecipeError) as caught:
        load_recipe("default", ClassifierRecipe, overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "override", ["input_size=100", "input_size=32", "steps=0", "ema=1", "longest=[1]", "lr=0"]
)
def test_wrong_detector_values_are_named(override):
    with pytest.raises(RecipeError, match=override.partition("=")[0]):
        load_recipe("detector", DetectorRecipe, [override])


def test_unknown_recipe_names_the_known_ones():
    with pytest.raises(RecipeError, match=r"no recipe 'defualt'.*default, detector"):
        load_recipe("defualt", ClassifierRecipe)


def test_missing_file(tmp_path):
    with pytest.raises(RecipeError, match=r"a\.toml"):
        load_recipe(tmp_path / "a.toml", ClassifierRecipe)


@pytest.mark.parametrize("content", [b"seed = \n", b"\xff\xfe", b"seed 3"])
def test_file_that_is_no_toml(tmp_path, content):
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(RecipeError, match=r"a\.toml: can't be read as TOML"):
        load_recipe(tmp_path / "a.toml", ClassifierRecipe)


@pytest.mark.parametrize(("name", "kind"), [("detector", "classifier"), ("default", "detector")])
def test_recipe_of_the_other_kind_is_called_so(name, kind):
    with pytest.raises(RecipeError, match=rf"a recipe for a \w+, not for a {kind}"):
        load_recipe(name, KINDS[kind])


def test_records_refuse_unknown_keys_too():
    with pytest.raises(ValidationError):
        ClassifierRecipe(learning_rate=3)
