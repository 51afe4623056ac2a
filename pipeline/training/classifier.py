"""Training the classifier: one-cycle in stages of growing input size, then calibration."""

from contextlib import closing, suppress
from pathlib import Path

import pandas as pd
import torch
from fastai.callback.schedule import Learner, valley
from fastai.torch_core import rank_distrib, to_device
from matplotlib import pyplot

from data_prep.base.labels import CLASSES, RARE_CLASS
from data_prep.base.progress import show_progress, tell
from data_prep.base.tables import KEY
from data_prep.grouping.split import TRAIN, VALID
from pipeline.nets.cards import ClassifierCard, load_checkpoint
from pipeline.nets.compute import seed_everything
from pipeline.runs.folder import CHECKPOINT, Row, Run
from pipeline.runs.log import Log
from pipeline.runs.plots import save_figure
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training import data
from pipeline.training.callbacks import StageKeeper, count_millions, describe_minutes, time_second
from pipeline.training.export import (
    export_classifier,
    make_card,
    picture_batch,
    store_weights,
    write_page,
)
from pipeline.training.learner import build_learner, fit_stage, free_body
from pipeline.training.ranks import share

TIMED = 8  # Faces that a step is timed with.

START = {
    "random": "random weights (others, where they can be had, do better: see init)",
    "imagenet": "ImageNet weights",
    "detector": "the shipped detector's body",
}


def plan_classifier(
    faces: pd.DataFrame, prepared: Path, recipe: ClassifierRecipe, device: torch.device
) -> str:
    """A first line to log, before anything is made; refuses what `train_classifier` would."""
    chosen = data.select_faces(faces, recipe)
    is_train = chosen["split"] == TRAIN
    shown = data.TrainingFaces(chosen, data.read_crops(prepared), chosen["label"][is_train])
    learn = build_learner(shown, recipe, device, Path())
    photos = len(chosen[list(KEY[:2])].drop_duplicates())
    begun_with = START.get(recipe.init, Path(recipe.init).name)
    sizes = ", then ".join(f"{size} px" for size in dict.fromkeys(recipe.sizes))
    return (
        f"{recipe.architecture} ({count_millions(learn.model)}) from {begun_with}: "
        f"{is_train.sum()} training and {(~is_train).sum()} validation faces of {tell(photos)}; "
        f"at most {tell(recipe.all_epochs, 'epoch')} at {sizes}, "
        f"{describe_minutes(_reckon_seconds(learn, recipe))}"
    )


def _reckon_seconds(learn: Learner, recipe: ClassifierRecipe) -> float:
    """Of all epochs, from a batch that is read and one that is learnt."""
    loaders, size = learn.dls, recipe.sizes[0]
    images = torch.rand(TIMED, 3, size, size, device=loaders.device)
    learn.model.to(loaders.device).train()
    reading = time_second(loaders.train.one_batch) / recipe.batch_size
    stepping = time_second(lambda: learn.model(images).float().sum().backward())
    rare = sum(label == RARE_CLASS for _, label in loaders.train_ds.items)
    added = recipe.drawn * 4 / 3 * rare  # a mask in four is drawn as worn properly
    faces = len(loaders.train_ds) + added + len(loaders.valid_ds) / 2  # which go forward only
    face = [reading + stepping / TIMED * (stage.size / size) ** 2 for stage in recipe.stages]
    return sum(faces * x * stage.epochs for x, stage in zip(face, recipe.stages, strict=True))


def train_classifier(
    faces: pd.DataFrame,
    prepared: Path,
    recipe: ClassifierRecipe,
    run: Run,
    *,
    device: torch.device,
    log: Log,
) -> ClassifierCard:
    """Train a classifier, from the whole `faces.csv`, or go on where a killed run stopped.

    Gives the card of what is written, with figures; of none where another process writes it.
    """
    chosen = data.select_faces(faces, recipe)
    seed_everything(recipe.seed)
    table = pd.crosstab(chosen["split"], chosen["label"])
    table = table.reindex(index=[TRAIN, VALID], columns=list(CLASSES), fill_value=0)
    counts = {split: table.loc[split].to_dict() for split in (TRAIN, VALID)}
    texts = {
        split: ", ".join(f"{name} {n}" for name, n in own.items()) for split, own in counts.items()
    }
    log("; ".join(map("{}: {}".format, texts, texts.values())), "data", **counts)
    checkpoint = share(load_checkpoint(run.folder / CHECKPOINT))
    if recipe.drawn:
        log("drawing masks on bare faces")
    gathered = data.gather_faces(chosen, data.read_crops(prepared), recipe)
    learn = build_learner(gathered, recipe, device, run.folder, fresh=checkpoint is None)
    history: list[Row] = list(checkpoint["history"]) if checkpoint else []
    if checkpoint:
        log(f"resuming after epoch {len(history)} of {recipe.all_epochs}")
    first = checkpoint["stage"] if checkpoint else 0
    free_body(learn, recipe, first)
    lr = _choose_lr(learn, recipe, history, run, log)
    left = len(learn.dls.train) * (recipe.all_epochs - len(history))
    with closing(show_progress(range(left), left, "training")) as steps:
        for stage in range(first, len(recipe.stages)):
            size, epochs, head_only = recipe.stages[stage]
            rate = lr * recipe.stage_lr**stage
            learn.dls = data.make_loaders(gathered, recipe, size, device)
            line = f"stage {stage + 1} of {len(recipe.stages)}: {size} px, at most "
            line += tell(epochs, "epoch") + ", the head alone" * bool(head_only)
            log(line, "stage", stage=stage, size=size, epochs=epochs)
            learn.create_opt()
            free_body(learn, recipe, stage)
            resumed = checkpoint if checkpoint and stage == first else None
            if resumed:
                learn.model.load_state_dict(resumed["model"])
                learn.opt.load_state_dict(to_device(resumed["optimiser"], device))
            keeper = StageKeeper(recipe, stage, rate, run, history, log, resumed, steps)
            fit_stage(learn, recipe, stage, rate, [keeper], keeper.done)
    if rank_distrib():
        return make_card(recipe)
    state = store_weights(learn, gathered.labels, recipe)
    batch = picture_batch(learn)
    card = export_classifier(state, chosen, prepared, recipe, run, device)
    crops = chosen.loc[chosen["split"] == VALID, "crop"].tolist()
    write_page(run, prepared, crops=crops, batch=batch)
    (run.folder / CHECKPOINT).unlink(missing_ok=True)
    return card


def _choose_lr(
    learn: Learner, recipe: ClassifierRecipe, history: list[Row], run: Run, log: Log
) -> float:
    """The recipe's rate, or the one the range test finds and draws; a resumed run keeps its own."""
    if recipe.lr != "find":
        return float(recipe.lr)
    if history:
        return history[0]["lr"]
    with learn.no_logging(), learn.no_bar():
        found = float(learn.lr_find(suggest_funcs=valley, show_plot=False).valley)
    with suppress(OSError):
        (run.folder / learn.model_dir).rmdir()  # fastai's own, empty by now
    learn.recorder.plot_lr_find()
    pyplot.axvline(found, color="C1", linestyle="--", label=f"chosen: {found:.1e}")
    pyplot.legend()
    save_figure(pyplot.gcf(), run.folder / "lr_find.png")
    pyplot.close()
    log(f"learning rate found: {found:.2e}", "rate", lr=found)
    return found
