"""One training in several processes, of one machine or of many, each with a share of every batch.

`torchrun` or `accelerate launch` starts them. The first one, rank 0, alone logs and writes.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

import numpy as np
import torch
from fastai.data.load import DataLoader
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from data_prep.base.errors import UserError
from data_prep.base.progress import LOGGER
from pipeline.runs.recipe import ClassifierRecipe, RecipeError

Value = TypeVar("Value")


class RanksError(UserError, RuntimeError):
    """A training in several processes that can't go on; the message says how to."""


def count_ranks() -> int:
    """Processes that train together; 1 outside of `join_ranks`."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


@contextmanager
def join_ranks(device: torch.device) -> Iterator[int]:
    """Meet the other processes, if any; gives this one's rank. `RanksError`: one is gone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield 0
        return
    if find_spec("accelerate") is None:
        raise RanksError("several processes need accelerate; pip install accelerate.")
    rank = int(os.environ["RANK"])
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    LOGGER.disabled = rank > 0
    # A launcher that misses a process ends the others, which would not say why.
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield rank
    except UserError:
        raise
    except RuntimeError as error:  # gloo has no kind of error of its own
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        _end()
    finally:
        LOGGER.disabled = False
        distributed.destroy_process_group()
        signal.signal(signal.SIGTERM, before)


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    LOGGER.disabled = False
    why = f"rank {os.environ['RANK']} ends: another process of this training was ended, or all"
    raise RanksError(f"{why}; --resume with the run folder goes on.")


def check_ranks(recipe: ClassifierRecipe) -> None:
    """Refuse, by `RecipeError`, what several processes can't share."""
    if recipe.batch_size % (count := count_ranks()):
        raise RecipeError(f"batch_size {recipe.batch_size} is no multiple of {count} processes.")
    if count > 1 and recipe.lr == "find":
        raise RecipeError("lr is 'find', which takes one process: give a number, --set lr=…")


def share(value: Value) -> Value:
    """What rank 0 has of a value, in all processes."""
    box = [value]
    if count_ranks() > 1:
        distributed.broadcast_object_list(box)
    return box[0]


def share_batches(loader: DataLoader) -> DataLoader:
    """This rank's share of a loader's batches."""
    from fastai.distributed import DistributedDL  # Here, for it needs accelerate.

    class SharedBatches(DistributedDL):
        # All ranks shuffle alike. Of validation faces, of which none is left out, each takes as
        # many, the last few twice; fastai leaves them out of what it gathers.
        def __init__(self, loader: DataLoader) -> None:
            super().__init__(loader, distributed.get_rank(), count_ranks())
            self.n = loader.n

        rng = property(lambda self: self.dl.rng, lambda self, rng: setattr(self.dl, "rng", rng))

        def _broadcast(self, indices: list[int], _rank: int) -> list[int]:
            return indices

        def __len__(self) -> int:
            whole = len(self.dl) // self.world_size
            return whole if self.dl.drop_last else int(super().__len__())

        def get_idxs(self) -> list[int]:
            """Rows of the table, in the order of this rank's batches."""
            if not self.dl.drop_last:
                return list(super().get_idxs())
            steps, each = len(self), self.dl.bs
            indices = np.array(self.dl.get_idxs())[: steps * self.world_size * each]
            return list(
                indices.reshape(steps, self.world_size, each)[:, self.rank].ravel().tolist()
            )

    return SharedBatches(loader)


def bare(net: Any) -> Any:
    """A learner's net without what spreads it."""
    return net.module if isinstance(net, DistributedDataParallel) else net
