"""Learning from the answers of trained classifiers beside the labels."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from fastai.callback.core import Callback
from torch import Tensor, nn

from data_prep.base.labels import CLASSES
from pipeline.nets.cards import ClassifierCard, WeightsError, load_weights
from pipeline.nets.classifiers import fill_net
from pipeline.nets.compute import autocast, has_fast_bf16, prepare_net
from pipeline.runs.recipe import ClassifierRecipe


class Teacher:
    """A trained classifier that tells class probabilities of training batches.

    Args:
        net: The network.
        card: Its input size and temperature.
        device: Where batches are.
        bf16: Run it in bfloat16.
    """

    def __init__(
        self, net: nn.Module, card: ClassifierCard, device: torch.device, *, bf16: bool = False
    ) -> None:
        self.net, self.card, self.device = prepare_net(net, device), card, device
        self.bf16 = bf16
        self.order = [card.classes.index(name) for name in CLASSES]

    def answer(self, images: Tensor) -> Tensor:
        """Probabilities, in the order of `CLASSES`, of images standardised for the learner."""
        size = self.card.input_size
        if images.shape[-1] != size:
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), autocast(self.device, bf16=self.bf16):
            logits = self.net(images).float()
        return (logits / self.card.temperature).softmax(dim=1)[:, self.order]


class Teaching(Callback):
    """Mixes the cross-entropy to the teachers' mean answer into the loss of training batches."""

    def __init__(self, teachers: list[Teacher], share: float) -> None:
        self.teachers, self.share = teachers, share

    def after_loss(self) -> None:
        """Called by fastai."""
        if not self.training:
            return
        images = self.xb[0].as_subclass(Tensor)
        answers = torch.stack([teacher.answer(images) for teacher in self.teachers]).mean(dim=0)
        taught = F.cross_entropy(self.pred.as_subclass(Tensor).float(), answers)
        self.learn.loss_grad = (1 - self.share) * self.loss_grad + self.share * taught
        self.learn.loss = self.loss_grad.clone()


def load_teachers(recipe: ClassifierRecipe, device: torch.device) -> list[Teacher]:
    """The classifiers a recipe names.

    Raises:
        WeightsError: One can't be read, or sees something else of a crop than the learner.
    """
    return [_load_teacher(Path(name), recipe, device) for name in recipe.teachers]


def _load_teacher(path: Path, recipe: ClassifierRecipe, device: torch.device) -> Teacher:
    state, card = load_weights(path, ClassifierCard)
    feed = ClassifierCard(colour=recipe.colour)
    if (card.colour, card.mean, card.std) != (feed.colour, feed.mean, feed.std):
        raise WeightsError(f"{path}: is fed otherwise than the network it would teach.")
    if set(card.classes) != set(CLASSES):
        raise WeightsError(f"{path}: its classes are {card.classes}, not {CLASSES}.")
    bf16 = recipe.bf16 == "on" or (recipe.bf16 == "auto" and has_fast_bf16(device))
    return Teacher(fill_net(state, card.architecture, path), card, device, bf16=bf16)
