"""What a further source of faces is worth for one that no net saw.

python -m tests.benchmarks.unseen_source PREPARED OUT FURTHER

Nets of the recipe `suspects`, with mirror images, learn from all faces of one source of PREPARED,
alone and with those of the source FURTHER, and judge all faces of each third one. What is done
stays done, in OUT.
"""

import sys
from itertools import permutations
from pathlib import Path

import torch

from pipeline.experiments.tables import compare_sides
from pipeline.runs.log import Reporter
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from pipeline.training.short import Plan, label_codes, open_faces, run_tasks
from tests.benchmarks.repeated import log_gains, show_gains


def main(prepared: Path, out: Path, further: str) -> None:
    """Print a row for each pair of sources: learnt from, judged on."""
    recipe = load_recipe("suspects", ClassifierRecipe, ["mirror=true"])
    faces = open_faces(prepared, recipe, out)
    table = faces.table
    sources = sorted({*table["source"]} - {further})
    tasks, rows = [], []
    for learnt, judged in permutations(sources, 2):
        asked = table[table["source"] == judged].reset_index(drop=True)
        for known in ([learnt], [learnt, further]):
            shown = table[table["source"].isin(known)].reset_index(drop=True)
            name = "+".join(known)
            plan = Plan(table, recipe, out, faces.scale, name)
            tasks.append(plan.make_task(f"for {judged}", f"{name}-{judged}", shown, asked))
    views = run_tasks(tasks, device=torch.device("cpu"), log=Reporter().log)
    for place, (learnt, judged) in enumerate(permutations(sources, 2)):
        asked = tasks[2 * place].judge
        truth = label_codes(asked)
        pair = views[2 * place : 2 * place + 2]
        before, after = ((one.probabilities.argmax(axis=1) == truth)[None] for one in pair)
        compared = compare_sides(before, after, truth, asked["group"])
        rows.append([learnt, f"{judged}, {len(asked)} faces", *show_gains(compared)])
    log_gains([f"learnt from → with {further}", "judged on"], rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
