"""Engines answer as torch does, and nets are exported only if they do."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from pipeline.cli import trimask
from pipeline.inference import engines, export
from pipeline.inference.engines import AUTO, ENGINES, EngineError, make_engine
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import Frame
from pipeline.inference.sources import decode_item
from pipeline.nets.cards import DetectorCard, WeightsError, read_card, read_onnx, save_weights
from pipeline.nets.options import SHIPPED, EngineName
from tests.pipeline.makers import CPU, make_net, save_photo
from trimask import EXAMPLE


@pytest.fixture(scope="module")
def shipped():
    return Predictor.load(SHIPPED, device=CPU, bf16=False, engine="torch")


def test_names_on_the_command_line_are_those_there_are():
    assert get_args(get_args(EngineName)[0]) == (AUTO, *ENGINES)


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_engine_answers_as_torch_for_all_sizes_and_threads(shipped, name):
    rng = np.random.default_rng(0)
    for part in (shipped.detector, shipped.classifier):
        data = read_onnx(SHIPPED / f"{part.card.kind}.safetensors", part.card)
        own, other = part.engine, make_engine(name, data, CPU, bf16=False)
        for shape in ((1, 3, 64, 96), (3, 3, 32, 32)):
            rows_last = rng.normal(0, 50, shape).astype(np.float32).transpose(0, 2, 3, 1)
            batch = np.ascontiguousarray(rows_last).transpose(0, 3, 1, 2)
            with ThreadPoolExecutor(2) as pool:
                answers = list(pool.map(other, [batch] * 4))
            for outputs in answers:
                for mine, theirs in zip(own(batch), outputs, strict=True):
                    np.testing.assert_allclose(theirs, mine, atol=1e-3, rtol=1e-4)


class Met:
    """An engine of several streams, each of which waits until two calls are under way."""

    streams = 2

    def __init__(self):
        self.both = threading.Barrier(2, timeout=20)

    def run(self, item):
        self.both.wait()
        return item, engines._cores.get()


def test_streams_share_the_cores_and_keep_the_order(monkeypatch):
    monkeypatch.setattr(engines, "count_threads", lambda: 6)
    met = Met()
    assert engines.share_cores(met, met.run, range(4)) == [(item, 3) for item in range(4)]
    for engine, items, cores in ((object(), [1, 2], 6), (met, [1], 6), (met, [1, 2], 1)):
        monkeypatch.setattr(engines, "count_threads", lambda cores=cores: cores)
        told = engines.share_cores(engine, lambda item: (item, engines._cores.get()), items)
        assert told == [(item, 0) for item in items]


def test_photos_side_by_side_get_the_answers_of_each_alone(monkeypatch):
    monkeypatch.setattr(engines, "count_threads", lambda: 2)
    nets = Predictor.load(SHIPPED, device=CPU, engine="onnx", thresh=0.05)
    photo = read_photo(EXAMPLE).pixels
    frames = [Frame("a", pixels=some) for some in (photo, photo[:, ::-1], photo[::2, ::2])]
    together = nets(frames)
    assert sum(map(len, together)) > 3
    assert together == [nets([frame])[0] for frame in frames]


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("onnx", ImportError("No module named 'onnxruntime'"), r"pip install 'trimask\[onnx\]'"),
        (
            "openvino",
            NotImplementedError("bfloat16"),
            "openvino has no bfloat16 here; use --engine",
        ),
    ],
)
def test_engine_that_is_not_there_says_what_to_do(monkeypatch, shipped, name, error, words):
    def fail(*_):
        raise error

    monkeypatch.setitem(ENGINES, name, fail)
    with pytest.raises(EngineError, match=words):
        make_engine(name, torch.nn.Identity(), CPU, bf16=False)


ENDINGS = {
    "onnx": {".onnx", ".json", ".safetensors"},
    "openvino": {".xml", ".bin"},
    "torchscript": {".pt"},
}


SLOW = pytest.param("openvino", marks=pytest.mark.slow)


@pytest.mark.parametrize("to", ["onnx", SLOW, "torchscript"])
def test_exported_files_hold_card_and_are_what_was_tried(tmp_path, to):
    save_photo(tmp_path / "photos" / "a.png", seed=1)
    options = ["--to", to, "-o", str(tmp_path / "out"), "--check", str(tmp_path / "photos")]
    done = CliRunner().invoke(trimask, ["export", *options])
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    assert [told["photos"] for told in record["tried"].values()] == [3, 1]
    assert all(told["outputs"] < 1e-4 for told in record["tried"].values())
    stated = json.loads((SHIPPED / "detector.json").read_text())["sha256"].encode()
    files = {path.suffix for path in (tmp_path / "out").glob("detector.*")}
    assert files == ENDINGS[to]
    holding = [p for p in (tmp_path / "out").glob("detector.*") if stated in p.read_bytes()]
    assert holding
    if to == "onnx":
        again = CliRunner().invoke(trimask, ["export", *options])
        assert again.exit_code == 0, "its own folder"


def test_onnx_file_is_used_by_its_card_alone(tmp_path, shipped):
    """As another program would: what it feeds follows from the metadata."""
    export.export(export.ExportOptions("onnx", tmp_path / "out"))
    path = tmp_path / "out" / "classifier.onnx"
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    card = json.loads(session.get_modelmeta().custom_metadata_map["card"])
    assert "training_photos" not in card
    crop = np.random.default_rng(0).integers(0, 256, (card["input_size"],) * 2 + (3,))
    fed = (crop / 255 - card["mean"]) / card["std"]
    both = np.stack([fed, fed[:, ::-1]] if card["mirror"] else [fed]).transpose(0, 3, 1, 2)
    logits = session.run(None, {"photos": both.astype(np.float32)})[0] / card["temperature"]
    shares = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).mean(axis=0)
    told = shipped.classifier.classify([crop.astype(np.uint8)])[0]
    order = [card["classes"].index(name) for name in CLASSES]
    np.testing.assert_allclose(shares[order], told, atol=1e-4)


def test_shipped_nets_lie_there_as_onnx_and_auto_takes_it(shipped):
    """The same faces as torch's but for rounding, by the road of run.py."""
    quick = Predictor.load(SHIPPED, device="cpu")
    assert quick.engine == "onnx"
    frames = [decode_item(EXAMPLE, "a"), *export.make_photos()]
    told = export.compare(replace(shipped, thresh=0.3), replace(quick, thresh=0.3), frames)
    assert (told["photos"], told["faces"]) == (4, 1)
    with pytest.raises(export.ExportError, match="none of the photos can be read"):
        export.compare(shipped, quick, [Frame("a.jpg", error="a.jpg: damaged.")])
    assert Predictor.load(SHIPPED, device="cpu", bf16=True).engine == "torch"


def test_onnx_that_is_not_of_these_weights_is_refused(tmp_path):
    for path in (*SHIPPED.glob("classifier.*"), *SHIPPED.glob("detector.*")):
        shutil.copy(path, tmp_path)
    shutil.copy(tmp_path / "classifier.onnx", tmp_path / "detector.onnx")
    with pytest.raises(WeightsError, match=r"detector\.onnx: its SHA-256 is not"):
        Predictor.load(tmp_path, device="cpu")
    card = read_card(tmp_path / "detector.json", DetectorCard)
    save_weights(tmp_path / "detector.safetensors", make_net().state_dict(), card)
    with pytest.raises(WeightsError, match=r"detector\.onnx: its SHA-256"):  # Trained anew.
        Predictor.load(tmp_path, device="cpu")
    (tmp_path / "detector.onnx").unlink()
    assert Predictor.load(tmp_path, device="cpu").engine == "torch"


def test_what_answers_otherwise_is_not_written(tmp_path, monkeypatch):
    real = engines.make_engine

    def make(name, net, device, *, bf16):
        engine = real(name, net, device, bf16=bf16)
        return lambda batch: tuple(output * 1.01 for output in engine(batch))

    monkeypatch.setattr(export, "make_engine", make)
    done = CliRunner().invoke(trimask, ["export", "--to", "onnx", "-o", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "nothing is written" in done.output
    assert not (tmp_path / "out").exists()
