"""A real short training on painted faces, and what its network makes of them."""

import numpy as np
import pytest
import torch
from fastai.optimizer import Adam
from torch import nn
from torchvision.models import resnet34

from data_prep.base.labels import CLASSES
from pipeline.nets.classifiers import from_torchvision, make_head, to_stored
from pipeline.training.short import (
    label_codes,
    load_crops,
    make_adamw,
    open_faces,
    train_short,
    view_faces,
)
from tests.makers import make_pixels
from tests.pipeline.makers import CPU, Told
from tests.pipeline.tables import TINY


@pytest.fixture(scope="module")
def faces(prepared):
    return open_faces(prepared, TINY).table


@pytest.fixture(scope="module")
def crops(faces):
    return load_crops(faces["crop"], 48)


def train(faces, crops, lines=None, **changes):
    recipe = TINY.model_copy(update=changes)
    return train_short(faces, crops, recipe, device=CPU, what="fold 1", log=Told(lines))


def weights_of(net):
    return torch.cat([tensor.float().flatten() for tensor in net.state_dict().values()])


def test_colours_are_learnt_in_two_stages(faces, crops):
    lines = []
    net = train(faces, crops, lines, sizes=[32, 48], epochs=[4, 1])
    assert not net.training
    views = view_faces(net, [crops[path] for path in faces["crop"]], 48, CPU)
    assert (views.probabilities.argmax(axis=1) == label_codes(faces)).mean() > 0.6
    assert [line.split(":")[0] for line in lines] == [
        "fold 1, epoch 1 of 4",
        "fold 1, epoch 2 of 4",
        "fold 1, epoch 3 of 4",
        "fold 1, epoch 4 of 4",
        "fold 1, epoch 1 of 1",
    ]


def test_seed_decides(faces, crops):
    some = faces.head(24)
    one, same, other = (weights_of(train(some, crops, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(1)
    body = nn.Sequential(*list(resnet34().children())[:-2])
    return nn.Sequential(body, make_head("resnet34", 0.5)).eval()


def test_views_are_those_of_torchvision(net):
    """Features and probabilities by another road: one crop at a time, mirrored by hand."""
    crops = [make_pixels(side, side, side) for side in (20, 48, 70)]
    plain = resnet34(num_classes=len(CLASSES)).eval()
    plain.load_state_dict(to_stored(net.state_dict(), "resnet34"))
    assert set(from_torchvision(plain.state_dict())) == set(net.state_dict())
    seen = []
    plain.avgpool.register_forward_hook(lambda _net, _in, out: seen.append(out.flatten()))
    views = view_faces(net, crops, 48, CPU)
    from data_prep.base.crop import resize_crop

    for index, crop in enumerate(crops):
        pixels = resize_crop(crop, 48).astype(np.float32) / 255
        pixels = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        seen.clear()
        answers = [
            plain(torch.tensor(side.transpose(2, 0, 1)[None].copy()).float()).softmax(1)
            for side in (pixels, pixels[:, ::-1])
        ]
        expected = torch.cat(answers).mean(dim=0).detach().numpy()
        np.testing.assert_allclose(views.probabilities[index], expected, atol=0.02)
        features = torch.stack(seen).mean(dim=0).detach().numpy()
        np.testing.assert_allclose(views.features[index], features, rtol=0.05, atol=0.05)


def test_views_do_not_depend_on_company(net):
    crops = [make_pixels(30, 30, seed) for seed in range(70)]
    together = view_faces(net, crops, 32, CPU).probabilities
    alone = view_faces(net, crops[64:], 32, CPU).probabilities
    np.testing.assert_allclose(together[64:], alone, atol=5e-3)


def test_optimiser_follows_the_rule_of_fastai():
    torch.manual_seed(0)
    nets = [nn.Linear(5, 3, bias=False) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    makers = (Adam, make_adamw)
    rules = [
        make([list(net.parameters())], lr=1e-2) for make, net in zip(makers, nets, strict=True)
    ]
    for step in range(20):
        gradient = torch.randn(3, 5)
        for net, rule in zip(nets, rules, strict=True):
            net.weight.grad = gradient.clone()
            rule.set_hypers(lr=1e-2 * (1 + step / 10), mom=0.95 - step / 200, wd=0.05)
            rule.step()
    torch.testing.assert_close(nets[0].weight, nets[1].weight, rtol=1e-5, atol=1e-6)
