"""COCO: one JSON file with photos, faces and classes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.files import write_atomically
from data_prep.formats.writer import Written, count_left_out, count_renumbered
from data_prep.framed import FramedPhoto
from data_prep.records import Face

ANNOTATIONS = "annotations.json"


class CocoWriter:
    """Writes `annotations.json`; photos keep their place, which `file_name` tells.

    Boxes are written as corner and size, so adding up may give an edge that is off in the last bit.
    `difficult` is a key of its own: COCO's `iscrowd` means a region of many, another thing.
    """

    holds_photos = True

    def place(self, images: Sequence[str]) -> dict[str, str]:
        """Photos stay where they are; see `Writer`."""
        return {image: image for image in images}

    def write(self, photos: Sequence[FramedPhoto], classes: Sequence[str], folder: Path) -> Written:
        """Write the annotations; see `Writer`."""
        numbers = {label: number for number, label in enumerate(classes, start=1)}
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id, photo in enumerate(photos, start=1):
            images.append(
                {
                    "id": image_id,
                    "file_name": photo.image,
                    "width": photo.width,
                    "height": photo.height,
                }
            )
            for face in photo.faces:
                keys = {"id": len(annotations) + 1, "image_id": image_id}
                annotations.append({**keys, **_describe(face, numbers[face.label])})
        categories = [{"id": number, "name": label} for label, number in numbers.items()]
        record = {"images": images, "annotations": annotations, "categories": categories}
        write_atomically(folder / ANNOTATIONS, _list_lines(record))
        left_out = count_left_out(object_numbers=count_renumbered(photos))
        return Written((ANNOTATIONS,), left_out)


def _list_lines(record: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """JSON with an entry per line: large files stay fast to write, and fit for `diff`."""
    lists = (
        f"{json.dumps(name)}: [\n"
        + ",\n".join(json.dumps(entry, ensure_ascii=False, allow_nan=False) for entry in entries)
        + "\n]"
        for name, entries in record.items()
    )
    return "{" + ",\n".join(lists) + "}\n"


def _describe(face: Face, category: int) -> dict[str, Any]:
    box = face.box
    return {
        "category_id": category,
        "bbox": [_shorten(value) for value in (box.xmin, box.ymin, box.width, box.height)],
        "area": _shorten(box.width * box.height),
        "iscrowd": 0,
        **({"difficult": 1} if face.difficult else {}),
    }


def _shorten(value: float) -> int | float:
    """Whole numbers without a point."""
    return int(value) if float(value).is_integer() else float(value)
