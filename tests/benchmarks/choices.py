"""What choices of a recipe are worth, by folds: one thing changed at a time.

python -m tests.benchmarks.choices PREPARED -o OUT
"""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from pydantic import TypeAdapter

from data_prep.base.command import as_command
from data_prep.base.errors import OptionError, suggest
from data_prep.base.files import write_atomically, write_json
from data_prep.base.labels import CLASSES
from data_prep.base.tables import KEY, markdown_table
from data_prep.prepare.analysis import keep_balanced
from data_prep.prepare.options import BlurRule
from evaluate.measures.bootstrap import measure
from pipeline.experiments.measure import PreparedData
from pipeline.experiments.plans import Trial
from pipeline.experiments.sweep import Judged, judge_trials
from pipeline.experiments.tables import (
    RESAMPLES,
    Figure,
    compare_sides,
    count_answers,
    name_photos,
    pick_difference,
    show_figure,
)
from pipeline.nets.options import Folds, Out, Prepared
from pipeline.runs.folder import PreparedError
from pipeline.runs.log import Log, report_as
from pipeline.runs.options import ShortOptions, TrialOptions
from pipeline.runs.recipe import ClassifierRecipe, change_recipe, load_recipe
from pipeline.training.short import Plan, PreparedFaces, label_codes, open_faces, plan_folds
from tests.benchmarks.repeated import ALL, rebuild

TABLE, PROBABILITIES = "choices.json", "probabilities.csv"


@dataclass(frozen=True)
class Choice(Trial):
    """A trial that may change what is learnt from, too."""

    what: str = ""  # for people
    scale: float | None = None  # of the crops; that of the prepared folder when None
    blur: BlurRule | None = None  # thins out the majority class in training
    source: str | None = None  # the only dataset that is learnt from
    cleaned: bool = False  # learns from the labels of the folder built with decisions


BASE = Choice("base", what="the recipe as it is")

_TABLE = tomllib.loads(Path(__file__).with_name("choices.toml").read_text(encoding="utf-8"))
CHOICES = TypeAdapter(tuple[Choice, ...]).validate_python(_TABLE["choices"])
"""One per dataset, that learns from it alone, is added to these."""


def split_names(text: str, known: Iterable[str], what: str) -> list[str]:
    """Names with commas between, each once; `OptionError` about one that isn't known."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            raise OptionError(f"no {what} '{name}': {suggest(name, known)}")
    return names


def find_choices(only: str, sources: list[str], *, has_cleaned: bool) -> list[Choice]:
    """The choices that can be tried, or those named, separated by commas; none for `base`.

    Raises `OptionError`: an unknown name, or one that needs a folder built with decisions.
    """
    alone = [
        Choice(f"only-{name}", what=f"learning from {name} alone", source=name) for name in sources
    ]
    known = {one.name: one for one in [*CHOICES, *(alone if len(sources) > 1 else [])]}
    if not only:
        return [one for one in known.values() if has_cleaned or not one.cleaned]
    names = [name for name in split_names(only, [BASE.name, *known], "choice") if name != BASE.name]
    for name in names:
        if known[name].cleaned and not has_cleaned:
            raise OptionError(f"choice '{name}' needs --cleaned FOLDER.")
    return [known[name] for name in names]


@dataclass(frozen=True)
class ChoicesOptions(ShortOptions):
    """Which choices are tried, how, and on what."""

    prepared: Prepared
    out: Out
    only: Annotated[str, typer.Option(help="Choices by name, separated by commas; base: none.")] = (
        ""
    )
    cleaned: Annotated[
        Path | None, typer.Option(help="The same, built with --decisions, to learn from.")
    ] = None
    folds: Folds = 3


def judge_choices(
    chosen: Sequence[Choice],
    faces: PreparedFaces,
    recipe: ClassifierRecipe,
    out: Path,
    options: TrialOptions,
    log: Log,
    *,
    folds: int,
    cleaned: PreparedFaces | None = None,
) -> list[Judged]:
    """What came of each choice; what is done stays done, in `out`."""
    fold, _ = plan_folds(Plan(faces.table, recipe, out, faces.scale), folds)
    plans, learnt = [], []
    for choice in chosen:
        numbers = change_recipe(recipe, list(choice.sets))
        scale, folder = choice.scale or faces.scale, out / choice.folder
        table = faces.table
        if scale != faces.scale:
            crops = folder / "crops"
            cut = rebuild(PreparedData.open(faces.folder), crops, ["label"], scale=scale)
            names = table[[*KEY]].merge(cut.table, on=[*KEY])["crop"]
            table = table.assign(crop=[str(cut.folder / crop) for crop in names])
        plans.append(Plan(table, numbers, folder, scale, choice.name))
        learnt.append(_choose_faces(choice, faces, table, cleaned, fold))
    return judge_trials(plans, learnt, fold, options, log)


def _choose_faces(
    choice: Choice,
    faces: PreparedFaces,
    table: pd.DataFrame,
    cleaned: PreparedFaces | None,
    fold: np.ndarray,
) -> list[pd.DataFrame]:
    """What a choice learns from in each of the folds, (N,) from 0."""
    source = table
    if cleaned is not None and choice.cleaned:
        if faces.scale != cleaned.scale:
            raise PreparedError(f"{cleaned.folder}: build both with the same --scale.")
        source = cleaned.table
    fold_of = dict(zip(name_photos(table), fold, strict=True))
    own = name_photos(source).map(fold_of).fillna(-1).to_numpy()
    parts = []
    for number in range(fold.max() + 1):
        part = source[(own != number) & (own >= 0)]
        if choice.source:
            part = part[part["source"] == choice.source]
        if choice.blur:
            corners = part[["xmin", "ymin", "xmax", "ymax"]].to_numpy()
            sides = (corners[:, 2:] - corners[:, :2]).min(axis=1)
            part = part[keep_balanced(part.assign(short_side=sides), rule=choice.blur)]
        parts.append(part.reset_index(drop=True))
    return parts


def measure_side(*answers: Any) -> dict[str, Figure | None]:
    """Figures of `count_answers` with their 95 % intervals, None where not defined."""
    figures, photos = count_answers(*answers)
    numbers, ends = measure(figures, photos=photos, resamples=RESAMPLES)
    rows = {name: [number, *((ends or {})[name] or ())] for name, number in numbers.items()}
    return {name: None if row[0] is None else row for name, row in rows.items()}


def measure_choices(
    chosen: Sequence[Choice], judged: Sequence[Judged], table: pd.DataFrame
) -> list[dict[str, Any]]:
    """Figures of every choice on N faces, and their differences from the first: the plain recipe.

    Per choice `name`, `what`, `seconds`, and for `all` and each source the figures of
    `compare_sides` by photo group, `before` those of the first; the first one's also have `alone`,
    value, low and high.
    """
    truth = label_codes(table)
    right = [one.probabilities.argmax(axis=1) == truth for one in judged]
    parts = {ALL: table["label"].notna()}
    parts |= {name: table["source"] == name for name in sorted(set(table["source"]))}
    rows: list[dict[str, Any]] = []
    for choice, one, own in zip(chosen, judged, right, strict=True):
        row: dict[str, Any] = {"name": choice.name, "what": choice.what}
        row["seconds"] = round(one.seconds, 1)
        for name, part in parts.items():
            about = truth[part], table.loc[part, "group"]
            row[name] = compare_sides(right[0][part][None], own[part][None], *about)
            if not rows:
                for key, figure in measure_side(own[part], *about).items():
                    row[name][key]["alone"] = figure
        rows.append(row)
    return rows


def describe_choices(rows: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table; differences are from the first line."""
    sources = [key for key, value in rows[0].items() if isinstance(value, dict) and key != ALL]
    heads = [head for name in sources for head in (f"{name}: accuracy", "macro recall")]
    heads = ["choice", *heads, "all: accuracy, difference", "macro recall, difference", "minutes"]
    lines = []
    for row in rows:
        cells = [f"`{row['name']}` {row['what']}"]
        for name, key in product([*sources, ALL], ("accuracy", "macro_recall")):
            one = row[name][key]
            if "alone" in one:
                cells.append(show_figure(one["alone"]))
            elif name == ALL:
                cells.append(show_figure(pick_difference(one), "+"))
            else:
                cells.append(f"{one['after']:.3f}")
        lines.append([*cells, f"{row['seconds'] / 60:.1f}"])
    return markdown_table(heads, lines)


def choices(options: ChoicesOptions) -> None:
    """What each choice of a recipe is worth, as a Markdown table; goes on where it was stopped."""
    with report_as(options.log) as report:
        recipe, out = load_recipe(options.recipe, ClassifierRecipe, options.overrides), options.out
        faces = open_faces(options.prepared, recipe, out)
        cleaned = None if options.cleaned is None else open_faces(options.cleaned, recipe)
        sources = sorted(set(faces.table["source"]))
        chosen = [BASE, *find_choices(options.only, sources, has_cleaned=cleaned is not None)]
        judged = judge_choices(
            chosen, faces, recipe, out, options, report.log, folds=options.folds, cleaned=cleaned
        )
        rows = measure_choices(chosen, judged, faces.table)
        write_json(out / TABLE, {"faces": len(faces.table), "lines": rows})
        columns: dict[str, Any] = {key: faces.table[key] for key in (*KEY, "label")}
        for row, one in zip(rows, judged, strict=True):
            for index, share in enumerate(one.probabilities.T):
                columns[f"{row['name']}/{index}"] = share.round(4)
        told = judged[0].probabilities.T.round(5)  # As fit-limits takes them.
        columns |= {f"p_{name}": share for name, share in zip(CLASSES, told, strict=True)}
        write_atomically(out / PROBABILITIES, pd.DataFrame(columns).to_csv(index=False))
        report.finish("", describe_choices(rows), folder=out, lines=rows)


app = typer.Typer(add_completion=False)
app.command()(as_command(choices))

if __name__ == "__main__":
    app()
