"""The nets for other programs: as ONNX, OpenVINO or TorchScript, if they answer as torch does."""

import copy
import hashlib
import io
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import typer
from torch import nn

from data_prep.base.command import spell
from data_prep.base.errors import UserError
from data_prep.base.files import refuse_other_files, write_atomically, write_json
from data_prep.base.progress import log, tell
from pipeline.inference.engines import OPSET, PROBE, Engine, TorchEngine, make_engine, to_onnx
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import Frame
from pipeline.inference.sources import find_only_photos
from pipeline.nets.cards import Card, check_weights
from pipeline.nets.compute import CPU, prepare_net
from pipeline.nets.options import CLASSIFIER, DETECTOR, ExportOptions, Target, find_net

RECORD = "export.json"
MOST = {"outputs": 1e-3, "boxes": 0.1, "scores": 1e-3}
"""Differences that are rounding: outputs as shares of the largest, boxes in pixels."""


class ExportError(UserError, ValueError):
    """What was made answers otherwise than the net."""


def export(options: ExportOptions) -> None:
    """Write the nets for another runtime: they are tried first, and answer as they do in torch.

    Each file holds its card: what it is fed with, and what its outputs mean. As ONNX they lie
    beside their weights, for run.py. export.json says on what they were tried and what differed
    most. Nothing is written where more than rounding does.
    """
    refuse_other_files(options.out, RECORD, mark="tried")
    photos = find_only_photos(options.check, options.out) if options.check else ()
    own = Predictor.load(options.weights, device=CPU, bf16=False, engine="torch", thresh=0.3)
    log(f"nets: {own.origin}")
    files: dict[str, bytes] = {}
    cards: dict[str, Card] = {}
    made: dict[str, Any] = {DETECTOR: own.detector, CLASSIFIER: own.classifier}
    for name, part in made.items():
        if part is not None:
            card = part.card.model_dump_json(exclude={"training_photos", "onnx", "sets"})
            made[name] = copy.copy(part)
            made[name].engine, written = convert(options.to, name, part.engine.net, card)
            files |= written
            if options.to == "onnx":  # Beside its weights the net is what run.py takes.
                path, onnx = find_net(options.weights, name), written[f"{name}.onnx"]
                files[f"{name}.safetensors"], own_card = check_weights(path, type(part.card))
                cards[name] = own_card.model_copy(update={"onnx": hashlib.sha256(onnx).hexdigest()})
    other = replace(own, **made)
    tried = {"made photos": compare(own, other, make_photos())}
    if options.check:
        tried[options.check] = compare(own, other, photos)
    for file, data in files.items():
        write_atomically(options.out / file, data)
        typer.echo(options.out / file)
    for name, known in cards.items():
        write_json(options.out / f"{name}.json", known.model_dump(mode="json"))
    write_json(options.out / RECORD, {"to": options.to, "opset": OPSET, "tried": tried})
    for what, told in tried.items():
        worst = ", ".join(f"{name} {told[name]:.1g}" for name in MOST)
        faces = f"{tell(told['photos'])}, {tell(told['faces'], 'face')}"
        typer.echo(f"{what}: {faces}, all the same but for rounding (largest: {worst})")
    if options.to == "onnx":
        use = spell("run", "PHOTOS", "--weights", options.out)
        typer.echo(f"here, also without PyTorch: {use}")
    out = "what comes out is before softmax, NMS and thresholds"
    typer.echo(f"in programs of yours: the card in each file says what to feed; {out}")


def convert(to: Target, name: str, net: nn.Module, card: str) -> tuple[Engine, dict[str, bytes]]:
    """A net in another runtime, and the bytes of its files, which hold the card."""
    if to == "torchscript":
        buffer, net = io.BytesIO(), prepare_net(net, torch.device(CPU))
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # Of TorchScript, which was asked for.
            traced = torch.jit.trace(net, torch.zeros(PROBE))
            torch.jit.save(traced, buffer, _extra_files={"card.json": card})
        return TorchEngine(nn.Sequential(traced), CPU, False), {f"{name}.pt": buffer.getvalue()}
    data = to_onnx(net, card)
    engine = make_engine(to, data, CPU, bf16=False)
    if to == "onnx":
        return engine, {f"{name}.onnx": data}
    import openvino

    model = engine.model  # type: ignore[attr-defined]
    model.set_rt_info(card, "card")
    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, Path(folder, f"{name}.xml"), compress_to_fp16=False)
        files = [Path(folder, f"{name}.{ending}") for ending in ("xml", "bin")]
        return engine, {path.name: path.read_bytes() for path in files}


def make_photos() -> Iterable[Frame]:
    """Photos of coarse noise: few faces, but outputs of every size."""
    rng = np.random.default_rng(0)
    for index, size in enumerate(((320, 240), (97, 161), (256, 384))):
        coarse = rng.integers(0, 256, (12, 12, 3)).astype(np.uint8)
        yield Frame(f"made-{index}", index, np.asarray(cv2.resize(coarse, size)))


def compare(own: Predictor, other: Predictor, frames: Iterable[Frame]) -> dict[str, Any]:
    """Photos, faces, and the largest differences, named as in `MOST`; raises `ExportError`."""
    count, faces, worst = 0, 0, dict.fromkeys(MOST, 0.0)
    for frame in frames:
        if frame.pixels is None:
            log(f"not tried: {frame.error}")
            continue
        both = [predictor([frame])[0] for predictor in (own, other)]
        rows = [[[*f.box, f.detection, *f.probabilities] for f in faces] for faces in both]
        ours, theirs = (np.array(some).reshape(-1, 8) for some in rows)
        if len(ours) == len(theirs) > 0:  # Of equal scores the order is anyone's.
            theirs = theirs[np.abs(ours[:, None, :4] - theirs[:, :4]).sum(axis=2).argmin(axis=1)]
        alike = ours.shape == theirs.shape
        if not (alike and (ours[:, 5:].argmax(axis=1) == theirs[:, 5:].argmax(axis=1)).all()):
            raise ExportError(f"{frame.name}: other faces than in torch; nothing is written.")
        apart = np.abs(ours - theirs)
        told = {"boxes": apart[:, :4].max(initial=0), "scores": apart[:, 4:].max(initial=0)}
        told["outputs"] = _compare_outputs(own, other, frame.pixels)
        for name, most in MOST.items():
            worst[name] = max(worst[name], float(told[name]))
            if not worst[name] <= most:
                why = f"{name} differ by {worst[name]:.2g}; nothing is written."
                raise ExportError(f"{frame.name}: {why}")
        count, faces = count + 1, faces + len(ours)
    if not count:
        raise ExportError("none of the photos can be read; nothing is written.")
    return {"photos": count, "faces": faces, **worst}


def _compare_outputs(own: Predictor, other: Predictor, pixels: np.ndarray) -> float:
    width, height = (max(side // 32 * 32, 32) for side in pixels.shape[1::-1])
    photo = cv2.resize(pixels, (width, height)).astype(np.float32) / 64 - 2
    return max(
        float(np.abs(mine - theirs).max() / max(np.abs(mine).max(), 1))
        for net in (DETECTOR, CLASSIFIER)
        if (part := getattr(own, net))
        for mine, theirs in zip(
            part.engine(photo.transpose(2, 0, 1)[None]),
            getattr(other, net).engine(photo.transpose(2, 0, 1)[None]),
            strict=True,
        )
    )
