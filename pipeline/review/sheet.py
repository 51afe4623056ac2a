"""Review without a browser: a table to fill in, and reading it back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from data_prep.base.crop import crop_face, resize_crop
from data_prep.base.errors import UserError
from data_prep.base.files import make_folder, write_atomically
from data_prep.base.html import COLOURS, INK
from data_prep.base.labels import CLASSES, UnknownLabelError, canonical_label
from data_prep.base.progress import show_progress
from data_prep.decisions.ledger import Key
from pipeline.review.app import TITLES
from pipeline.review.session import Choice, ChoiceError, Choose, Session, draw_up

HEADER = ("rank", "key", "given", "suggested", "decision", "to")

# What may stand in `decision`; a new box can only be drawn on the page.
DECISIONS: dict[str, Choose] = {"keep": "keep", "relabel": "label", "drop": "drop", "skip": "skip"}

_MOST_FAULTS = 10
COLUMNS, ROWS = 8, 5
TILE, CAPTION, GAP = 150, 34, 10  # Pixels: a picture, the text below, between them.


class SheetError(UserError, ValueError):
    """A sheet that can't be imported; the message names the lines."""


def list_open(session: Session) -> list[int]:
    """The faces this reviewer hasn't decided, in order; skipped ones are among them."""
    keys = enumerate(session.face(place).key for place in range(len(session)))
    return [place for place, key in keys if session.look_up(key).decision is None]


def write_sheet(path: Path, session: Session, positions: list[int]) -> None:
    """Write faces as a table, columns `HEADER`, the last two empty; when blind, four.

    Raises:
        SheetError: The file is there already; it may be filled in.
        OutputError: It can't be written.
    """
    if path.exists():
        raise SheetError(f"{path}: is there already and may be filled in; choose another name.")
    rows = []
    for position in positions:
        face = session.face(position)
        shown = ("", "") if session.way.blind else (face.label, face.suggested)
        rows.append((position + 1, _name_face(face.key), *shown, "", ""))
    table = pd.DataFrame(rows, columns=list(HEADER))
    write_atomically(path, table.to_csv(index=False, lineterminator="\n"))


def import_sheet(path: Path, session: Session) -> tuple[int, int]:
    """Write the decisions of a filled-in sheet to the ledger, all or, when a line is bad, none.

    Commas, semicolons or tabs part the columns. Lines whose decision stands already are passed
    over, so that a second import, or one after a kill in the midst of the first, adds nothing
    twice. Returns how many decisions were added, and how many stood already.

    Raises:
        SheetError: The sheet can't be read, or lines are bad; the message names them.
        LedgerError, OutputError: The ledger can't be read or written.
    """
    positions = {_name_face(session.face(place).key): place for place in range(len(session))}
    new: list[tuple[int, Choice]] = []
    faults: list[str] = []
    seen: dict[int, int] = {}
    for number, line in _read_lines(path):
        decision, to = (line[name].strip() for name in ("decision", "to"))
        if not decision and not to:
            continue
        try:
            if (position := positions.get(line["key"])) is None:
                raise SheetError(f"no face '{line['key']}' among the suspects")
            if seen.setdefault(position, number) != number:
                raise SheetError(f"the same face as line {seen[position]}")
            choice = _read_choice(decision, to)
            face = session.face(position)
            wanted = draw_up(face, session.shelf.open(face), choice, session.way)
        except (SheetError, ChoiceError) as error:
            faults.append(f"line {number}: {error}")
            continue
        known = session.look_up(face.key)
        stands = known.decision and (known.decision.action, known.decision.to)
        if known.status == "skipped":
            stands = ("skip", None)
        if stands != (wanted.action, wanted.to):
            new.append((position, choice))
    if faults:
        more = len(faults) - _MOST_FAULTS
        listed = "; ".join(faults[:_MOST_FAULTS]) + (f"; and {more} more" if more > 0 else "")
        raise SheetError(f"{path}: {listed}. Nothing is imported.")
    for position, choice in show_progress(new, len(new), "importing decisions"):
        session.decide(position, choice, session.look_up(session.face(position).key).version)
    return len(new), len(seen) - len(new)


def _name_face(key: Key) -> str:
    source, image, index = key
    return f"{source}/{image}#{index}"


def _read_lines(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:
        raise SheetError(f"{path}: can't be read as UTF-8 text ({error}).") from error
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
    try:
        missing = {"key", "decision", "to"} - set(reader.fieldnames or ())
        if missing:
            raise SheetError(f"{path}: column {', '.join(sorted(missing))} is missing.")
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise SheetError(f"{path}:{reader.line_num}: not a readable table ({error}).") from error


def _read_choice(decision: str, to: str) -> Choice:
    name = decision.lower()
    if name not in DECISIONS:
        raise SheetError(f"decision '{decision}' is none of {', '.join(DECISIONS)}")
    if bool(to) != (name == "relabel"):
        raise SheetError(f"'{name}' {'goes without' if to else 'needs'} a class in 'to'")
    try:
        label = CLASSES[int(to) - 1] if to in ("1", "2", "3") else to and canonical_label(to)
        return Choice(DECISIONS[name], label or None)
    except UnknownLabelError as error:
        raise SheetError(f"unknown class '{to}'; known: {', '.join(CLASSES)}") from error


def draw_contact_sheets(folder: Path, session: Session, positions: list[int]) -> list[Path]:
    """Draw pages of `COLUMNS` × `ROWS` faces, each with its number and, unless blind, its label.

    Raises:
        OutputError: `page-001.png` and so on can't be written.
    """
    make_folder(folder)
    size = COLUMNS * ROWS
    paths = [folder / f"page-{page + 1:03d}.png" for page in range(-(-len(positions) // size))]
    for page, path in enumerate(show_progress(paths, len(paths), "contact sheets")):
        data = io.BytesIO()
        _draw_page(session, positions[page * size : (page + 1) * size]).save(data, "PNG")
        write_atomically(path, data.getvalue())
    return paths


def _draw_page(session: Session, positions: list[int]) -> Image.Image:
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
    return page
