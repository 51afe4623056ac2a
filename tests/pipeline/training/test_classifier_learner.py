"""Where a classifier starts from: each kind of initial weights, and those that are refused."""

from urllib.error import URLError

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import resnet18, resnet34, resnet50

from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.tables import read_faces
from pipeline.nets.cards import DetectorCard, WeightsError, load_weights, save_weights
from pipeline.nets.classifiers import from_detector, join_members, make_mobilenet, to_stored
from pipeline.nets.options import SHIPPED
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.data import make_loaders, select_faces
from pipeline.training.learner import make_learner
from tests.pipeline.makers import CPU, make_net


def start(prepared, tmp_path, init, architecture="resnet34"):
    """The weights as they are before the first step, and what was said."""
    recipe = ClassifierRecipe(
        init=str(init), architecture=architecture, sizes=[32], epochs=[1], batch_size=9, lr=1e-3
    )
    lines = []
    faces = select_faces(read_faces(prepared), recipe)

    def read(crop):
        return read_photo(prepared / crop).pixels

    loaders = make_loaders(faces, read, recipe, recipe.sizes[0], CPU)
    labels = faces.loc[faces["split"] == "train", "label"]
    learn = make_learner(loaders, labels, recipe, tmp_path, lines.append, fresh=True)
    return to_stored(learn.model.state_dict(), architecture), lines


def test_init_from_a_classifier(prepared, tmp_path):
    torch.manual_seed(5)
    net = resnet34(num_classes=len(CLASSES))
    save_file(net.half().state_dict(), tmp_path / "a.safetensors")
    state, lines = start(prepared, tmp_path, tmp_path / "a.safetensors")
    stored = net.state_dict()
    assert all(torch.equal(state[name], stored[name].to(state[name].dtype)) for name in stored)
    assert lines == []


def test_init_from_a_net_for_other_classes_takes_the_body(prepared, tmp_path):
    torch.manual_seed(3)
    net = resnet34(num_classes=10)
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    state, _ = start(prepared, tmp_path, tmp_path / "a.safetensors")
    assert state["fc.weight"].shape == (3, 512)
    body = [name for name in state if not name.startswith("fc.")]
    assert all(torch.equal(state[name], net.state_dict()[name]) for name in body)


@pytest.mark.parametrize("make", [resnet18, resnet50])
def test_init_from_another_architecture_is_refused(prepared, tmp_path, make):
    save_file(make(num_classes=3).state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"a\.safetensors: does not .* ResNet-34"):
        start(prepared, tmp_path, tmp_path / "a.safetensors")


def test_init_from_a_missing_file(prepared, tmp_path):
    with pytest.raises(WeightsError, match=r"none\.safetensors: can't be read"):
        start(prepared, tmp_path, tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    "error",
    [URLError("no route to host"), TimeoutError("timed out"), ConnectionResetError("reset")],
)
def test_imagenet_without_a_network(prepared, tmp_path, monkeypatch, error):
    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(WeightsError, match="ImageNet weights can't be downloaded") as caught:
        start(prepared, tmp_path, "imagenet")
    assert "set init to 'random' or to a safetensors file" in str(caught.value)


def test_imagenet_weights_are_used_where_they_can_be_had(prepared, tmp_path, monkeypatch):
    torch.manual_seed(4)
    state = resnet34(num_classes=1000).state_dict()
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_args, **_options: state
    )
    started, lines = start(prepared, tmp_path, "imagenet")
    assert torch.equal(started["layer3.2.conv1.weight"], state["layer3.2.conv1.weight"])
    assert lines == []


def test_body_of_the_shipped_detector(prepared, tmp_path):
    state, lines = start(prepared, tmp_path, "detector", "mobilenet0.25")
    shipped = load_file(SHIPPED / "detector.safetensors")
    name = "body.stage3.1.3.weight"
    assert torch.equal(state[name], shipped[name].float())
    assert lines == []


def test_a_mobilenet_goes_on_from_a_file(prepared, tmp_path):
    torch.manual_seed(6)
    net = make_mobilenet()
    save_file(net.state_dict(), tmp_path / "a.safetensors")
    state, _ = start(prepared, tmp_path, tmp_path / "a.safetensors", "mobilenet0.25")
    assert all(torch.equal(state[name], tensor) for name, tensor in net.state_dict().items())


def test_init_from_the_other_architecture_is_refused(prepared, tmp_path):
    save_file(make_mobilenet().state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match="does not hold the weights of a whole ResNet-34"):
        start(prepared, tmp_path, tmp_path / "a.safetensors")


def test_init_from_the_file_of_a_detector_takes_its_body(prepared, tmp_path):
    path = tmp_path / "detector.safetensors"
    save_weights(path, make_net(seed=7).state_dict(), DetectorCard())
    state, lines = start(prepared, tmp_path, path, "mobilenet0.25")
    own = from_detector(*load_weights(path, DetectorCard))
    assert all(torch.equal(state[name], own[name].to(state[name].dtype)) for name in own)
    assert lines == []


def test_ensemble_can_not_be_started_from(prepared, tmp_path):
    members = [make_mobilenet().state_dict() for _ in range(2)]
    save_file(join_members(members), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"a\.safetensors: an ensemble, which nothing can start"):
        start(prepared, tmp_path, tmp_path / "a.safetensors", "mobilenet0.25")
