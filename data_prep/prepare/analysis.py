"""What `build` and `audit` share: from datasets to the table of faces and its numbers."""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from data_prep.base import records
from data_prep.base.boxes import clip_faces, overlap, share_union, show_box
from data_prep.base.cluster import call_by_ray
from data_prep.base.crop import crop_face, crop_name, encode_crop
from data_prep.base.errors import DatasetError
from data_prep.base.files import writing
from data_prep.base.labels import RARE_CLASS
from data_prep.base.photo import PhotoError, Size, keep_shown, read_photo
from data_prep.base.progress import show_progress
from data_prep.base.records import AnnotatedPhoto, Box, Dataset, Face, Finding
from data_prep.base.tables import COLUMNS
from data_prep.decisions.ledger import Ledger
from data_prep.decisions.overlay import SAME_FACE, apply_ledgers
from data_prep.grouping import split as splitting
from data_prep.grouping.fingerprints import Fingerprint, Fingerprints, describe_photo
from data_prep.grouping.groups import group_photos, map_photos
from data_prep.grouping.split import TRAIN
from data_prep.prepare.options import MAJORITY_RATIO, BlurRule, PrepareOptions

SPLIT_EDGES: tuple[float, ...] = (10, 16, 32, 64)
"""Short sides in pixels between the size bins that a split spreads evenly."""

BLOCK = 16  # Photos that a process of a Ray is given at a time.
_ALIKE = 0.9  # Intersection over union from which two boxes are one box annotated twice.
_CROWD = 2000  # Boxes of a photo from which only equal ones are looked for.
JOURNAL = "photos.journal"  # Beside the crops: what is known of the photos read so far.


@dataclass(frozen=True)
class Analysis:
    """What is found out about datasets.

    `faces` has `split` and `kept`, `short_side` as an extra column, and as `crop` the file name in
    the folder of all crops.
    """

    faces: pd.DataFrame
    findings: tuple[Finding, ...]
    summary: dict[str, Any]


def analyse(
    read: Sequence[Dataset],
    ledgers: Sequence[Ledger],
    options: PrepareOptions,
    crops: Path,
    key: str = "",
) -> Analysis:
    """Look at all photos, cut the crops, and group, split and balance the faces.

    `read` are datasets as read, before the decisions of the ledgers. All crops are written side by
    side into `crops`, an existing folder. With a `key`, a hash of data and options, photos are not
    read again that an earlier run with the same key has read into that folder; and a `SplitError`
    is raised where there are too few photos to split. Without one all are then for training, with a
    finding. Raises `DatasetError`: no face is left.
    """
    overlay = apply_ledgers(read, ledgers)
    photos = [photo for dataset in overlay.datasets for photo in dataset.photos]
    known = ("scale", "workers", "salvage", "cluster")
    how: dict[str, Any] = {name: getattr(options, name) for name in known}
    with closing(Fingerprints(crops / JOURNAL, key)) as prints:
        surveyed = survey_photos(photos, prints, crops=crops, **how)
        groups = group_photos(photos, prints, prints.numbers)
    told = [*(d.findings for d in overlay.datasets), *(p.findings for p in surveyed)]
    surveyed, doubts, dropped = settle_duplicates(surveyed, drop=options.drop_duplicates)
    findings = tuple(chain(*told, overlay.findings, doubts))
    parts: dict[str, str] | None = None
    if options.keep_split:
        parts, untold = splitting.find_all_parts(read)
        gone = {one["photo"] for one in dropped if one["object"] is None}
        of_photo = zip((photo.name for photo in photos), groups, strict=True)
        there = {name: group for name, group in of_photo if name not in gone}
        leaks = splitting.find_leaks([*there], [*there.values()], [parts[name] for name in there])
        findings = (*leaks, *untold, *findings)
    faces = _tabulate_faces(surveyed, groups)
    require_faces(faces, findings, overlay.record["applied"].get("drop", 0))
    as_read = _tabulate_faces(_restore_faces(surveyed, read), groups) if ledgers else None
    try:
        faces = split_faces(faces, options, as_read, parts)
    except splitting.SplitError as error:
        if key:
            raise
        faces = faces.assign(split=TRAIN, kept=True)
        findings += (Finding("", "no-split", str(error)),)
    decisions = overlay.record if ledgers else None
    summary = summarise(overlay.datasets, faces, findings, options, decisions)
    if options.drop_duplicates:
        summary["dropped_duplicates"] = dropped
    return Analysis(faces, findings, summary)


def _tabulate_faces(surveyed: Sequence[SurveyedPhoto], groups: Sequence[str]) -> pd.DataFrame:
    """One row per face with its near-duplicate group; `short_side` and `salvaged` come besides."""
    rows = []
    for item, group in zip(surveyed, groups, strict=True):
        photo = item.photo
        for face, blur in item.faces:
            first = (photo.image, *item.size, face.object, face.label, *face.box)
            crop, side = crop_name(photo, face.object), face.box.short_side
            more = crop, side, item.salvaged
            rows.append((*first, face.difficult, photo.source, group, blur, *more))
    told = [name for name in COLUMNS if name not in {"split", "kept"}]
    return pd.DataFrame(rows, columns=[*told, "short_side", "salvaged"])


def settle_duplicates(
    surveyed: Sequence[SurveyedPhoto], *, drop: bool
) -> tuple[list[SurveyedPhoto], list[Finding], list[dict[str, Any]]]:
    """Find boxes annotated twice, and photos that look just alike; with `drop` keep one of each.

    All stay where their labels contradict each other.

    Returns:
        The photos with the faces that stay; findings; and a record of each thing dropped: `photo`,
        `object` (None for a whole photo), what is `kept` in its place, and `why`.
    """
    settled: list[SurveyedPhoto] = []
    findings: list[Finding] = []
    dropped: list[dict[str, Any]] = []
    twins: dict[str, SurveyedPhoto] = {}
    for item in surveyed:
        name, of_box, gone = item.photo.name, defaultdict(list), set()
        boxes = np.array([face.box for face, _ in item.faces]).reshape(-1, 4)
        if 0 < len(boxes) < _CROWD:
            firsts = (share_union(boxes, boxes) >= _ALIKE).argmax(axis=1)
        else:
            firsts = np.unique(boxes, axis=0, return_inverse=True)[1]
        for (face, _), place in zip(item.faces, firsts.tolist(), strict=True):
            of_box[place].append(face)
        for first, *others in of_box.values():
            if not others:
                continue
            labels = [face.label for face in (first, *others)]
            kind = records.DUPLICATE if len(set(labels)) == 1 else records.CONTRADICTION
            goes = others if drop and kind == records.DUPLICATE else []
            gone |= {face.object for face in goes}
            message = f"{name}: the box {show_box(first.box)} is there as {' and '.join(labels)}; "
            message += f"object {first.object} is kept." if goes else "keep one."
            findings.append(Finding(name, kind, message))
            for face in goes:
                about = {"photo": name, "object": face.object, "kept": first.object}
                dropped.append({**about, "why": records.DUPLICATE})
        left = tuple((face, blur) for face, blur in item.faces if face.object not in gone)
        item = replace(item, faces=left)
        if item.look:
            twin = twins.setdefault(item.look, item)
            labels_too, boxes_too = _compare_faces(twin, item)
            alike = f"{name}: looks just like {twin.photo.name}"
            if not labels_too or (drop and not boxes_too):
                message = f"{alike}, but has other {'boxes' if labels_too else 'labels'}; keep one."
                findings.append(Finding(name, records.CONTRADICTION, message))
            elif drop and item is not twin and item.faces:
                findings.append(Finding(name, records.TWIN, f"{alike}, which is kept."))
                about = {"photo": name, "object": None, "kept": twin.photo.name}
                dropped.append({**about, "why": records.TWIN})
                item = replace(item, faces=())
        settled.append(item)
    return settled, findings, dropped


def _compare_faces(one: SurveyedPhoto, other: SurveyedPhoto) -> tuple[bool, bool]:
    """Whether photos that look alike, maybe of other sizes, have the same labels; boxes as well."""
    first, second = (sorted((face.label, face.box) for face, _ in p.faces) for p in (one, other))
    if [label for label, _ in first] != [label for label, _ in second]:
        return False, False
    scale = np.tile(np.divide(other.size, np.maximum(one.size, 1)), 2)
    pairs = zip(first, second, strict=True)
    return True, all(overlap(Box(*(a * scale)), b) >= SAME_FACE for (_, a), (_, b) in pairs)


def _restore_faces(
    surveyed: Sequence[SurveyedPhoto], datasets: Sequence[Dataset]
) -> list[SurveyedPhoto]:
    """The photos with the faces they had before decisions, without blur scores."""
    pairs = zip(surveyed, chain.from_iterable(d.photos for d in datasets), strict=True)
    found = ((item, clip_faces(photo, *item.size)[0]) for item, photo in pairs)
    return [replace(item, faces=tuple((face, 0.0) for face in faces)) for item, faces in found]


def require_faces(faces: pd.DataFrame, findings: Sequence[Finding], dropped: int = 0) -> None:
    """Refuse to go on with nothing, telling what was left out and why."""
    if faces.empty:
        reasons = [finding.message for finding in findings if finding.dropped]
        more = f" (and {len(reasons) - 3} more)" if len(reasons) > 3 else ""
        raise DatasetError(
            " ".join(["no usable face in any dataset.", *reasons[:3]]) + more
            if reasons
            else f"no face is left: decisions drop all {dropped}; check the ledger."
            if dropped
            else "no face is annotated in any dataset."
        )


def split_faces(
    faces: pd.DataFrame,
    options: PrepareOptions,
    as_read: pd.DataFrame | None = None,
    parts: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Add the columns `split` and `kept`; `parts` are those of a split that is kept, by photo.

    Where decisions were applied, the table `as_read` alone decides the split: corrections must not
    move photos between training and validation.
    """
    if parts is not None:
        split = (faces["source"] + "/" + faces["image"]).map(parts)
    else:
        basis = faces if as_read is None else as_read
        classes = basis["source"] + "/" + basis["label"]
        bins = np.digitize(basis["short_side"], SPLIT_EDGES).astype(str)
        sized = classes + "/" + pd.Series(bins, index=basis.index)
        is_enough = sized.value_counts().max() >= options.folds  # Of a class and size.
        groups, strata = basis["group"].to_list(), (sized if is_enough else classes).to_list()
        how = {name: getattr(options, name) for name in ("folds", "fold", "seed")}
        splits = splitting.split_by_group(groups, strata, **how)
        split = faces["group"].map(dict(zip(groups, splits, strict=True)))
    train = (split == TRAIN).to_numpy()
    kept = np.ones(len(faces), dtype=bool)
    trained = faces.loc[train].reset_index(drop=True)
    kept[train] = keep_balanced(trained, rule=options.blur_rule, ratio=options.ratio)
    return faces.assign(split=split, kept=kept)


def list_duplicates(faces: pd.DataFrame) -> dict[str, list[str]]:
    """Photos of each near-duplicate group of two or more, as `source/image`, largest first."""
    photos = faces.drop_duplicates(["source", "image"])
    names = photos["source"] + "/" + photos["image"]
    groups = names.groupby(photos["group"], sort=False).agg(list)
    several = {str(group): members for group, members in groups.items() if len(members) > 1}
    return dict(sorted(several.items(), key=lambda item: -len(item[1])))


def summarise(
    datasets: Sequence[Dataset],
    faces: pd.DataFrame,
    findings: Sequence[Finding],
    options: PrepareOptions,
    decisions: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The numbers of the manifest, the audit page and the command line, as JSON can hold them.

    `counts` is keyed by `source/split/label`, `left_out` counts the files and faces that a fault
    kept out; `decisions` is there when ledgers were given.
    """
    keys = faces["source"] + "/" + faces["split"] + "/" + faces["label"]
    kept = faces[faces["kept"] & (faces["split"] == TRAIN)]
    duplicates, groups = list_duplicates(faces), faces["group"].to_list()
    naive = splitting.naive_split(len(faces), folds=options.folds, seed=options.seed)
    return {
        "options": options.to_record(),
        "datasets": [
            {"source": d.source, "root": str(d.root.resolve()), "photos": len(d.photos)}
            for d in datasets
        ],
        "photos": len(faces.drop_duplicates(["source", "image"])),
        "faces": len(faces),
        "counts": {str(key): int(n) for key, n in keys.value_counts(sort=False).items()},
        "kept_in_training": len(kept),
        "kept_per_class": {str(k): int(n) for k, n in kept["label"].value_counts().items()},
        "duplicate_groups": len(duplicates),
        "photos_in_duplicate_groups": sum(map(len, duplicates.values())),
        "leaked_share": {
            "naive": splitting.leaked_share(groups, list(naive)),
            "ours": splitting.leaked_share(groups, faces["split"].to_list()),
        },
        "findings": dict(sorted(Counter(finding.kind for finding in findings).items())),
        "left_out": sum(finding.dropped for finding in findings),
        **({} if decisions is None else {"decisions": decisions}),
    }


@dataclass(frozen=True)
class SurveyedPhoto:
    """What one look at a photo gave."""

    photo: AnnotatedPhoto
    size: Size  # That boxes refer to.
    faces: tuple[tuple[Face, float], ...]  # With boxes clipped to the photo, and blur scores.
    look: str  # Hash of its fingerprint; "" when the photo could not be read.
    findings: tuple[Finding, ...]
    salvaged: int = 0  # See `Photo`.

    def to_note(self) -> bytes:
        """All but the photo, as it is kept with the fingerprint."""
        faces = [(f.object, f.label, f.box, f.difficult, blur) for f, blur in self.faces]
        rest = self.look, [astuple(finding) for finding in self.findings], self.salvaged
        return json.dumps([*self.size, faces, *rest]).encode()

    @classmethod
    def from_note(cls, photo: AnnotatedPhoto, note: bytes) -> SurveyedPhoto:
        """The same again, number by number."""
        width, height, faces, look, told, salvaged = json.loads(note)
        found = tuple((Face(n, label, Box(*box), d), blur) for n, label, box, d, blur in faces)
        findings = tuple(Finding(*finding) for finding in told)
        return cls(photo, (width, height), found, look, findings, salvaged)


Surveyed = tuple[SurveyedPhoto, Fingerprint | None, dict[str, bytes]]
Survey = Callable[[AnnotatedPhoto], Surveyed]  # Crops are files by their names.


def survey_photos(
    photos: Sequence[AnnotatedPhoto],
    prints: Fingerprints,
    *,
    crops: Path,
    scale: float,
    workers: int | None = None,
    salvage: bool = False,
    cluster: str | None = None,
) -> list[SurveyedPhoto]:
    """Decode every photo once, in threads or by a Ray, and write the crops of its faces.

    Those of which `prints` has a record, and `crops` the crops, are not decoded.
    """
    surveyed = [SurveyedPhoto.from_note(*pair) for pair in zip(photos, prints.notes, strict=False)]
    made = ((one.photo, [crop_name(one.photo, f.object) for f, _ in one.faces]) for one in surveyed)
    bare = [photo for photo, names in made if not all((crops / name).is_file() for name in names)]
    left, what = [*bare, *photos[len(surveyed) :]], "reading photos"
    survey = partial(_survey_photo, scale=scale, salvage=salvage)
    if cluster is None:
        looks = map_photos(survey, left, workers, what)
    else:
        blocks = ((survey, left[at : at + BLOCK]) for at in range(0, len(left), BLOCK))
        answers = call_by_ray("--cluster", cluster, os.cpu_count() or 1, _survey_block, blocks)
        looks = show_progress(chain.from_iterable(answers), len(left), what)
    inner_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # Its own threads would compete with ours.
    try:
        # Decoding and features run outside the interpreter's lock, so threads serve as well as
        # processes, and unlike forked ones they can't hang where other threads run already.
        for at, (item, print_, files) in enumerate(looks):
            for name, data in files.items():
                with writing(crops / name):
                    (crops / name).write_bytes(data)
            if at >= len(bare):
                prints.append(print_, item.to_note())
                surveyed.append(item)
        return surveyed
    finally:
        cv2.setNumThreads(inner_threads)


def _survey_block(survey: Survey, photos: Sequence[AnnotatedPhoto]) -> list[Surveyed]:
    cv2.setNumThreads(1)
    return [*map(survey, photos)]


def _survey_photo(photo: AnnotatedPhoto, *, scale: float, salvage: bool) -> Surveyed:
    try:
        decoded = read_photo(photo.path, fit_size=photo.stated_size, salvage=salvage)
    except PhotoError as error:
        finding = Finding(photo.name, "unreadable-photo", str(error), dropped=True)
        return SurveyedPhoto(photo, (0, 0), (), "", (finding,)), None, {}
    shown, salvaged = keep_shown(photo, decoded)
    shown_faces, clipped = clip_faces(shown, *decoded.size)
    crops = [crop_face(decoded.pixels, face.box, scale) for face in shown_faces]
    names = (crop_name(photo, face.object) for face in shown_faces)
    files = dict(zip(names, map(encode_crop, crops), strict=True))
    faces = zip(shown_faces, map(blur_score, crops), strict=True)
    print_, findings = describe_photo(decoded.pixels), (*salvaged, *clipped)
    parts = b"".join(p.tobytes() for p in (print_.thumbnail, print_.colour, print_.packed))
    digest = sha256(parts).hexdigest()
    item = SurveyedPhoto(photo, decoded.size, tuple(faces), digest, findings, decoded.salvaged)
    return item, print_, files


BLUR_EDGES: tuple[float, ...] = (8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Short sides in pixels between which blur scores are compared: half octaves, since the score
depends on size far more than on blur."""


def blur_score(crop: np.ndarray) -> float:
    """Variance of the Laplacian of the grey crop (height × width × 3, RGB); higher is sharper.

    Comparable between crops of about one size only. Source: Pech-Pacheco et al. 2000, "Diatom
    autofocusing in brightfield microscopy".
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def keep_balanced(
    faces: pd.DataFrame, *, rule: BlurRule = "binned", ratio: float = MAJORITY_RATIO
) -> np.ndarray:
    """Decide which faces of a training split to keep: True for kept rows.

    The largest class, but never the rare one, is cut down to `ratio` × the second largest by
    dropping the blurriest faces, ranked inside their size bin (`binned`) or all together
    (`global`). `faces` has `label`, `blur` and `short_side`, in a stable order.
    """
    keep = np.ones(len(faces), dtype=bool)
    counts = faces["label"].value_counts()
    if rule == "none" or len(counts) < 2 or counts.index[0] == RARE_CLASS:
        return keep
    excess = int(counts.iloc[0]) - int(ratio * int(counts.iloc[1]))
    if excess <= 0:
        return keep
    rows = np.flatnonzero(faces["label"].to_numpy() == counts.index[0])
    blur = faces["blur"].to_numpy(dtype=float)[rows]
    if rule == "binned":
        # Share of the bin's faces that are blurrier.
        sides = faces["short_side"].to_numpy()[rows]
        bins = pd.Series(blur).groupby(np.digitize(sides, BLUR_EDGES))
        ranks = bins.rank(method="first", na_option="bottom")
        blur = ((ranks - 0.5) / bins.transform("size")).to_numpy()
    keep[rows[np.argsort(blur, kind="stable")[:excess]]] = False
    return keep
