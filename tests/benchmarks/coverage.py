"""How far the sets of `--unsure` hold the true class: limits of half of the photos tried on others.

    python -m tests.benchmarks.coverage PREPARED [--unseen] [--probabilities FILE] [--write]

Judged are annotated faces that the classifier did not learn from: the validation split, or all
unseen ones. With FILE, as `tests.benchmarks.choices` writes it, those of PREPARED that nets trained
alike did not see: for a net that learnt from all there is. With `--write` limits by all of them go
onto the classifier's card, as `measure --write` puts there those of the faces that it measures.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from data_prep.base.command import as_command
from data_prep.base.files import write_json
from data_prep.base.labels import CLASSES, RARE_CLASS
from data_prep.base.photo import read_photo
from data_prep.base.progress import log, tell
from data_prep.base.records import Box
from data_prep.base.tables import KEY, markdown_table, read_table
from data_prep.grouping.split import VALID
from evaluate.measures.sizes import SIZE_NAMES, sort_by_size
from pipeline.experiments.measure import PreparedData
from pipeline.experiments.tables import show_figure
from pipeline.inference.classifier import Classifier
from pipeline.inference.unsure import COVERAGE, find_likeliest, find_members, fit_sets
from pipeline.nets.cards import ClassifierCard, PredictionSets
from pipeline.nets.learnt import know_photos
from pipeline.nets.options import CLASSIFIER, SHIPPED, Prepared, Weights, find_net
from pipeline.training.short import label_codes

SPLITS = 300  # Halves of the photos that limits are tried on.
PROBABILITIES = [f"p_{name}" for name in CLASSES]


@dataclass(frozen=True)
class CoverageOptions:
    """Which net is asked about which faces."""

    prepared: Prepared
    weights: Weights = SHIPPED
    unseen: Annotated[
        bool, typer.Option("--unseen", help="All photos that the net did not learn from.")
    ] = False
    probabilities: Annotated[
        Path | None,
        typer.Option(help="A table of what nets trained alike tell of faces they did not see."),
    ] = None
    coverage: Annotated[float, typer.Option(min=0.5, max=0.999)] = COVERAGE
    write: Annotated[bool, typer.Option("--write", help="Put the limits on the card.")] = False


def measure(options: CoverageOptions) -> None:
    """Try limits of half of the photos on the other half, and tell those by all of them."""
    data, path = PreparedData.open(options.prepared), find_net(options.weights, CLASSIFIER)
    classifier = Classifier.load(path)
    card, origin = classifier.card, "annotated boxes, valid"
    if options.probabilities:
        faces = read_answers(options.probabilities, data.table, card)
        origin = "annotated boxes, judged by nets trained alike"
    else:
        if options.unseen:
            data, origin = (
                data.hold_out(know_photos(card.training_photos)),
                "annotated boxes, unseen",
            )
        faces = data.table[data.table["split"] == VALID].reset_index(drop=True)
        crops = [read_photo(data.folder / crop).pixels for crop in faces["crop"]]
        faces[PROBABILITIES] = classifier.classify(crops).reshape(-1, len(CLASSES))
    shares = faces[PROBABILITIES].to_numpy()
    card.sets = fit_sets(shares, label_codes(faces), options.coverage)
    log(f"{path}: {tell(len(faces), 'face')}: {origin}")
    typer.echo(describe_coverage(measure_coverage(faces, options.coverage), card.sets))
    if options.write:
        write_json(path.with_suffix(".json"), card.model_dump(mode="json"))


def read_answers(path: Path, faces: pd.DataFrame, card: ClassifierCard) -> pd.DataFrame:
    """Faces of a prepared folder with what nets of the card's kind, that saw none of them, tell.

    The file has the faces' keys and `PROBABILITIES`, at temperature 1 and with the odds that were
    learnt, as `tests.benchmarks.choices` writes them; the card's are applied. Raises `TableError`.
    """
    table = read_table(path, [*KEY, *PROBABILITIES], written_by="tests.benchmarks.choices")
    shares = np.stack([table.fractions(name) for name in PROBABILITIES], axis=1)
    shares **= 1 / card.temperature
    shares[:, CLASSES.index(RARE_CLASS)] *= card.training.get("recipe", {}).get("rare_odds", 1.0)
    answers = pd.DataFrame(shares / shares.sum(axis=1, keepdims=True), columns=PROBABILITIES)
    answers["object"] = table.integers("object")
    answers[["source", "image"]] = np.array([table.names("source"), table.names("image")]).T
    return faces.merge(answers, on=[*KEY])


def measure_coverage(faces: pd.DataFrame, coverage: float) -> pd.DataFrame:
    """Means over `SPLITS` halves by near-duplicate group, each tried with limits of the other half.

    A row for all, each class and size: `faces` of a half, the share `covered` by their sets (`low`
    to `high` in 95 % of the halves), the `unsure` ones, `accuracy`, and that of the `sure` ones.
    """
    shares, truth = faces[PROBABILITIES].to_numpy(), label_codes(faces)
    groups, names = pd.factorize(faces["group"])
    sizes, rng = sort_by_size(faces[[*Box._fields]].to_numpy(float)), np.random.default_rng(0)
    parts = {"all": truth >= 0, **{name: truth == i for i, name in enumerate(CLASSES)}}
    parts |= {f"{name} px": sizes == i for i, name in enumerate(SIZE_NAMES)}
    likeliest, places, rows = find_likeliest(shares), np.arange(len(faces)), []
    for _ in range(SPLITS):
        own = rng.permutation(len(names))[groups] < len(names) / 2
        members = find_members(shares, fit_sets(shares[own], truth[own], coverage))
        told = pd.DataFrame({"covered": members[places, truth]})
        told["unsure"] = (members != likeliest).any(axis=1)
        told["accuracy"] = likeliest[places, truth]
        told["sure"] = told["accuracy"].where(~told["unsure"]).astype(float)
        for name, part in parts.items():
            rest = part & ~own
            rows.append({"part": name, "faces": rest.sum(), **told[rest].mean()})
    by_part = pd.DataFrame(rows).groupby("part", sort=False)
    low, high = (by_part["covered"].quantile(end) for end in (0.025, 0.975))
    return by_part.mean().assign(low=low, high=high)


def describe_coverage(found: pd.DataFrame, sets: PredictionSets) -> str:
    """The figures as a Markdown table, with the limits of all faces."""
    heads = ("", "limit", "faces of a half", f"class in the set (asked: {sets.coverage:g})")
    rows = []
    for part, row in found[found["faces"] > 0].to_dict("index").items():
        limit = f"{sets.limits[str(part)]:.3f}" if part in sets.limits else ""
        covered = show_figure([row[name] for name in ("covered", "low", "high")])
        rows.append([str(part), limit, f"{row['faces']:.0f}", covered])
        rows[-1] += [f"{row[name]:.3f}" for name in ("unsure", "accuracy", "sure")]
    return markdown_table([*heads, "unsure", "accuracy", "of the sure"], rows)


app = typer.Typer(add_completion=False)
app.command()(as_command(measure))

if __name__ == "__main__":
    app()
