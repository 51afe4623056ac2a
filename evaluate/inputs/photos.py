"""Files and sizes of the photos that annotations and predictions name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.base.files import read_object
from data_prep.base.photo import PHOTO_SUFFIXES, Size, photo_size, upright_size
from data_prep.formats.input_files import InputError, list_files
from data_prep.formats.photo_match import AmbiguousPhotoError, match_names

FACES_FILE = "faces.csv"
MANIFEST = "manifest.json"  # Beside a faces.csv: names the folder of each source.


@dataclass(frozen=True)
class SizeSource:
    """Where sizes of photos are looked up, in this order."""

    fixed: Size | None = None  # One for every photo.
    photos: Path | None = None  # Their folder.
    known: Mapping[str, Size] = field(default_factory=dict)  # By photo name.

    def find(self, names: Sequence[str], *, upright: bool = True) -> dict[str, Size]:
        """Sizes by photo name, as far as they can be told, of the upright or the stored photos.

        Raises `InputError`: the folder does not exist, or a name fits several; `PhotoError`.
        """
        if self.fixed is not None:
            return dict.fromkeys(names, self.fixed)
        found: dict[str, Size] = {}
        if self.photos is not None:
            if not self.photos.is_dir():
                raise InputError(f"{self.photos}: no such folder of photos.")
            files = _list_photos(self.photos)
            matched = _match(str(self.photos), list(files), names)
            measure = upright_size if upright else photo_size
            found = {name: measure(files[file]) for name, file in matched.items()}
        rest = [name for name in names if name not in found]
        matched = _match("sizes in the annotations", list(self.known), rest)
        return found | {name: self.known[key] for name, key in matched.items()}


NO_SIZES = SizeSource()


def _list_photos(folder: Path) -> dict[str, Path]:
    return {p.relative_to(folder).as_posix(): p for p in list_files(folder, PHOTO_SUFFIXES)}


def _match(where: str, there: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    try:
        found = match_names(there, names).found
    except AmbiguousPhotoError as error:
        raise InputError(f"looking for photo sizes, {where}: {error}") from error
    return {name: there[at] for name, at in zip(names, found, strict=True) if at is not None}


def find_photos(
    names: Sequence[str], ground_truth: Path, photos: Path | None = None
) -> dict[str, Path]:
    """Files of annotated photos by name, as far as they are found.

    Looked for in `photos` when given; else, for a faces.csv, in the folders its manifest names;
    else below the ground truth itself.
    """
    table = ground_truth / FACES_FILE if ground_truth.is_dir() else ground_truth
    if photos is None and table.suffix == ".csv" and table.is_file():
        roots = _read_roots(table.parent / MANIFEST)
        parts = ((name, *name.partition("/")[::2]) for name in names)
        places = ((name, roots[source] / image) for name, source, image in parts if source in roots)
        return {name: path for name, path in places if path.is_file()}
    folder = photos or (ground_truth if ground_truth.is_dir() else ground_truth.parent)
    if not folder.is_dir():
        return {}
    files = _list_photos(folder)
    try:
        matched = _match("", list(files), names)
    except InputError:
        # Pictures are an extra: what can't be told apart by name is looked up by its exact path.
        return {name: files[name] for name in names if name in files}
    return {name: files[file] for name, file in matched.items()}


def _read_roots(manifest: Path) -> dict[str, Path]:
    """Folder of each source; none without a manifest that can be read."""
    try:
        datasets = (read_object(manifest) or {}).get("datasets", ())
        return {str(entry["source"]): Path(entry["root"]) for entry in datasets}
    except (KeyError, TypeError):
        return {}
