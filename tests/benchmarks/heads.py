"""What it is worth to ask other questions than which of three classes a face is.

python -m tests.benchmarks.heads PREPARED OUT

*Two questions*: is a mask worn at all, and if so, properly? *Ordinal*: one number from bare to
properly worn, cut at two places. Nets of the recipe `suspects` learn by each in two folds, each
face is judged unseen, and compared with the three classes of a softmax. What is done stays done, in
OUT. Each head makes its answer of the differences of the same three outputs, so that the nets are
equally large.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from fastai.losses import CrossEntropyLossFlat
from torch import Tensor

from data_prep.base.files import make_folder
from pipeline.runs.log import Reporter
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from pipeline.training.short import (
    Plan,
    Task,
    Views,
    join_folds,
    label_codes,
    open_faces,
    plan_folds,
    read_views,
    train_task,
)
from tests.benchmarks.repeated import compare_by_source, log_gains, show_gains

FOLDS = 2
CPU = torch.device("cpu")
CUT = 2.0  # Of the ordinal head, either side of the middle.


def ask_two(outputs: Tensor) -> Tensor:
    """Log probabilities (N × 3) of outputs: of a mask, and of one that is worn properly."""
    first, properly = (outputs[:, :1] - outputs[:, 1:]).unbind(1)
    worn, bare = (torch.nn.functional.logsigmoid(sign * first) for sign in (1, -1))
    right, wrong = (torch.nn.functional.logsigmoid(sign * properly) for sign in (1, -1))
    return torch.stack([worn + right, bare, worn + wrong], dim=1)


def cut_twice(outputs: Tensor) -> Tensor:
    """Log probabilities (N × 3) by one number's place between two cuts."""
    place = outputs[:, 0] - outputs[:, 1]
    properly, bare = torch.sigmoid(place - CUT), torch.sigmoid(-place - CUT)
    return torch.stack([properly, bare, 1 - properly - bare], dim=1).clamp_min(1e-7).log()


HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda outputs: outputs,
    "two questions": ask_two,
    "ordinal": cut_twice,
}


class HeadLoss(CrossEntropyLossFlat):
    """The recipe's loss, of what a head makes of the outputs."""

    def __init__(self, head: Callable[[Tensor], Tensor], **how: Any) -> None:
        super().__init__(**how)
        self.head = head

    def __call__(self, outputs: Tensor, *rest: Any, **how: Any) -> Tensor:
        return super().__call__(self.head(outputs.as_subclass(Tensor)), *rest, **how)


def view_folds(tasks: list[Task], head: Callable[[Tensor], Tensor]) -> list[Views]:
    """What the nets of the tasks, trained by a head, make of the faces they judge."""
    for task in tasks:
        if read_views(task) is None:
            make_folder(task.file.parent)
            train_task(task, device=CPU, log=Reporter().log, loss=partial(HeadLoss, head))
    return [known for task in tasks if (known := read_views(task))]


def main(prepared: Path, out: Path) -> None:
    """Print a row for each head and dataset."""
    recipe, answers = load_recipe("suspects", ClassifierRecipe, []), {}
    for name, head in HEADS.items():
        faces = open_faces(prepared, recipe, out)
        plan = Plan(faces.table, recipe, out / name.replace(" ", "-"), faces.scale, name)
        fold, tasks = plan_folds(plan, FOLDS)
        shares = torch.from_numpy(join_folds(fold, view_folds(tasks, head)))
        answers[name] = head(shares.clamp_min(1e-12).log()).argmax(dim=1).numpy()
    truth, rows = label_codes(faces.table), []
    before = answers.pop("softmax") == truth
    for name, answer in answers.items():
        sources = sorted({*faces.table["source"]})
        for which, compared in compare_by_source(before, answer == truth, faces.table, sources):
            rows.append([name, which, *show_gains(compared)])
    log_gains(["head", "judged"], rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
