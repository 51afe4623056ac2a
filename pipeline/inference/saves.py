"""What run.py writes beside the table where `--save` asks for it."""

import base64
import errno
import hashlib
import json
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.base.boxes import turn_box_back, turn_size
from data_prep.base.crop import CROP_SCALE, crop_face, crop_name, encode_crop
from data_prep.base.errors import OptionError
from data_prep.base.files import (
    PART,
    OutputError,
    OutputFolder,
    sha256_of,
    write_atomically,
    writing,
)
from data_prep.base.labels import CLASSES
from data_prep.base.progress import log, show_progress
from data_prep.base.records import AnnotatedPhoto
from data_prep.base.records import Face as AnnotatedFace
from data_prep.formats.exif_frame import FramedPhoto
from data_prep.formats.registry import FORMATS
from pipeline.inference.draw import blur_faces, save_drawing
from pipeline.inference.records import Face, Frame, round_box
from pipeline.inference.sinks import Entry, Sink
from pipeline.inference.sources import ANNOTATED, SAVE_RECORDS, SAVED, SAVED_FILES, PhotoSet, spell

JSON, CROPS, BLURRED, GALLERY = SAVED

MOST_SHOWN = 4000  # Faces of a gallery: about 12 MB. More are thinned out evenly.

THUMB = 96  # Side of a gallery's picture in pixels.


@dataclass(frozen=True)
class Saves:
    """What to write, and classes to blur, all if none; raises `OptionError` for an unknown name."""

    names: Sequence[str] = ()
    blur: Sequence[str] = ()

    def __post_init__(self) -> None:
        written = [form.value for form, found in FORMATS.items() if found.writes]
        known = dict.fromkeys([*SAVED, *written])
        for option, given, names in (("save", self.names, known), ("blur", self.blur, CLASSES)):
            for name in given:
                if name not in names:
                    raise OptionError(f"--{option} {name}: not known; use {', '.join(names)}.")
        if self.blur and BLURRED not in self.names:
            raise OptionError(f"--blur: tells which classes --save {BLURRED} blurs; add it.")

    def write(
        self, entries: Sequence[Entry], photos: PhotoSet, out: Path, inputs: str
    ) -> dict[str, Path]:
        """Write all into the output folder, anew; gives the place of each; raises `OutputError`."""
        good = [entry for entry in entries if not entry.photo.reason]
        with ExitStack() as stack:
            asked = dict.fromkeys(self.names)
            places = {name: stack.enter_context(_renew(out, name, inputs)) for name in asked}
            if JSON in places:
                lines = [json.dumps(describe_entry(e), ensure_ascii=False) for e in entries]
                write_atomically(places[JSON], '{"photos": [\n' + ",\n".join(lines) + "\n]}\n")
            for form, writer in FORMATS.items():
                if form in places and form != CROPS:
                    names = writer.place([entry.photo.image for entry in good])
                    framed = [_frame(entry, photos.root, names) for entry in good]
                    writer.write(framed, CLASSES, places[form])
            drawn = (out / ANNOTATED).is_dir()
            told = photos.root.resolve().name, tuple(good), self.blur or CLASSES, drawn
            sinks = [kind(places[one], *told) for one, kind in SINKS.items() if one in places]
            for sink in sinks:
                stack.callback(sink.close)
            good = [e for e in good if any(e.photo.image in sink.images for sink in sinks)]
            frames = replace(photos, images=tuple(entry.photo.image for entry in good))
            shown = show_progress(frames, len(frames), "saving")
            for frame, entry in zip(shown, good, strict=True):
                if frame.error or frame.stamp != entry.stamp:
                    log(f"not saved: {frame.name} changed since it was run; run again")
                    continue
                for sink in sinks:
                    sink.add(frame, entry.faces)
        return {name: out / SAVED_FILES.get(name, name) for name in places}


def clear_stale(
    entries: Sequence[Entry], out: Path, asked: Collection[str]
) -> tuple[str, dict[str, Path]]:
    """Remove what earlier runs saved of other predictions, unless it is to be written anew.

    Gives the hash of these, and the place of what stays. Raises `OutputError`: a file of the rest
    was changed since, or one that is asked for is there and was not written here.
    """
    kept, records = {}, sorted((out / SAVE_RECORDS).glob("*.json"))
    for name in SAVED_FILES.keys() & {*asked} - {record.stem for record in records}:
        if (out / SAVED_FILES[name]).exists():
            what = "was not written by --save; move it away, or choose another folder with -o."
            raise OutputError(f"{out / SAVED_FILES[name]}: {what}")
    digest = hashlib.sha256()
    for entry in entries if asked or records else ():
        digest.update(json.dumps(asdict(entry)).encode())
    inputs = digest.hexdigest()
    for record in records:
        name, folder = record.stem, OutputFolder(out, f"{SAVE_RECORDS}/{record.name}")
        if (folder.read_record() or {}).get("inputs") == inputs and name not in asked:
            kept[name] = out / SAVED_FILES.get(name, name)
            continue
        folder.find_whole(inputs)
        if name not in asked:
            folder.swap_in(out, {"files": {}, "photos": {}})
            record.unlink()
            log(f"{name} of an earlier run is removed: it was of other predictions")
    return inputs, kept


@contextmanager
def _renew(out: Path, name: str, inputs: str) -> Iterator[Path]:
    """A staging place for what then takes the place of an earlier run's, beside files of others."""
    with writing(out / name), tempfile.TemporaryDirectory(PART, ".saving-", out) as parent:
        staging = Path(parent)
        yield staging / SAVED_FILES.get(name, name)
        files = {p.relative_to(staging): p for p in sorted(staging.rglob("*")) if p.is_file()}
        folders, top = {out / file.parent for file in files}, out.resolve()
        if not all(folder.resolve().is_relative_to(top) for folder in folders):
            raise OSError(errno.ELOOP, "a link is in the way")
        told = {file.as_posix(): sha256_of(path) for file, path in files.items()}
        record = {"inputs": inputs, "files": told, "photos": {}}
        OutputFolder(out, f"{SAVE_RECORDS}/{name}.json").swap_in(staging, record)
        if name not in SAVED_FILES:
            (out / name).mkdir(exist_ok=True)  # There, too, if there is nothing to put into it.


def describe_entry(entry: Entry) -> dict[str, Any]:
    """A photo with its faces as the service answers."""
    row = entry.photo
    known = {"image": spell(row.image), "width": row.width, "height": row.height}
    if row.reason:
        return {**known, "error": row.reason}
    faces = []
    for face in entry.faces:
        shares = (round(share, 5) for share in face.probabilities)
        scores = {"score": round(face.score, 5), "detection": round(face.detection, 5)}
        told = {"box": round_box(face.box), "label": face.label, **scores}
        faces.append({**told, "probabilities": dict(zip(CLASSES, shares, strict=True))})
    return {**known, "orientation": row.orientation, "faces": faces}


def _frame(entry: Entry, root: Path, names: Mapping[str, str]) -> FramedPhoto:
    """A photo as writers of datasets take it: boxes in the stored frame."""
    row = entry.photo
    size = turn_size(row.width, row.height, row.orientation)
    faces = []
    for place, face in enumerate(entry.faces):
        box = turn_box_back(face.box, *size, row.orientation)
        faces.append(AnnotatedFace(place, face.label, round_box(box)))
    photo = AnnotatedPhoto(root.resolve().name, root, row.image, row.image, *size, tuple(faces))
    return FramedPhoto(photo, names[row.image], size, photo.faces, row.orientation)


@dataclass
class Saving(Sink):
    """What a sink of `--save` is told; it gets the photos that are still as they were run."""

    path: Path  # Its file, or its folder.
    source: str  # Name of the folder of photos.
    entries: Sequence[Entry]  # Of all photos that could be read.
    blur: Sequence[str]  # Classes.
    drawn: bool  # Whether drawings lie beside.

    def __post_init__(self) -> None:
        self.images = {entry.photo.image for entry in self.entries}  # Photos that it has to see.

    def close(self) -> None:
        """Write what waited for the last photo."""


class Crops(Saving):
    """The crops that the classifier sees, as `build` cuts them, below their classes."""

    def add(self, frame: Frame, faces: Sequence[Face]) -> None:  # noqa: D102
        assert frame.pixels is not None
        photo = AnnotatedPhoto(self.source, Path(), frame.name, "", None, None, ())
        for place, face in enumerate(faces):
            crop = encode_crop(crop_face(frame.pixels, face.box, CROP_SCALE))
            write_atomically(self.path / face.label / crop_name(photo, place), crop)


class Blurred(Saving):
    """Photos with faces of some classes made unrecognisable; their EXIF data stay behind."""

    def add(self, frame: Frame, faces: Sequence[Face]) -> None:  # noqa: D102
        assert frame.pixels is not None
        chosen = [face for face in faces if face.label in self.blur]
        save_drawing(self.path / frame.name, blur_faces(frame.pixels, chosen), fine=True)


class Gallery(Saving):
    """A page of all faces, to filter by class, score and size, that needs nothing beside it."""

    def __post_init__(self) -> None:
        self.chosen = choose_shown(self.entries)
        self.images = {image for image, _ in self.chosen}
        self.named, self.rows = list[str](), list[list[Any]]()

    def add(self, frame: Frame, faces: Sequence[Face]) -> None:  # noqa: D102
        assert frame.pixels is not None
        for place, face in enumerate(faces):
            if (frame.name, place) not in self.chosen:
                continue
            if not self.named or self.named[-1] != frame.name:
                self.named.append(frame.name)
            thumb = encode_crop(crop_face(frame.pixels, face.box, most=THUMB))
            scores = round(face.score, 3), round(max(face.probabilities), 3)
            size, box = round(face.box.short_side), [round(value) for value in face.box]
            row = [len(self.named) - 1, CLASSES.index(face.label), *scores, size, box]
            self.rows.append([*row, base64.b64encode(thumb).decode()])

    def close(self) -> None:  # noqa: D102
        # Imported here: most runs do without, and its plots take a second to load.
        from data_prep.base.html import COLOURS, render_html

        page = render_html(
            "pipeline.inference",
            "gallery.html",
            data={"images": self.named, "faces": self.rows, "classes": CLASSES},
            colours=COLOURS,
            shown=len(self.rows),
            total=sum(len(entry.faces) for entry in self.entries),
            drawn=self.drawn and f"{ANNOTATED}/",
        )
        write_atomically(self.path, page)


def choose_shown(entries: Iterable[Entry], most: int = MOST_SHOWN) -> set[tuple[str, int]]:
    """Faces of a gallery, by photo and place: all or `most`, evenly over scores and classes."""
    by_class: dict[str, list[tuple[float, str, int]]] = {name: [] for name in CLASSES}
    for entry in entries:
        for place, face in enumerate(entry.faces):
            by_class[face.label].append((face.score, entry.photo.image, place))
    chosen: set[tuple[str, int]] = set()
    for number, rows in enumerate(sorted(by_class.values(), key=len)):
        share = min(len(rows), (most - len(chosen)) // (len(CLASSES) - number))
        if share:
            rows.sort()
            picked = np.linspace(0, len(rows) - 1, share).round().astype(int)
            chosen |= {rows[index][1:] for index in picked}
    return chosen


SINKS: dict[str, type[Saving]] = {CROPS: Crops, BLURRED: Blurred, GALLERY: Gallery}
