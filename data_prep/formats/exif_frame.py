"""Photos of a dataset, found on disk, with the pixels that their boxes refer to."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Literal

from data_prep.base import records
from data_prep.base.boxes import UPRIGHT, clip_box, clip_faces, turn_box, turn_box_back, turn_size
from data_prep.base.errors import DatasetError
from data_prep.base.photo import PhotoError, PhotoFrame, Size, read_frame
from data_prep.base.progress import show_progress, tell
from data_prep.base.records import AnnotatedPhoto, Box, Dataset, Face, Finding
from data_prep.formats import photo_match
from data_prep.formats.photo_match import CONVERT, DatasetFiles, WrittenPhoto, match_photos
from data_prep.formats.plausible import Order, doubt_boxes, look_relative, suspect_boxes


@dataclass(frozen=True)
class FramedPhoto:
    """A photo whose size is known, with its faces clipped to it."""

    photo: AnnotatedPhoto
    image: str  # Where it lies in the folder that is written, with forward slashes.
    size: Size  # Of the pixels that boxes refer to.
    faces: tuple[Face, ...]
    turn: int  # EXIF orientation (1 to 8) that still has to turn these pixels upright.
    part: str = ""  # Of the split, where one is kept.

    @property
    def annotation(self) -> str:
        """The annotation file as `source/path`."""
        return f"{self.photo.source}/{self.photo.annotation}"


def frame_photos(photos: Sequence[AnnotatedPhoto]) -> tuple[list[FramedPhoto], list[Finding]]:
    """Read the headers of photos and clip their faces.

    A photo without a readable header is used by the size its annotation states, with a finding;
    without a stated size it is left out.
    """
    framed: list[FramedPhoto] = []
    findings: list[Finding] = []
    for photo in show_progress(photos, len(photos), "reading sizes of photos"):
        stated = photo.stated_size
        try:
            frame = read_frame(photo.path, fit_size=stated)
        except PhotoError as error:
            lost = stated is None
            findings.append(Finding(photo.name, "unreadable-photo", str(error), dropped=lost))
            if stated is None:
                continue
            frame = PhotoFrame(stated, UPRIGHT, upright=False)
        faces, clips = clip_faces(photo, *frame.size)
        findings += clips
        if not faces and (photo.faces or photo.left_out):
            # It is not a photo without faces, and must not be written as one.
            message = f"{photo.name}: none of its faces can be used; the photo is left out."
            findings.append(Finding(photo.name, "all-faces-left-out", message, dropped=True))
            continue
        turn = UPRIGHT if frame.upright else frame.orientation
        framed.append(FramedPhoto(photo, photo.image, frame.size, faces, turn))
    return framed, findings


def turn_upright(photo: FramedPhoto) -> FramedPhoto:
    """The same photo with boxes and size as it is looked at, turned by its EXIF orientation."""
    if photo.turn == UPRIGHT:
        return photo
    size = turn_size(*photo.size, photo.turn)
    faces = tuple(
        # Clipped again, since the arithmetic may put an edge off the border by a rounding.
        replace(face, box=clip_box(turn_box(face.box, *photo.size, photo.turn), *size)[0])
        for face in photo.faces
    )
    return replace(photo, size=size, faces=faces, turn=UPRIGHT)


Frame = Literal["stored", "upright", "shares"]
"""What boxes refer to: pixels of the photo as stored, as far as the stated size does not say
otherwise; pixels of the photo as it is looked at; or its sides."""


def place_photos(
    files: DatasetFiles,
    written: Sequence[WrittenPhoto],
    findings: Sequence[Finding],
    order: Order = "corners",
    frame: Frame = "stored",
    matches: Sequence[tuple[Sequence[Path], str]] | None = None,
) -> Dataset:
    """Make a dataset of photos that several annotation files may name.

    A photo that is not there, that can't be told from others, or that is annotated already, is left
    out with a finding. `matches` are as of `match_photos`, where photos are found in another way.
    Raises `DatasetError`: there is no photo, or the boxes are no pixels.
    """
    if not files.photos:
        names = ", ".join(sorted({files.call(photo.annotation) for photo in written})[:3])
        raise DatasetError(
            f"{files.root}: annotations ({names}) but no photo in this folder or below it; put the "
            "photos there."
        )
    if frame != "shares" and look_relative([face.box for photo in written for face in photo.faces]):
        hint = "so they are no pixels; multiply them by width and height of the photo."
        raise DatasetError(f"{files.root}: all coordinates lie between 0 and 1, {hint}")
    found = [*files.findings, *findings]
    fitted: list[WrittenPhoto] = []
    photos: dict[str, AnnotatedPhoto] = {}
    used: set[str] = set()
    matches = match_photos(files, written) if matches is None else matches
    pairs = [*zip(written, matches, strict=True)]
    others = tell_frame((photo, options[0]) for photo, (options, _) in pairs if len(options) == 1)
    for photo, (options, note) in pairs:
        name = files.call(photo.annotation)
        lost = f"it is left out, with {tell(len(photo.faces), 'face')}."
        fault = ""
        used.update(map(files.relative, options))
        if not options:
            kind, fault = "missing-photo", f"its photo '{photo.image}' is not in the folder; {lost}"
            stem = PurePosixPath(photo_match.PhotoName.parse(photo.image).stems[-1]).stem
            if other := files.unread_photos.get(stem):
                fault += f" There is {files.relative(other)}, whose format is not read; {CONVERT}."
        elif len(options) > 1:
            shown = ", ".join(files.relative(path) for path in options[:3])
            kind = "ambiguous-photo"
            fault = f"'{photo.image}' could be any of {len(options)} photos, such as {shown}; "
            fault += f"{lost} Write the path below the folder."
        else:
            image = files.relative(options[0])
            if image in photos:
                other_file = photos[image].annotation
                kind = "second-annotation"
                fault = f"{image} is already annotated in {other_file}; {lost}"
        if fault:
            found.append(Finding(name, kind, f"{photo.where}: {fault}", dropped=True))
            continue
        if note:
            found.append(Finding(name, records.NAME_CONFLICT, f"{photo.where}: {note}"))
        photo, findings = fit_photo(photo, options[0], name, frame, others)
        found += findings
        if any(finding.dropped for finding in findings):
            continue
        fitted.append(photo)
        relative, (width, height) = files.relative(photo.annotation), photo.size or (None, None)
        about = files.source, files.root, image, relative, width, height
        photos[image] = AnnotatedPhoto(*about, photo.faces, photo.left_out)
    found += refuse_doubtful(files.root, fitted, order)
    found.extend(files.unused_photos(used))
    there = tuple(photos[image] for image in sorted(photos))
    return Dataset(files.source, files.root, there, tuple(found))


_JUDGED = 20_000  # So many boxes are enough to judge a whole.


def refuse_doubtful(root: Path, photos: Iterable[WrittenPhoto], order: Order) -> list[Finding]:
    """Raise a `DatasetError` where the boxes as a whole can't be right; note what is suspect.

    See `doubt_boxes` and `suspect_boxes`.
    """
    sized = ((photo, photo.file_size or photo.size) for photo in photos)
    pairs = [(box, size) for p, size in sized for box in (*(f.box for f in p.faces), *p.wrong)]
    pairs = pairs[:: 1 + len(pairs) // _JUDGED]
    boxes, sizes = [box for box, _ in pairs], [size for _, size in pairs]
    if doubt := doubt_boxes(boxes, sizes, order):
        why = "half of such boxes would be used, and all of them be wrong."
        raise DatasetError(f"{root}: {doubt} Correct the data or say how they are written: {why}")
    suspicion = suspect_boxes(boxes, sizes, order)
    message = f"{root}: {suspicion} If so, all boxes are wrong: write them anew."
    return [Finding(root.name, records.SUSPECT, message)] if suspicion else []


def tell_frame(photos: Iterable[tuple[WrittenPhoto, Path]]) -> Callable[[], Frame]:
    """What boxes of a set refer to: `upright` if photos turned by 90° say so, by their sizes.

    That is all of them whose stated size is that of their file, as stored or as looked at. They are
    looked at when that is asked.
    """
    some = [*photos]

    @cache
    def look() -> Frame:
        told = set()
        for photo, path in some:
            with suppress(PhotoError):
                frame = read_frame(path)
                turned = turn_size(*frame.size, frame.orientation)
                if turned != frame.size and photo.size in (frame.size, turned):
                    told.add(photo.size == turned)
        return "upright" if told == {True} else "stored"

    return look


def fit_photo(
    photo: WrittenPhoto,
    path: Path,
    name: str,
    refers_to: Frame = "stored",
    others: Callable[[], Frame] = lambda: "stored",
) -> tuple[WrittenPhoto, list[Finding]]:
    """A photo whose boxes are in pixels of its file, which may have been resized since; findings.

    Boxes are scaled where the stated size has the photo's proportions. Where it has others, the
    photo is left out only if boxes reach out of it. Whether boxes refer to the stored photo or to
    the upright one is told by the stated size; where both have it, by `others`, see `tell_frame`.
    """
    try:
        frame = read_frame(path, fit_size=photo.size)
    except PhotoError as error:
        fault = Finding(name, "unreadable-photo", str(error), dropped=True)
        return photo, [fault] * (refers_to == "shares")  # Others are told where they are decoded.
    size, stated = frame.size, photo.size
    photo = replace(photo, file_size=size)
    turned = turn_size(*size, frame.orientation)
    if refers_to == "shares":
        photo = _change(photo, partial(_scale, sides=turned * 2))
    if refers_to == "shares" or (refers_to == "upright" and stated in (None, turned)):
        back = frame.orientation if size == turned else UPRIGHT
        photo = _change(photo, lambda box: turn_box_back(box, *turned, back))
        return replace(photo, size=turned, file_size=turned), []
    if frame.upright:
        message = f"{photo.where}: boxes refer to the turned photo (EXIF {frame.orientation})."
        return photo, [Finding(name, "turned-photo", message)]
    if stated in (None, size):
        if frame.orientation == UPRIGHT or (stated is not None and turned != size):
            return photo, []
        if others() == "upright":
            message = f"{photo.where}: boxes refer to the turned photo (EXIF {frame.orientation}), "
            message += "as those of the photos whose size tells."
            finding = Finding(name, "turned-photo", message)
            return fit_photo(photo, path, name, "upright")[0], [finding]
        message = (
            f"{photo.where}: {path.name} is turned by EXIF {frame.orientation}, and it can't be "
            "told whether boxes refer to the photo as stored or as looked at; as stored is assumed."
        )
        return photo, [Finding(name, "untold-turn", message)]
    assert stated is not None
    is_rounded = all(abs(one - other) <= 1 for one, other in zip(stated, size, strict=True))
    told = f"{photo.where}: states {stated[0]} × {stated[1]}, the photo has {size[0]} × {size[1]}"
    for there in () if is_rounded else (size, turned):
        scale = max(there) / max(stated)
        rounding = max(1, scale)  # Of the smaller photo, one pixel.
        if all(abs(s * scale - own) <= rounding for s, own in zip(stated, there, strict=True)):
            photo = replace(_change(photo, partial(_scale, sides=(scale,) * 4)), size=there)
            message = f"{told}: it was resized, so boxes are scaled by {scale:.4g}."
            photo, findings = fit_photo(photo, path, name, refers_to, others)
            return photo, [Finding(name, "resized-photo", message), *findings]
    boxes = [face.box for face in photo.faces]
    outside = sum(box.xmax > size[0] + BORDER or box.ymax > size[1] + BORDER for box in boxes)
    if is_rounded or not outside:
        told += "; boxes are taken as pixels of the photo."
        return replace(photo, size=size), [Finding(name, "size-differs", told)]
    reach = tell(outside, "box", "reaches/reach")
    message = f"{told}, and {reach} out of it: another photo? It is left out."
    return photo, [Finding(name, "size-differs", message, dropped=True)]


def _change(photo: WrittenPhoto, change: Callable[[Box], Box]) -> WrittenPhoto:
    faces = tuple(replace(face, box=change(face.box)) for face in photo.faces)
    return replace(photo, faces=faces, wrong=tuple(map(change, photo.wrong)))


def _scale(box: Box, sides: Sequence[float]) -> Box:
    return Box(*(round(value * side, DECIMALS) for value, side in zip(box, sides, strict=True)))


DECIMALS = 8
"""Of pixels; shares turned into pixels miss whole ones by less, and a face of one pixel or one at
the border must not be lost by that."""

BORDER = 2.0
"""Pixels that a box may reach over the border of its photo: annotators and detectors round."""
