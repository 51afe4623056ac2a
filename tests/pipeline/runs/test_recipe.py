"""Recipes: shipped ones hold, wrong keys and values are named."""

import hashlib
import re
import tomllib

import pytest

from data_prep.base.errors import OptionError
from pipeline.runs.recipe import (
    RECIPES,
    ClassifierRecipe,
    DetectorRecipe,
    RecipeError,
    load_recipe,
    write_recipe,
)

KINDS = {"classifier": ClassifierRecipe, "detector": DetectorRecipe}


RESOLVED = {
    "covid-fastai": "bca15595",
    "dataroots": "119a17c1",
    "default": "f3fd3fd3",
    "detector-large": "897e5dec",
    "detector-long": "0430090b",
    "detector": "282a017c",
    "fast": "55e64e02",
    "resnet34-scratch": "dd7c3f22",
    "sams-colour": "fc5bffdd",
    "sams-gray": "d619b3ef",
    "single-stage": "a7af7820",
    "single-stage-lite0": "b08e16a9",
    "suspects": "e1638898",
}
"""Hashes of the whole recipes that the figures in the headers were reached with."""


def load_shipped(name):
    kind = "detector" if name.startswith(("detector", "single")) else "classifier"
    return load_recipe(name, KINDS[kind])


def test_no_measured_recipe_is_gone():
    assert set(RESOLVED) <= {path.stem for path in RECIPES.glob("*.toml")}


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_shipped_recipes_are_those_of_their_figures(name):
    """A change of a base reaches its heirs: measure them again, then change the hash here."""
    text = (RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("#"), "its header says what it is for"
    recipe = load_shipped(name)
    assert recipe.name == name
    digest = hashlib.sha256(write_recipe(recipe).encode()).hexdigest()[:8]
    assert digest == RESOLVED.get(name, digest)
    values = tomllib.loads(text)
    if "base" in values:
        base = load_shipped(values.pop("base")).model_dump(mode="json")
        assert [key for key, value in values.items() if base[key] == value] == []


def test_a_recipe_states_what_differs_from_its_base(tmp_path):
    (tmp_path / "mine.toml").write_text('base = "fast"\nlr = 1e-4\n')
    (tmp_path / "heir.toml").write_text('base = "mine.toml"\nname = "x"\nseed = 5\n')
    fast, mine, heir = (
        load_recipe(name, ClassifierRecipe)
        for name in ("fast", tmp_path / "mine.toml", tmp_path / "heir.toml")
    )
    assert mine == fast.model_copy(update={"lr": 1e-4, "name": "mine"})
    assert heir == mine.model_copy(update={"name": "x", "seed": 5})
    assert "base" not in write_recipe(heir)


def test_init_of_a_detector_without_a_body_of_timm_is_refused():
    with pytest.raises(RecipeError, match="init is of a body of timm"):
        load_recipe("detector", DetectorRecipe, ["init=random"])


def test_keys_of_old_are_left_out_where_they_had_no_effect(tmp_path):
    path = tmp_path / "old.toml"
    path.write_text(write_recipe(load_shipped("fast")) + "members = 1\nrotated = []\n")
    assert load_recipe(path, ClassifierRecipe) == load_shipped("fast")
    path.write_text('base = "fast"\nrotated = [90]\n')
    with pytest.raises(RecipeError, match="unknown key 'rotated'"):
        load_recipe(path, ClassifierRecipe)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ('base = "b.toml"', 'base = "a.toml"', r"a\.toml: its bases lead back to it"),
        ('base = "a.toml"', "", r"a\.toml: its bases lead back to it"),
        ('base = "defualt"', "", r"a\.toml: base: no recipe 'defualt': did you mean 'default'"),
        ('base = "b.toml"', "epoch = 3", r"b\.toml: unknown key 'epoch': did you mean 'epochs'"),
        ('base = "b.toml"', "batch_size = 1", r"a\.toml: batch_size"),
        ('base = "b.toml"', "seed = ", r"b\.toml: can't be read as TOML"),
        ('base = "detector"', "", r"detector\.toml: a recipe for a detector, not for a classifier"),
        ("base = 3", "", r"a\.toml: base: "),
    ],
)
def test_wrong_bases_are_named(tmp_path, one, other, message):
    (tmp_path / "a.toml").write_text(one)
    (tmp_path / "b.toml").write_text(other)
    with pytest.raises(RecipeError, match=message):
        load_recipe(tmp_path / "a.toml", ClassifierRecipe)


@pytest.mark.parametrize(
    "recipe",
    [
        ClassifierRecipe(),
        ClassifierRecipe(name="a b", sizes=[32], epochs=[1], lr="find", sources=["x"], init="a/b"),
        DetectorRecipe(steps=3, longest=(64.0, 128.5)),
    ],
)
def test_written_recipe_is_read_back_the_same(tmp_path, recipe):
    for encoding in ("utf-8", "utf-8-sig"):  # As editors on Windows save it.
        (tmp_path / "a.toml").write_text(write_recipe(recipe), encoding=encoding)
        assert load_recipe(tmp_path / "a.toml", type(recipe)) == recipe


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("lr=0.01", "lr", 0.01),
        ("lr=1e-3", "lr", 1e-3),
        ("lr=find", "lr", "find"),
        ("lr='find'", "lr", "find"),
        ("seed = 7", "seed", 7),
        (["seed=1", "seed=2"], "seed", 2),
        (["sizes=[64]", "epochs=[2]"], "sizes", [64]),
        ("sources=['a', 'b']", "sources", ["a", "b"]),
        ("init=/tmp/a=b.safetensors", "init", "/tmp/a=b.safetensors"),
        ({"sizes": [64, 96]}, "sizes", [64, 96]),
        ('name="with space"', "name", "with space"),
        ("name=", "name", ""),
    ],
)
def test_overrides(override, field, value):
    overrides = [override] if isinstance(override, str) else override
    assert getattr(load_recipe("default", ClassifierRecipe, overrides), field) == value


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["lr"], "--set lr: write key=value"),
        (["learning_rate=3"], "unknown key 'learning_rate'"),
        (["epoch=3"], "unknown key 'epoch': did you mean 'epochs'?"),
        (["bathc_size=3"], "did you mean 'batch_size'?"),
        (["zzz=3"], "--set zzz=3: unknown key 'zzz': known: name, kind"),
        (["epochs=3"], "--set epochs=3: a list, one per size, e.g. [3]."),
        (["sources=a"], "--set sources=a: a list, texts in quotes, e.g. ['a']."),
        (["batch_size=1"], "--set batch_size=1: should be greater than or equal to 2."),
        (["batch_size=many"], "--set batch_size=many: should be a valid integer"),
        (["lr=-1"], "--set lr=-1: should be greater than 0 or should be 'find'."),
        (["lr=nan"], "lr=nan: should be a finite number"),
        (["seed=-1"], "--set seed=-1: should be greater than or equal to 0"),
        ([f"seed={2**63}"], "should be less than"),
        (["drawn=inf"], "drawn=inf: should be a finite number"),
        (["dropout=1"], "dropout"),
        (["sizes=[]", "epochs=[]"], "sizes"),
        (
            ["sizes=[64]"],
            "default.toml, --set sizes=[64]: 1 in sizes and 2 in epochs: give both as many",
        ),
        (["sizes=[16, 32]"], "sizes start at 32 pixels"),
        (["epochs=[0, 1]"], "epochs at 1"),
        (["faces=some"], "faces"),
        (["lr=fast"], "lr"),
        (["init=imagenet", "architecture=mobilenet0.25"], "init 'imagenet' is for architecture"),
        (["init=detector", "architecture=resnet34"], "init 'detector' is for architecture"),
        (["rare_odds=2", "incorrect=exclude"], "rare_odds needs incorrect = 'own'"),
    ],
)
def test_wrong_overrides_are_named(overrides, message):
    with pytest.raises(RecipeError) as caught:
        load_recipe("default", ClassifierRecipe, overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    [
        *("input_size=100", "input_size=32", "steps=0", "ema=1", "longest=[1]", "lr=0"),
        *("rotated=[45]", 'conventions={ilc="hed"}', "longest=[0, 9]", "seed=-1"),
    ],
)
def test_wrong_detector_values_are_named(override):
    with pytest.raises(RecipeError, match=rf"^--set {re.escape(override)}: .*[^.]\.$"):
        load_recipe("detector", DetectorRecipe, [override])


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(RecipeError, match=r"no recipe 'zzz': .*, default, .*suspects\.$"):
        load_recipe("zzz", ClassifierRecipe)
    with pytest.raises(OptionError, match=r"^recipe=.*too long"):
        load_recipe("a" * 5000, ClassifierRecipe)
    with pytest.raises(RecipeError, match=r"no recipe 'defualt': did you mean 'default'\?"):
        load_recipe("defualt", ClassifierRecipe)
    path = tmp_path / "a.toml"
    with pytest.raises(RecipeError, match=r"no such file: .*a\.toml"):
        load_recipe(path, ClassifierRecipe)
    for content in (b"seed = \n", b"\xff\xfe", b"seed 3"):
        path.write_bytes(content)
        with pytest.raises(RecipeError, match=r"a\.toml: can't be read as TOML"):
            load_recipe(path, ClassifierRecipe)


@pytest.mark.parametrize(("name", "kind"), [("detector", "classifier"), ("default", "detector")])
def test_recipe_of_the_other_kind_is_called_so(name, kind):
    with pytest.raises(RecipeError, match=rf"a recipe for a \w+, not for a {kind}"):
        load_recipe(name, KINDS[kind])


def test_every_key_is_explained_with_its_default():
    text = (RECIPES / "README.md").read_text()
    for kind, part in zip((ClassifierRecipe, DetectorRecipe), text.split("## A ")[1:], strict=True):
        rows = dict(re.findall(r"\| `(\w+)` \| `(.*?)` \| .+ \|", part))
        told = {key: tomllib.loads(f"v = {value}")["v"] for key, value in rows.items()}
        assert told == kind().model_dump(mode="json")
