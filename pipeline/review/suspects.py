"""The suspects folder: which faces to look at, in which order, and where their photos lie."""

import math
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_type_hints
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from data_prep.base.command import spell
from data_prep.base.errors import DatasetError, plain
from data_prep.base.files import PART, sha256_of
from data_prep.base.labels import CLASSES
from data_prep.base.progress import log, tell
from data_prep.base.records import Box
from data_prep.base.tables import COLUMNS, KEY
from data_prep.decisions.ledger import Key

TABLE, ABOUT, LEDGER = "suspects.csv", "suspects.json", "decisions.jsonl"
FACES = "faces.csv"  # Of a prepared folder.
INDEX = "suspects.sqlite"  # The table for looking up single faces; of a `LARGE` one it is kept.
LARGE, CHUNK = 2**24, 50_000  # Bytes; rows.
FORMAT = 1
LEAST = 10  # Faces that a review begins with at least, however few labels are thought to be wrong.


@dataclass(frozen=True)
class Suspect:
    """A row of `suspects.csv`: one face to look at. None: the field is empty."""

    rank: int  # From 1, the most suspect first.
    source: str
    image: str
    object: int
    label: str  # The class it was given.
    split: str
    suggested: str  # The class the model thinks it is; empty when it has none.
    score: float | None  # 0 to 1, higher is more suspect.
    p_with_mask: float | None
    p_without_mask: float | None
    p_mask_weared_incorrect: float | None
    reasons: str  # Parted by semicolons.
    similar: str  # Ranks of similar faces, the most similar first; see `Suspects.similar`.
    xmin: float | None
    ymin: float | None
    xmax: float | None
    ymax: float | None
    width: int  # Of the photo, in pixels.
    height: int
    crop: str  # Relative to the prepared folder.

    @property
    def key(self) -> Key:
        """Source, image and object."""
        return self.source, self.image, self.object

    @property
    def probabilities(self) -> Mapping[str, float] | None:
        """The model's opinion by class, if it has one of each."""
        opinion = (self.p_with_mask, self.p_without_mask, self.p_mask_weared_incorrect)
        told = [share for share in opinion if share is not None]
        return dict(zip(CLASSES, told, strict=True)) if len(told) == len(CLASSES) else None

    @property
    def box(self) -> Box:
        """As in `faces.csv`; NaN where a side is missing."""
        sides = (self.xmin, self.ymin, self.xmax, self.ymax)
        return Box(*(math.nan if side is None else side for side in sides))


class About(BaseModel):
    """What `suspects.json` holds, as far as a review needs it."""

    format: Literal[1]
    roots: dict[str, Path]  # Dataset folder of each source.
    prepared: Path | None = None
    expected_wrong: dict[str, tuple[float, float, float]] = {}
    """By class, how many labels are thought to be wrong, and the lower and upper end of that."""
    likely_errors: tuple[float, float, float] | None = None  # The same of all.


def tell_likely(errors: Sequence[float]) -> str:
    """How many labels are thought to be wrong, as of `estimate_wrong_labels`, in words."""
    about, low, high = (f"{number:.0f}" for number in errors)
    return f"about {tell(int(about), 'likely error')} ({low} to {high})"


class Suspects:
    """The faces of a suspects folder, by row from 0, the most suspect first.

    The table stays on the disk, where single rows are looked up; from any thread.
    """

    def __init__(self, table: sqlite3.Connection, about: About, digest: str) -> None:
        self._table, self._lock = table, threading.Lock()
        self._table.row_factory = sqlite3.Row
        self.about = about
        self.digest = digest  # Tells this table from any other.
        self._count: int = table.execute("SELECT max(line) FROM faces").fetchone()[0]

    def __len__(self) -> int:
        return self._count

    @property
    def likely(self) -> int:
        """How many of the most suspect faces to begin with: as many as may be wrong, or all."""
        ends = self.about.likely_errors
        return len(self) if ends is None else min(len(self), max(LEAST, math.ceil(ends[2])))

    def find(self, key: Key) -> int | None:
        """The row of a face; None when it is not among them."""
        found = self._ask("SELECT * FROM faces WHERE (source, image, object) = (?, ?, ?)", *key)
        return int(found["line"]) - 1 if found else None

    def face(self, row: int) -> Suspect:
        """The face in a row."""
        record = self._ask("SELECT * FROM faces WHERE line = ?", int(row) + 1)
        return Suspect(**{field.name: record[field.name] for field in fields(Suspect)})

    def similar(self, face: Suspect) -> tuple[int, ...]:
        """Rows of the faces similar to one, the most similar first."""
        ranks = (int(rank) for rank in face.similar.split() if rank.isdecimal())
        return tuple(rank - 1 for rank in ranks if 1 <= rank <= len(self))

    def _ask(self, question: str, *values: Any) -> Any:
        with self._lock:
            return self._table.execute(question, values).fetchone()


def open_suspects(folder: Path) -> Suspects:
    """Open what `python -m pipeline suspects` wrote; raises `DatasetError`.

    A table of more than `LARGE` bytes is looked through once, and kept as `INDEX` beside it. Of a
    prepared folder all faces are taken, in their order, without an opinion.
    """
    if (folder / FACES).is_file() and not (folder / ABOUT).exists():
        from pipeline.runs.folder import identify_data  # Loads pandas.

        data, roots = identify_data(folder)
        about, digest = About(format=1, roots=roots, prepared=folder), data["faces_sha256"]
        return Suspects(_index(folder / FACES, digest), about, digest)
    try:
        about = About.model_validate_json((folder / ABOUT).read_bytes())
        digest = sha256_of(folder / TABLE)
        is_large = (folder / TABLE).stat().st_size > LARGE
    except OSError as error:
        why = f"no folder of suspects ({Path(error.filename).name}: {error.strerror})"
        why = why if folder.exists() else "no such folder"
        raise DatasetError(f"{folder}: {why}; make one with: {spell('suspects')}.") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = "".join(f" '{part}'" for part in fault["loc"])
        raise DatasetError(
            f"{folder / ABOUT}:{where} {plain(fault['msg'])}; find the suspects again."
        ) from error
    table = (is_large and _open_index(folder, digest)) or _index(folder / TABLE, digest)
    sources = table.execute("SELECT DISTINCT source FROM faces")
    if strangers := sorted({source for (source,) in sources} - set(about.roots)):
        raise DatasetError(
            f"{folder / ABOUT}: no dataset folder for the source '{strangers[0]}' of {TABLE}; "
            "find the suspects again."
        )
    return Suspects(table, about, digest)


def _open_index(folder: Path, digest: str) -> sqlite3.Connection | None:
    """The table as it is kept, made if need be; None where it can't be."""
    path, part = folder / INDEX, folder / f".{INDEX}.{uuid4().hex[:8]}{PART}"
    for is_made in (False, True):
        try:
            if is_made:
                log(f"looking through {folder / TABLE}, once")
                _index(folder / TABLE, digest, part).close()
                part.replace(path)
            address = f"{path.resolve().as_uri()}?mode=ro"
            table = sqlite3.connect(address, uri=True, check_same_thread=False)
            if table.execute("SELECT digest FROM made").fetchone() == (digest,):
                return table
        except (sqlite3.Error, OSError):  # None yet or damaged; or the folder is full or read-only.
            pass
        finally:
            part.unlink(missing_ok=True)
    return None


def _index(path: Path, digest: str, out: Path | None = None) -> sqlite3.Connection:
    """The table, checked, in SQLite: in a file, or in one without name that goes with it."""
    import pandas as pd  # What is kept is opened without.

    types: dict[str, Any] = get_type_hints(Suspect)
    gaps = [name for name, kind in types.items() if kind == float | None]
    types |= dict.fromkeys(gaps, float)
    table = sqlite3.connect(out or "", check_same_thread=False, isolation_level=None)
    table.executescript(
        "PRAGMA journal_mode = off; PRAGMA synchronous = off; PRAGMA cache_size = -100000; BEGIN;"
        f"CREATE TABLE faces (line INTEGER PRIMARY KEY, {', '.join(types)},"
        f"""CONSTRAINT "the ranks don't count up from 1" CHECK (rank = line),"""
        f'CONSTRAINT "the label is none of {", ".join(CLASSES)}" CHECK (label IN {CLASSES}),'
        f"UNIQUE ({', '.join(KEY)})); CREATE TABLE made (digest)"
    )
    add = f"INSERT INTO faces VALUES (?{', ?' * len(types)})"  # noqa: S608
    # A photo may be called "NA": only empty fields are missing, and only of numbers.
    how: dict[str, Any] = {"keep_default_na": False, "na_values": {name: [""] for name in gaps}}
    try:
        opinion = set(types) - set(COLUMNS) if path.name == FACES else set()
        told = [name for name in types if name not in opinion]
        with pd.read_csv(path, dtype=types, usecols=told, chunksize=CHUNK, **how) as parts:
            for part in parts:
                part.index += 1
                none = {name: math.nan if name in gaps else "" for name in opinion}
                part = part.assign(**none | ({"rank": part.index} if opinion else {}))
                table.executemany(add, part[list(types)].itertuples(name=None))
    except sqlite3.IntegrityError as error:
        _, check, fault = str(error).partition("CHECK constraint failed: ")
        (count,) = table.execute("SELECT count(*) FROM faces").fetchone()
        fault = fault if check else "the face stands there twice"
        raise DatasetError(f"{path}:{count + 2}: {fault}.") from error
    except ValueError as error:  # Of parsing, decoding, a missing column, text for a number.
        raise DatasetError(f"{path}: not a readable table ({error}).") from error
    if table.execute("SELECT max(line) FROM faces").fetchone() == (None,):
        raise DatasetError(f"{path}: no faces in there; there is nothing to review.")
    table.execute("INSERT INTO made VALUES (?)", [digest])
    table.execute("COMMIT")
    return table
