"""Review without a browser: a table to fill in, and reading it back."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data_prep.base import labels
from data_prep.base.crop import crop_face
from data_prep.base.files import make_folder, write_atomically
from data_prep.base.progress import show_progress
from data_prep.base.tables import TableError
from pipeline.review.session import Choice, ChoiceError, Choose, Session, Status, draw_up

HEADER = ("rank", "key", "given", "suggested", "decision", "to")

# What may stand in `decision`; a new box can only be drawn on the page.
DECISIONS: dict[str, Choose] = {"keep": "keep", "relabel": "label", "drop": "drop", "skip": "skip"}

WORDS = {**labels.ALIASES, **{short: name for name, short in labels.SHORT.items()}}
WORDS["worn_wrongly"] = labels.RARE_CLASS
NUMBERS = dict(zip("123", labels.CLASSES, strict=True))  # As the page's keys.

_NAME = "{}/{}#{}"  # Of a face, by its key.
_MOST_FAULTS, ON_PAGE = 10, 50
UNDECIDED: tuple[Status, ...] = ("open", "skipped")
NO_PICTURE = np.full((1, 1, 3), 255, np.uint8)


def list_open(session: Session) -> list[int]:
    """The faces this reviewer hasn't decided, in order; skipped ones are among them."""
    return [place for place in range(len(session)) if session.look_up(place).status in UNDECIDED]


def write_sheet(path: Path, session: Session, positions: list[int]) -> None:
    """Write faces as a table, `HEADER`; raises `TableError` if it is there, maybe filled in."""
    if path.exists():
        raise TableError(f"{path}: is there already and may be filled in; choose another name.")
    rows = []
    for position in positions:
        face = session.face(position)
        shown = ("", "") if session.way.blind else (face.label, face.suggested)
        rows.append((position + 1, _NAME.format(*face.key), *shown, "", ""))
    table = pd.DataFrame(rows, columns=list(HEADER))
    write_atomically(path, table.to_csv(index=False, lineterminator="\n"))


def import_sheet(path: Path, session: Session) -> tuple[int, int]:
    """Write the decisions of a filled-in sheet to the ledger, all or, when a line is bad, none.

    Gives how many were added, and how many stood already. Raises `TableError`, naming the lines.
    """
    positions = {_NAME.format(*session.face(n).key): n for n in range(len(session))}
    new: list[tuple[int, Choice]] = []
    faults: list[str] = []
    seen: dict[int, int] = {}
    for number, line in _read_lines(path):
        decision, to = (line[name].strip() for name in ("decision", "to"))
        if not decision and not to:
            continue
        try:
            if (position := positions.get(line["key"])) is None:
                raise TableError(f"no face '{line['key']}' among the suspects")
            if seen.setdefault(position, number) != number:
                raise TableError(f"the same face as line {seen[position]}")
            choice = _read_choice(decision or "relabel", to)
            face = session.face(position)
            wanted = draw_up(face, session.shelf.open(face), choice, session.way)
        except (TableError, ChoiceError) as error:
            faults.append(f"line {number}: {error}")
            continue
        known = session.look_up(position)
        stands = known.decision and (known.decision.action, known.decision.to)
        stands = ("skip", None) if known.status == "skipped" else stands
        if stands != (wanted.action, wanted.to):
            new.append((position, choice))
    if faults:
        more = len(faults) - _MOST_FAULTS
        listed = "; ".join(faults[:_MOST_FAULTS]) + (f"; and {more} more" if more > 0 else "")
        raise TableError(f"{path}: {listed}. Nothing is imported.")
    for position, choice in show_progress(new, len(new), "importing decisions"):
        session.decide(position, choice, session.look_up(position).version)
    return len(new), len(seen) - len(new)


def _read_lines(path: Path) -> list[tuple[int, dict[Any, str]]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        how: dict[str, Any] = {"keep_default_na": False, "skip_blank_lines": False}
        table = pd.read_csv(io.StringIO(text), sep=delimiter, dtype=str, **how).fillna("")
        lines = table[["key", "decision", "to"]].to_dict("records")
    except OSError as error:
        raise TableError(f"{path}: can't be read ({error.strerror}).") from error
    except (ValueError, KeyError) as error:
        raise TableError(
            f"{path}: not a table with the columns key, decision and to, in UTF-8 ({error})."
        ) from error
    return list(enumerate(lines, start=2))


def _read_choice(decision: str, to: str) -> Choice:
    """A class alone is a label; it may be told as the page and the pictures tell it."""
    name = decision.lower()
    if name not in DECISIONS:
        raise TableError(f"decision '{decision}' is none of {', '.join(DECISIONS)}")
    if bool(to) != (name == "relabel"):
        raise TableError(f"'{name}' {'goes without' if to else 'needs'} a class in 'to'")
    try:
        label = NUMBERS.get(to) or (to and labels.canonical_label(to, WORDS))
        return Choice(DECISIONS[name], label or None)
    except labels.UnknownLabelError as error:
        raise TableError(f"unknown class '{to}'; known: {', '.join(labels.CLASSES)}") from error


def draw_contact_sheets(folder: Path, session: Session, positions: list[int]) -> list[Path]:
    """Draw `page-001.png` …, `ON_PAGE` faces each, with numbers and, unless blind, labels."""
    from pipeline.runs.plots import plot_faces  # The page needs no plots.

    make_folder(folder)
    paths = []
    starts = range(0, len(positions), ON_PAGE)
    for page, start in enumerate(show_progress(starts, len(starts), "contact sheets"), start=1):
        crops, titles = [], []
        for position in positions[start : start + ON_PAGE]:
            face = session.face(position)
            shown = () if session.way.blind else (face.label, face.suggested)
            names = " → ".join(dict.fromkeys(labels.SHORT.get(name, "") for name in shown))
            try:
                pixels = session.shelf.open(face).pixels
                crops.append(NO_PICTURE if pixels is None else crop_face(pixels, face.box))
            except ValueError:  # Of a box that is empty.
                crops.append(NO_PICTURE)
            titles.append(f"{position + 1}\n{names}")
        paths.append(folder / f"page-{page:03d}.png")
        plot_faces(crops, titles, paths[-1])
    return paths
