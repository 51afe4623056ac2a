"""Recipes: one TOML file holds every number of a training."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import tomli_w
from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from data_prep.base.crop import Colour
from data_prep.base.errors import UserError, plain, suggest
from data_prep.base.files import as_path
from data_prep.base.labels import CLASSES, RARE_CLASS
from pipeline.nets.options import TIMM, Architecture, Body, find_boxes

RECIPES = Path(__file__).parents[1] / "recipes"

GONE: tuple[tuple[str, Any], ...] = (("members", 1), ("rotated", []), ("masks", "real"))
"""Keys that classifiers' recipes had once, of no effect at these values."""

Incorrect = Literal["own", "without_mask", "exclude"]  # What a mask worn wrongly counts as.

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Side = Annotated[float, Field(ge=1)]  # Pixels.
Convention = Annotated[str, AfterValidator(lambda name: find_boxes(name) and name)]

RightAngle = Literal[90, 180, 270]  # Degrees, counter-clockwise.


class RecipeError(UserError, ValueError):
    """A recipe that can't be used; the message names the file, the key and what would do."""


class _Numbers(BaseModel, extra="forbid", allow_inf_nan=False):
    name: str


class Stage(NamedTuple):
    """A part of a classifier's training."""

    size: int  # side of the input in pixels
    epochs: int  # at most
    head_only: bool = False


class ClassifierRecipe(_Numbers):
    """Numbers of a classifier training; `recipes/README.md` says what each means."""

    name: str = "default"
    kind: Literal["classifier"] = "classifier"
    seed: Seed = 0
    architecture: Architecture = "resnet34"
    init: str = "random"
    sources: list[str] = Field(default_factory=list)
    incorrect: Incorrect = "own"
    faces: Literal["kept", "all"] = "kept"
    colour: Colour = "rgb"
    sizes: list[int] = Field(default=[128, 224], min_length=1)
    epochs: list[int] = Field(default=[20, 5], min_length=1)
    schedule: Literal["one-cycle", "flat"] = "one-cycle"
    batch_size: int = Field(default=64, ge=2)
    lr: Annotated[float, Field(gt=0)] | Literal["find"] = "find"
    stage_lr: float = Field(default=0.3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    patience: int = Field(default=4, ge=1)
    switch: Literal["stalled", "overfit"] = "stalled"
    freeze_epochs: int = Field(default=0, ge=0)
    lr_mult: float = Field(default=1.0, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    freeze: bool = False
    class_weights: Literal["inverse", "sqrt", "none"] = "sqrt"
    undo_weights: float = Field(default=0.5, ge=0, le=1)
    repeat_rare: int = Field(default=1, ge=1)
    drawn: float = Field(default=0.0, ge=0)
    shift: float = Field(default=0.0, ge=0, le=0.3)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    mixup: float = Field(default=0.0, ge=0)
    rotate: float = Field(default=12.0, ge=0)
    zoom: float = Field(default=1.15, ge=1)
    warp: float = Field(default=0.1, ge=0, le=0.5)
    lighting: float = Field(default=0.25, ge=0, lt=1)
    downscale: float = Field(default=0.3, ge=0, le=1)
    mirror: bool = False
    rare_odds: float = Field(default=1.0, gt=0)
    teachers: list[str] = Field(default_factory=list)
    teacher_share: float = Field(default=0.5, gt=0, le=1)
    bf16: Literal["auto", "on", "off"] = "auto"

    @model_validator(mode="after")
    def _check(self) -> ClassifierRecipe:
        if len(self.sizes) != len(self.epochs):
            counts = f"{len(self.sizes)} in sizes and {len(self.epochs)} in epochs"
            raise ValueError(f"{counts}: give both as many values, one per stage")
        if min(self.sizes) < 32 or min(self.epochs) < 1:
            raise ValueError("sizes start at 32 pixels and epochs at 1")
        if self.rare_odds != 1 and self.incorrect != "own":
            raise ValueError("rare_odds needs incorrect = 'own': else the rare class is not learnt")
        owner = {"imagenet": "resnet34", "detector": "mobilenet0.25"}.get(self.init)
        timms = self.init == "imagenet" and self.architecture.startswith(TIMM)
        if owner not in (None, self.architecture) and not timms:
            why = f"give {self.architecture} another, such as init=random or a file"
            raise ValueError(f"init '{self.init}' is for architecture '{owner}': {why}")
        return self

    @property
    def fine_tunes(self) -> bool:
        """Whether the head learns first, alone."""
        return self.freeze_epochs > 0 and self.init != "random"

    @property
    def stages(self) -> list[Stage]:
        """What is trained one after the other."""
        head = [Stage(self.sizes[0], self.freeze_epochs, True)] if self.fine_tunes else []
        return head + [Stage(*one) for one in zip(self.sizes, self.epochs, strict=True)]

    @property
    def all_epochs(self) -> int:
        """Most epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def learnt(self) -> tuple[str, ...]:
        """The classes that are learnt, in the order of `CLASSES`."""
        return _learnt_classes(self.incorrect)


class DetectorRecipe(_Numbers):
    """Numbers of a detector fine-tuning; `recipes/README.md` says what each means."""

    name: str = "detector"
    kind: Literal["detector"] = "detector"
    seed: Seed = 0
    body: Body = "mobilenet0.25"
    init: str = "imagenet"
    sources: list[str] = Field(default_factory=list)
    score_only: list[str] = Field(default_factory=list)
    conventions: dict[str, Convention] = Field(default_factory=dict)
    steps: int = Field(default=1500, ge=1)
    batch_size: int = Field(default=16, ge=1)
    input_size: int = Field(default=640, ge=64, multiple_of=32)
    longest: tuple[Side, Side] = (600.0, 1400.0)
    classify: bool = False
    incorrect: Incorrect = "own"
    rotated: list[RightAngle] = Field(default_factory=list)
    mosaic: float = Field(default=0.0, ge=0, le=1)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    ema: float = Field(default=0.995, gt=0, lt=1)
    negatives: int = Field(default=7, ge=1)
    positive_iou: float = Field(default=0.35, gt=0, lt=1)
    sure_background: float = Field(default=0.1, gt=0, lt=1)
    min_face: float = Field(default=7.0, ge=0)
    box_weight: float = Field(default=2.0, gt=0)
    quality: float = Field(default=0.0, ge=0, le=1)
    landmark_weight: float = Field(default=0.5, ge=0)
    validate_every: int = Field(default=250, ge=1)

    @model_validator(mode="after")
    def _check(self) -> DetectorRecipe:
        if self.init != "imagenet" and not self.body.startswith(TIMM):
            raise ValueError(
                f"init is of a body of timm: give one, body={TIMM}NAME, or leave it out"
            )
        return self

    @property
    def learnt(self) -> tuple[str, ...]:
        """The classes that are told apart, in the order of `CLASSES`; none without `classify`."""
        return _learnt_classes(self.incorrect) if self.classify else ()


def _learnt_classes(incorrect: Incorrect) -> tuple[str, ...]:
    return tuple(name for name in CLASSES if incorrect == "own" or name != RARE_CLASS)


Recipe = ClassifierRecipe | DetectorRecipe
Changes = Sequence[str] | Mapping[str, Any]  # Texts `key=value`, or values by key.
RecipeType = TypeVar("RecipeType", bound=_Numbers)


def load_recipe(
    name: str | Path, kind: type[RecipeType], overrides: Changes | None = None
) -> RecipeType:
    """Read a recipe and check every key.

    A file with `base = "…"`, another recipe's name or file, states only what differs from it; its
    name is then its own, or the file's.

    Overrides are values by key, or texts `key=value`, values as in TOML; a bare word is a string.
    Raises `RecipeError` if a file is missing or not TOML, is its own base, a key is unknown, or a
    value is out of range; the message begins with the file or the override that is to blame.
    """
    path = _find(str(name), kind)
    return _validate(_read(path, kind), overrides or (), kind, str(path))


def change_recipe(recipe: RecipeType, overrides: Changes) -> RecipeType:
    """A recipe with some numbers changed, checked again as by `load_recipe`."""
    return _validate(recipe.model_dump(), overrides, type(recipe), f"recipe {recipe.name}")


def write_recipe(recipe: BaseModel) -> str:
    """A recipe as TOML that `load_recipe` reads back the same."""
    return tomli_w.dumps(recipe.model_dump(mode="json"))


def list_recipes(kind: type[_Numbers]) -> list[str]:
    """Names of the shipped recipes for a kind of net."""

    def is_of_kind(path: Path) -> bool:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        if "kind" not in values and "base" in values:
            return is_of_kind(RECIPES / f"{values['base']}.toml")
        return values.get("kind") == kind.model_fields["kind"].default

    return [path.stem for path in sorted(RECIPES.glob("*.toml")) if is_of_kind(path)]


def _find(name: str, kind: type[_Numbers], heir: Path | None = None) -> Path:
    """The shipped recipe of a name, or a file; that of a base lies beside its heir."""
    where = "" if heir is None else f"{heir}: base: "
    if not name.endswith(".toml"):
        path = as_path("recipe", RECIPES / f"{name}.toml")
        if not path.is_file():
            known = suggest(name, list_recipes(kind), "give a .toml file or one of {}.")
            raise RecipeError(f"{where}no recipe '{name}': {known}")
        return path
    path = as_path("recipe", (heir.parent if heir else Path()) / name)
    if not path.is_file():
        raise RecipeError(f"{where}no such file: {path}.")
    return path


def _read(path: Path, kind: type[_Numbers], heirs: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The values of a file over those of its base."""
    if path.resolve() in heirs:
        raise RecipeError(f"{path}: its bases lead back to it.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: can't be read as TOML ({error}).") from error
    base = values.pop("base", None)
    wanted = kind.model_fields["kind"].default
    values = {k: v for k, v in values.items() if k in kind.model_fields or (k, v) not in GONE}
    if values.get("kind", wanted) != wanted:
        why = f"give a .toml file or one of {', '.join(list_recipes(kind))}."
        raise RecipeError(f"{path}: a recipe for a {values['kind']}, not for a {wanted}: {why}")
    _check_keys(values, dict.fromkeys(values, path), kind)
    if base is None:
        return values
    if not isinstance(base, str):
        raise RecipeError(f"{path}: base: the name of a recipe or a .toml file.")
    inherited = _read(_find(base, kind, path), kind, (*heirs, path.resolve()))
    return inherited | {"name": path.stem} | values


def _parse(override: str) -> tuple[str, Any]:
    key, equals, text = (part.strip() for part in override.partition("="))
    if not equals:
        raise RecipeError(f"--set {override}: write key=value.")
    try:
        return key, tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return key, text


def _check_keys(
    values: Mapping[str, Any], where: Mapping[str, object], kind: type[_Numbers]
) -> None:
    for key in values:
        if key not in (known := kind.model_fields):
            raise RecipeError(f"{where[key]}: unknown key '{key}': {suggest(key, known)}")


def _validate(
    values: dict[str, Any], overrides: Changes, kind: type[RecipeType], where: str
) -> RecipeType:
    """Check values of `where` with overrides put over them, blaming what is wrong."""
    if isinstance(overrides, Mapping):
        changes = dict(overrides)
        texts = {key: f"{key}={value!r}" for key, value in changes.items()}
    else:
        changes = dict(map(_parse, overrides))
        texts = {_parse(text)[0]: f"--set {text}" for text in overrides}
    _check_keys(changes, texts, kind)
    try:
        return kind.model_validate(values | changes)
    except ValidationError as error:
        place = error.errors()[0]["loc"][:1]
        # A value of several types has an error for each.
        told = [_explain(x).rstrip(".") for x in error.errors() if x["loc"][:1] == place]
        message = " or ".join(told)
        key = str(place[0]) if place else ""
        if key in texts:
            raise RecipeError(f"{texts[key]}: {message}.") from error
        blamed = f"{where}: {key}" if key else ", ".join([where, *texts.values()])
        raise RecipeError(f"{blamed}: {message}.") from error


def _explain(error: Any) -> str:
    """What a value should be, in words."""
    if error["type"] == "list_type":
        per_size = ", one per size" if error["loc"][0] in ("sizes", "epochs") else ""
        given = error["input"]
        if isinstance(given, str):
            given = given.strip("[]").split(",")[0].strip()
            return f"a list{per_size}, texts in quotes, e.g. [{given!r}]"
        return f"a list{per_size}, e.g. [{given!r}]"
    message = plain(error["msg"])
    return message.replace("should be a valid tuple", "should be a list, e.g. [640, 1100]")
