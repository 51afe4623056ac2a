"""A folder of corrected PASCAL VOC files, for other tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep.edit_voc import Edit, edit_voc
from data_prep.errors import DatasetError
from data_prep.files import make_folder, write_atomically, write_json
from data_prep.labels import ALIASES, UnknownLabelError, canonical_label
from data_prep.output_folder import refuse_dataset_folders, refuse_other_files
from data_prep.progress import show_progress
from data_prep.records import AnnotatedPhoto, Dataset
from data_prep.voc import parse_voc

RECORD = "voc.json"
"""Marks a folder as written here, and lists the files that differ from the datasets'."""


def check_voc_folder(out: Path, datasets: Sequence[Dataset]) -> None:
    """Refuse to write over anything but what was written here before, and other formats.

    Raises:
        DatasetError: A dataset does not consist of VOC files.
        OutputError: A source's part of the folder is a dataset, lies in one, or holds one; or the
            folder has other files.
    """
    for dataset in datasets:
        other = next((p for p in dataset.photos if not p.annotation.lower().endswith(".xml")), None)
        if other is not None:
            raise DatasetError(
                f"{dataset.root}: --write-voc corrects VOC files, but this dataset has others "
                f"({other.annotation}); write it in any format with: python -m data_prep convert "
                f"{dataset.root} --decisions LEDGER"
            )
    folders = {out / dataset.source for dataset in datasets}
    folders |= {(out / p.source / p.annotation).parent for d in datasets for p in d.photos}
    refuse_dataset_folders(folders, [dataset.root for dataset in datasets], "--write-voc")
    refuse_other_files(out, RECORD, "--write-voc", mark="changed")


def write_voc(
    original: Sequence[Dataset],
    corrected: Sequence[Dataset],
    out: Path,
    *,
    aliases: Mapping[str, str] = ALIASES,
) -> list[str]:
    """Write every annotation file that is used to `out/<source>/`, its path kept.

    Only class names and boxes of changed faces are touched, and dropped objects are gone (see
    `edit_voc`); files without a change are copied byte for byte. A class is called what its
    dataset mostly calls it.

    Args:
        original: Datasets as read.
        corrected: The same with decisions applied.
        out: The folder; see `check_voc_folder`.
        aliases: Other names of classes that the datasets were read with.

    Returns:
        The files with changes, as `source/path`.

    Raises:
        AnnotationError: A file was changed meanwhile, or its encoding can't be written.
        OutputError: The folder can't be written, or not without harm.
    """
    check_voc_folder(out, original)
    make_folder(out)
    # First of all, so that a half-written folder is known for ours the next time.
    write_json(out / RECORD, {"changed": None})
    changed: list[str] = []
    for before, after in zip(original, corrected, strict=True):
        names = _name_classes(before, aliases)
        pairs = list(zip(before.photos, after.photos, strict=True))
        for old, new in show_progress(pairs, len(pairs), f"writing annotations of {before.source}"):
            name, path = f"{old.source}/{old.annotation}", old.root / old.annotation
            edits = _list_edits(old, new, names)
            if edits:
                changed.append(name)
            data = edit_voc(path, edits, name=name) if edits else path.read_bytes()
            write_atomically(out / old.source / old.annotation, data)
    write_json(out / RECORD, {"changed": changed})
    return changed


def _list_edits(
    old: AnnotatedPhoto, new: AnnotatedPhoto, names: Mapping[str, str]
) -> dict[int, Edit | None]:
    corrected = {face.object: face for face in new.faces}
    edits: dict[int, Edit | None] = {}
    for face in old.faces:
        after = corrected.get(face.object)
        if after is None:
            edits[face.object] = None
        elif after != face:
            label = names.get(after.label, after.label) if after.label != face.label else None
            edits[face.object] = Edit(label, after.box if after.box != face.box else None)
    return edits


def _name_classes(dataset: Dataset, aliases: Mapping[str, str]) -> dict[str, str]:
    """What a dataset mostly calls each class: another name could be a new class to other tools."""
    counts: Counter[tuple[str, str]] = Counter()
    for photo in dataset.photos:
        root = parse_voc(photo.root / photo.annotation, f"{photo.source}/{photo.annotation}")
        for element in root.findall("object"):
            written = (element.findtext("name") or "").strip()
            try:
                counts[canonical_label(written, aliases), written] += 1
            except UnknownLabelError:  # Only objects without a name come this far.
                continue
    names: dict[str, str] = {}
    for (label, written), _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        names.setdefault(label, written)
    return names
