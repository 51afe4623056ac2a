"""What happens at every step of a training: seeds, checkpoints, distillation, progress."""

import ctypes
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from fastai.callback.core import Callback, CancelFitException
from fastai.optimizer import Optimizer, debias
from fastai.torch_core import rank_distrib
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from data_prep.base.progress import tell
from pipeline.inference.classifier import Classifier
from pipeline.nets.cards import ClassifierCard, WeightsError, save_checkpoint
from pipeline.nets.compute import autocast, has_fast_bf16, seed_everything
from pipeline.runs.folder import CHECKPOINT, Row, Run
from pipeline.runs.log import Log
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.ranks import bare

APART = 1_000_003  # Between the seeds of ranks, which augment otherwise and shuffle alike.

WORDS = {
    "train_loss": "training loss",
    "valid_loss": "validation loss",
    "recall_score": "macro recall",
}
"""What lines for people call the figures of an epoch."""


def describe_minutes(seconds: float) -> str:
    """A rough time in words.

    >>> describe_minutes(20), describe_minutes(80), describe_minutes(9000)
    ('under a minute', 'about 2 minutes', 'about 2.5 hours')
    """
    if seconds < 60:
        return "under a minute"
    minutes = -(-seconds // 60)
    return f"about {minutes:.0f} minutes" if minutes < 100 else f"about {minutes / 60:.1f} hours"


def time_second(call: Callable[[], object]) -> float:
    """Seconds of a call's second time, the GPU's work with it: the first one is slower."""
    call()
    began = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def wants_bf16(recipe: ClassifierRecipe, device: torch.device) -> bool:
    """Whether a recipe's training runs in bfloat16 on this device."""
    return recipe.bf16 == "on" or (recipe.bf16 == "auto" and has_fast_bf16(device))


class Bf16(Callback):
    """bfloat16 autocast on any device; fastai's own knows CUDA only."""

    order = 10

    def before_batch(self) -> None:
        self.context = autocast(self.dls.device, bf16=True)
        self.context.__enter__()

    def after_pred(self) -> None:
        self.learn.pred = self.pred.float()

    def after_loss(self) -> None:
        self.context.__exit__(None, None, None)


class QuickAdam(Optimizer):
    """fastai's Adam, the same numbers: a few calls for all parameters in place of ten for each."""

    def __init__(self, params: Any, lr: float, wd: float = 0.01) -> None:
        super().__init__(params, [], lr=lr, mom=0.9, sqr_mom=0.99, eps=1e-5, wd=wd)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Of those that have a gradient."""
        for group, numbers in zip(self.param_lists, self.hypers, strict=True):
            alike: dict[tuple[int, bool], list[Tensor]] = defaultdict(list)
            for one in group:
                if one.grad is not None:
                    state = self.state[one]
                    for name in {"grad_avg", "sqr_avg"} - state.keys():
                        state[name] = torch.zeros_like(one.grad)
                    state["step"] = state.get("step", 0) + 1
                    alike[state["step"], state.get("do_wd", True)].append(one)
            for (step, decays), some in alike.items():
                self._step(some, step, **numbers | ({} if decays else {"wd": 0.0}))

    def _step(
        self, some: list[Tensor], step: int, lr: float, mom: float, sqr_mom: float, **more: float
    ) -> None:
        slopes = [one.grad for one in some if one.grad is not None]
        means, squares = ([self.state[p][name] for p in some] for name in ("grad_avg", "sqr_avg"))
        torch._foreach_mul_(some, 1 - lr * more["wd"])
        torch._foreach_mul_(means, mom)
        torch._foreach_add_(means, slopes, alpha=1 - mom)
        torch._foreach_mul_(squares, sqr_mom)
        torch._foreach_addcmul_(squares, slopes, slopes, value=1 - sqr_mom)
        roots = torch._foreach_div(squares, debias(sqr_mom, 1 - sqr_mom, step))
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, more["eps"])
        torch._foreach_addcdiv_(some, means, roots, value=-lr / debias(mom, 1 - mom, step))


class LearnBeside(Callback):
    """Backward pass and step go on in a thread while the next batch is made; for a processor.

    Neither draws a random number: weights are those of a training without, on as many threads. Nets
    are given plain tensors: for its own kinds fastai asks at every operation what comes of it. A
    core is left to the batches: without, on two cores, an epoch takes a third longer.
    """

    order = -100  # waits before others of a batch: one sets the rates of the next step

    def before_fit(self) -> None:
        # What a step lets go is kept for the next one, where this is glibc: a tenth of the time.
        with suppress(AttributeError, TypeError):
            for mmap_or_trim_threshold, size in ((-3, 32 << 20), (-1, 1 << 29)):
                ctypes.CDLL(None).mallopt(mmap_or_trim_threshold, size)
        self.pool, self.threads = ThreadPoolExecutor(1), torch.get_num_threads()
        self.step: Future[None] | None = None
        self.learn._do_grad_opt = self._begin

    def before_train(self) -> None:
        torch.set_num_threads(max(1, self.threads - 1))

    def before_validate(self) -> None:
        torch.set_num_threads(self.threads)

    def _begin(self) -> None:
        self.step = self.pool.submit(self._learn, self.loss_grad)

    def _learn(self, loss: Tensor) -> None:
        loss.backward()
        self.opt.step()
        self.model.zero_grad()  # To none: the next gradients need not be added to any.

    def before_batch(self) -> None:
        self.after_train()
        self.learn.xb, self.learn.yb = (
            tuple(one.as_subclass(Tensor) for one in some) for some in (self.xb, self.yb)
        )

    def after_train(self) -> None:
        if self.step is not None:
            self.step.result()
            self.step = None

    after_cancel_train = after_train

    def after_fit(self) -> None:
        del self.learn._do_grad_opt
        self.pool.shutdown()
        torch.set_num_threads(self.threads)


class LearnTogether(Callback):
    """Gradients are the mean over all ranks; batch norms see the whole batch on GPUs.

    In place of fastai's own, whose accelerate takes the precision from a file of its own: here the
    recipe says it.
    """

    order = 11  # fastai's, behind what brings the net to its device

    def before_fit(self) -> None:
        net = self.learn.model
        if self.dls.device.type == "cuda":
            net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
        self.learn.model = DistributedDataParallel(net)

    def after_fit(self) -> None:
        self.learn.model = self.learn.model.module


class SeededEpochs(Callback):
    """Seeds every epoch of a stage by its own number, so that each can be repeated alone."""

    order = 60

    def __init__(self, seed: int, stage: int) -> None:
        self.seed, self.stage = seed, stage

    def before_epoch(self) -> None:
        seed = self.seed + 1000 * self.stage + self.epoch
        seed_everything(seed + APART * rank_distrib())
        for loader in self.dls.loaders:
            loader.rng = random.Random(seed)  # fastai shuffles by a generator of its own


class StageKeeper(SeededEpochs):
    """Keeps the best weights of a stage, ends it when the loss turns, and checkpoints each epoch.

    `lr` is the stage's peak rate; `history`, rows of all stages so far, grows by one per epoch;
    every batch takes one of the `steps`; `resumed` is what a checkpoint of this stage holds. A
    resumed run equals an uninterrupted one.
    """

    def __init__(
        self,
        recipe: ClassifierRecipe,
        stage: int,
        lr: float,
        run: Run,
        history: list[Row],
        log: Log,
        resumed: dict[str, Any] | None = None,
        steps: Iterator[int] | None = None,
    ) -> None:
        super().__init__(recipe.seed, stage)
        self.steps = steps or iter(())
        self.recipe, self.lr, self.began = recipe, lr, time.monotonic()
        self.run, self.history, self.log = run, history, log
        done = resumed or {"best_loss": math.inf, "best": {}, "worse": 0, "epoch": 0}
        self.best_loss, self.best = done["best_loss"], done["best"]
        self.worse = done["worse"]
        self.done = math.inf if self.worse >= recipe.patience else done["epoch"]  # of its epochs

    def before_epoch(self) -> None:
        super().before_epoch()
        self.recorder.smooth_loss.reset()
        self.began = time.monotonic()

    def after_batch(self) -> None:
        if self.training:
            next(self.steps, None)

    def after_epoch(self) -> None:
        if self.epoch < self.done:
            return  # fastai calls this for the epochs that a resumed stage skips, too
        names = ["train_loss", "valid_loss", *(metric.name for metric in self.recorder.metrics)]
        values = map(float, self.recorder.log[1 : len(names) + 1])
        figures = dict(zip(names, values, strict=True))
        row: Row = {"stage": self.stage, "epoch": self.epoch, "lr": self.lr, **figures}
        falls = self.epoch > 0 and row["train_loss"] < self.history[-1]["train_loss"]
        self.history.append(row)
        line = ", ".join(f"{WORDS.get(name, name)} {value:.4f}" for name, value in figures.items())
        seconds = f"{time.monotonic() - self.began:.0f} s"
        line = f"epoch {len(self.history)} of {self.recipe.all_epochs}: {line}, {seconds}"
        self.log(line, "epoch", **row)
        if row["valid_loss"] < self.best_loss:
            self.best_loss, self.worse = row["valid_loss"], 0
            self.best = {k: v.detach().clone() for k, v in bare(self.model).state_dict().items()}
        elif falls or self.recipe.switch == "stalled":
            self.worse += 1
        if not rank_distrib():
            self.run.write_history(self.history)
            self._save()
        if self.worse >= self.recipe.patience:
            why = "no lower validation loss" if self.recipe.switch == "stalled" else "overfits"
            line = f"stage {self.stage + 1} ends: {why} for {tell(self.worse, 'epoch')}"
            self.log(line, "stage ended", stage=self.stage, worse=self.worse)
            raise CancelFitException

    def after_fit(self) -> None:
        if self.best:
            bare(self.model).load_state_dict(self.best)

    def _save(self) -> None:
        optimiser = self.opt.state_dict()
        # As plain dicts and numbers: the restricted reader knows no others.
        hypers = [{k: float(v) for k, v in group.items()} for group in optimiser["hypers"]]
        state = {
            "stage": self.stage,
            "epoch": self.epoch + 1,
            "best_loss": self.best_loss,
            "best": self.best,
            "worse": self.worse,
            "history": self.history,
            "model": bare(self.model).state_dict(),
            "optimiser": {"state": [dict(one) for one in optimiser["state"]], "hypers": hypers},
        }
        save_checkpoint(self.run.folder / CHECKPOINT, state)


class Distillation(Callback):
    """Mixes the cross-entropy to the teachers' mean answer into the loss of training batches.

    Hinton et al. 2015, "Distilling the knowledge in a neural network".
    """

    def __init__(self, teachers: list[Classifier], share: float) -> None:
        self.teachers, self.share = teachers, share

    def after_loss(self) -> None:
        if not self.training:
            return
        images = self.xb[0].as_subclass(Tensor)
        answers = torch.stack([ask(teacher, images) for teacher in self.teachers]).mean(dim=0)
        distilled = F.cross_entropy(self.pred.as_subclass(Tensor).float(), answers)
        self.learn.loss_grad = (1 - self.share) * self.loss_grad + self.share * distilled
        self.learn.loss = self.loss_grad.clone()


def ask(teacher: Classifier, images: Tensor) -> Tensor:
    """Probabilities, in the order of `CLASSES`, of images standardised for the learner."""
    if images.shape[-1] != (size := teacher.card.input_size):
        images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    return torch.from_numpy(teacher.answer(images.cpu().numpy())[0]).to(images.device)


def load_teachers(recipe: ClassifierRecipe, device: torch.device) -> list[Classifier]:
    """The classifiers a recipe names, by ONNX where it is, thrice as fast; or `WeightsError`."""
    fed, teachers = ClassifierCard(colour=recipe.colour), []
    for path in map(Path, recipe.teachers):
        if not path.is_file():
            raise WeightsError(f"teachers: {path}: no such file; give classifiers' .safetensors.")
        teacher = Classifier.load(path, device=device, bf16=wants_bf16(recipe, device))
        card = teacher.card
        if (card.colour, card.mean, card.std) != (fed.colour, fed.mean, fed.std):
            raise WeightsError(f"{path}: is fed otherwise than the net that would learn from it.")
        teacher.card = card.model_copy(update={"mirror": False})
        teachers.append(teacher)
    return teachers


def count_millions(net: nn.Module) -> str:
    """Its parameters in words."""
    return f"{sum(one.numel() for one in net.parameters()) / 1e6:.2f} M parameters"
