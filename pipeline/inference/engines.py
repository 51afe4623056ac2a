"""What runs a net: a batch of arrays in, arrays out. Another engine is a line in `ENGINES`."""

import io
import warnings
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import nn

from data_prep.base.errors import UserError
from pipeline.nets.compute import autocast, prepare_net

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

    def __init__(self, net: nn.Module, device: torch.device, bf16: bool) -> None:
        self.net, self.device, self.bf16 = prepare_net(net, device), device, bf16

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Engine`."""
        with torch.inference_mode():
            inputs = torch.from_numpy(batch).to(self.device)
            with autocast(self.device, bf16=self.bf16):
                outputs = self.net(inputs)
            tensors = outputs if isinstance(outputs, tuple) else (outputs,)
            return tuple(tensor.float().cpu().numpy() for tensor in tensors)


class OnnxEngine:
    """ONNX Runtime, as many threads as torch has, of which none waits by spinning."""

    def __init__(self, net: nn.Module | bytes, device: torch.device, bf16: bool) -> None:
        import onnxruntime

        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[device.type]
        if bf16 or provider not in onnxruntime.get_available_providers():
            raise NotImplementedError("bfloat16" if bf16 else "CUDA")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        data = net if isinstance(net, bytes) else to_onnx(net)
        self._session = onnxruntime.InferenceSession(data, options, providers=[provider])

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Engine`."""
        return tuple(self._session.run(None, {PHOTOS: np.ascontiguousarray(batch)}))


class OpenvinoEngine:
    """OpenVINO on the processor; it compiles anew for each size of photo."""

    def __init__(self, net: nn.Module | bytes, device: torch.device, bf16: bool) -> None:
        import openvino

        if bf16 or device.type != "cpu":
            raise NotImplementedError("bfloat16" if bf16 else "CUDA")
        exact = {"INFERENCE_PRECISION_HINT": "f32"}
        exact["INFERENCE_NUM_THREADS"] = str(torch.get_num_threads())
        self.model = openvino.Core().read_model(net if isinstance(net, bytes) else to_onnx(net))
        self._compiled = openvino.compile_model(self.model, "CPU", exact)

    def __call__(self, batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `Engine`."""
        request = self._compiled.create_infer_request()  # One each: threads may share the engine.
        outputs = request.infer([np.ascontiguousarray(batch)])
        return tuple(np.array(outputs[port]) for port in self._compiled.outputs)


ENGINES: dict[str, Callable[..., Engine]] = {
    "torch": TorchEngine,
    "onnx": OnnxEngine,
    "openvino": OpenvinoEngine,
}
AUTO, BEST = "auto", "torch"


def make_engine(name: str, net: nn.Module | bytes, device: torch.device, *, bf16: bool) -> Engine:
    """The engine of that name, or the best one here for `auto`; raises `EngineError`."""
    name = BEST if name == AUTO else name
    if name not in ENGINES:
        known = ", ".join([AUTO, *ENGINES])
        raise EngineError(f"unknown engine '{name}': this version has {known}.")
    try:
        return ENGINES[name](net, device, bf16)
    except ImportError as error:
        raise EngineError(f"--engine {name}: {error}; pip install 'trimask[{name}]'.") from error
    except NotImplementedError as error:
        raise EngineError(f"--engine {name} has no {error} here; use --engine {BEST}.") from error


def run_engine(engine: Engine, batch: np.ndarray) -> tuple[torch.Tensor, ...]:
    """The outputs for a batch as tensors.

    Raises:
        EngineError: They are not finite: the weights are broken.
    """
    outputs = engine(batch)
    if not all(np.isfinite(output).all() for output in outputs):
        raise EngineError("the net answers with what is no number: its weights are broken.")
    return tuple(map(torch.from_numpy, outputs))


def to_onnx(net: nn.Module, card: str = "") -> bytes:
    """A net as ONNX, opset `OPSET`; a card goes into the metadata, which takes the package onnx."""
    # Wrapped, since the exporter takes what has a `graph` for something else.
    prepared = nn.Sequential(prepare_net(net, torch.device("cpu"))).eval()
    buffer, free = io.BytesIO(), {PHOTOS: {0: "photos", 2: "height", 3: "width"}}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # Its successor needs another package.
        torch.onnx.export(
            prepared,
            (torch.zeros(PROBE),),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=[PHOTOS],
            dynamic_axes=free,
        )
    if not card:
        return buffer.getvalue()
    import onnx

    model = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(model, {"card": card})
    return bytes(model.SerializeToString())
