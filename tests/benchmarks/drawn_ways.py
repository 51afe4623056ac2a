"""What it is worth to draw masks more as photos show them, and to draw what is none, in folds.

python -m tests.benchmarks.drawn_ways PREPARED OUT

As many masks worn wrongly as there are real ones are drawn on bare training faces: not at all; as
the recipes do; blurred, noisy and through JPEG afterwards; and with as many bare faces behind a
hand, a scarf, a beard or paper beside them. Nets of the recipe `suspects`, with mirror images and
rare faces shown twice, learn from each in two folds, judge each face unseen, and are compared with
those before. What is done stays done, in OUT; the pictures in OUT/drawn-1 show what was
drawn.
"""

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from PIL import Image

from data_prep.base.crop import resize_crop
from data_prep.base.files import make_folder
from data_prep.base.labels import BARE, RARE_CLASS
from data_prep.base.photo import read_photo
from data_prep.grouping.split import TRAIN
from pipeline.inference.detector import Detector
from pipeline.nets.options import DETECTOR, SHIPPED
from pipeline.runs.log import Reporter
from pipeline.runs.recipe import ClassifierRecipe, load_recipe
from pipeline.training.data import LOOK, add_drawn_faces, find_landmarks
from pipeline.training.short import Plan, label_codes, open_faces, plan_folds, run_tasks
from tests.benchmarks.hard_cases import draw_beard, draw_hand, draw_paper, draw_scarf
from tests.benchmarks.repeated import ALL, compare_by_source, log_gains, show_gains

FOLDS = 2
SHOWN = 12  # Of each kind in a picture.
VARIANTS = {
    "none": (),
    "as they are": ("plain",),
    "like photos": ("photo",),
    "and no masks": ("photo", "none"),
}
"""What is drawn, by kind, for the nets of each name."""


def develop(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """As a camera, a web page or a video would have left it: blur, noise, JPEG."""
    soft = cv2.GaussianBlur(pixels, (0, 0), random.uniform(0.3, 0.011 * len(pixels) + 0.3))
    noisy = soft + random.normal(0, random.uniform(0, 6), soft.shape)
    stored, quality = io.BytesIO(), int(random.integers(30, 95))
    clipped = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
    clipped.save(stored, format="JPEG", quality=quality)
    return np.asarray(Image.open(stored))


def cover(
    crop: np.ndarray, pen: Detector, kind: int, random: np.random.Generator
) -> np.ndarray | None:
    """A bare face behind something that is no mask; None where it can't be drawn."""
    large, landmarks, away = find_landmarks(crop, pen)
    if not len(landmarks):
        return None
    marks = landmarks[away.argmin()]
    x, y = np.clip(np.rint(marks[2]).astype(int), 4, LOOK - 5)
    skin = np.median(large[y - 4 : y + 4, x - 4 : x + 4].reshape(-1, 3), axis=0)
    red, green, blue = (int(level) for level in random.integers(20, 230, 3))
    drawn = (
        lambda: draw_hand(large, marks, (int(skin[0]), int(skin[1]), int(skin[2]))),
        lambda: draw_scarf(large, marks, (red, green, blue)),
        lambda: draw_beard(large, marks),
        lambda: draw_paper(large, marks),
    )[kind]()
    return resize_crop(drawn, len(crop)) if len(crop) < LOOK else drawn


def draw_faces(table: pd.DataFrame, folder: Path) -> dict[str, pd.DataFrame]:
    """Rows of drawn faces by kind; their crops are written into the folder."""
    recipe, random = load_recipe("default", ClassifierRecipe, []), np.random.default_rng(0)
    shown, read = add_drawn_faces(
        table.assign(split=TRAIN), lambda path: read_photo(Path(path)).pixels, recipe
    )
    masks = shown.iloc[len(table) :]
    plain = [read(crop) for crop in masks["crop"]]
    pen = Detector.load(SHIPPED / f"{DETECTOR}.safetensors", device=torch.device("cpu"))
    bare, wanted = table[table["label"] == BARE], int((table["label"] == RARE_CLASS).sum())
    behind: dict[int, np.ndarray] = {}
    for index in random.permutation(bare.index):
        if len(behind) < wanted:
            drawn = cover(read(bare.loc[index, "crop"]), pen, len(behind) % 4, random)
            behind |= {} if drawn is None else {index: develop(drawn, random)}
    kinds = {
        "plain": (masks, plain),
        "photo": (masks, [develop(pixels, random) for pixels in plain]),
        "none": (bare.loc[list(behind)], list(behind.values())),
    }
    return {kind: store(rows, crops, folder / kind) for kind, (rows, crops) in kinds.items()}


def store(rows: pd.DataFrame, crops: Sequence[np.ndarray], folder: Path) -> pd.DataFrame:
    """The rows with crops of their own, written into the folder, the first also in a picture."""
    make_folder(folder)
    paths = [folder / f"{place}.png" for place in range(len(rows))]
    for path, pixels in zip(paths, crops, strict=True):
        Image.fromarray(pixels).save(path)
    tiles = [resize_crop(pixels, LOOK) for pixels in crops[:SHOWN]]
    Image.fromarray(np.hstack(tiles)).save(folder.parent / f"{folder.name}.jpg")
    return rows.assign(crop=list(map(str, paths)))


def main(prepared: Path, out: Path) -> None:
    """Print a row for each variant and dataset, against the variant before."""
    recipe = load_recipe("suspects", ClassifierRecipe, ["mirror=true", "repeat_rare=2"])
    faces = open_faces(prepared, recipe, out)
    fold, _ = plan_folds(Plan(faces.table, recipe, out, faces.scale), FOLDS)
    tasks = []
    for number in range(FOLDS):
        learnt, judged = (
            faces.table[part].reset_index(drop=True) for part in (fold != number, fold == number)
        )
        drawn = draw_faces(learnt, out / f"drawn-{number + 1}")
        for name, kinds in VARIANTS.items():
            shown = pd.concat([learnt, *(drawn[kind] for kind in kinds)], ignore_index=True)
            plan = Plan(faces.table, recipe, out / name.replace(" ", "-"), faces.scale, name)
            what = f"fold {number + 1} of {FOLDS}"
            tasks.append(plan.make_task(what, f"fold-{number + 1}", shown, judged))
    views = run_tasks(tasks, device=torch.device("cpu"), log=Reporter().log, jobs=1)
    truth, rows = label_codes(faces.table), []
    right = np.empty((len(VARIANTS), len(truth)), bool)
    for place, view in enumerate(views):
        number, variant = divmod(place, len(VARIANTS))
        own = fold == number
        right[variant, own] = view.probabilities.argmax(axis=1) == truth[own]
    for variant, name in list(enumerate(VARIANTS))[1:]:
        sources = (ALL, *sorted({*faces.table["source"]}))
        pair = right[variant - 1], right[variant]
        for which, compared in compare_by_source(*pair, faces.table, sources):
            rows.append([name, which, *show_gains(compared)])
    log_gains(["drawn, against the one before", "judged on"], rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
