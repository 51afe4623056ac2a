"""Tools that people label photos with, read and written: CVAT, Label Studio, LabelMe, FiftyOne."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from lxml import etree
from lxml.builder import E

from data_prep.base.boxes import write_number
from data_prep.base.photo import PHOTO_SUFFIXES, Size
from data_prep.base.records import Box, note_unread
from data_prep.formats import contracts
from data_prep.formats import input_files as raw
from data_prep.formats.contracts import FaceReader, Faults, FileFormat, ReadOptions
from data_prep.formats.exif_frame import DECIMALS, Frame, FramedPhoto
from data_prep.formats.input_files import InputError
from data_prep.formats.label_files import check_relative
from data_prep.formats.photo_match import WrittenPhoto
from data_prep.formats.tools import ENTRIES, read_entries
from data_prep.formats.voc import parse_xml, starts_with, tells


@dataclass(frozen=True)
class ToolFormat(FileFormat, contracts.UprightFormat):
    """The format of a tool that shows photos upright, written, too."""

    describe: Callable[[Sequence[FramedPhoto], Sequence[str]], Mapping[str, str | bytes]] = (
        lambda photos, classes: {}
    )
    folder: str = contracts.IMAGES
    call_file: Callable[[str], str] = str
    frame: Frame = "upright"
    writes = True


def _describe_labelme(photos: Sequence[FramedPhoto], _: Sequence[str]) -> dict[str, str]:
    files = {}
    for photo in photos:
        flags: dict[str, bool] = {}
        plain = {"group_id": None, "description": "", "shape_type": "rectangle", "flags": flags}
        record = {
            **{"version": "5.5.0", "flags": flags},
            "shapes": [
                {"label": face.label, "points": [face.box[:2], face.box[2:]], **plain}
                for face in photo.faces
            ],
            **{"imagePath": PurePosixPath(photo.image).name, "imageData": None},
            **{"imageHeight": photo.size[1], "imageWidth": photo.size[0]},
        }
        files[_name_json(photo.image)] = _dump(record)
    return files


def _name_json(image: str) -> str:
    return str(PurePosixPath(image).with_suffix(".json"))


def _dump(record: object) -> str:
    return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


LABELME = ToolFormat(  # https://github.com/wkentaro/labelme: beside each photo.
    *(partial(read_entries, **ENTRIES["LabelMe"]), "LabelMe JSON"),
    keys=frozenset({"shapes", "imagePath"}),
    describe=_describe_labelme,
    call_file=_name_json,
)


def _read_label_studio(path: Path, faults: Faults, options: ReadOptions) -> Iterator[WrittenPhoto]:
    """JSON and JSON-MIN of https://labelstud.io; a task's first annotation not cancelled counts."""
    tasks = raw.load_json(path)
    others = 0
    for number, value in enumerate(tasks if isinstance(tasks, list) else [tasks]):
        where = f"{faults.file}, task [{number}]"
        task = raw.json_object(value, where)
        data = raw.json_object(task.get("data", task), where)
        texts = [v for v in data.values() if isinstance(v, str) and "." in v]
        named = (v for v in texts if PurePosixPath(v).suffix.lower() in PHOTO_SUFFIXES)
        image = next(named, next(iter(texts), None))  # Addresses and times have dots, too.
        if image is None:
            faults.leave_out("unnamed-photo", f"{where}: names no photo.")
            continue
        versions = list(_list_versions(task))
        others += max(len(versions) - 1, 0)
        if not versions and not task.keys().isdisjoint(_VERSIONS):
            continue  # Skipped, or only predicted: not a photo without a face.
        # Folders begin behind the address of local files, else a photo in another could fit.
        image = image.partition("?d=")[2] or image
        reader = FaceReader(faults, options)
        size = None
        regions = versions[0] if versions else ()
        labelled = {region.get("id") for region in regions if _find_labels(region)} - {None}
        for region in regions:
            found, labels = region.get("value", region), _find_labels(region)
            if not labels:
                # Others are a choice, a text, or how two regions are related.
                is_drawn = not found.keys().isdisjoint({"x", "points"})
                if is_drawn and region.get("id") not in labelled:
                    reader.add(where, "", lambda: Box(0, 0, 0, 0))
                continue
            size = raw.read_size(region.get("original_width"), region.get("original_height"))
            if size is None:
                raise InputError(f"{where}: a region without original_width and -height.")
            faults.counts[_TURNED] += bool(found.get("rotation"))
            reader.add(where, str(labels[0]), partial(_enclose_percent, found, size))
        yield reader.finish(path, image, where, size)
    if others:
        things = [f"{others} further annotations of the same tasks"]
        faults.findings += note_unread(faults.file, things)


def _find_labels(region: Mapping[str, Any]) -> Sequence[object]:
    found = region.get("value", region)
    return next((v for k, v in found.items() if k.endswith("labels")), None) or ()


_VERSIONS = ("annotations", "completions")
_TURNED = "rotation (the box around is taken)"


def _list_versions(task: Mapping[str, Any]) -> Iterator[list[Mapping[str, Any]]]:
    """The regions of each annotation of a task."""
    for key in _VERSIONS:
        for one in task.get(key) or ():
            if not one.get("was_cancelled"):
                yield one.get("result", [])
    for value in task.values():  # JSON-MIN.
        regions = isinstance(value, list) and value and isinstance(value[0], dict)
        if regions and "original_width" in value[0] and "value" not in value[0]:
            yield value


def _enclose_percent(value: Mapping[str, Any], size: Size) -> Box:
    def numbers(*names: str) -> list[float]:
        return [float(value[name]) for name in names]

    if "points" in value:
        box = raw.enclose(*zip(*value["points"], strict=True))
    elif "radiusX" in value:
        box = raw.enclose_ellipse(*numbers("x", "y", "radiusX", "radiusY"))
    else:
        x, y, width, height = numbers("x", "y", "width", "height")
        # Turned by its top left corner, in pixels.
        angle, ratio = math.radians(value.get("rotation") or 0), size[0] / size[1]
        cos, sin = math.cos(angle), math.sin(angle)
        ends = [(0, 0), (width, 0), (0, height), (width, height)]
        xs = [x + a * cos - b / ratio * sin for a, b in ends]
        box = raw.enclose(xs, [y + a * ratio * sin + b * cos for a, b in ends])
    return Box(*(round(v * side / 100, DECIMALS) for v, side in zip(box, size * 2, strict=True)))


def _describe_tasks(photos: Sequence[FramedPhoto], classes: Sequence[str]) -> dict[str, str]:
    """`tasks.json` to import, with photos of local storage; and the labelling interface for it."""
    tasks = []
    for photo in photos:
        size = photo.size
        about = {"original_width": size[0], "original_height": size[1], "image_rotation": 0}
        names = {"type": "rectanglelabels", "from_name": "label", "to_name": "image"}
        regions = []
        for face in photo.faces:
            box = dict(zip(("x", "y", "width", "height"), _share(face.box, size), strict=True))
            value = {**box, "rotation": 0, "rectanglelabels": [face.label]}
            regions.append({"id": f"face-{face.object}", **names, **about, "value": value})
        image = f"/data/local-files/?d={quote(photo.image)}"
        tasks.append({"data": {"image": image}, "annotations": [{"result": regions}]})
    shown = (E.Label(value=name) for name in classes)
    labels = E.RectangleLabels(*shown, name="label", toName="image")
    view = E.View(E.Image(name="image", value="$image"), labels)
    interface = etree.tostring(view, pretty_print=True, encoding="unicode")
    return {"tasks.json": _dump(tasks), "labeling_config.xml": interface}


def _share(box: Box, size: Size, of: float = 100.0) -> list[float]:
    """Corner, width and height as parts of the photo's sides, in percent if not otherwise said."""
    sides = zip((box.xmin, box.ymin, box.width, box.height), size * 2, strict=True)
    return [value / side * of for value, side in sides]


LABEL_STUDIO = ToolFormat(
    *(_read_label_studio, "Label Studio JSON"),
    keys=frozenset({"original_width"}),
    describe=_describe_tasks,
)

_OUTLINES = {"polygon", "polyline", "points", "ellipse", "mask"}
_BOXED = {"box": ("xtl", "ytl", "xbr", "ybr"), "mask": ("left", "top", "width", "height")}


def _read_cvat(path: Path, faults: Faults, options: ReadOptions) -> Iterator[WrittenPhoto]:
    """CVAT for images 1.1 (https://docs.cvat.ai); of a turned box the one before it was turned."""
    root, *_ = parse_xml(path, faults.file, "annotations", "CVAT for images")
    if root.find("track") is not None and root.find("image") is None:
        raise InputError(f"{faults.file}: tracks of a video; export it as CVAT for images.")
    others = {f"tag {tag.get('label')}" for tag in root.iterfind("image/tag")}  # Of whole photos.
    others |= {"tracks of a video" for _ in root.iterfind("track")}
    faults.findings += note_unread(faults.file, sorted(others))
    for image in root.iterfind("image"):
        reader = FaceReader(faults, options)
        for shape in image.iterchildren(etree.Element):
            if shape.tag == "tag":
                continue
            where = f"{faults.file}:{shape.sourceline}"
            outlined, box = shape.tag in _OUTLINES, partial(_enclose_cvat, shape, where)
            reader.add(where, shape.get("label", ""), box, outlined=outlined)
            told = {name: shape.get(name, "") for name in ("rotation", "occluded")}
            for one in shape.iter("attribute"):
                told[f"attribute {one.get('name')}"] = one.text or ""
            faults.counts.update(name for name, text in told.items() if tells(text))
        size = raw.read_size(image.get("width", ""), image.get("height", ""))
        where = f"{faults.file}:{image.sourceline}"
        yield reader.finish(path, image.get("name", ""), where, size)


def _enclose_cvat(shape: etree._Element, where: str) -> Box:
    def numbers(*names: str) -> Sequence[float]:
        return [raw.read_number(shape.get(name, ""), name, where) for name in names]

    if shape.tag in _BOXED:
        return (Box if shape.tag == "box" else Box.sized)(*numbers(*_BOXED[shape.tag]))
    if shape.tag not in _OUTLINES:
        raise InputError(f"{where}: a {shape.tag} has no box.")
    if shape.tag == "ellipse":
        return raw.enclose_ellipse(*numbers("cx", "cy", "rx", "ry"))
    texts = re.split("[;,]", shape.get("points", ""))
    values = [raw.read_number(text, "points", where) for text in texts]
    return raw.enclose(values[::2], values[1::2])


def _describe_cvat(photos: Sequence[FramedPhoto], classes: Sequence[str]) -> dict[str, bytes]:
    """`annotations.xml`, photos named as below `images`, as in CVAT's own exports.

    Where such a name would be another photo's, all are named as below the folder.
    """
    labels = E.labels(*(E.label(E.name(name), E.type("rectangle")) for name in classes))
    task = E.task(E.size(str(len(photos))), E.mode("annotation"), labels)
    root = E.annotations(E.version("1.1"), E.meta(task))
    names = {photo.image: photo.image.removeprefix(f"{contracts.IMAGES}/") for photo in photos}
    is_clear = names.keys().isdisjoint(names.values())
    for number, photo in enumerate(photos):
        size = dict(zip(("width", "height"), map(str, photo.size), strict=True))
        name = names[photo.image] if is_clear else photo.image
        image = etree.SubElement(root, "image", {"id": str(number), "name": name, **size})
        for face in photo.faces:
            about = {"label": face.label, "source": "manual", "occluded": "0"}
            sides = zip(("xtl", "ytl", "xbr", "ybr"), map(write_number, face.box), strict=True)
            etree.SubElement(image, "box", {**about, **dict(sides), "z_order": "0"})
    xml = etree.tostring(root, encoding="utf-8", xml_declaration=True, pretty_print=True)
    return {"annotations.xml": xml}


CVAT = ToolFormat(
    *(_read_cvat, "CVAT for images (*.xml)"),
    ending=".xml",
    is_own=lambda path: (
        starts_with(path, "annotations") and not starts_with(path, "annotation")  # VOC's, in one.
    ),
    describe=_describe_cvat,
)


def _read_fiftyone(path: Path, faults: Faults, options: ReadOptions) -> Iterator[WrittenPhoto]:
    """FiftyOneImageDetectionDataset (https://docs.voxel51.com); its boxes stay shares of sides."""
    content = raw.json_object(raw.load_json(path), faults.file)
    classes = content.get("classes") or ()
    for image, faces in raw.json_object(content.get("labels"), faults.file).items():
        where = f"{faults.file}, '{image[:60]}'"
        reader = FaceReader(faults, options)
        for entry in faces or ():
            label = entry["label"]
            name = classes[label] if isinstance(label, int) else label
            reader.add(where, str(name), partial(_read_share, entry, where))
            faults.counts.update(f"attribute {key}" for key in entry.get("attributes") or ())
        yield reader.finish(path, image, where, None)


def _read_share(entry: Mapping[str, Any], where: str) -> Box:
    values = [*map(float, entry["bounding_box"])]
    check_relative(values, where)
    return Box.sized(*values)


def _describe_fiftyone(photos: Sequence[FramedPhoto], classes: Sequence[str]) -> dict[str, str]:
    labels = {
        _name_sample(photo.image): [
            {"label": face.label, "bounding_box": _share(face.box, photo.size, of=1)}
            for face in photo.faces
        ]
        for photo in photos
    }
    return {"labels.json": _dump({"classes": list(classes), "labels": labels})}


def _name_sample(image: str) -> str:
    return str(PurePosixPath(image.removeprefix("data/")).with_suffix(""))


FIFTYONE = ToolFormat(
    *(_read_fiftyone, "FiftyOne JSON", "sized", "shares"),
    keys=frozenset({"labels", "bounding_box"}),
    describe=_describe_fiftyone,
    folder="data",
    call_file=_name_sample,
)
