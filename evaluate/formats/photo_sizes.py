"""Sizes of photos, which relative coordinates need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath

from data_prep.formats.input_files import InputError, list_files, walk_files
from data_prep.labels import Vocabulary
from data_prep.photo import PHOTO_SUFFIXES, Size, photo_size, upright_size
from data_prep.voc import AnnotationError, read_voc
from evaluate.formats.photo_names import AmbiguousPhotoError, match_names
from evaluate.formats.table import read_table


@dataclass(frozen=True)
class SizeSource:
    """Where sizes are looked up.

    Attributes:
        fixed: One size for every photo; the rest is not asked then.
        photos: Folder of the photos.
        known: Sizes by photo name, asked for what is not among the photos.
    """

    fixed: Size | None = None
    photos: Path | None = None
    known: Mapping[str, Size] = field(default_factory=dict)

    def find(self, names: Sequence[str], *, upright: bool = True) -> dict[str, Size]:
        """Sizes by photo name, of those photos whose size can be told.

        Args:
            names: Distinct photo names; matched with files as `match_names` does.
            upright: Of the photos turned by EXIF, to which relative coordinates refer; otherwise
                of the photos as stored, to which pixels refer.

        Raises:
            InputError: The folder does not exist, or a name fits several photos.
            PhotoError: A photo can't be read.
        """
        if self.fixed is not None:
            return dict.fromkeys(names, self.fixed)
        found: dict[str, Size] = {}
        if self.photos is not None:
            if not self.photos.is_dir():
                raise InputError(f"{self.photos}: no such folder of photos.")
            files = {
                path.relative_to(self.photos).as_posix(): path
                for path in list_files(self.photos, PHOTO_SUFFIXES)
            }
            matched = _match(str(self.photos), list(files), names)
            measure = upright_size if upright else photo_size
            found = {name: measure(files[file]) for name, file in matched.items()}
        rest = [name for name in names if name not in found]
        matched = _match("sizes in the annotations", list(self.known), rest)
        return found | {name: self.known[key] for name, key in matched.items()}


NO_SIZES = SizeSource()
"""No size is known."""


def read_voc_sizes(root: Path, vocabulary: Vocabulary) -> dict[str, Size]:
    """Sizes stated in the VOC files below a folder, by photo name.

    A photo is called by its file name as written in the XML, in the folder of the XML; where two
    files write the same, by the name of the XML. Files that can't be read are passed over.

    Raises:
        UnknownLabelError: An annotation uses an unknown class name.
    """
    sizes: dict[str, Size] = {}
    for path in walk_files(root):
        if path.suffix.lower() != ".xml":
            continue
        try:
            voc = read_voc(path, label_of=vocabulary.label)
        except AnnotationError:
            # The reader of the annotations has said so.
            continue
        if voc.width is None or voc.height is None:
            continue
        name = name_photo(path.relative_to(root).as_posix(), voc.filename, sizes)
        sizes.setdefault(name, (voc.width, voc.height))
    return sizes


def read_table_sizes(path: Path) -> dict[str, Size]:
    """Sizes from a faces.csv, by `source/image`.

    Raises:
        TableError: The table is not as it should be.
    """
    table = read_table(
        path, ("image", "width", "height", "source"), written_by="python -m data_prep"
    )
    columns = (table.columns["source"], table.names("image"))
    sides = zip(table.numbers("width"), table.numbers("height"), strict=True)
    return {
        f"{source}/{image}" if source else image: (int(width), int(height))
        for source, image, (width, height) in zip(*columns, sides, strict=True)
    }


def name_photo(annotation: str, filename: str, taken: Iterable[str]) -> str:
    """Name of the photo that a VOC file is about.

    Args:
        annotation: Path of the XML below its root, with forward slashes.
        filename: As written in the XML, or "".
        taken: Names of other photos (a set or mapping); the XML's own name serves then.
    """
    path = PurePosixPath(annotation)
    # Exporters on Windows write whole paths; only the last part can be of use here.
    name = PureWindowsPath(filename).name or path.stem
    photo = str(path.with_name(name))
    return str(path.with_suffix(PurePosixPath(name).suffix)) if photo in taken else photo


def _match(where: str, there: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    try:
        found = match_names(there, names).found
    except AmbiguousPhotoError as error:
        raise InputError(f"looking for photo sizes, {where}: {error}") from error
    return {
        name: there[place] for name, place in zip(names, found, strict=True) if place is not None
    }
