"""An artificial dataset: masks drawn on the bare faces of photos, as dataroots made theirs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from data_prep.base.boxes import overlap
from data_prep.base.crop import crop_face
from data_prep.base.files import (
    OutputFolder,
    hash_photos,
    refuse_dataset_folders,
    refuse_other_files,
    sha256_of,
    write_atomically,
)
from data_prep.base.labels import BARE, CLASSES, MASKED, RARE_CLASS, parse_aliases
from data_prep.base.photo import PhotoError, read_photo
from data_prep.base.progress import log, show_progress, tell
from data_prep.base.records import Box, Face
from data_prep.formats.contracts import IMAGES, ReadOptions
from data_prep.formats.exif_frame import FramedPhoto, frame_photos
from data_prep.formats.registry import read_dataset
from data_prep.formats.voc import VOC
from data_prep.grouping.groups import GROUPS, write_groups
from data_prep.prepare.options import Alias
from pipeline.drawing.masks import draw_mask, measure_turn
from pipeline.drawing.styles import STYLES, WAYS_TO_WEAR, MaskStyle, Worn
from pipeline.inference.boxes import FaceDetector
from pipeline.inference.detector import Detector
from pipeline.inference.draw import save_drawing
from pipeline.nets.compute import pick_device
from pipeline.nets.options import DETECTOR, SHIPPED, Weights, find_net
from pipeline.runs.folder import PreparedError
from pipeline.runs.plots import COLUMNS, plot_faces

RECORD, TABLE, SHEET = "drawn.json", "drawn.csv", "drawn.png"
VERSION = 1
PARTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")

SMALLEST = 16.0  # Faces with a shorter side, in pixels, hold too little of a face to draw on.

MATCH_IOU = 0.35
"""Annotators box the face, the detector often the head: that much overlap tells the same one."""

MOST_TURNED = 0.4
"""Nose from the midline of the eyes, in eye distances. Masks on faces turned further lie beside
them, by the looks of 50 such faces of facemask and ilc."""


@dataclass(frozen=True)
class DrawOptions:
    """Options of `draw-masks`."""

    dataset: Annotated[Path, typer.Argument(help="Dataset folder, in any format that is read.")]
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write: new or empty.")]
    properly: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Share worn properly; half of the others below the nose."
        ),
    ] = 0.5
    seed: Annotated[int, typer.Option(min=0, help="Of styles and ways to wear.")] = 0
    alias: Alias = field(default_factory=list)
    weights: Weights = SHIPPED


def draw_masks(options: DrawOptions) -> None:
    """Draw masks on the bare faces of a dataset: photos, VOC files, drawn.csv, a contact sheet."""
    detector = Detector.load(find_net(options.weights, DETECTOR), device=pick_device("cpu"))
    record = draw_dataset(options, detector)
    counts = record["counts"]
    if record.get("up_to_date"):
        log("nothing to do: data and options are those of the last run")
    log(f"drawn      {tell(counts['drawn'], 'bare face', of=counts['bare_faces'])}")
    for what, count in counts["not_drawn"].items():
        log(f"not drawn  {count}: {what}")
    log(f"faces      {', '.join(f'{name} {n}' for name, n in counts['faces'].items())}")
    log(f"written    {options.out}; see {options.out / SHEET}")


@dataclass(frozen=True)
class _Mask:
    worn: Worn
    style: MaskStyle
    straps: bool
    seed: int
    landmarks: np.ndarray

    @property
    def label(self) -> str:
        return MASKED if self.worn == "properly" else RARE_CLASS

    def draw(self, pixels: np.ndarray) -> np.ndarray:
        return draw_mask(
            pixels, self.landmarks, self.worn, straps=self.straps, style=self.style, seed=self.seed
        )

    def to_row(self) -> dict[str, Any]:
        row = {"label": self.label, "worn": self.worn, "style": self.style.name}
        columns = [f"{part}_{axis}" for part in PARTS for axis in "xy"]
        return row | dict(zip(columns, self.landmarks.round(2).ravel().tolist(), strict=True))


def draw_dataset(options: DrawOptions, detector: FaceDetector) -> dict[str, Any]:
    """Write a dataset of photos with masks drawn on their bare faces; returns its record.

    Photos go to `images/`, PASCAL VOC files to `annotations/`; `drawn.csv` tells of each mask its
    style, how it is worn and the landmarks it lies on, `drawn.png` shows some, and `groups.csv`
    ties every photo to the one it was made from, so that `data_prep build` never puts the two on
    different sides of a split. Photos on which nothing is drawn are left out. The record is that of
    `drawn.json`, with `up_to_date` when nothing was to do.

    Raises:
        DatasetError: The dataset can't be used.
        PreparedError: No mask could be drawn.
        OutputError: The folder can't be written, meets the dataset, or holds other files.
    """
    root, out = options.dataset, options.out
    aliases = parse_aliases(options.alias)
    refuse_dataset_folders([out], [root])
    refuse_other_files(out, RECORD)
    dataset = read_dataset(root, ReadOptions(aliases=aliases))
    folder = OutputFolder(out, RECORD)
    chosen = {"properly": options.properly, "seed": options.seed, "aliases": aliases}
    inputs = hash_photos(dataset.photos, [VERSION, chosen, detector.sha256])
    if (whole := folder.find_whole(inputs)) is not None:
        return {**whole, "up_to_date": True}
    framed, findings = frame_photos(dataset.photos)
    places = _place([photo.image for photo in framed])
    sheet = ContactSheet()
    not_drawn: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    written: list[FramedPhoto] = []
    with folder.stage() as staging:
        for photo in show_progress(framed, len(framed), "drawing masks"):
            bare = [face for face in photo.faces if face.label == BARE]
            if not bare:
                continue
            try:
                pixels = read_photo(photo.photo.path, fit_size=photo.photo.stated_size).pixels
            except PhotoError:  # A finding already.
                not_drawn["unreadable photo"] += len(bare)
                continue
            masks = _choose_masks(photo, bare, pixels, options, detector, not_drawn)
            if not masks:
                continue
            for mask in masks.values():
                pixels = mask.draw(pixels)
            image, origin = places[photo.image], f"{photo.photo.source}/{photo.image}"
            save_drawing(staging / image, pixels, fine=True)
            faces = {face.object: face for face in photo.faces}
            for number, mask in masks.items():
                face = faces[number]
                rows.append({"image": image, "origin": origin, "object": number, **mask.to_row()})
                sheet.add(mask.style.name, mask.worn, pixels, face.box)
                faces[number] = replace(face, label=mask.label)
            written.append(replace(photo, image=image, faces=tuple(faces.values())))
        if not rows:
            told = ", ".join(f"{what}: {count}" for what, count in sorted(not_drawn.items()))
            raise PreparedError(f"{root}: no mask could be drawn ({told or 'no bare face'}).")
        files = VOC.write(written, list(CLASSES), staging).files
        table = pd.DataFrame(rows)
        write_atomically(staging / TABLE, table.to_csv(index=False))
        write_groups(staging / GROUPS, {row["image"]: row["origin"] for row in rows})
        sheet.write(staging / SHEET)
        record = {
            "inputs": inputs,
            "dataset": str(root.resolve()),
            "options": chosen,
            "detector_sha256": detector.sha256,
            "counts": {
                "photos": len(written),
                "bare_faces": sum(f.label == BARE for p in framed for f in p.faces),
                "drawn": len(rows),
                "not_drawn": dict(sorted(not_drawn.items())),
                "faces": dict(sorted(Counter(f.label for p in written for f in p.faces).items())),
                "worn": dict(sorted(Counter(table["worn"]).items())),
                "styles": dict(sorted(Counter(table["style"]).items())),
            },
            "messages": [finding.message for finding in (*dataset.findings, *findings)],
            "files": {name: sha256_of(staging / name) for name in (*files, TABLE, GROUPS, SHEET)},
            "photos": {p.image: (staging / p.image).stat().st_size for p in written},
        }
        folder.swap_in(staging, record)
    return record


def _place(images: Sequence[str]) -> dict[str, str]:
    """Where drawn photos go: JPEG all, under their whole name where stems are shared."""
    names = [PurePosixPath(image.removeprefix(f"{IMAGES}/")) for image in images]
    stems = Counter(str(name.with_suffix("")).lower() for name in names)
    alone = [stems[str(name.with_suffix("")).lower()] == 1 for name in names]
    return {
        image: f"{IMAGES}/{name.with_suffix('') if own else name}.jpg"
        for image, name, own in zip(images, names, alone, strict=True)
    }


def _choose_masks(
    photo: FramedPhoto,
    bare: Sequence[Face],
    pixels: np.ndarray,
    options: DrawOptions,
    detector: FaceDetector,
    not_drawn: Counter[str],
) -> dict[int, _Mask]:
    """Masks for bare faces of a photo, by the face's number; why not is counted in `not_drawn`."""
    found = detector.detect([pixels], min_score=0.5)[0]
    boxes = [Box(*map(float, box)) for box in found.boxes]
    masks = {}
    for face in bare:
        if face.box.short_side < SMALLEST:
            not_drawn[f"under {SMALLEST:g} px"] += 1
            continue
        ious = [overlap(face.box, box) for box in boxes]
        if max(ious, default=0.0) < MATCH_IOU:
            not_drawn["no landmarks found"] += 1
            continue
        landmarks = found.landmarks[int(np.argmax(ious))].astype(float)
        if measure_turn(landmarks) > MOST_TURNED:
            not_drawn["turned too far"] += 1
            continue
        # By the face alone, so that no other face changes its mask.
        name = f"{options.seed}/{photo.image}/{face.object}"
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
        random = np.random.default_rng(seed)
        wrong = (1 - options.properly) / 2
        worn = WAYS_TO_WEAR[int(random.choice(3, p=[options.properly, wrong, wrong]))]
        style = STYLES[int(random.integers(len(STYLES)))]
        masks[face.object] = _Mask(worn, style, bool(random.integers(2)), seed, landmarks)
    return masks


VIEW = 1.8  # Side of what is shown, as a multiple of the longer box side.

LARGEST = 160.0
"""Faces over this side look alike at the size of the sheet; the first of them stays."""


class ContactSheet:
    """Keeps the largest face of every style and way while photos go by."""

    def __init__(self) -> None:
        self._best: dict[tuple[str, Worn], tuple[float, np.ndarray]] = {}

    def add(self, style: str, worn: Worn, photo: np.ndarray, box: Box) -> None:
        """Look at a face in its photo, height × width × 3."""
        side = min(box.short_side, LARGEST)
        if side > self._best.get((style, worn), (0.0, None))[0]:
            self._best[style, worn] = (side, crop_face(photo, box, VIEW).copy())

    def write(self, path: Path) -> None:
        """Draw the sheet, each style in each way; .png or .jpg."""
        names = [style.name for style in STYLES]
        blocks = [names[start : start + COLUMNS] for start in range(0, len(names), COLUMNS)]
        places = [(name, worn) for block in blocks for worn in WAYS_TO_WEAR for name in block]
        shown = [place for place in places if place in self._best]
        titles = [f"{name}\n{worn.replace('_', ' ')}" for name, worn in shown]
        plot_faces([self._best[place][1] for place in shown], titles, path)
