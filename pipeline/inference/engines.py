"""What runs a net: a batch of arrays in, arrays out. Another engine is a line in `ENGINES`."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import cache, reduce
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import cv2
import numpy as np

from data_prep.base.errors import UserError
from pipeline.nets import cards
from pipeline.nets.compute import CPU, autocast, count_cpus, has_torch, name_device, prepare_net

if TYPE_CHECKING:
    from torch import nn

OPSET = 17
PHOTOS = "photos"  # Name of the input.
PROBE = (1, 3, 64, 64)  # What a net is traced with; number and sides are free afterwards.


class EngineError(UserError, ValueError):
    """An engine that isn't there, or that answers with what is no number."""


class Engine(Protocol):
    """A net that is ready for use; may be called from several threads at once.

    One is made of a net (or its ONNX), a device, and whether in bfloat16; where the package that it
    needs is not installed it raises ImportError, and NotImplementedError for another device.
    """

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """The net's outputs, float32, for batch × 3 × height × width, float32, as it is fed.

        Strides may be those of channels last. Outputs are those of the net as it is: of the
        detector see `RetinaFace`, of the classifier logits (batch × classes) and features.
        """


class TorchEngine:
    """Torch itself: a copy of a net, batch norms folded into convolutions, channels last."""

    def __init__(self, net: nn.Module, device: str, bf16: bool) -> None:
        import torch

        self.device, self.bf16 = torch.device(device), bf16
        self.net = prepare_net(net, self.device)

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Engine`."""
        import torch

        with torch.inference_mode():
            inputs = torch.from_numpy(batch).to(self.device)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            with autocast(self.device, bf16=self.bf16):
                outputs = self.net(inputs)
            tensors = outputs if isinstance(outputs, tuple) else (outputs,)
            return tuple(tensor.float().cpu().numpy() for tensor in tensors)


class OnnxEngine:
    """ONNX Runtime; calls share the cores as `share_cores` does, and no thread waits by spinning.

    Several photos take less time side by side, a core each, than one after the other on all.
    """

    streams = 4  # Calls at a time at most: each takes memory for what lies between the layers.

    def __init__(self, net: nn.Module | bytes, device: str, bf16: bool) -> None:
        import onnxruntime

        provider = {CPU: "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[device]
        if bf16 or provider not in onnxruntime.get_available_providers():
            raise NotImplementedError("bfloat16" if bf16 else "CUDA")
        data = net if isinstance(net, bytes) else to_onnx(net)

        @cache
        def start(threads: int) -> Any:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            return onnxruntime.InferenceSession(data, options, providers=[provider])

        self._start, self._lock = start, Lock()
        if device != CPU:
            self.streams = 1

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Engine`."""
        with self._lock:
            session = self._start(_cores.get() or count_threads())
        return tuple(session.run(None, {PHOTOS: np.ascontiguousarray(batch)}))


class OpenvinoEngine:
    """OpenVINO on the processor, compiled for each size; one call at a time: several may hang."""

    _turn = Lock()

    def __init__(self, net: nn.Module | bytes, device: str, bf16: bool) -> None:
        import openvino

        if bf16 or device != CPU:
            raise NotImplementedError("bfloat16" if bf16 else "CUDA")
        exact = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(count_threads())}
        self.model = openvino.Core().read_model(net if isinstance(net, bytes) else to_onnx(net))
        compiled = openvino.compile_model(self.model, "CPU", exact)
        self._request, self._ports = compiled.create_infer_request(), compiled.outputs

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Engine`."""
        with self._turn:
            outputs = self._request.infer([np.ascontiguousarray(batch)])
            return tuple(np.array(outputs[port]) for port in self._ports)


ENGINES: dict[str, Callable[..., Engine]] = {
    "torch": TorchEngine,
    "onnx": OnnxEngine,
    "openvino": OpenvinoEngine,
}
AUTO, TORCH, ONNX = "auto", "torch", "onnx"

Given = TypeVar("Given")
Got = TypeVar("Got")
_cores: ContextVar[int] = ContextVar("_cores", default=0)  # Of a call; 0 for all.


def count_threads() -> int:
    """Threads that a net runs on: as OMP_NUM_THREADS says, else one for each core to be had."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) else count_cpus()


def share_cores(engine: Engine, work: Callable[[Given], Got], items: Sequence[Given]) -> list[Got]:
    """What work makes of each item, in order; several at a time where the engine has streams."""
    cores = count_threads()
    streams = min(getattr(engine, "streams", 1), len(items), cores)
    if streams < 2:
        return list(map(work, items))
    with ThreadPoolExecutor(streams, "nets", _cores.set, (cores // streams,)) as pool:
        return list(pool.map(work, items))


def choose_engine(name: str, paths: Iterable[Path], device: str, bf16: bool | None) -> str:
    """The engine of that name; for `auto` the one that is fastest here for these weights.

    ONNX Runtime, on processors, where nets lie there as ONNX and bfloat16 is not asked for; torch
    else, if it is installed.
    """
    if name != AUTO:
        return name
    there = all(path.with_suffix(".onnx").is_file() for path in paths)
    return ONNX if (there and device == CPU and not bf16) or not has_torch() else TORCH


def make_engine(name: str, net: nn.Module | bytes, device: object, *, bf16: bool) -> Engine:
    """The engine of that name; `auto` is what takes the net as it is. Raises `EngineError`."""
    if name == AUTO:
        name = ONNX if isinstance(net, bytes) else TORCH
    if name not in [*ENGINES]:  # What has no hash is not in there either.
        known = ", ".join([AUTO, *ENGINES])
        raise EngineError(f"unknown engine '{name}': this version has {known}.")
    try:
        return ENGINES[name](net, name_device(device), bf16)
    except ImportError as error:
        raise EngineError(f"--engine {name}: {error}; pip install 'trimask[{name}]'.") from error
    except NotImplementedError as error:
        raise EngineError(f"--engine {name} has no {error} here; use --engine {TORCH}.") from error


class Net(Generic[cards.CardType]):
    """A net with its card, ready for use: what detector and classifier share."""

    kind: type[cards.CardType]

    def __init__(
        self,
        net: nn.Module | bytes,  # Or its ONNX.
        card: cards.CardType,
        *,
        device: object,
        bf16: bool = False,
        engine: str = AUTO,
        place: object = "as given",
    ) -> None:
        self.card, self.device, self.bf16 = card, name_device(device), bf16
        self.place = place  # The file, for messages.
        self.engine = make_engine(engine, net, self.device, bf16=bf16)

    @classmethod
    def load(
        cls, path: Path, *, device: object = AUTO, bf16: bool = False, engine: str = AUTO
    ) -> Self:
        """Load checked weights; the device is `auto`, `cpu`, `cuda` or a torch.device.

        Raises `WeightsError`, and `EngineError` where that takes torch, which is not installed.
        """
        card = cards.check_weights(path, cls.kind)[1]
        if fault := cls.find_fault(card):
            raise cards.WeightsError(f"{path}: {fault}.")
        how: Any = {"device": device, "bf16": bf16, "engine": engine, "place": path}
        engine = choose_engine(engine, [path], name_device(device), bf16)
        if engine != TORCH and (data := cards.read_onnx(path, card)):
            return cls(data, card, **how)
        if not has_torch():
            hint = "without, a net runs by the ONNX that `trimask export` lays beside it."
            need = f"--engine {engine} takes PyTorch here: pip install 'trimask[train]'; {hint}"
            raise EngineError(f"{path}: {need}")
        from pipeline.nets.classifiers import fill_net

        state = cards.load_weights(path, cls.kind)[0]
        return cls(fill_net(state, card.architecture, path, card), card, **how)

    def run(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """The outputs for a batch; raises `EngineError` if one is not finite."""
        return self.check(*self.engine(batch))

    def check(self, *answers: np.ndarray) -> tuple[np.ndarray, ...]:
        """The answers; an `EngineError` if one is not finite, also of what was made of outputs."""
        if not all(np.isfinite(answer).all() for answer in answers):
            told = "the net answers with what is no number: its weights are broken."
            raise EngineError(f"{self.place}: {told}")
        return answers

    @staticmethod
    def find_fault(card: Any) -> str:
        """Why a net with this card can't be used here, or nothing."""
        raise NotImplementedError


def feed(
    photos: np.ndarray, mean: Iterable[float], std: Iterable[float], *, swap: bool = False
) -> np.ndarray:
    """Photos (N × height × width × 3, uint8) less mean, by std: what an engine takes.

    With `swap` channels are those of the photos backwards; mean and std are in the new order.
    """
    batch = np.empty((len(photos), 3, *photos.shape[1:3]), np.float32)
    for photo, planes in zip(photos, batch, strict=True):  # By channels it is quicker than whole.
        channels = cv2.split(photo)
        shown = zip(planes, channels[::-1] if swap else channels, mean, std, strict=True)
        for plane, channel, middle, spread in shown:
            np.subtract(channel, middle, out=plane, dtype=np.float32)
            if spread != 1:
                plane /= spread
    return batch


def softmax(logits: np.ndarray) -> np.ndarray:
    """Shares of the last axis, which may hold -inf."""
    columns = range(logits.shape[-1])  # So few that NumPy is slow along them.
    powers = np.exp(logits - reduce(np.maximum, (logits[..., i] for i in columns))[..., None])
    return powers / reduce(np.add, (powers[..., i] for i in columns))[..., None]


def to_onnx(net: nn.Module, card: str = "") -> bytes:
    """A net as ONNX, opset `OPSET`; a card goes into the metadata, which takes the package onnx."""
    import torch
    from torch import nn

    # Wrapped, since the exporter takes what has a `graph` for something else.
    prepared = nn.Sequential(prepare_net(net, torch.device(CPU))).eval()
    buffer, free = io.BytesIO(), {PHOTOS: {0: "photos", 2: "height", 3: "width"}}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # Its successor needs another package.
        outputs = [f"output{number}" for number in range(len(prepared(torch.zeros(PROBE))))]
        free |= {name: {0: "photos"} for name in outputs}
        torch.onnx.export(
            prepared,
            (torch.zeros(PROBE),),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=[PHOTOS],
            output_names=outputs,
            dynamic_axes=free,
        )
    if not card:
        return buffer.getvalue()
    import onnx

    model = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(model, {"card": card})
    return bytes(model.SerializeToString())
