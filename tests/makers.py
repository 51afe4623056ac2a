"""Small photos, annotations and datasets made on the spot."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

Objects = Sequence[tuple[str, tuple[float, float, float, float]]]

LABELS = ("with_mask", "without_mask", "mask_weared_incorrect")
FACE: Objects = (("with_mask", (20, 15, 60, 55)),)


def make_pixels(width: int = 120, height: int = 90, seed: int = 0) -> np.ndarray:
    """Smooth blobs with some grain, unlike those of any other seed: height × width × 3, uint8."""
    rng = np.random.default_rng(seed)
    blobs = cv2.resize(
        rng.uniform(0, 255, (7, 9, 3)), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(blobs + rng.normal(0, 6, blobs.shape), 0, 255).astype(np.uint8)


def make_photo(path: Path, width: int = 120, height: int = 90, seed: int = 0, **save) -> np.ndarray:
    """Write a photo, options as of `Image.save`; returns the pixels before encoding."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = make_pixels(width, height, seed)
    Image.fromarray(pixels).save(path, **save)
    return pixels


def make_voc(
    path: Path, filename: str, objects: Objects = FACE, size: tuple[int, int] | None = (120, 90)
) -> Path:
    """Write a PASCAL VOC file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    body = "".join(
        f"<object><name>{label}</name><difficult>0</difficult><bndbox>"
        + "".join(
            f"<{tag}>{value}</{tag}>"
            for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        + "</bndbox></object>"
        for label, box in objects
    )
    text = f"<annotation><filename>{filename}</filename>{stated}{body}</annotation>"
    path.write_text(text, encoding="utf-8")
    return path


def add_example(root: Path, stem: str, seed: int, objects: Objects = FACE) -> Path:
    """Add one good photo with its annotation; returns the annotation's path."""
    make_photo(root / "images" / f"{stem}.jpg", seed=seed, quality=95)
    return make_voc(root / "annotations" / f"{stem}.xml", f"{stem}.jpg", objects)


def make_dataset(root: Path, photos: int = 10, seed: int = 0) -> Path:
    """A good dataset: two faces to a photo, one of them always `with_mask`."""
    for index in range(photos):
        objects = [
            ("with_mask", (10, 12, 30 + index, 40)),
            (LABELS[index % 3], (60, 20.5, 100, 70)),
        ]
        add_example(root, f"photo{index}", seed * 1000 + index, objects)
    return root


def hash_tree(root: Path) -> str:
    """One hash of all names, contents and times of change below a folder."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        digest.update(
            f"{path.relative_to(root)}|{path.stat().st_mtime_ns}".encode(errors="replace")
        )
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()
