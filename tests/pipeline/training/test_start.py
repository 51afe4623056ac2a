"""What trainings start from: files, ImageNet's weights, bodies of timm."""

import hashlib
import pickle
import sys
from collections import OrderedDict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from threading import Thread
from types import ModuleType, SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import resnet18, resnet34, resnet50

from data_prep.base.labels import CLASSES
from data_prep.base.tables import read_faces
from pipeline.inference.classifier import Classifier
from pipeline.inference.detector import Detector
from pipeline.nets.cards import (
    DetectorCard,
    WeightsError,
    load_state,
    load_weights,
    save_weights,
)
from pipeline.nets.classifiers import (
    fill_net,
    from_detector,
    make_mobilenet,
    make_net,
    make_timm,
    to_stored,
)
from pipeline.nets.options import SHIPPED
from pipeline.nets.timms import name_as_timm
from pipeline.runs.folder import identify_data, start_run
from pipeline.runs.recipe import ClassifierRecipe, DetectorRecipe
from pipeline.training import learner
from pipeline.training.callbacks import SeededEpochs
from pipeline.training.classifier import train_classifier
from pipeline.training.detector import begin_body, train_detector
from pipeline.training.learner import fit_stage, free_body, make_learner, settle_start
from tests.pipeline.makers import CPU, Told
from tests.pipeline.makers import make_net as make_detector
from tests.pipeline.needs import THIRD_PARTY, needs_third_party

pytestmark = pytest.mark.usefixtures("one_thread")


def start(prepared, init, architecture="resnet34"):
    """The weights as they are before the first step, by their names on disk."""
    learn = make_learner(
        prepared,
        "fast",
        device="cpu",
        drawn=0.0,
        batch_size=9,
        init=str(init),
        architecture=architecture,
    )
    return to_stored(learn.model.state_dict(), architecture)


@pytest.mark.parametrize(
    ("net", "architecture", "taken"),
    [
        (lambda: resnet34(num_classes=len(CLASSES)).half(), "resnet34", ""),
        (lambda: resnet34(num_classes=10), "resnet34", "layer"),
        (make_mobilenet, "mobilenet0.25", ""),
    ],
    ids=["classifier", "body of a net for other classes", "mobilenet"],
)
def test_init_from_a_file(prepared, tmp_path, net, architecture, taken):
    given = net().state_dict()
    save_file(given, tmp_path / "a.safetensors")
    state = start(prepared, tmp_path / "a.safetensors", architecture)
    names = [name for name in given if name.startswith(taken)]
    assert len(names) > 100
    assert all(torch.equal(state[name], given[name].to(state[name].dtype)) for name in names)
    assert len(state["fc.weight" if architecture == "resnet34" else "head.3.weight"]) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (resnet18, r"a\.safetensors: does not hold the weights of a whole ResNet-34"),
        (resnet50, r"a\.safetensors: does not fit a ResNet-34"),
        (make_mobilenet, "does not hold the weights of a whole ResNet-34"),
        (None, r"a\.safetensors: can't be read"),
    ],
)
def test_init_from_no_file_or_another_architecture_is_refused(prepared, tmp_path, make, message):
    if make is not None:
        save_file(make().state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=message):
        start(prepared, tmp_path / "a.safetensors")


def test_body_of_a_detector_the_shipped_one_or_another(prepared, tmp_path):
    path = tmp_path / "detector.safetensors"
    save_weights(path, make_detector(seed=7).state_dict(), DetectorCard())
    for init, file in (("detector", SHIPPED / path.name), (path, path)):
        state = start(prepared, init, "mobilenet0.25")
        own = from_detector(*load_weights(file, DetectorCard))
        assert all(torch.equal(state[name], own[name].to(state[name].dtype)) for name in own)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves a folder, and is where torchvision's ResNet-34 comes from; its cache is empty."""
    folder = tmp_path / "served"
    folder.mkdir()
    state = resnet34(num_classes=1000).half().state_dict()
    torch.save(state, folder / "new.pth")
    digest = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    file = (folder / "new.pth").rename(folder / f"resnet34-{digest[:8]}.pth")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    running = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=running.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{running.server_port}/{file.name}"
    weights = SimpleNamespace(IMAGENET1K_V1=SimpleNamespace(url=url))
    monkeypatch.setattr(learner, "ResNet34_Weights", weights)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    stop = running.shutdown
    yield SimpleNamespace(file=file, state=state, stop=stop, cache=tmp_path / "cache")
    stop()
    running.server_close()


IMAGENET = ClassifierRecipe(init="imagenet")


def test_imagenet_is_fetched_once_and_started_from(server, prepared):
    told = Told()
    assert settle_start(IMAGENET, told) == IMAGENET
    assert told.lines == ["start: resnet34 from ImageNet"]
    cached = server.cache / "hub" / "checkpoints" / server.file.name
    assert cached.read_bytes() == server.file.read_bytes()
    server.file.unlink()
    name = "layer3.2.conv1.weight"
    for init in ("imagenet", cached):
        assert torch.equal(start(prepared, init)[name], server.state[name].float())


def spoil(server):
    server.file.write_bytes(b"something else")


def put_bad_file(server):
    cached = server.cache / "hub" / "checkpoints" / server.file.name
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half a file")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda server: server.file.unlink(), "can't be downloaded (HTTP Error 404"),
        (spoil, "damaged"),
        (put_bad_file, "damaged"),
    ],
)
def test_where_imagenet_can_not_be_had_random_weights_are_said_and_used(server, fault, reason):
    fault(server)
    told = Told()
    settled = settle_start(IMAGENET, told)
    assert settled == IMAGENET.model_copy(update={"init": "random"})
    (line,) = told.lines
    assert line.startswith("note: ")
    assert reason in line
    assert "from random weights" in line
    kept = [path for path in server.cache.rglob("*") if path.is_file()]
    assert len(kept) == (fault is put_bad_file), "what is damaged is not kept, nor overwritten"


def test_no_pickle_is_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "opened").touch, ()

    (tmp_path / "a.pth").write_bytes(pickle.dumps({"conv1.weight": Trap()}))
    torch.save({"conv1.weight": Trap()}, tmp_path / "b.pth")
    for name in ("a.pth", "b.pth"):
        with pytest.raises(WeightsError, match="damaged, or not a file of plain tensors"):
            settle_start(ClassifierRecipe(init=str(tmp_path / name)), Told())
    assert not (tmp_path / "opened").exists()


def test_head_first_then_all_layers_is_fastais_fine_tune(prepared):
    """The same seeds, so that what is shown is the same, too."""
    learners = [
        make_learner(
            prepared,
            "fast",
            device="cpu",
            drawn=0.0,
            sizes=[32],
            epochs=[2],
            batch_size=9,
            freeze_epochs=1,
            lr_mult=100,
            stage_lr=0.5,
        )
        for _ in range(2)
    ]
    ours, theirs = learners
    ours.model.load_state_dict(theirs.model.state_dict())
    seeds = SeededEpochs(0, 0)
    before = {name: tensor.clone() for name, tensor in ours.model.state_dict().items()}
    for stage in range(2):
        free_body(ours, ours.recipe, stage)
        fit_stage(ours, ours.recipe, stage, 1e-3 * 0.5**stage, [seeds])
        if stage == 0:
            now = ours.model.state_dict()
            assert torch.equal(now["body.stage2.0.0.weight"], before["body.stage2.0.0.weight"])
            assert not torch.equal(now["head.3.weight"], before["head.3.weight"])
    with theirs.no_bar(), theirs.no_logging():
        theirs.fine_tune(2, 1e-3, cbs=[seeds])
    for name, tensor in theirs.model.state_dict().items():
        assert torch.equal(ours.model.state_dict()[name], tensor), name


class Tiny(nn.Module):
    """Stands in for a body of timm."""

    pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.5, 0.6, 0.7)}  # noqa: RUF012
    head_hidden_size = 5

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.norm = nn.BatchNorm2d(4)
        self.out = nn.Conv2d(4, 5, 1)

    def forward(self, batch):
        assert batch.shape[-1] != 37, "37 is none of its sizes"
        if batch.mean() > 1e9:  # what can't be traced
            return batch
        return self.out(self.norm(self.stem(batch)).relu()).mean(dim=(2, 3))


class Maps(nn.Module):
    """Stands in for a body of timm that gives feature maps."""

    pretrained_cfg = Tiny.pretrained_cfg

    def __init__(self, out_indices=range(6)):
        super().__init__()
        self.token = nn.Parameter(torch.rand(1, 3))  # As of transformers, before the first layer.
        widths = (3, 4, 6, 5, 7, 9, 11)
        pairs = pairwise(widths)
        self.blocks = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairs)
        self.out = out_indices
        info = {"reduction": [2**n for n in range(1, 7)], "channels": widths[1:]}
        self.feature_info = Mock()
        for name, values in info.items():
            getattr(self.feature_info, name).return_value = [values[n] for n in out_indices]

    def forward(self, batch):
        maps = []
        for block in self.blocks:
            maps.append(batch := block(batch))
        return [maps[place] for place in self.out]


@pytest.fixture
def timm(monkeypatch):
    """A stand-in for timm, whose weights can be had unless `offline`."""
    module = ModuleType("timm")
    module.offline = False

    def create_model(name, *, pretrained=False, num_classes=None, features_only=False, **how):
        if pretrained and module.offline:
            raise FileNotFoundError("no such file in the cache\nand no network")
        if features_only:
            return Maps(**how)
        assert num_classes == 0
        net = Tiny()
        if pretrained:
            nn.init.constant_(net.out.weight, 0.25)
        return net

    module.create_model = create_model
    module.is_model = lambda name: name == "tiny"
    module.list_models = lambda: ["tiny", "huge"]
    monkeypatch.setitem(sys.modules, "timm", module)
    monkeypatch.setattr(Tiny, "__module__", "timm.models.tiny")
    return module


TIMM = ClassifierRecipe(
    architecture="timm:tiny", init="imagenet", sizes=[32], epochs=[1], batch_size=9, lr=1e-3
)


@pytest.mark.usefixtures("without_plots")
def test_a_timm_body_is_trained_and_restored_from_its_files(timm, prepared, tmp_path):
    told = Told()
    assert settle_start(TIMM, told) == TIMM
    assert told.lines == ["start: timm:tiny from ImageNet"]
    run = start_run(tmp_path, TIMM, identify_data(prepared)[0])
    train_classifier(read_faces(prepared), prepared, TIMM, run, device=CPU, log=Told())
    stored = load_file(run.folder / "classifier.safetensors")
    assert stored["body.net.out.weight"].float().mean() == pytest.approx(0.25, abs=0.05)
    timm.offline = True
    classifier = Classifier.load(run.folder / "classifier.safetensors", device=CPU)
    crops = [np.random.default_rng(seed).integers(0, 255, (32, 32, 3), np.uint8) for seed in (0, 1)]
    answers, features = classifier.embed(crops)
    assert answers.sum(axis=1) == pytest.approx(1)
    net = make_net("timm:tiny").eval()
    net.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
    pixels = torch.tensor(np.stack(crops)).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(Tiny.pretrained_cfg[k])[:, None, None] for k in ("mean", "std"))
    with torch.inference_mode():
        seen = net.body.net((pixels - mean) / std)
    np.testing.assert_allclose(features, seen.numpy(), atol=2e-3)


def test_timm_weights_that_can_not_be_had(timm):
    timm.offline = True
    told = Told()
    assert settle_start(TIMM, told).init == "random"
    assert "timm's weights of tiny can't be had (no such file in the cache)" in told.lines[0]


@pytest.mark.parametrize(
    ("name", "there", "message"),
    [
        ("timm:tiyn", True, r"timm has no 'tiyn': did you mean 'tiny'\?"),
        ("timm:tiny", False, "needs timm: pip install timm"),
    ],
)
def test_bodies_that_can_not_be_had_are_named_whatever_the_start(
    timm, monkeypatch, name, there, message
):
    if not there:
        monkeypatch.setitem(sys.modules, "timm", None)
    for init in ("random", "imagenet"):
        recipe = TIMM.model_copy(update={"architecture": name, "init": init})
        with pytest.raises(WeightsError, match=message):
            settle_start(recipe, Told())


def test_a_body_that_does_not_take_the_size_is_refused(timm):
    with pytest.raises(WeightsError, match=r"can't look at 37 px \(37 is none of its"):
        settle_start(TIMM.model_copy(update={"sizes": [32, 37]}), Told())


def test_weights_of_a_body_by_name_or_by_order(timm):
    net, given = make_timm("tiny"), Tiny().state_dict()
    renamed = OrderedDict((f"_{place}", tensor) for place, tensor in enumerate(given.values()))
    del renamed["_6"]  # of ports, some count batches and some don't
    for state in (given, {**given, "classifier.weight": torch.zeros(9, 5)}, renamed):
        named = name_as_timm(state, net)
        assert torch.equal(named["body.net.out.bias"], given["out.bias"])
        assert not net.load_state_dict(named, strict=False).unexpected_keys
    for state in (dict(reversed(given.items())) | {"x": 1}, {"a": given["out.bias"]}, {}):
        renamed = {f"_{name}": tensor for name, tensor in state.items()}
        with pytest.raises(RuntimeError, match="neither by name nor by order"):
            name_as_timm({k: torch.as_tensor(v) for k, v in renamed.items()}, net)


def test_a_detector_with_a_body_of_timm(timm, prepared, tmp_path):
    """The body sees what timm's would, the rest begins as the start's; and it is used by its card.

    The start still tells where faces may be unboxed, and the landmarks.
    """
    given = Maps().state_dict()
    save_file(given, tmp_path / "maps.safetensors")
    init = str(tmp_path / "maps.safetensors")
    card = DetectorCard(architecture="retinaface-timm:tiny")
    shipped = load_state(SHIPPED / "detector.safetensors")
    state = begin_body(card, init, shipped)
    net = fill_net(state, card.architecture, tmp_path, card)
    photo = torch.rand(1, 3, 64, 96) * 255
    bgr = photo.flip(1) - torch.tensor(card.mean)[:, None, None]
    mean, std = (torch.tensor(Tiny.pretrained_cfg[k])[:, None, None] for k in ("mean", "std"))
    theirs = Maps([2, 3, 4])
    theirs.load_state_dict(given)
    seen = theirs((photo / 255 - mean) / std)
    for ours, other in zip(net.body(bgr), seen, strict=True):
        torch.testing.assert_close(ours, other, atol=1e-5, rtol=1e-4)
    assert torch.equal(state["ClassHead.0.conv1x1.bias"], shipped["ClassHead.0.conv1x1.bias"])

    recipe = DetectorRecipe(body="timm:tiny", init=init, steps=1, batch_size=2, input_size=64)
    run = start_run(tmp_path, recipe, identify_data(prepared)[0])
    faces, roots = read_faces(prepared), {"set": prepared.parent / "set"}
    train_detector(faces, roots, recipe, shipped, run, device=CPU, log=Told())
    detector = Detector.load(run.folder / "detector.safetensors", device=CPU)
    assert detector.card.architecture == card.architecture
    trained = load_state(run.folder / "detector.safetensors")
    assert not torch.equal(trained["body.net.blocks.0.weight"], state["body.net.blocks.0.weight"])
    again = start_run(tmp_path, recipe, identify_data(prepared)[0])
    timm.offline = True
    further = recipe.model_copy(update={"init": "imagenet", "lr": 1e-9})
    train_detector(faces, roots, further, trained, again, device=CPU, log=Told())
    now = load_state(again.folder / "detector.safetensors")
    torch.testing.assert_close(now["body.net.blocks.0.weight"], trained["body.net.blocks.0.weight"])


def test_bodies_that_a_detector_can_not_have(timm, tmp_path):
    card = DetectorCard(architecture="retinaface-timm:tiny")
    timm.offline = True
    with pytest.raises(WeightsError, match="timm's weights of tiny can't be had"):
        begin_body(card, "imagenet", {})
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match=r"x\.safetensors: does not fit retinaface-timm:tiny"):
        begin_body(card, str(tmp_path / "x.safetensors"), {})
    assert begin_body(card, "random", {}).keys()
    timm.create_model = lambda *_, **__: Maps([0, 1, 2])
    with pytest.raises(WeightsError, match="tiny has no feature maps at strides"):
        begin_body(card, "random", {})


@pytest.mark.slow
@needs_third_party
def test_efficientnet_lite0_starts_timms(tmp_path):
    """Ported names, the same net."""
    pytest.importorskip("timm")
    recipe = ClassifierRecipe(
        architecture="timm:tf_efficientnet_lite0",
        init=str(THIRD_PARTY / "efficientnet-lite0.pth"),
    )
    assert settle_start(recipe, Told()) == recipe
    given = load_state(THIRD_PARTY / "efficientnet-lite0.pth")
    named = name_as_timm(given, make_net(recipe.architecture))
    assert torch.equal(named["body.net.conv_head.weight"], given["_conv_head.weight"])
    assert torch.equal(named["body.net.blocks.6.0.bn3.bias"], given["_blocks.15._bn2.bias"])
