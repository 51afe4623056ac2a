"""Class names written out, or as ids into a list of names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from data_prep.base.errors import DatasetError
from data_prep.formats.contracts import ReadOptions
from data_prep.formats.input_files import InputError, read_text

CLASSES_FILE = "classes.txt"
"""Labelling tools put the class names beside the boxes under this name; it is no photo's file."""

YAML_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
"""What a YOLO dataset's description is called."""

NAMES_FILES = (*YAML_FILES, CLASSES_FILE, "obj.names", "names", "names.txt")
"""Where YOLO datasets keep the class names, the surest first."""

_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]+)(\.0*)?")
"""Tables of numbers written by programs have 0.0 for id 0."""


@dataclass(frozen=True)
class ClassNames:
    """What ids stand for.

    Attributes:
        names: Names by id, or None when ids can't be told.
        source: The file the names are from.
    """

    names: Mapping[int, str] | None = None
    source: Path | None = None

    @classmethod
    def read(cls, source: Path | None) -> ClassNames:
        """The names in a file, if there is one; see `read_class_names`."""
        return cls() if source is None else cls(read_class_names(source), source)

    def label(self, text: str, options: ReadOptions, where: str) -> str:
        """The class that a file means by an id or a name.

        With names, a whole number is an id; anything else is a name, whatever its case, with
        blanks or hyphens for underscores.

        Raises:
            InputError: The id is out of range.
            DatasetError: There is an id, and no names.
            UnknownLabelError: No class has the name.
        """
        is_id = _WHOLE_NUMBER.fullmatch(text) is not None
        if not is_id or (self.names is None and text in (options.classes or ())):
            return options.label(text, where)
        if self.names is None:
            raise DatasetError(
                f"{where}: class id {text} without names; give a file with one class name per "
                "line, the first for id 0 (--names FILE), or put a data.yaml into the dataset's "
                "folder."
            )
        digits = text.partition(".")[0]
        number = int(digits) if _is_short(digits) else None
        if number is None or number not in self.names:
            raise InputError(
                f"{where}: class id {text} is not in {self.source}, which names "
                f"{len(self.names)} classes from id {min(self.names)} to {max(self.names)}."
            )
        return options.label(self.names[number], where, f"id {text} in {self.source}: ")


def read_class_names(path: Path) -> dict[int, str]:
    """Read class names by id, from a YAML file or from lines of text, the first for id 0.

    In YAML they stand under `names`, as a list or by id, as in a YOLO dataset's data.yaml.

    Raises:
        InputError: The file can't be read, holds no names, or a name is empty or not a text.
    """
    text = read_text(path)
    if path.suffix.lower() in {".yaml", ".yml"}:
        return _read_yaml(path, text)
    lines = [line.strip() for line in text.rstrip().split("\n")]
    if lines == [""]:
        raise InputError(f"{path}: the file is empty; write one class name per line.")
    if "" in lines:
        raise InputError(
            f"{path}, line {lines.index('') + 1}: no class name; a blank line would shift the ids."
        )
    return dict(enumerate(lines))


def find_names_file(folders: Iterable[Path]) -> Path | None:
    """The first of `NAMES_FILES` in the first folder that has one, or None."""
    paths = (folder / name for folder in folders for name in NAMES_FILES)
    return next((path for path in paths if path.is_file()), None)


def _read_yaml(path: Path, text: str) -> dict[int, str]:
    try:
        # Texts only: `no` and `1` are as good class names as any.
        content = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - constructs nothing else
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not YAML that can be read ({reason}).") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if not isinstance(names, dict) or not names:
        raise InputError(f"{path}: no class names; give them under 'names', as a list or by id.")
    if "kpt_shape" in content:
        raise InputError(f"{path}: 'kpt_shape' says key points, but boxes are needed here.")
    result = {}
    for key, name in names.items():
        if not _is_short(key):
            raise InputError(f"{path}: '{key}' under 'names' is no class id.")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{path}: the name of class {key} is no text.")
        result[int(key)] = name.strip()
    return result


def _is_short(text: str) -> bool:
    """Ids have a few digits; much longer ones are slow to read, or refused by int()."""
    return len(text) < 10 and re.fullmatch(r"[0-9]+", text) is not None
