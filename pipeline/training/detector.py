"""Fine-tuning the detector on annotated boxes."""

import copy
import time
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.progress import show_progress, tell
from data_prep.base.tables import select_sources
from data_prep.grouping.split import TRAIN, VALID
from evaluate.measures.average_precision import RankedHits, average_precisions
from evaluate.measures.matching import BoxGroups, best_overlaps
from pipeline.inference.boxes import FaceBoxes
from pipeline.inference.detector import Detector
from pipeline.nets import cards
from pipeline.nets.anchors import make_anchors
from pipeline.nets.compute import autocast, has_fast_bf16, seed_everything
from pipeline.nets.options import DETECTOR, RETINAFACE, TIMM
from pipeline.nets.retinaface import ANCHORS_PER_CELL, from_imagenet, make_detector, widen_scores
from pipeline.runs.folder import CHECKPOINT, PreparedError, Row, Run
from pipeline.runs.log import Log
from pipeline.runs.recipe import DetectorRecipe
from pipeline.training import detector_data as data
from pipeline.training.callbacks import count_millions, describe_minutes, time_second
from pipeline.training.export import FED, Picture, make_picture, write_page

BATCH = 8
TIMED = 2  # Windows that a step is timed with.
LOG_EVERY = 25
SCORES = "ClassHead.0.conv1x1.bias"
STORED = ("net", "averaged", "optimiser", "schedule")  # What a checkpoint holds the state of.


def measure_sources(detector: Detector, scenes: Sequence[data.Scene]) -> Row:
    """`measure_faces` for the photos of each source, which come together, by its name before."""
    return {
        f"{source}_{name}": value
        for source, some in groupby(scenes, attrgetter("source"))
        for name, value in measure_faces(detector, list(some)).items()
    }


def measure_faces(detector: Detector, scenes: Sequence[data.Scene]) -> Row:
    """AP of faces at IoU 0.5 and 0.75, recall and precision at the score 0.5.

    A detector that tells classes apart also has `map50`, the mean AP of its classes at IoU 0.5,
    every face found counting for its likeliest class with its score × the class's probability.
    Faces of a class that it has not learnt count neither way; without others there is no AP.
    """
    found: list[FaceBoxes] = []
    for first in range(0, len(scenes), BATCH):
        some = scenes[first : first + BATCH]
        found += detector.detect([read_photo(s.path, fit_size=s.size).pixels for s in some])
    photos = np.arange(len(scenes))
    classes = np.concatenate([scene.classes for scene in scenes])
    truths = BoxGroups(
        np.concatenate([scene.boxes for scene in scenes]).astype(float),
        np.repeat(photos, [len(scene.boxes) for scene in scenes]),
    )
    boxes = BoxGroups(
        np.concatenate([faces.boxes for faces in found]).astype(float),
        np.repeat(photos, [len(faces.scores) for faces in found]),
    )
    scores = np.concatenate([faces.scores for faces in found]).astype(float)

    def rank(among: np.ndarray, own: np.ndarray, by: np.ndarray) -> tuple[RankedHits, np.ndarray]:
        """Some detections matched with some annotated faces, and their AP at each IoU."""
        sides = [BoxGroups(b.boxes[i], b.photo[i]) for b, i in ((truths, among), (boxes, own))]
        ignored, limits = classes[among] == data.IGNORED, (0.5, 0.75)
        asked = np.bincount(sides[0].photo[~ignored], minlength=len(scenes))
        iou, face = best_overlaps(sides[1], sides[0])
        best = iou[:, 0], face[:, 0]
        hits = RankedHits.match(best, sides[1].photo, by[own], ignored, asked, limits)
        return hits, average_precisions([hits], np.ones((1, len(scenes))))[0][0]

    hits, (ap50, ap75) = rank(np.ones(len(classes), bool), np.ones(len(scores), bool), scores)
    sure = int((scores >= 0.5).sum())
    found_sure = int(hits.true[0][:sure].sum())
    row = {
        "face_ap50": float(ap50),
        "face_ap75": float(ap75),
        "recall": found_sure / max(int(hits.truths.sum()), 1),
        "precision": found_sure / max(sure - int(hits.ignored[0][:sure].sum()), 1),
    }
    classified = [faces.probabilities for faces in found if faces.probabilities is not None]
    if classified:
        probabilities = np.concatenate(classified)
        likeliest, by = probabilities.argmax(axis=1), scores * probabilities.max(axis=1)
        aps = []
        for answer, name in enumerate(detector.card.learnt, start=data.FACE):
            among = np.isin(classes, (answer, data.IGNORED))
            aps.append(rank(among, likeliest == CLASSES.index(name), by)[1][0])
        known = [ap for ap in aps if not np.isnan(ap)]
        row["map50"] = float(np.mean(known or np.nan))
    return {name: value for name, value in row.items() if not np.isnan(value)}


def plan_detector(
    faces: pd.DataFrame,
    roots: dict[str, Path],
    recipe: DetectorRecipe,
    start: dict[str, Tensor],
    begun_with: str,
    device: torch.device,
) -> str:
    """Refuse what `train_detector` would, before anything is made; gives a first line to log."""
    scenes, valid = _split_scenes(faces, roots, recipe)
    trainer = _Trainer(recipe, start, device)
    batch = data.collate_windows([data.WindowDataset(scenes, recipe)[0]] * TIMED)
    learning = recipe.steps * recipe.batch_size * time_second(lambda: trainer.learn(*batch))
    looks = (1 + recipe.steps // recipe.validate_every) * len(valid)
    judging = looks * time_second(lambda: measure_sources(trainer.detector(), valid[:1]))
    count = sum(len(scene.boxes) for scene in (*scenes, *valid))
    return (
        f"{trainer.card.architecture} ({count_millions(trainer.net)}) from {begun_with}: "
        f"{len(scenes)} training and {len(valid)} validation photos with {tell(count, 'face')}; "
        f"{tell(recipe.steps, 'step')} of {tell(recipe.batch_size, 'window')} at "
        f"{recipe.input_size} px, {describe_minutes(learning / TIMED + judging)}"
    )


def _split_scenes(
    faces: pd.DataFrame, roots: dict[str, Path], recipe: DetectorRecipe
) -> list[list[data.Scene]]:
    """The photos of training and of validation."""
    chosen = select_sources(faces, recipe.sources)
    splits = (chosen[chosen["split"] == name] for name in (TRAIN, VALID))
    both = [data.collect_scenes(some, roots, recipe) for some in splits]
    if not all(both):
        which = f"{VALID if both[0] else TRAIN} split: check sources {recipe.sources or 'all'}"
        raise PreparedError(f"no photo in the {which}.")
    return both


def train_detector(
    faces: pd.DataFrame,
    roots: dict[str, Path],
    recipe: DetectorRecipe,
    start: dict[str, Tensor],
    run: Run,
    *,
    device: torch.device,
    log: Log,
    prepared: Path | None = None,
) -> cards.DetectorCard:
    """Fine-tune the detector from a state dict, or go on where a killed run stopped.

    From the whole `faces.csv` and the folder of each source; gives the card of what is written,
    with the validation figures. With the prepared folder it also writes `run.html`.
    """
    scenes, valid = _split_scenes(faces, roots, recipe)
    trainer = _Trainer(recipe, start, device)
    history = trainer.resume(run.folder / CHECKPOINT)
    counts, done = f"{len(scenes)} training and {len(valid)} validation photos", trainer.step
    facts = {"train": len(scenes), "valid": len(valid), "step": done, "steps": recipe.steps}
    log(f"{counts}; step {done} of {recipe.steps}", "data", **facts)
    if not history:
        log(f"measuring the start weights on {tell(len(valid))}")
        history.append({"step": 0, **measure_sources(trainer.detector(), valid)})
        _log_row(history[-1], log)
    began, losses = time.monotonic(), []
    dataset, begin = data.WindowDataset(scenes, recipe), trainer.step * recipe.batch_size
    order = range(begin, len(dataset))  # Windows are random by their index.
    how: dict[str, Any] = {"num_workers": 1, "prefetch_factor": 4, "sampler": order}
    windows = DataLoader(dataset, recipe.batch_size, collate_fn=data.collate_windows, **how)
    for batch in show_progress(windows, recipe.steps - trainer.step, "training"):
        losses.append(trainer.learn(*batch))
        if trainer.step % LOG_EVERY == 0:
            loss, seconds = float(np.mean(losses[-LOG_EVERY:])), time.monotonic() - began
            line = f"step {trainer.step}: loss {loss:.3f}, {seconds:.0f} s"
            log(line, "step", step=trainer.step, loss=loss, seconds=round(seconds, 1))
        if trainer.step % recipe.validate_every == 0 or trainer.step == recipe.steps:
            figures = measure_sources(trainer.detector(), valid)
            history.append({"step": trainer.step, "loss": float(np.mean(losses)), **figures})
            losses = []
            _log_row(history[-1], log)
            run.write_history(history)
            trainer.save(run.folder / CHECKPOINT, history)
    run.write_history(history)
    results = {"valid": {**history[-1], "photos": len(valid), "before": history[0]}}
    training = run.describe_training(recipe)
    own = {"training": training, "results": results, "training_photos": run.photos}
    state = dict(trainer.averaged.module.state_dict())
    path = run.folder / f"{DETECTOR}.safetensors"
    card = cards.save_weights(path, state, trainer.card.model_copy(update=own))
    if prepared is not None:
        fed = map(data.WindowDataset(scenes, recipe).__getitem__, range(FED))
        write_page(run, prepared, batch=[_picture_window(*window) for window in fed])
    (run.folder / CHECKPOINT).unlink(missing_ok=True)
    return card


def _picture_window(window: Tensor, boxes: Tensor, *_: object) -> Picture:
    pixels = window.permute(1, 2, 0).contiguous().numpy()
    for xmin, ymin, xmax, ymax in boxes.round().int().tolist():
        cv2.rectangle(pixels, (xmin, ymin), (xmax, ymax), (255, 220, 0), 3)
    return make_picture(pixels, tell(len(boxes), "face"))


def normalise(photos: Tensor, card: cards.DetectorCard) -> Tensor:
    """Bring RGB bytes to the network's input: channel order and mean of the card."""
    # Turned while still bytes, and subtracted in place: whole batches of floats are slow to copy.
    inputs = photos.flip(1) if card.channel_order == "BGR" else photos
    inputs = inputs.contiguous(memory_format=torch.channels_last).float()
    return inputs.sub_(inputs.new_tensor(card.mean)[:, None, None])


def begin_body(card: cards.DetectorCard, init: str, start: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a detector: its timm body's from `init`, as in a recipe, the rest from a start.

    Raises `WeightsError`.
    """
    net = make_detector(card, pretrained=init == "imagenet")
    own, body = net.state_dict(), {}
    if init != "random":
        try:
            body = from_imagenet(net, None if init == "imagenet" else cards.load_state(Path(init)))
        except RuntimeError as error:
            raise cards.WeightsError(f"{init}: does not fit {card.architecture}.") from error
    same = {k: v for k, v in start.items() if k in own and v.shape == own[k].shape}
    return own | same | body


class _Trainer:
    """Network, averaged network, teacher and optimiser, and how to save them."""

    def __init__(self, recipe: DetectorRecipe, start: dict[str, Tensor], device: torch.device):
        seed_everything(recipe.seed)
        self.recipe, self.device = recipe, device
        self.bf16 = has_fast_bf16(device)
        learnt = recipe.learnt
        self.card = cards.DetectorCard(architecture=RETINAFACE + recipe.body, learnt=learnt)
        told = max(1, len(start.get(SCORES, ())) // ANCHORS_PER_CELL - 1)  # Classes; 1: faces.
        wide = widen_scores(start, len(learnt)) if learnt and told == 1 else start
        own = any(name.startswith("body.net.") for name in start)  # A body of timm's.
        alike = own or not recipe.body.startswith(TIMM)
        begun = self.card if alike else cards.DetectorCard()
        teacher = make_detector(begun.model_copy(update={"learnt": CLASSES[:told]}))
        net = make_detector(self.card)
        try:
            teacher.load_state_dict(start)
            net.load_state_dict(wide if alike else begin_body(self.card, recipe.init, wide))
        except RuntimeError as error:
            raise cards.WeightsError(
                f"the start weights do not fit {self.card.architecture}: give those of a detector "
                "with this body, of faces, or of the classes that the recipe learns."
            ) from error
        self.net = net.to(device).to(memory_format=torch.channels_last).train()
        self.teacher = teacher.to(device).to(memory_format=torch.channels_last)
        self.teacher.eval().requires_grad_(False)
        average = get_ema_multi_avg_fn(recipe.ema)
        self.averaged = AveragedModel(self.net, multi_avg_fn=average, use_buffers=True)
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, max_lr=recipe.lr, total_steps=recipe.steps + 1, pct_start=0.1
        )
        self.step = 0

    def learn(
        self, windows: Tensor, boxes: list[Tensor], classes: list[Tensor], marks: Tensor
    ) -> float:
        """One optimiser step; returns the loss."""
        side = self.recipe.input_size
        anchors = torch.from_numpy(make_anchors(side, side, self.card.anchors, self.card.strides))
        targets = data.match_batch(boxes, classes, marks, anchors, self.recipe)
        inputs = normalise(windows.to(self.device), self.card)
        with autocast(self.device, bf16=self.bf16):
            outputs = self.net(inputs)
            with torch.no_grad():
                teacher = self.teacher(inputs)
        targets = data.Targets(*(one.to(self.device) for one in targets))
        targets = data.spare_unboxed(targets, teacher, self.recipe)
        losses = data.detector_loss(outputs, teacher, targets, anchors.to(self.device), self.recipe)
        self.optimiser.zero_grad(set_to_none=True)
        losses["total"].backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 10.0)
        self.optimiser.step()
        self.schedule.step()
        self.averaged.update_parameters(self.net)
        self.step += 1
        return float(losses["total"].detach())

    def detector(self) -> Detector:
        """The averaged network in use, on a copy."""
        net = copy.deepcopy(self.averaged.module)  # prepared on the CPU, while this one trains on
        return Detector(net, self.card, device=self.device, bf16=self.bf16)

    def save(self, path: Path, history: list[Row]) -> None:
        states = {name: getattr(self, name).state_dict() for name in STORED}
        cards.save_checkpoint(path, {"step": self.step, **states, "history": history})

    def resume(self, path: Path) -> list[Row]:
        """Take up a checkpoint when there is one; returns its history."""
        state = cards.load_checkpoint(path)
        if state is None:
            return []
        for name in STORED:
            getattr(self, name).load_state_dict(state[name])
        self.step = state["step"]
        return list(state["history"])


def _log_row(row: Row, log: Log) -> None:
    figures = {name: value for name, value in row.items() if name != "step"}
    line = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
    log(f"step {row['step']:g}, {line}", "validation", **row)
