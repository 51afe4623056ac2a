"""More faces of the rare class: masks drawn below the nose or on the chin of bare faces."""

from __future__ import annotations

import colorsys
from collections.abc import Hashable

import numpy as np
import pandas as pd
import torch

from data_prep.base.crop import resize_crop
from data_prep.base.labels import BARE, MASKED, RARE_CLASS
from data_prep.grouping.split import TRAIN
from pipeline.drawing.masks import draw_mask
from pipeline.drawing.styles import Worn
from pipeline.inference.detector import Detector
from pipeline.nets.cards import DETECTOR
from pipeline.nets.options import SHIPPED
from pipeline.runs.recipe import ClassifierRecipe
from pipeline.training.data import ReadCrop, TrainingFaces, add_rotated_faces

WAYS: tuple[tuple[Worn, str], ...] = (
    ("below_nose", RARE_CLASS),
    ("on_chin", RARE_CLASS),
    ("below_nose", RARE_CLASS),
    ("properly", MASKED),
)
"""How masks are drawn in turn, and the class they make. Most wrongly worn masks leave the nose
bare. Without masks drawn properly all that is drawn would be worn wrongly."""

LOOK = 192  # Side in pixels that crops are brought to for finding landmarks and drawing.

SMALLEST = 24
"""Crops under this side, faces of about 16 pixels, hold too little of a face to draw on."""

SURE = 0.7  # Least detection score of a face that is drawn on.

NEAR = 0.12  # How far the landmarks may be from the middle of the crop, as a share of its side.


def gather_faces(faces: pd.DataFrame, read: ReadCrop, recipe: ClassifierRecipe) -> TrainingFaces:
    """The faces as a recipe shows them: real masks replaced, drawn and rotated faces added."""
    if recipe.masks == "drawn":
        faces, read = mask_bare_faces(faces, read, split=TRAIN, seed=recipe.seed)
    labels = faces.loc[faces["split"] == TRAIN, "label"]
    table, read = add_rotated_faces(*add_drawn_faces(faces, read, recipe), recipe)
    return TrainingFaces(table, read, labels)


def add_drawn_faces(
    faces: pd.DataFrame, read: ReadCrop, recipe: ClassifierRecipe
) -> tuple[pd.DataFrame, ReadCrop]:
    """Add drawn faces to the training faces, of the rare class and a third as many worn properly.

    Also gives what reads them. Fewer are added than `drawn` asks for when there are too few bare
    faces to draw on; each gets one mask of each way at most.
    """
    training = faces[faces["split"] == TRAIN]
    wanted = round(recipe.drawn * (training["label"] == RARE_CLASS).sum())
    if not wanted:
        return faces, read
    pen = _Pen(read, recipe.seed)
    bare = training[training["label"] == BARE]
    each = -(-wanted // sum(label == RARE_CLASS for _, label in WAYS))
    for turn, (way, label) in enumerate(WAYS):
        for index in pen.random.permutation(bare.index):
            if len(pen.rows) >= each * (turn + 1):
                break
            pen.draw(bare.loc[index], way, label, str(turn))
    return pd.concat([faces, pd.DataFrame(pen.rows)], ignore_index=True), pen.read


def mask_bare_faces(
    faces: pd.DataFrame, read: ReadCrop, *, split: str, seed: int
) -> tuple[pd.DataFrame, ReadCrop]:
    """Replace the real masked faces of a split by bare faces with masks drawn on them.

    Every bare face whose landmarks are found is there twice, bare and with a mask worn properly.
    Also gives what reads the crops, the drawn ones too.
    """
    pen = _Pen(read, seed)
    here, bare = faces["split"] == split, faces["label"] == BARE
    for _, row in faces[here & bare].iterrows():
        pen.draw(row, "properly", MASKED, "masked")
    rows = pd.DataFrame(pen.rows, columns=faces.columns)
    return pd.concat([faces[~here | bare], rows], ignore_index=True), pen.read


class _Pen:
    """Draws masks on crops, and keeps them with their rows."""

    def __init__(self, read: ReadCrop, seed: int) -> None:
        self.read_real, self.random = read, np.random.default_rng(seed)
        path = SHIPPED / f"{DETECTOR}.safetensors"
        self.detector = Detector.load(path, device=torch.device("cpu"))
        self.crops: dict[str, np.ndarray] = {}
        self.rows: list[dict[Hashable, object]] = []

    def draw(self, row: pd.Series, way: Worn, label: str, mark: str) -> None:
        """Draw where a face is seen."""
        crop = draw_on_crop(self.read_real(row["crop"]), self.detector, way, self.random)
        if crop is not None:
            name = f"{row['crop']}#{mark}"
            self.crops[name] = crop
            self.rows.append(row.to_dict() | {"crop": name, "label": label})

    def read(self, path: str) -> np.ndarray:
        return self.crops[path] if path in self.crops else self.read_real(path)


def draw_on_crop(
    crop: np.ndarray, detector: Detector, way: Worn, random: np.random.Generator
) -> np.ndarray | None:
    """Draw a mask on the face that a crop was cut around, in a random colour.

    Gives a crop at most `LOOK` pixels wide; None when it is small or no face is in its middle.
    """
    side = crop.shape[0]
    if side < SMALLEST:
        return None
    large = resize_crop(crop, LOOK)
    found = detector.detect([large], resize=1.0, min_score=SURE)[0]
    middle = found.landmarks.mean(axis=1) / LOOK - 0.5
    near = np.flatnonzero(np.abs(middle).max(axis=1) < NEAR)
    if not len(near):
        return None
    colour, straps = pick_colour(random), random.uniform() < 0.5
    drawn = draw_mask(large, found.landmarks[near[0]], way, colour, straps=straps)
    return resize_crop(drawn, side) if side < LOOK else drawn


def pick_colour(random: np.random.Generator) -> tuple[int, int, int]:
    """RGB of a mask as they are worn: half light blue or white, else any colour, black included."""
    kind = random.uniform()
    if kind < 0.35:
        hue, saturation, value = random.uniform(0.5, 0.6), random.uniform(0.15, 0.5), 0.85
    elif kind < 0.6:
        hue, saturation, value = 0.0, 0.0, random.uniform(0.8, 1.0)
    elif kind < 0.75:
        hue, saturation, value = 0.0, 0.0, random.uniform(0.08, 0.25)
    else:
        hue, saturation, value = random.uniform(0, 1), random.uniform(0.2, 0.8), 0.7
    red, green, blue = (round(255 * level) for level in colorsys.hsv_to_rgb(hue, saturation, value))
    return red, green, blue
