from __future__ import annotations

import pytest

from evaluate import EvaluateOptions
from evaluate.evaluation import OptionError


def read_classes(text: str) -> tuple[str, ...]:
    return EvaluateOptions(classes=text).choose_inputs().vocabulary.classes


def test_classes():
    assert read_classes("cat, traffic light ,dog") == ("cat", "traffic light", "dog")
    for text in (" ", "cat,,dog", "cat,Cat"):
        with pytest.raises(OptionError, match="--classes"):
            read_classes(text)


def test_ious_are_sorted_and_distinct():
    assert EvaluateOptions(iou=[0.75, 0.5, 0.75]).make_plan().ious == (0.5, 0.75)
    for value in (0, -0.5, 1.01, float("nan")):
        with pytest.raises(OptionError, match="--iou"):
            EvaluateOptions(iou=[0.5, value]).make_plan()


@pytest.mark.parametrize("text", ["400x300", " 400 X 300 ", "400×300", "400,300", "0400x300"])
def test_size(text):
    assert EvaluateOptions(image_size=text).choose_inputs().image_size == (400, 300)


@pytest.mark.parametrize("text", ["400", "0x300", "400x00", "-4x3", "4.5x3", "axb", "4x3x2"])
def test_size_that_is_none(text):
    with pytest.raises(OptionError, match="--image-size"):
        EvaluateOptions(image_size=text).choose_inputs()
