"""After training: calibrate, measure, write weights and card, the last lines and `run.html`."""

import math
from collections import namedtuple
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from fastai.learner import Learner
from fastai.vision.core import imagenet_stats
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.metrics import confusion_matrix
from torch import Tensor

from data_prep.base.command import spell
from data_prep.base.crop import CROP_SCALE, encode_crop, resize_crop
from data_prep.base.files import write_atomically
from data_prep.base.html import COLOURS, Picture, jpeg_uri, render_html, to_uri
from data_prep.base.labels import CLASSES, RARE_CLASS, SHORT
from data_prep.base.photo import read_photo
from data_prep.base.tables import markdown_table
from data_prep.grouping.split import VALID
from evaluate.report.gallery import QUALITY
from evaluate.report.plots import draw_confusion
from pipeline.inference.classifier import Classifier
from pipeline.inference.engines import AUTO
from pipeline.inference.looks import describe_crops, fit_ranges
from pipeline.inference.unsure import fit_sets
from pipeline.nets.cards import Architecture, ClassifierCard, WeightsError, read_card, save_weights
from pipeline.nets.classifiers import fill_net, last_bias, to_stored
from pipeline.runs import folder as folders
from pipeline.runs.folder import Run, identify_data
from pipeline.runs.listing import warn_of_few
from pipeline.runs.plots import draw_history
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.data import FitCrop, class_weights

TEMPERATURES = (0.25, 4.0)  # Range that temperatures are looked for in.

PAGE = "run.html"
WORST, FED, SIDE = 24, 16, 128
"""Wrong answers that the page shows, faces of a batch that it shows, and pixels of a side."""


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The temperature that gives held-out faces, by probabilities at 1, the highest likelihood."""
    logits = np.log(np.maximum(probabilities.astype(float), 1e-12))

    def loss(log_temperature: float) -> float:
        answers = log_softmax(logits / np.exp(log_temperature), axis=1)
        return float(-answers[np.arange(len(truth)), truth].mean())

    best = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
    return float(np.exp(best.x))


def undo_class_weights(weights: Tensor | None, share: float) -> Tensor:
    """What to add to the logits to take a share of the class weights' prior shift back.

    Weights teach the rare class, but also the belief that it is more frequent than it is: the
    trained odds are the true ones times the weights (Elkan 2001, "The foundations of cost-sensitive
    learning").
    """
    return torch.zeros(len(CLASSES)) if weights is None else -share * weights.log().cpu()


def shift_prior(odds: float, temperature: float) -> Tensor:
    """What to add to the logits, before they are divided, to multiply the rare class's odds.

    Its faces are few, and found at the price of others that are mistaken for it; a loss that is
    right on average finds fewer of them than is wanted (Menon et al. 2021, "Long-tail learning via
    logit adjustment").
    """
    shift = torch.zeros(len(CLASSES))
    shift[CLASSES.index(RARE_CLASS)] = temperature * math.log(odds)
    return shift


def shift_logits(
    state: dict[str, Tensor], shift: Tensor, architecture: Architecture
) -> dict[str, Tensor]:
    """Add one number per class to the logits of every face, by the last bias as on disk."""
    name = last_bias(architecture)
    return {**state, name: state[name] + shift.to(state[name])}


def measure_crops(
    probabilities: np.ndarray, truth: np.ndarray, sources: pd.Series
) -> dict[str, dict[str, float]]:
    """Accuracy, recalls and their mean by source and for all: probabilities are (N, classes)."""
    table = pd.DataFrame({"right": probabilities.argmax(axis=1) == truth, "truth": truth})
    measured = {}
    for name in ("all", *sorted(map(str, sources.unique()))):
        rows = table if name == "all" else table[(sources == name).to_numpy()]
        means = rows.groupby("truth")["right"].mean()
        recalls = {CLASSES[code]: float(means[code]) for code in means.index}
        measured[name] = {
            "faces": float(len(rows)),
            "accuracy": float(rows["right"].mean()),
            "macro_recall": float(np.mean(list(recalls.values()))),
            **recalls,
        }
    return measured


def make_card(
    recipe: ClassifierRecipe, run: Run | None = None, labels: Iterable[str] = CLASSES
) -> ClassifierCard:
    """How the recipe's network is fed, not calibrated yet; with a run, what it was trained on.

    A class that none of the `labels` is, nor any drawn face, is never answered.
    """
    known = {*labels, *([RARE_CLASS] if recipe.drawn else [])}
    card = ClassifierCard(
        architecture=recipe.architecture,
        colour=recipe.colour,
        mirror=recipe.mirror,
        input_size=recipe.sizes[-1],
        learnt=tuple(name for name in recipe.learnt if name in known),
    )
    if run is not None:
        card.crop_scale = run.data.get("options", {}).get("scale", CROP_SCALE)
        card.training = run.describe_training(recipe)
        card.training_photos = run.photos
    return card


def store_weights(learn: Learner, labels: pd.Series, recipe: ClassifierRecipe) -> dict[str, Tensor]:
    """A learner's weights by their names on disk, with the prior shift of class weights undone."""
    state = {name: tensor.cpu() for name, tensor in learn.model.state_dict().items()}
    shift = undo_class_weights(class_weights(labels, recipe), recipe.undo_weights)
    return shift_logits(to_stored(state, recipe.architecture), shift, recipe.architecture)


def use_learner(
    learn: Learner, *, device: object, bf16: bool = False, engine: str = AUTO
) -> Classifier:
    """A copy of the net of `make_learner` as it is, not calibrated; `WeightsError` for others."""
    recipe = getattr(learn, "recipe", None)
    if not isinstance(recipe, ClassifierRecipe):
        what = f"weights of type {type(learn).__name__}: no path, and no learner of trimask.learner"
        raise WeightsError(f"{what}: how are its crops cut?")
    state = store_weights(learn, learn.labels, recipe)
    sizes = [one.size for one in learn.dls.valid.after_item.fs if isinstance(one, FitCrop)]
    fed = {"crop_scale": learn.crop_scale, "input_size": sizes[0] if sizes else recipe.sizes[-1]}
    card = make_card(recipe).model_copy(update=fed)
    net = fill_net(state, recipe.architecture, Path(recipe.name))
    return Classifier(net, card, device=device, bf16=bf16, engine=engine)


def write_classifier(run: Run, state: dict[str, Tensor], card: ClassifierCard) -> ClassifierCard:
    """Write weights, in half precision, and card; returns the card with their hash."""
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    return save_weights(run.folder / folders.WEIGHTS, half, card)


def export_classifier(
    state: dict[str, Tensor],
    faces: pd.DataFrame,
    prepared: Path,
    recipe: ClassifierRecipe,
    run: Run,
    device: torch.device,
) -> ClassifierCard:
    """Calibrate, measure on the validation crops by the road of `run.py`, draw, and write.

    The state is as on disk, at temperature 1. A refit takes temperature, figures, looks and limits.
    """
    valid = faces[faces["split"] == VALID].reset_index(drop=True)
    crops = [read_photo(prepared / crop).pixels for crop in valid["crop"]]
    truth = valid["label"].map(CLASSES.index).to_numpy()
    card = make_card(recipe, run, faces["label"])

    def embed() -> tuple[np.ndarray, np.ndarray]:
        net = fill_net(state, recipe.architecture, run.folder)
        return Classifier(net, card, device=device).embed(crops)

    card_of = run.refit and (run.refit / folders.WEIGHTS).with_suffix(".json")
    twin = read_card(card_of, ClassifierCard) if card_of else None
    card.temperature = twin.temperature if twin else fit_temperature(embed()[0], truth)
    shift = shift_prior(recipe.rare_odds, card.temperature)
    state = shift_logits(state, shift, recipe.architecture)
    if twin:  # What it learnt from would flatter it.
        card.results, card.looks, card.sets = twin.results, twin.looks, twin.sets
        return write_classifier(run, state, card)
    probabilities, features = embed()
    card.results = {"valid": measure_crops(probabilities, truth, valid["source"])}
    looks = describe_crops(crops, probabilities, features)
    card.looks = fit_ranges(looks, valid["image"], valid["source"])
    card.sets = fit_sets(probabilities, truth)
    predicted = probabilities.argmax(axis=1)
    table = valid[["source", "image", "object", "label"]].copy()
    table["predicted"] = [CLASSES[code] for code in predicted]
    table[[f"p_{name}" for name in CLASSES]] = probabilities.round(5)
    table["loss"] = -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-9))
    told = table.to_csv(index=False, float_format="%.5g")
    write_atomically(run.folder / folders.PREDICTIONS, told)
    return write_classifier(run, state, card)


def make_picture(pixels: np.ndarray, caption: str, title: str = "") -> Picture:
    """A picture of pixels, RGB, uint8, square."""
    return Picture(jpeg_uri(encode_crop(resize_crop(pixels, SIDE), QUALITY)), caption, title)


def picture_batch(learn: Learner) -> list[Picture]:
    """The first faces of a training batch, as augmented, by their labels."""
    images, codes = learn.dls.train.one_batch()
    mean, std = (torch.tensor(one, device=images.device)[:, None, None] for one in imagenet_stats)
    shown = ((images[:FED].as_subclass(torch.Tensor) * std + mean).clamp(0, 1) * 255).byte().cpu()
    pixels = shown.permute(0, 2, 3, 1).contiguous().numpy()
    return list(map(make_picture, pixels, [CLASSES[code] for code in codes[:FED]]))


ClassRow = namedtuple("ClassRow", ("label", "faces", "right", "recall", "precision", "mistakes"))


def judge_classes(answers: pd.DataFrame) -> list[ClassRow]:
    """A row for every class with faces, from the rows of `valid.csv`.

    Precision is None where nothing was called so, `mistakes` the most frequent one, in words.
    """
    rows = []
    wrong = answers[answers["label"] != answers["predicted"]]
    for label, (right, faces) in folders.count_right(answers).items():
        called = (answers["predicted"] == label).sum()
        instead = wrong.loc[wrong["label"] == label, "predicted"].value_counts()
        most = f"{instead.iloc[0]} called {instead.index[0]}" if len(instead) else ""
        precision = right / called if called else None
        rows.append(ClassRow(label, faces, right, right / faces, precision, most))
    return rows


def list_commands(record: folders.RunRecord, prepared: Path) -> dict[str, str]:
    """What to type next, by what for."""
    _, roots = identify_data(prepared)
    weights = ["--weights", record.folder]
    commands = {"use": spell("run", "PHOTOS", "-o", "out", *weights)}
    for source, root in () if "refit" in record.about else roots.items():
        several, found, report = len(roots) > 1, "all", "report"
        if several:
            found, report = f"all/{source}", f"report/{source}"
        run = spell("run", root, "-o", found, *weights, "--thresh", "0.02", "--no-draw")
        judge = [prepared, f"{found}/predictions.csv", "-o", report, "--split", VALID]
        judge += ["--photos", root, *["--source", source] * several]
        # Not `&&`: where a photo can't be read, `run` does the rest and ends with 1.
        commands["measure" + f" on {source}" * several] = f"{run}; {spell('evaluate', *judge)}"
    return commands | {"clean": spell("suspects", prepared, "-o", "suspects")}


def _tell(run: Run, prepared: Path) -> dict[str, Any]:
    """What the last lines and the page tell alike, of a run with weights."""
    record = folders.read_run(run.folder)
    kept, epochs = record.kept, len(record.history)
    told = f"epoch {kept} of {epochs}, the least validation loss of its size" if kept else ""
    if "step" in record.history:
        told = f"step {kept}, averaged over the last steps"
    warnings = [run.warning] if run.warning else []
    answers = None
    if record.recalls:
        answers = pd.read_csv(run.folder / folders.PREDICTIONS)
        seen = "The validation faces also chose the epoch: expect a little less on new photos."
        warnings += [seen, *warn_of_few({record.folder.name: record.recalls})]
    before = {k: v for k, v in record.results.get("before", {}).items() if k != "step"}
    return {
        "record": record,
        "answers": answers,
        "kept": told,
        "warnings": warnings,
        "rows": [] if answers is None else judge_classes(answers),
        "aps": [(k.replace("_", " "), v, record.results[k]) for k, v in before.items()],
        "commands": list_commands(record, prepared),
    }


def describe_result(run: Run, prepared: Path) -> list[str]:
    """The last lines of a training, with its table per class; its warning was logged before it."""
    told = _tell(run, prepared)
    lines, rows = told["warnings"], told["rows"]
    if run.warning:
        lines[0] = "As noted above, the figures flatter."
    if rows:
        heads = ("class", "faces", "right", "recall", "precision", "mistakes")
        cells = [(*r[:3], _share(r.recall), _share(r.precision), r.mistakes) for r in rows]
        lines += markdown_table(heads, cells).split("\n")  # A log escapes the ends of lines.
        if told["record"].recipe.get("mirror"):
            lines.append("The written weights average the mirror image, too, unlike the epochs.")
    if told["aps"]:
        shares = [(name, _share(before), _share(now)) for name, before, now in told["aps"]]
        lines += markdown_table(("on the validation photos", "before", "now"), shares).split("\n")
    kept, look = told["kept"], f"look: {run.folder / PAGE}"
    lines += [f"kept: {kept}"] if kept else []
    return [*lines, look, *(f"{k}: {text}" for k, text in told["commands"].items())]


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def find_mistakes(answers: pd.DataFrame, prepared: Path, crops: Sequence[str]) -> list[Picture]:
    """The faces told wrong, the surest mistakes first; `crops` are those of the answers' rows."""
    wrong = answers[answers["label"] != answers["predicted"]]
    pictures = []
    worst = wrong.sort_values("loss", ascending=False, kind="stable").head(WORST)
    for place, row in worst.iterrows():
        own, told = row["label"], row["predicted"]
        caption = f"{SHORT[own]} → {SHORT[told]} {row[f'p_{told}']:.2f}"
        title = f"{Path(row['image']).name}, face {row['object']}"
        pixels = read_photo(prepared / crops[int(str(place))]).pixels
        pictures.append(make_picture(pixels, caption, title))
    return pictures


def write_page(
    run: Run, prepared: Path, *, crops: Sequence[str] = (), batch: Sequence[Picture] = ()
) -> None:
    """Write `run.html`, which needs no other file, from what lies in the run folder.

    `crops` are files of validation faces, in the order of `valid.csv`; `batch` shows what was fed.
    """
    told = _tell(run, prepared)
    answers, mistakes = told.pop("answers"), []
    plots = draw_history(told["record"].history)
    if answers is not None:
        mistakes = find_mistakes(answers, prepared, crops)
        counts = confusion_matrix(answers["label"], answers["predicted"], labels=CLASSES)
        told_by = {"counts": counts, "rows": CLASSES, "columns": CLASSES}
        plots.append(draw_confusion(told_by, "Confusion"))
    page = render_html(
        "pipeline.training",
        PAGE,
        filters={"share": _share},
        name=run.folder.name,
        few=folders.FEW_FACES,
        colours=COLOURS,
        plots=list(map(to_uri, plots)),
        mistakes=mistakes,
        batch=batch,
        **told,
    )
    write_atomically(run.folder / PAGE, page)
