"""What every dataset format owes the rest: one class that recognises, reads and writes it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from data_prep.base import labels
from data_prep.base.errors import DatasetError, UserError
from data_prep.base.files import write_atomically
from data_prep.base.photo import Size
from data_prep.base.progress import show_progress, tell
from data_prep.base.records import NOT_READ, Box, Dataset, Face, Finding, note_unread
from data_prep.formats.exif_frame import Frame, FramedPhoto, place_photos, turn_upright
from data_prep.formats.input_files import InputError, OtherFileError, check_box, is_text
from data_prep.formats.photo_match import DatasetFiles, WrittenPhoto
from data_prep.formats.plausible import Order


class Format(StrEnum):
    """Formats of annotated datasets, by the names of the command line."""

    VOC = "voc"
    YOLO = "yolo"
    COCO = "coco"
    CSV = "csv"
    LABELME = "labelme"
    VIA = "via"
    VIA3 = "via3"
    VOTT = "vott"
    LABEL_STUDIO = "label-studio"
    SUPERVISELY = "supervisely"
    MEDICAL_MASK = "medical-mask"
    CVAT = "cvat"
    FIFTYONE = "fiftyone"
    CREATEML = "createml"
    WIDER = "wider"
    CROPS = "crops"


@dataclass(frozen=True)
class ReadOptions:
    """What can't be told from the files.

    Aliases are keyed by their normalised form, and without classes every name is taken as it is
    written. `columns` has the column of a CSV table for each field, such as `{"image": "file"}`.
    """

    aliases: Mapping[str, str] = field(default_factory=lambda: dict(labels.ALIASES))
    classes: Sequence[str] | None = labels.CLASSES
    format: Format | None = None  # Recognised when None.
    names: Path | None = None  # File of class names for ids; looked for in the dataset when None.
    columns: Mapping[str, str] = field(default_factory=dict)
    crop_scale: float = 1.0  # Of ready crops: their side as a multiple of the face's longer side.
    _known: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _unknown: dict[str, tuple[str, int]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _ignored: Counter[str] = field(default_factory=Counter, init=False, repr=False, compare=False)

    def label(self, name: str, where: str, called: str = "") -> str:
        """The class that a name in the data means, "" for one to be left out.

        Unknown names stand for themselves until `check_labels`, which tells all at once, with where
        they are and how the file calls them (such as `category_id 3: `).
        """
        if self.classes is None:
            return name.strip()
        if name not in self._known:
            try:
                self._known[name] = labels.canonical_label(name, self.aliases, self.classes)
            except labels.UnknownLabelError:
                first, count = self._unknown.get(name, (f"{where}: {called}", 0))
                self._unknown[name] = first, count + 1
                return name
        if not self._known[name]:
            self._ignored[name] += 1
        return self._known[name]

    def check_labels(self) -> list[str]:
        """Refuse unknown names that there were, all in one `UnknownLabelError`; what was left out.

        They are those of all that was read with these very options: copy them for each dataset.
        """
        if self._unknown:
            first, _ = next(iter(self._unknown.values()))
            counts = {name: count for name, (_, count) in self._unknown.items()}
            told = labels.explain_unknown(counts, self.aliases, self.classes or ())
            raise labels.UnknownLabelError(f"{first}{told}")
        return [
            f"{tell(count, 'face')} of the class '{name}' {'is' if count == 1 else 'are'} left "
            f"out, as --alias {name}= says."
            for name, count in self._ignored.items()
        ]


OUTLINED = "outlined"
BAD_ANNOTATION = "bad-annotation"  # Kind of the findings about faces of COCO, maybe of no photo.


@dataclass
class Faults:
    """What is wrong with the entries of a file: raised when strict, else noted and left out.

    Strict readers measure predictions, where a face left out would quietly change the figures.
    `counts` has how many faces are `OUTLINED`, and how many tell of each thing that is not read.
    """

    file: str  # As messages call it.
    strict: bool = False
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def at(self, line: object) -> str:
        """A line of the file, for messages."""
        return f"{self.file}, line {line}" if self.strict else f"{self.file}:{line}"

    def leave_out(self, kind: str, message: str, consequence: str = "") -> None:
        """Note a fault, or raise it as an `InputError`."""
        if self.strict:
            raise InputError(message)
        self.findings.append(Finding(self.file, kind, f"{message}{consequence}", dropped=True))

    def note_counts(self) -> None:
        """Note what was counted."""
        outlined = self.counts.pop(OUTLINED, 0)
        things = [f"{thing} of {tell(n, 'face')}" for thing, n in sorted(self.counts.items()) if n]
        self.findings += note_unread(self.file, things)
        if outlined:
            told = f"{tell(outlined, 'face', 'is/are')} outlined; the box around each is taken."
            self.findings.append(Finding(self.file, "outlined-faces", f"{self.file}: {told}"))


IMAGES = "images"  # The folder that photos lie in by the custom of the field.


@dataclass(frozen=True)
class Written:
    """What a writer wrote."""

    files: tuple[str, ...]  # Below the folder, with forward slashes.
    left_out: Mapping[str, int]  # What the format can't hold, such as `{"difficult flags": 3}`.
    findings: tuple[Finding, ...] = ()  # Photos and faces that could not be written.
    refused: frozenset[str] = frozenset()  # Photos that must not be in the folder either.


class DatasetFormat:
    """A format of annotated datasets.

    A reader leaves out single photos and faces with faults, each with a `Finding` that names the
    file and line; it raises for what would quietly change the data or leaves nothing to use. What a
    reader needs: `read_each` reads several files; `FaceReader` collects faces and their faults,
    `FileFormat` is known by its content; `input_files` reads numbers and sizes. A face that is left
    out keeps its number in the file.
    """

    looks = ""  # What it is known by, for the message that nothing is known.
    folder = ""  # That photos are put into; nothing where they stay as they lie.
    holds_photos = True  # Whether photos belong to a dataset of this format.
    writes = True  # False for a format that is only read: `convert` then refuses it.

    def recognise(self, files: DatasetFiles, options: ReadOptions) -> Path | None:
        """A file or folder that shows that the dataset is in this format, or None."""
        raise NotImplementedError

    def read(self, files: DatasetFiles, options: ReadOptions) -> Dataset:
        """Read the dataset.

        Raises `DatasetError`: there is no annotation or no photo, or it can't be read as a whole;
        `InputError`: a file of class names can't be used; `UnknownLabelError`: see `check_labels`.
        """
        raise NotImplementedError

    def place(self, images: Sequence[str]) -> dict[str, str]:
        """Where photos go below the folder, by their path in the dataset that was read."""
        start = f"{self.folder}/" * bool(self.folder)
        inside = all(image.startswith(start) for image in images)
        return {image: image if inside else start + image for image in images}

    def write(self, photos: Sequence[FramedPhoto], classes: Sequence[str], folder: Path) -> Written:
        """Write the annotations of photos, which lie in the folder as `place` said.

        Classes are all class names, in the order of their numbers. Raises `DatasetError`: the
        format can't hold a name; `OutputError`: a file can't be written.
        """
        raise NotImplementedError


class UprightFormat(DatasetFormat):
    """A format of photos as they are looked at, written, too. No face is difficult there.

    `describe` makes its files, by name, of upright photos and the class names. Photos are told
    apart by the file that is about them, or by what the format calls them.
    """

    call_file: Callable[[str], str]
    describe: Callable[[Sequence[FramedPhoto], Sequence[str]], Mapping[str, str | bytes]]

    def write(self, photos: Sequence[FramedPhoto], classes: Sequence[str], folder: Path) -> Written:
        """Write the annotations; see `DatasetFormat`."""
        named, findings, refused = _name_files(photos, self.call_file)
        kept = [*named.values()]
        try:
            files = self.describe([*map(turn_upright, kept)], classes)
        except ValueError as error:
            raise DatasetError(
                f"{self.looks} can't hold the name of a photo or of a class ({error}); rename it "
                "or choose another format."
            ) from error
        for name, data in show_progress(files.items(), len(files), "writing annotations"):
            write_atomically(folder / name, data)
        difficult = sum(face.difficult for photo in kept for face in photo.faces)
        left_out = count_left_out(kept, difficult_flags=difficult)
        return Written(tuple(files), left_out, tuple(findings), refused)


def _name_files(
    photos: Sequence[FramedPhoto], name: Callable[[str], str]
) -> tuple[dict[str, FramedPhoto], list[Finding], frozenset[str]]:
    """Photos by the file about each; findings, and photos that would share one, whatever its case.

    Without a file of its own a photo would count as one without faces.
    """
    owners: dict[str, str] = {}
    files: dict[str, FramedPhoto] = {}
    findings: list[Finding] = []
    for photo in photos:
        file = name(photo.image)
        first = owners.setdefault(file.lower(), photo.image)
        if first == photo.image:
            files[file] = photo
            continue
        message = f"{photo.annotation}: {photo.photo.image} would have the same label file as "
        message += f"{first}, {file}; it is left out. Rename one of the photos."
        findings.append(Finding(photo.annotation, "name-clash", message, dropped=True))
    refused = {photo.image for photo in photos} - {photo.image for photo in files.values()}
    return files, findings, frozenset(refused)


def count_left_out(photos: Sequence[FramedPhoto] = (), **counts: int) -> dict[str, int]:
    """Counts that are not 0, by name with blanks for underscores.

    Of `photos` those faces whose number is not their place, as where one before was left out.
    """
    moved = sum(face.object != place for p in photos for place, face in enumerate(p.faces))
    counts["object_numbers"] = moved
    return {name.replace("_", " "): count for name, count in counts.items() if count}


def read_each(
    files: DatasetFiles,
    paths: Sequence[Path],
    kind: str,
    what: str,
    read: Callable[[Path, Faults, ReadOptions], Sequence[WrittenPhoto]],
    options: ReadOptions,
) -> tuple[list[WrittenPhoto], list[Finding]]:
    """The photos that several files tell of; a finding of this kind for each that can't be read.

    Raises `DatasetError`: none can be read.
    """
    broken: list[Finding] = []
    written: list[WrittenPhoto] = []
    whole = Faults(files.call(paths[0]) if len(paths) == 1 else files.source)
    for path in paths:
        faults = replace(whole, file=files.call(path))
        try:
            written += read(path, faults, options)
        except OtherFileError as error:
            whole.findings.append(Finding(faults.file, NOT_READ, str(error)))
        except InputError as error:
            broken.append(Finding(faults.file, kind, str(error), dropped=True))
    if len(broken) == len(paths):
        reasons = " ".join(finding.message for finding in broken[:3])
        raise DatasetError(f"{files.root}: no {what} that can be read. {reasons}".rstrip())
    whole.note_counts()
    return written, [*broken, *whole.findings]


_TRIED = 20  # Files called after photos, of which none is of a format if these are not.


@dataclass(frozen=True)
class FileFormat(DatasetFormat):
    """A format, only read, in files of any name, known by what is in them.

    That are keys (of `photo_match.JSON_KEYS`) of a JSON file, or what another file is asked.
    """

    read_file: Callable[[Path, Faults, ReadOptions], Iterable[WrittenPhoto]]
    looks: str = ""
    order: Order = "corners"
    frame: Frame = "stored"
    keys: frozenset[str] = frozenset()
    ending: str = ".json"
    is_own: Callable[[Path], bool] | None = None
    writes = False

    def recognise(self, files: DatasetFiles, options: ReadOptions) -> Path | None:
        """The first of its files."""
        return next(iter(self.list_files(files)), None)

    def list_files(self, files: DatasetFiles) -> list[Path]:
        """Its files below a folder."""
        if self.is_own is not None:
            paths = files.by_suffix({self.ending})
            stems = {path.stem for path in files.photos}
            called = [path for path in paths if path.stem in stems]
            if len(called) > _TRIED and not any(map(self.is_own, called[:_TRIED])):
                # They are about one photo each, so of another format: not all need be opened.
                paths = sorted({*paths} - {*called})
            return [*filter(self.is_own, paths)]
        return [path for path, keys in files.json_keys.items() if self.keys <= keys]

    def read(self, files: DatasetFiles, options: ReadOptions) -> Dataset:
        """Read the dataset; see `DatasetFormat`."""
        return place_photos(files, *self.read_written(files, options), self.order, self.frame)

    def read_written(
        self, files: DatasetFiles, options: ReadOptions
    ) -> tuple[list[WrittenPhoto], list[Finding]]:
        """What its files tell, whether the photos are there or not; findings."""
        paths = self.list_files(files) or files.by_suffix({self.ending})
        kind = f"broken-{self.ending.removeprefix('.')}"
        written, findings = read_each(files, paths, kind, self.looks, self._read_file, options)
        # What is about one photo lacks the keys of faces where it has none.
        bare = [path for path, keys in files.json_keys.items() if keys and keys < self.keys]
        for path in sorted({*bare} - {*paths}):
            with suppress(InputError):
                written += self._read_file(path, Faults(files.call(path), strict=True), options)
        return written, findings

    def _read_file(self, path: Path, faults: Faults, options: ReadOptions) -> list[WrittenPhoto]:
        try:
            return [*self.read_file(path, faults, options)]
        except UserError:
            raise
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            why = f"not {self.looks} as its tool writes it ({error}); export it anew."
            raise InputError(f"{faults.file}: {why}") from error


@dataclass
class FaceReader:
    """The faces of a photo, as they are read; those that can't be used keep their number."""

    faults: Faults
    options: ReadOptions
    faces: list[Face] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    wrong: list[Box] = field(default_factory=list)
    count: int = 0

    def add(
        self,
        where: str,
        label: str | Callable[[], str],
        read_box: Callable[[], Box],
        hint: str = "draw it anew",
        *,
        kind: str = "bad-box",
        difficult: bool = False,
        outlined: bool = False,
    ) -> bool:
        """Add a face, or note its faults; whether it is used.

        The label is a class as written, or called for one of `options`. With a hint a box must not
        be inverted.
        """
        if not callable(label) and not (label.strip() and is_text(label)):
            self.leave_out("unnamed-object", f"{where}: no class name; write one or remove it.")
            return False
        self.count += 1
        told = ""
        try:
            name = label() if callable(label) else self.options.label(label, where)
            if not name:
                return False
            box = read_box()
            self.wrong.append(box)
            if hint:
                check_box(box, where, hint)
            self.wrong.pop()
        except InputError as error:
            told = str(error)
        except UserError:
            raise
        except (LookupError, TypeError, ValueError, OverflowError):
            told = f"{where}: no numbers of a box."
        if told:
            self.faults.leave_out(kind, told, " The face is left out.")
            return False
        self.faces.append(Face(self.count - 1, name, box, difficult))
        self.places.append(where)
        self.faults.counts[OUTLINED] += outlined
        return True

    def leave_out(self, kind: str, message: str) -> None:
        """Note, or raise, that a face can't be used."""
        self.count += 1
        self.faults.leave_out(kind, message, " The face is left out.")

    def finish(
        self, path: Path, image: str, where: str, size: Size | None, *, alone: bool = False
    ) -> WrittenPhoto:
        """The photo; `alone` if the file is about it only, and may be called after it."""
        return WrittenPhoto(
            *(path, image, where, size, tuple(self.faces)),
            places=tuple(self.places),
            fallback=path.stem if alone else "",
            left_out=self.count - len(self.faces),
            wrong=tuple(self.wrong),
        )
