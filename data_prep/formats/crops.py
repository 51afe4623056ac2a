"""Datasets of ready face crops in folders called after the classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_prep.base.crop import CROP_SCALE, crop_face, crop_name, encode_crop
from data_prep.base.errors import DatasetError
from data_prep.base.files import write_atomically
from data_prep.base.labels import CLASSES, guess_class, knows_label
from data_prep.base.photo import PhotoError, read_photo, upright_size
from data_prep.base.progress import show_progress
from data_prep.base.records import AnnotatedPhoto, Box, Dataset, Face, Finding
from data_prep.formats.contracts import DatasetFormat, ReadOptions, Written, count_left_out
from data_prep.formats.exif_frame import FramedPhoto
from data_prep.formats.photo_match import DatasetFiles


@dataclass(frozen=True)
class CropsFormat(DatasetFormat):
    """`<class>/*.jpg`, also below folders of splits; each photo is one face.

    Read, the face is the middle of the photo, `1 / crop_scale` of its sides, and the photo its own
    annotation. Written, faces are cut as for training, and stand for themselves.
    """

    looks = "or folders of face crops called after the classes"

    scale: float = CROP_SCALE  # Side of a crop that is written, by the longer box side.
    holds_photos = False

    def recognise(self, files: DatasetFiles, options: ReadOptions) -> Path | None:
        """The first photo, when every folder that holds photos is called after a class."""
        if not files.photos:
            return None
        folders = {path.parent for path in files.photos}
        named = all(_find_class(files, folder, options) for folder in folders)
        return files.photos[0] if named else None

    def read(self, files: DatasetFiles, options: ReadOptions) -> Dataset:
        """Read the dataset; see `DatasetFormat`."""
        if options.crop_scale < 1:
            raise DatasetError(f"--crop-scale {options.crop_scale:g}: use a number from 1.")
        findings = list(files.findings)
        photos: list[AnnotatedPhoto] = []
        used: set[str] = set()
        named: dict[Path, Path] = {}  # The folders that tell the classes of others.
        for path in files.photos:
            folder, image = path.parent, files.relative(path)
            if folder == files.root:
                continue
            if folder not in named:
                named[folder] = _find_class(files, folder, options) or folder
            label = options.label(named[folder].name, files.call(named[folder]))
            used.add(image)
            if not label:
                continue
            try:
                size = upright_size(path)
            except PhotoError as error:
                name = files.call(path)
                findings.append(Finding(name, "unreadable-photo", str(error), dropped=True))
                continue
            x, y = ((side - side / options.crop_scale) / 2 for side in size)
            face = Face(0, label, Box(x, y, size[0] - x, size[1] - y))
            photos.append(AnnotatedPhoto(files.source, files.root, image, image, *size, (face,)))
        if not used:
            raise DatasetError(f"{files.root}: no photo in a folder below it.")
        findings.extend(files.unused_photos(used))
        return Dataset(files.source, files.root, tuple(photos), tuple(findings))

    def write(self, photos: Sequence[FramedPhoto], classes: Sequence[str], folder: Path) -> Written:
        """Write the crops; see `DatasetFormat`."""
        for label in classes:  # Refused are those that lead elsewhere or that no system takes.
            bad = set(label) & set('/\\:*?"<>|') or not label.isprintable() or not label
            if bad or {label[0], label[-1]} & {".", " "} or len(label.encode()) > 200:
                hint = "give it another name with --canonical and --alias."
                raise DatasetError(f"the class {label!r} can't be the name of a folder; {hint}")
        files: list[str] = []
        findings: list[Finding] = []
        refused: set[str] = set()
        for photo in show_progress(photos, len(photos), "cutting crops"):
            if not photo.faces:
                continue
            about = photo.photo
            try:
                decoded = read_photo(about.path, fit_size=about.stated_size)
            except PhotoError as error:
                findings.append(Finding(about.name, "unreadable-photo", str(error), dropped=True))
                refused.add(photo.image)
                continue
            for face in photo.faces:
                file = f"{face.label}/{crop_name(about, face.object)}"
                crop = crop_face(decoded.pixels, face.box, self.scale)
                write_atomically(folder / file, encode_crop(crop))
                files.append(file)
        faces = [face for photo in photos for face in photo.faces if photo.image not in refused]
        left_out = count_left_out(
            places_in_the_photo=len(files),
            difficult_flags=sum(face.difficult for face in faces),
            photos_without_faces=sum(not photo.faces for photo in photos),
        )
        return Written(tuple(files), left_out, tuple(findings), frozenset(refused))


def _find_class(files: DatasetFiles, folder: Path, options: ReadOptions) -> Path | None:
    """The nearest folder, from one up to the root, that is called after a class."""
    for one in (folder, *folder.parents):
        if one == files.root:
            return None
        # Where any name is a class, the mask classes show which folders are meant.
        if knows_label(one.name, options.aliases, options.classes or CLASSES):
            # Folders below it may say more, as `mask/without`: not for us to decide.
            whole = "_".join(folder.relative_to(one.parent).parts)
            return one if guess_class(whole) in (None, guess_class(one.name)) else None
    return None
