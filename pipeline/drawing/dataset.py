"""An artificial dataset: masks drawn on the bare faces of photos, as dataroots made theirs."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import torch
from torchvision.ops import box_iou

from data_prep.base.files import sha256_of, write_atomically
from data_prep.base.labels import BARE, CLASSES, MASKED, RARE_CLASS
from data_prep.base.output_folder import OutputFolder, refuse_dataset_folders, refuse_other_files
from data_prep.base.photo import PhotoError, read_photo
from data_prep.base.progress import show_progress
from data_prep.base.records import Face
from data_prep.datasets.convert import hash_photos
from data_prep.formats.contracts import IMAGES, ReadOptions
from data_prep.formats.exif_frame import FramedPhoto, frame_photos
from data_prep.formats.registry import read_dataset
from data_prep.formats.voc import VocWriter
from data_prep.grouping.groups import GROUPS, write_groups
from pipeline.drawing.geometry import WAYS_TO_WEAR, Worn, measure_turn
from pipeline.drawing.sheet import Drawn, SheetKeeper
from pipeline.drawing.styles import STYLES, draw_mask
from pipeline.inference.boxes import FaceDetector
from pipeline.inference.draw import save_drawing
from pipeline.runs.folder import PreparedError

RECORD, TABLE, SHEET = "drawn.json", "drawn.csv", "drawn.png"
VERSION = 1

SMALLEST = 16.0
"""Faces with a shorter side, in pixels, hold too little of a face to draw on."""

SURE = 0.5
MATCH_IOU = 0.35
"""Annotators box the face, the detector often the head: that much overlap tells the same one."""

MOST_TURNED = 0.4
"""Nose from the midline of the eyes, in eye distances. Masks on faces turned further lie beside
them, by the looks of 50 such faces of facemask and ilc."""


@dataclass(frozen=True)
class DrawOptions:
    """How masks are drawn.

    Attributes:
        properly: Share worn over nose and mouth; of the others one half leaves the nose bare, one
            hangs on the chin.
        seed: Of ways and styles.
        aliases: Other names of classes.
    """

    properly: float = 0.5
    seed: int = 0
    aliases: dict[str, str] = field(default_factory=dict)


def draw_dataset(
    root: Path, out: Path, options: DrawOptions, detector: FaceDetector
) -> dict[str, Any]:
    """Write a dataset of photos with masks drawn on their bare faces.

    Photos go to `images/`, PASCAL VOC files to `annotations/`; `drawn.csv` tells of each mask its
    style, how it is worn and the landmarks it lies on, `drawn.png` shows some, and `groups.csv`
    ties every photo to the one it was made from, so that `data_prep build` never puts the two on
    different sides of a split. Way and style follow from the face, not from the order. Real masks
    stay. Photos on which nothing is drawn are left out.

    Args:
        root: A dataset in any format that is read.
        out: The folder to write.
        options: How.
        detector: Finds the landmarks.

    Returns:
        The record, as written to `drawn.json`; with `up_to_date` when nothing was to do.

    Raises:
        DatasetError: The dataset can't be used.
        PreparedError: No mask could be drawn.
        OutputError: The folder can't be written, meets the dataset, or holds other files.
    """
    refuse_dataset_folders([out], [root], "-o")
    refuse_other_files(out, RECORD, "-o")
    dataset = read_dataset(root, ReadOptions(aliases=options.aliases))
    folder = OutputFolder(out, RECORD)
    inputs = hash_photos(dataset.photos, [VERSION, asdict(options), detector.sha256])
    whole = folder.find_whole(inputs)
    if whole is not None:
        return {**whole, "up_to_date": True}
    framed, findings = frame_photos(dataset.photos)
    places = _place([photo.image for photo in framed])
    sheet = SheetKeeper()
    counts: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    written: list[FramedPhoto] = []
    with folder.stage() as staging:
        for photo in show_progress(framed, len(framed), "drawing masks"):
            if not any(face.label == BARE for face in photo.faces):
                continue
            try:
                pixels = read_photo(photo.photo.path, fit_size=photo.photo.stated_size).pixels
            except PhotoError:  # A finding already.
                counts["unreadable photo"] += sum(face.label == BARE for face in photo.faces)
                continue
            drawn, pixels = _draw_on(photo, pixels, detector, options, counts)
            if not drawn:
                continue
            image = places[photo.image]
            faces = tuple(
                replace(face, label=drawn[face.object].label) if face.object in drawn else face
                for face in photo.faces
            )
            written.append(replace(photo, image=image, faces=faces))
            save_drawing(staging / image, pixels, fine=True)
            origin = f"{photo.photo.source}/{photo.image}"
            rows += [{"image": image, "origin": origin, **one.to_row()} for one in drawn.values()]
            for one in drawn.values():
                sheet.add(one, pixels)
        if not rows:
            told = ", ".join(f"{what}: {count}" for what, count in sorted(counts.items()))
            raise PreparedError(f"{root}: no mask could be drawn ({told or 'no bare face'}).")
        files = VocWriter().write(written, list(CLASSES), staging).files
        write_atomically(staging / TABLE, pd.DataFrame(rows).to_csv(index=False))
        write_groups(staging / GROUPS, {row["image"]: row["origin"] for row in rows})
        sheet.write(staging / SHEET)
        record = {
            "inputs": inputs,
            "dataset": str(root.resolve()),
            "options": asdict(options),
            "detector_sha256": detector.sha256,
            "counts": {
                "photos": len(written),
                "bare_faces": sum(f.label == BARE for p in framed for f in p.faces),
                "drawn": len(rows),
                "not_drawn": dict(sorted(counts.items())),
                "faces": dict(sorted(Counter(f.label for p in written for f in p.faces).items())),
                "worn": dict(sorted(Counter(row["worn"] for row in rows).items())),
                "styles": dict(sorted(Counter(row["style"] for row in rows).items())),
            },
            "messages": [finding.message for finding in (*dataset.findings, *findings)],
            "files": {name: sha256_of(staging / name) for name in (*files, TABLE, GROUPS, SHEET)},
            "photos": {p.image: (staging / p.image).stat().st_size for p in written},
        }
        folder.swap_in(staging, record)
    return record


def _place(images: Sequence[str]) -> dict[str, str]:
    """Where drawn photos go: JPEG all, under their whole name where stems are shared."""
    paths = {image: PurePosixPath(image.removeprefix(f"{IMAGES}/")) for image in images}
    stems = Counter(str(path.with_suffix("")).lower() for path in paths.values())
    places = {}
    for image, path in paths.items():
        is_own = stems[str(path.with_suffix("")).lower()] == 1
        places[image] = f"{IMAGES}/{path.with_suffix('') if is_own else path}.jpg"
    return places


def _draw_on(
    photo: FramedPhoto,
    pixels: np.ndarray,
    detector: FaceDetector,
    options: DrawOptions,
    counts: Counter[str],
) -> tuple[dict[int, Drawn], np.ndarray]:
    """Masks on the bare faces of one photo, by the face's number; why not goes to `counts`."""
    found = detector.detect([pixels], min_score=SURE)[0]
    drawn: dict[int, Drawn] = {}
    for face in photo.faces:
        if face.label != BARE:
            continue
        if face.box.short_side < SMALLEST:
            counts[f"under {SMALLEST:g} px"] += 1
            continue
        ious = box_iou(
            torch.tensor([face.box], dtype=torch.float64), torch.from_numpy(found.boxes).double()
        )[0]
        if not len(ious) or ious.max() < MATCH_IOU:
            counts["no landmarks found"] += 1
            continue
        landmarks = found.landmarks[int(ious.argmax())].astype(float)
        if measure_turn(landmarks) > MOST_TURNED:
            counts["turned too far"] += 1
            continue
        one = _choose(photo, face, landmarks, options)
        pixels = draw_mask(
            pixels, landmarks, one.worn, straps=one.straps, style=one.style, seed=one.seed
        )
        drawn[face.object] = one
    return drawn, pixels


def _choose(photo: FramedPhoto, face: Face, landmarks: np.ndarray, options: DrawOptions) -> Drawn:
    """Way and style by the face alone, so that no other face changes them."""
    name = f"{options.seed}/{photo.image}/{face.object}"
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    random = np.random.default_rng(seed)
    wrong = (1 - options.properly) / 2
    worn: Worn = WAYS_TO_WEAR[int(random.choice(3, p=[options.properly, wrong, wrong]))]
    return Drawn(
        object=face.object,
        label=MASKED if worn == "properly" else RARE_CLASS,
        worn=worn,
        style=STYLES[int(random.integers(len(STYLES)))],
        straps=bool(random.integers(2)),
        landmarks=landmarks,
        box=face.box,
        seed=seed,
    )
