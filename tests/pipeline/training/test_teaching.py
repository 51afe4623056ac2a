"""Teachers: their answer is mixed into the loss, in training only."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from data_prep.base.labels import CLASSES
from pipeline.nets.cards import ClassifierCard, WeightsError, save_weights
from pipeline.nets.classifiers import make_mobilenet
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.distillation import Teacher, Teaching, load_teachers
from tests.pipeline.makers import CPU


class Constant(nn.Module):
    """Answers these logits whatever the image, and notes its size."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.sides = torch.tensor(logits), []

    def forward(self, images):
        self.sides.append(images.shape[-1])
        return self.logits.expand(len(images), 3)


def teacher(logits, **card):
    made = Teacher(nn.Identity(), ClassifierCard(**card), CPU)
    made.net = Constant(logits)
    return made


def teach(teachers, share, *, training=True):
    """The loss after the callback, for one image, logits 1, 0, 0 and a loss of 1."""
    callback = Teaching(teachers, share)
    learn = SimpleNamespace(
        training=training,
        xb=(torch.zeros(1, 3, 32, 32),),
        pred=torch.tensor([[1.0, 0.0, 0.0]]),
        loss_grad=torch.tensor(1.0),
        loss=torch.tensor(1.0),
    )
    callback.learn = learn
    callback.after_loss()
    assert learn.loss == learn.loss_grad
    return float(learn.loss_grad)


def test_loss_is_mixed_with_the_cross_entropy_to_the_mean_answer():
    sure, other = [100.0, 0.0, 0.0], [0.0, 100.0, 0.0]
    logs = torch.tensor([1.0, 0.0, 0.0]).log_softmax(dim=0)
    assert teach([teacher(sure)], 1.0) == pytest.approx(-float(logs[0]))
    both = teach([teacher(sure), teacher(other)], 0.25)
    assert both == pytest.approx(0.75 - 0.25 * float(logs[0] + logs[1]) / 2)


def test_validation_loss_stays():
    assert teach([teacher([0.0, 0.0, 0.0])], 0.5, training=False) == 1.0


def test_temperature_and_order_of_the_card():
    swapped = teacher(
        [2.0, 0.0, 0.0], temperature=2.0, classes=(CLASSES[1], CLASSES[0], CLASSES[2])
    )
    answer = swapped.answer(torch.zeros(1, 3, 224, 224))[0]
    expected = torch.tensor([0.0, 1.0, 0.0]).softmax(dim=0)
    torch.testing.assert_close(answer, expected)


def test_images_come_at_the_size_of_the_teacher():
    made = teacher([0.0, 0.0, 0.0], input_size=48)
    made.answer(torch.zeros(2, 3, 32, 32))
    assert made.net.sides == [48]


def test_teachers_are_read_from_their_files(tmp_path):
    card = ClassifierCard(architecture="mobilenet0.25", input_size=32)
    save_weights(tmp_path / "a.safetensors", make_mobilenet().state_dict(), card)
    recipe = ClassifierRecipe(teachers=[str(tmp_path / "a.safetensors")])
    (made,) = load_teachers(recipe, CPU)
    assert made.answer(torch.zeros(2, 3, 32, 32)).sum(dim=1).tolist() == pytest.approx([1, 1])


def test_teacher_that_sees_greys_is_refused(tmp_path):
    card = ClassifierCard(architecture="mobilenet0.25", colour="grey")
    save_weights(tmp_path / "a.safetensors", make_mobilenet().state_dict(), card)
    with pytest.raises(WeightsError, match="fed otherwise"):
        load_teachers(ClassifierRecipe(teachers=[str(tmp_path / "a.safetensors")]), CPU)
