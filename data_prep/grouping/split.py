"""Splits into training and validation, made or kept as the data come with one; what leaks."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from data_prep.base.errors import DatasetError, UserError
from data_prep.base.progress import tell
from data_prep.base.records import LEAK, UNTOLD_PART, AnnotatedPhoto, Dataset, Finding
from data_prep.formats.input_files import InputError, read_lines
from data_prep.formats.label_files import has_box
from data_prep.formats.photo_match import WrittenPhoto, list_dataset, match_photos

TRAIN, VALID = "train", "valid"
TEST = "test"  # Only where a split is kept that has it: neither trained nor validated on.


class SplitError(UserError, ValueError):
    """A split that can't be made, or that would leak."""


def split_by_group(
    groups: Sequence[str], strata: Sequence[str], *, folds: int = 5, fold: int = 0, seed: int = 0
) -> np.ndarray:
    """Split faces so that no group is on both sides and each stratum is spread evenly.

    Folds are numbered by how closely they follow the strata of the whole, the closest first. A
    large group, such as six photos of one crowd, lies whole in one fold, and a split that happened
    to be validated on that one would mostly measure that crowd.

    `groups` are those of the faces: a photo and every near-duplicate of it. `strata` are what is to
    be spread evenly, such as source, class and size. Gives `train` or `valid` for each face; `fold`
    is the part for validation (of 5 folds: 80/20). Raises `SplitError`: fewer groups than folds, no
    stratum with as many faces as folds, or no such fold.
    """
    if not 0 <= fold < folds:
        raise SplitError(f"fold {fold} does not exist: use 0 to {folds - 1}.")
    if len(set(groups)) < folds:
        raise SplitError(
            f"{tell(len(set(groups)), 'group')} of photos can't be split into {folds} folds: "
            "add photos or lower --folds."
        )
    # Sorted codes make the split independent of how groups and strata are called upstream.
    codes = pd.factorize(np.asarray(strata), sort=True)[0]
    if np.bincount(codes).max() < folds:
        why = "add photos or lower --folds."
        raise SplitError(f"no class of any dataset has {folds} faces, one for each fold: {why}")
    dealt = _deal(codes, np.unique(np.asarray(groups), return_inverse=True)[1], folds, seed)
    parts = [np.flatnonzero(dealt == number) for number in range(folds)]
    parts.sort(key=lambda part: _deviation(codes, part))
    split = np.full(len(codes), TRAIN, dtype=object)
    split[parts[fold]] = VALID
    return split


def _deal(codes: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold, (N,) from 0, of each face, from the numbers of its stratum and of its group.

    Groups in chance order, those with the most uneven strata first, go each into the fold that
    makes the shares of the strata differ least between folds, of equals into the smallest
    (Wasikowski, "Stratified Group k-Fold Cross-Validation", Kaggle 2020; as scikit-learn does it).
    """
    whole, count = np.bincount(codes), groups.max() + 1
    held = np.bincount(groups * len(whole) + codes, minlength=count * len(whole))
    held = held.reshape(count, len(whole)).astype(float)
    order = np.arange(count)
    np.random.RandomState(seed).shuffle(order)
    order = order[np.argsort(-held[order].std(axis=1), kind="stable")]
    filled, fold_of = np.zeros((folds, len(whole))), np.empty(count, int)
    for group in order:
        tried = filled + np.eye(folds)[:, :, None] * held[group]
        uneven, sizes, best = (tried / whole).std(axis=1).mean(axis=1), filled.sum(axis=1), 0
        for fold in range(1, folds):
            alike = sizes[fold] < sizes[best] and np.isclose(uneven[fold], uneven[best])
            best = fold if uneven[fold] < uneven[best] or alike else best
        filled[best] += held[group]
        fold_of[group] = best
    return fold_of[groups]


def _deviation(codes: np.ndarray, part: np.ndarray) -> float:
    """Share of the part's faces that would have to change stratum to match the whole's mix."""
    whole = np.bincount(codes) / len(codes)
    mine = np.bincount(codes[part], minlength=len(whole)) / max(len(part), 1)
    return float(np.abs(mine - whole).sum() / 2)


def leaked_share(groups: Sequence[str], split: Sequence[str]) -> float:
    """Share of validation faces whose group also has faces in training.

    >>> leaked_share(["a", "a", "b"], ["train", "valid", "valid"])
    0.5
    """
    group, part = np.asarray(groups), np.asarray(split)
    valid = group[part == VALID]
    return float(np.isin(valid, group[part == TRAIN]).mean()) if len(valid) else 0.0


def naive_split(count: int, *, folds: int = 5, seed: int = 0) -> np.ndarray:
    """The split by crop that published notebooks use, to show how much it leaks."""
    split = np.full(count, TRAIN, dtype=object)
    split[np.random.default_rng(seed).permutation(count)[: round(count / folds)]] = VALID
    return split


_WORDS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("valid", "val", "validation", "dev"), VALID),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""Words in the names of folders and files by which people call the parts of a split."""


def find_parts(dataset: Dataset) -> tuple[dict[str, str], list[Finding]]:
    """The part of the split that each photo of a dataset came in, by image; findings.

    It is told by a list such as `train.txt`, of paths or stems; else by the nearest folder called
    after a part; else by the name of the annotation file. Photos of which nothing tells are for
    training, and without a part for validation that for tests serves. Raises `DatasetError`:
    nothing tells of two parts.
    """
    photos, listed = dataset.photos, _read_lists(dataset)
    parts = {photo.image: listed.get(photo.image) or _guess_part(photo) for photo in photos}
    told = {part for part in parts.values() if part}
    if TRAIN not in told or len(told) < 2:
        raise DatasetError(
            f"{dataset.root}: --keep-split, but nothing tells of a split; expected are folders or "
            "annotation files called train, valid or test, or lists (train.txt)."
        )
    findings = []
    if lost := [image for image, part in parts.items() if not part]:
        message = (
            f"{dataset.source}: {tell(len(lost))} of no part of the split, the first: {lost[0]}; "
            "taken for training."
        )
        findings.append(Finding(dataset.source, UNTOLD_PART, message, dropped=False))
    if VALID not in told:
        message = f"{dataset.source}: no part for validation; that for tests serves as it."
        findings.append(Finding(dataset.source, UNTOLD_PART, message, dropped=False))
    kept = {TEST: TEST if VALID in told else VALID, "": TRAIN}
    return {image: kept.get(part, part) for image, part in parts.items()}, findings


def find_all_parts(datasets: Sequence[Dataset]) -> tuple[dict[str, str], list[Finding]]:
    """The parts of several datasets, by `source/image`; findings."""
    found: dict[str, str] = {}
    findings: list[Finding] = []
    for dataset in datasets:
        parts, told = find_parts(dataset)
        found |= {f"{dataset.source}/{image}": part for image, part in parts.items()}
        findings += told
    return found, findings


def _read_lists(dataset: Dataset) -> dict[str, str]:
    files = list_dataset(dataset.root)
    lists = [(path, _WORDS.get(path.stem.lower(), "")) for path in files.by_suffix({".txt"})]
    parts: dict[str, str] = {}
    for path, part in lists:
        if not part or has_box(path):
            continue
        try:
            names = [line.strip() for line in read_lines(path) if line.strip()]
        except InputError:
            continue
        written = [WrittenPhoto(path, name, str(path), None, ()) for name in names]
        for options, _ in match_photos(files, written):
            # What is in two lists is for training: it was learnt from.
            for image in map(files.relative, options[:1] if len(options) == 1 else ()):
                parts[image] = TRAIN if parts.get(image, part) != part else part
    return parts


def _guess_part(photo: AnnotatedPhoto) -> str:
    image, annotation = PurePosixPath(photo.image), PurePosixPath(photo.annotation)
    names = [*reversed(image.parts[:-1]), annotation.stem * (annotation.stem != image.stem)]
    words = (word for name in names for word in re.findall("[a-z]+", name.lower()))
    return next((_WORDS[word] for word in words if word in _WORDS), "")


def place_parts(images: Iterable[str], parts: dict[str, str]) -> dict[str, str]:
    """Where photos go: below a folder called after their part."""
    places = {}
    for image in images:
        names = [name for name in PurePosixPath(image).parts[:-1] if name.lower() not in _WORDS]
        names = names[1:] if names[:1] == ["images"] else names
        places[image] = "/".join([parts[image], *names, PurePosixPath(image).name])
    if len({place.lower() for place in places.values()}) < len(places):
        return {image: f"{parts[image]}/{image}" for image in places}
    return places


def find_leaks(names: Sequence[str], groups: Sequence[str], parts: Sequence[str]) -> list[Finding]:
    """A finding for each group of near-duplicates that lies in several parts of a split."""
    members: dict[str, dict[str, list[str]]] = {}
    for name, group, part in zip(names, groups, parts, strict=True):
        if group:
            members.setdefault(group, {}).setdefault(part, []).append(name)
    findings = []
    for group, sides in members.items():
        if len(sides) > 1:
            shown = "; ".join(f"{part}: {', '.join(some[:3])}" for part, some in sides.items())
            count = sum(map(len, sides.values()))
            message = f"leak: {count} photos look alike across the split that is kept: {shown}."
            findings.append(Finding(group, LEAK, message, dropped=False))
    return findings
