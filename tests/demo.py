"""Photos for a first try, of a public-domain portrait: `python -m tests.demo FOLDER`."""

from pathlib import Path

import cv2
import numpy as np
import typer

from data_prep.base.photo import read_photo
from pipeline.drawing.masks import draw_mask
from pipeline.inference.detector import Detector
from pipeline.inference.draw import save_drawing
from pipeline.nets.options import DETECTOR, SHIPPED, find_net
from trimask import EXAMPLE

HEAD = (slice(0, 300), slice(90, 390))  # Head and shoulders in the portrait.

SCENE = (720, 1080)
PLACES = (
    # left, top, side, which portrait, mirrored
    (30, 60, 330, "mask", False),
    (390, 30, 300, "bare", False),
    (720, 70, 330, "below_nose", True),
    (60, 440, 240, "below_nose", False),
    (350, 450, 200, "mask", True),
    (600, 450, 160, "bare", True),
    (810, 450, 220, "mask", False),
)


def demo_photos(folder: Path) -> None:
    """Make photos to try run.py on: a portrait with masks drawn on it."""
    detector = Detector.load(find_net(SHIPPED, DETECTOR), device="cpu")
    for path in write_demo_photos(detector, folder):
        typer.echo(path)


def read_portrait() -> np.ndarray:
    """The portrait, height × width × 3, uint8, RGB."""
    return read_photo(EXAMPLE).pixels


def write_demo_photos(detector: Detector, folder: Path) -> list[Path]:
    """Portraits with a mask, with the nose bare, without; and all in one scene; as JPEG."""
    bare = read_portrait()
    landmarks = detector.detect([bare])[0].landmarks[0]
    portraits = {
        "bare": bare,
        "mask": draw_mask(bare, landmarks, "properly"),
        "below_nose": draw_mask(bare, landmarks, "below_nose"),
    }
    photos = {f"portrait_{name}.jpg": photo for name, photo in portraits.items()}
    photos["scene.jpg"] = _paste(portraits)
    for name, photo in photos.items():
        save_drawing(folder / name, photo)
    return [folder / name for name in photos]


def _paste(portraits: dict[str, np.ndarray]) -> np.ndarray:
    """The heads as framed pictures on a wall: their borders are honest borders."""
    rows = np.linspace(205, 165, SCENE[0])[:, None, None]
    scene = np.broadcast_to(rows * np.array([1.0, 0.98, 0.94]), (*SCENE, 3)).astype(np.uint8)
    for left, top, side, name, mirrored in PLACES:
        head = cv2.resize(portraits[name][HEAD], (side, side), interpolation=cv2.INTER_AREA)
        right, bottom, frame = left + side, top + side, max(3, side // 40)
        scene[top - frame : bottom + frame + 1, left - frame : right + frame + 1] = (70, 52, 40)
        scene[top:bottom, left:right] = head[:, ::-1] if mirrored else head
    return scene


if __name__ == "__main__":
    typer.run(demo_photos)
