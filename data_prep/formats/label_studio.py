"""Label Studio: a JSON list of tasks, regions in percent of the photo (https://labelstud.io)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep.base.photo import Size
from data_prep.base.records import Box, note_unread
from data_prep.formats.contracts import FaceReader, Faults, JsonFormat, ReadOptions
from data_prep.formats.input_files import InputError, enclose, json_object, load_json, read_size
from data_prep.formats.photo_match import WrittenPhoto


def _read_file(path: Path, faults: Faults, options: ReadOptions) -> list[WrittenPhoto]:
    """Label Studio's JSON and JSON-MIN: rectangles, polygons and ellipses with one label.

    Of several annotations of a task the first counts that was not cancelled.
    """
    tasks = load_json(path)
    photos = []
    turned = others = 0
    for number, value in enumerate(tasks if isinstance(tasks, list) else [tasks]):
        where = f"{faults.file}, task [{number}]"
        task = json_object(value, where)
        data = json_object(task.get("data", task), where)
        image = next((v for v in data.values() if isinstance(v, str) and "." in v), None)
        if image is None:
            faults.leave_out("unnamed-photo", f"{where}: names no photo.")
            continue
        versions = list(_list_versions(task))
        others += max(len(versions) - 1, 0)
        reader = FaceReader(faults, options)
        size = None
        for region in versions[0] if versions else ():
            found = region.get("value", region)
            labels = next((v for k, v in found.items() if k.endswith("labels")), None)
            if not labels:
                continue  # A choice, a text, or how two regions are related.
            size = read_size(region.get("original_width"), region.get("original_height"))
            if size is None:
                raise InputError(f"{where}: a region without original_width and -height.")
            turned += bool(found.get("rotation"))
            reader.add(where, str(labels[0]), _box, found, size)
        photos.append(reader.finish(path, image, where, size))
    told = {"rotation of regions (the box around is taken)": turned}
    told["further annotations of the same tasks"] = others
    things = [f"{count} × {thing}" for thing, count in told.items() if count]
    faults.findings += note_unread(faults.file, things)
    return photos


LABEL_STUDIO = JsonFormat(frozenset({"original_width"}), _read_file, "Label Studio JSON")


def _list_versions(task: Mapping[str, Any]) -> Iterator[list[Mapping[str, Any]]]:
    """The regions of each annotation of a task."""
    for key in ("annotations", "completions"):
        for one in task.get(key) or ():
            if not one.get("was_cancelled"):
                yield one.get("result", [])
    for value in task.values():  # JSON-MIN.
        regions = isinstance(value, list) and value and isinstance(value[0], dict)
        if regions and "original_width" in value[0] and "value" not in value[0]:
            yield value


def _box(value: Mapping[str, Any], size: Size) -> Box:
    if "points" in value:
        xs, ys = zip(*value["points"], strict=True)
    elif "radiusX" in value:
        x, y, across, down = (float(value[key]) for key in ("x", "y", "radiusX", "radiusY"))
        xs, ys = (x - across, x + across), (y - down, y + down)
    else:
        x, y, width, height = (float(value[key]) for key in ("x", "y", "width", "height"))
        xs, ys = (x, x + width), (y, y + height)
        if angle := math.radians(value.get("rotation", 0)):
            # Turned by its top left corner, in pixels.
            ratio = size[0] / size[1]
            cos, sin = math.cos(angle), math.sin(angle)
            ends = [(0, 0), (width, 0), (0, height), (width, height)]
            xs = tuple(x + a * cos - b / ratio * sin for a, b in ends)
            ys = tuple(y + a * ratio * sin + b * cos for a, b in ends)
    return enclose([v * size[0] / 100 for v in xs], [v * size[1] / 100 for v in ys])
