"""Checkpoints of a running training, safe under a kill at any moment."""

from __future__ import annotations

import io
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from data_prep.base.errors import UserError
from data_prep.base.files import write_atomically

DAMAGED: tuple[type[Exception], ...] = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    UnpicklingError,
    ValueError,
)
"""What torch's restricted reader raises on files that are damaged or hold more than it knows."""


class CheckpointError(UserError, ValueError):
    """A checkpoint that can't be read; the message names the file and what to do."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values so that the old checkpoint stays until the new one is whole.

    Raises:
        OutputError: The file can't be written.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint with torch's restricted reader; None when there is none.

    Raises:
        CheckpointError: It is damaged or holds more than tensors and plain values.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise CheckpointError(
            f"{path}: the checkpoint can't be read; delete it to start again."
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: not a checkpoint; delete it to start again.")
    return state
