"""Pictures of the faces of a sheet, to look at while filling it in."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_prep.colours import COLOURS, INK
from data_prep.crop import crop_face, resize_crop
from data_prep.files import make_folder, write_atomically
from data_prep.progress import show_progress
from pipeline.review.session import Session
from pipeline.review.views import TITLES

COLUMNS, ROWS = 8, 5
TILE, CAPTION, GAP = 150, 34, 10
"""Sides of a picture, of the text below and between them, in pixels."""


def draw_contact_sheets(folder: Path, session: Session, positions: list[int]) -> list[Path]:
    """Draw pages of `COLUMNS` × `ROWS` faces, each with its number and, unless blind, its label.

    Args:
        folder: Gets `page-001.png` and so on.
        session: Whose faces they are.
        positions: Which, in order.

    Raises:
        OutputError: They can't be written.
    """
    make_folder(folder)
    size = COLUMNS * ROWS
    starts = range(0, len(positions), size)
    paths = []
    for page, start in enumerate(show_progress(starts, len(starts), "contact sheets"), start=1):
        sheet = _draw_page(session, positions[start : start + size])
        done, data = cv2.imencode(".png", sheet)
        assert done, "an RGB picture can always be encoded"
        path = folder / f"page-{page:03d}.png"
        write_atomically(path, data.tobytes())
        paths.append(path)
    return paths


def _draw_page(session: Session, positions: list[int]) -> np.ndarray:
    """BGR, uint8."""
    rows = -(-len(positions) // COLUMNS)
    step = (TILE + GAP, TILE + CAPTION + GAP)
    page = Image.new("RGB", (GAP + COLUMNS * step[0], GAP + rows * step[1]), "white")
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=13)
    for place, position in enumerate(positions):
        x, y = GAP + place % COLUMNS * step[0], GAP + place // COLUMNS * step[1]
        face = session.face(position)
        photo = session.shelf.open(face)
        try:
            if photo.pixels is None:
                raise ValueError("no photo")
            tile = resize_crop(crop_face(photo.pixels, face.box), TILE)
            page.paste(Image.fromarray(tile), (x, y))
        except ValueError:
            pen.rectangle((x, y, x + TILE, y + TILE), outline=INK)
            pen.text((x + 8, y + 8), "no picture", fill=INK, font=font)
        pen.text((x, y + TILE + 2), f"{position + 1}", fill=INK, font=font)
        if not session.way.blind:
            pen.text((x + 40, y + TILE + 2), TITLES[face.label], COLOURS[face.label], font)
            if face.suggested in TITLES:
                asked = f"{TITLES[face.suggested]}?"
                pen.text((x + 40, y + TILE + 17), asked, COLOURS[face.suggested], font)
    return np.asarray(page)[:, :, ::-1]
