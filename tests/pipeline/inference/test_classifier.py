"""The classifier: the same answers by a slow road, from disk and in bf16."""

from copy import deepcopy

import cv2
import numpy as np
import pytest
import torch
from torchvision.models import resnet34

from data_prep.base.labels import CLASSES
from pipeline.inference.classifier import BATCH, Classifier
from pipeline.inference.engines import EngineError
from pipeline.nets.cards import ClassifierCard, WeightsError, save_weights
from tests.makers import make_pixels
from tests.pipeline.makers import CPU

CARD = ClassifierCard(input_size=64)
CROPS = [make_pixels(side, side, seed=side) for side in (15, 30, 64, 90)]


@pytest.fixture(scope="module")
def net():
    """Random, but with statistics as after training: answers depend on the crop."""
    torch.manual_seed(0)
    net = resnet34(num_classes=len(CLASSES))
    with torch.no_grad():
        for batch in torch.randn(3, 8, 3, 64, 64):
            net.train()(batch)
    return net.eval()


def make(net, card=CARD, **changes):
    """On a copy of the net: what is prepared for inference is changed."""
    copy = resnet34(num_classes=len(CLASSES))
    copy.load_state_dict(net.state_dict())
    return Classifier(copy, card.model_copy(update=changes), device=CPU)


def classify_slowly(net, crop, card):
    """One crop, by the formulas on the card."""
    way = cv2.INTER_AREA if len(crop) > card.input_size else cv2.INTER_CUBIC
    pixels = cv2.resize(crop, (card.input_size, card.input_size), interpolation=way)
    values = (pixels / 255 - np.array(card.mean)) / np.array(card.std)
    inputs = torch.tensor(values.transpose(2, 0, 1)[None], dtype=torch.float32)
    with torch.inference_mode():
        logits = net.eval()(inputs)[0].double().numpy() / card.temperature
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def test_same_probabilities_as_the_slow_classifier(net):
    card = CARD.model_copy(update={"temperature": 2.5})
    fast = make(net, card).classify(CROPS)
    assert fast.shape == (4, 3)
    assert fast.dtype == np.float32
    slow = [classify_slowly(net, crop, card) for crop in CROPS]
    np.testing.assert_allclose(fast, slow, atol=2e-4)
    np.testing.assert_allclose(fast.sum(axis=1), 1, atol=1e-5)
    assert np.ptp(fast, axis=0).max() > 0.02, "the crops are told apart"


def test_order_of_classes_is_that_of_the_card(net):
    turned = make(net, classes=(CLASSES[2], CLASSES[0], CLASSES[1])).classify(CROPS)
    np.testing.assert_allclose(turned, make(net).classify(CROPS)[:, [1, 2, 0]], atol=1e-6)


def test_mirror_is_the_mean_of_both_looks_and_grey_what_a_grey_network_sees(net):
    plain, both, grey = make(net), make(net, mirror=True), make(net, colour="grey")
    mirrored = [np.ascontiguousarray(crop[:, ::-1]) for crop in CROPS]
    expected = (plain.classify(CROPS) + plain.classify(mirrored)) / 2
    np.testing.assert_allclose(both.classify(CROPS), expected, atol=1e-5)
    np.testing.assert_allclose(both.classify(mirrored), expected, atol=1e-5)
    greys = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, 2) for crop in CROPS[2:3]]
    np.testing.assert_allclose(grey.classify(CROPS[2:3]), plain.classify(greys), atol=1e-5)


def test_features_are_what_the_last_layer_sees(net):
    classifier = make(net)
    probabilities, features = classifier.embed(CROPS)
    assert features.shape == (len(CROPS), 512)
    logits = features @ net.fc.weight.detach().numpy().T + net.fc.bias.detach().numpy()
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, probabilities, atol=1e-4)
    np.testing.assert_array_equal(probabilities, classifier.classify(CROPS))


def test_broken_net_never_answers(net):
    broken = deepcopy(net)
    broken.fc.bias.data[0] = torch.nan
    with pytest.raises(EngineError, match="its weights are broken"):
        Classifier(broken, CARD, device=CPU).classify(CROPS)


def test_temperature_that_overflows_never_answers(net):
    with np.errstate(all="ignore"), pytest.raises(EngineError, match="what is no number"):
        make(net, temperature=1e-39).classify(CROPS)


def test_more_crops_than_a_batch(net):
    classifier = make(net, input_size=32)
    assert classifier.classify([]).shape == (0, 3)
    crops = [make_pixels(20, 20, seed=seed) for seed in range(BATCH + 2)]
    together = classifier.classify(crops)
    assert together.shape == (BATCH + 2, 3)
    for index in (0, BATCH - 1, BATCH, BATCH + 1):
        alone = classifier.classify([crops[index]])
        np.testing.assert_allclose(together[index], alone[0], atol=1e-4)


def test_half_precision_changes_little(net, tmp_path):
    """On disk, and in bfloat16; the card comes along."""
    exact = make(net).classify(CROPS)
    half = {k: v.half() if v.is_floating_point() else v for k, v in net.state_dict().items()}
    save_weights(tmp_path / "a.safetensors", half, CARD)
    loaded = Classifier.load(tmp_path / "a.safetensors", device=CPU)
    assert loaded.card.input_size == CARD.input_size
    assert np.abs(loaded.classify(CROPS) - exact).max() < 0.01
    rounded = Classifier(deepcopy(net), CARD, device=CPU, bf16=True).classify(CROPS)
    assert rounded.dtype == np.float32
    assert np.abs(rounded - exact).max() < 0.05


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"classes": ("cat", "dog", "bird")}, r"its classes are \('cat'"),
        ({"classes": (*CLASSES, CLASSES[0])}, r"its classes are \('with_mask'"),
        ({"looks": {"sise": (0, 1)}}, "looks: sise is none of size, "),
        ({}, "does not fit a resnet34"),
    ],
)
def test_other_weights_are_refused(tmp_path, changes, what):
    card = CARD.model_copy(update=changes)
    save_weights(tmp_path / "a.safetensors", {"conv1.weight": torch.zeros(3)}, card)
    with pytest.raises(WeightsError, match=rf"a\.safetensors: {what}"):
        Classifier.load(tmp_path / "a.safetensors", device=CPU)
