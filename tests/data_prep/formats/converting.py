"""The faces of a dataset in other formats, the photos linked; written as simply as can be."""

import csv
import json
from pathlib import Path

from data_prep.base.labels import CLASSES
from data_prep.base.photo import photo_size
from data_prep.base.records import Dataset


def link_photos(dataset: Dataset, folder: Path) -> Path:
    for photo in dataset.photos:
        link = folder / photo.image
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photo.path.resolve())
    return folder


def to_yolo(dataset: Dataset, folder: Path) -> None:
    link_photos(dataset, folder)
    (folder / "data.yaml").write_text(f"names: {list(CLASSES)}")
    for photo in dataset.photos:
        width, height = photo_size(photo.path)
        path = folder / photo.image.replace("images/", "labels/", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".txt").open("w") as file:
            for face in photo.faces:
                box = face.box
                values = [
                    (box.xmin + box.xmax) / 2 / width,
                    (box.ymin + box.ymax) / 2 / height,
                    box.width / width,
                    box.height / height,
                ]
                file.write(" ".join(map(str, [CLASSES.index(face.label), *values])) + "\n")


def to_coco(dataset: Dataset, folder: Path) -> None:
    link_photos(dataset, folder)
    annotations = [
        {
            "image_id": index,
            "category_id": CLASSES.index(face.label) + 1,
            "bbox": [face.box.xmin, face.box.ymin, face.box.width, face.box.height],
            "difficult": int(face.difficult),
        }
        for index, photo in enumerate(dataset.photos)
        for face in photo.faces
    ]
    content = {
        "images": [
            {"id": n, "file_name": Path(p.image).name} for n, p in enumerate(dataset.photos)
        ],
        "annotations": annotations,
        "categories": [{"id": n, "name": name} for n, name in enumerate(CLASSES, start=1)],
    }
    (folder / "coco.json").write_text(json.dumps(content))


def to_csv(dataset: Dataset, folder: Path) -> None:
    _write_table(dataset, folder, ",", "filename,width,height,class,xmin,ymin,xmax,ymax")


def to_named_csv(dataset: Dataset, folder: Path) -> None:
    """With columns that have to be named, and sizes instead of far corners."""
    _write_table(dataset, folder, ";", "was,wo,x0,y0,breite,hoehe")


NAMED = "image=wo,label=was,xmin=x0,ymin=y0,box_width=breite,box_height=hoehe"


def to_makesense(dataset: Dataset, folder: Path) -> None:
    _write_table(
        dataset,
        folder,
        ",",
        "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height",
    )


def to_via(dataset: Dataset, folder: Path) -> None:
    _write_table(
        dataset,
        folder,
        ",",
        "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
        "region_attributes",
    )


def _write_table(dataset: Dataset, folder: Path, separator: str, header: str) -> None:
    link_photos(dataset, folder)
    with (folder / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file, delimiter=separator)
        rows.writerow(header.split(","))
        for photo in dataset.photos:
            image = Path(photo.image).name
            size = photo_size(photo.path)
            for n, face in enumerate(photo.faces):
                box = face.box
                place = [box.xmin, box.ymin, box.width, box.height]
                if header.startswith("was"):
                    rows.writerow([face.label, image, *place])
                elif header.startswith("label_name"):
                    rows.writerow([face.label, *place, image, *size])
                elif "region" in header:
                    names = ("x", "y", "width", "height")
                    shape = {"name": "rect", **dict(zip(names, place, strict=True))}
                    texts = json.dumps(shape), json.dumps({"mask": face.label})
                    rows.writerow([image, 1, "{}", len(photo.faces), n, *texts])
                else:
                    rows.writerow([image, *size, face.label, *box])


WRITERS = {
    "yolo": (to_yolo, ()),
    "coco": (to_coco, ()),
    "csv": (to_csv, ()),
    "named-csv": (to_named_csv, ("--columns", NAMED)),
    "makesense": (to_makesense, ()),
    "via": (to_via, ()),
}
"""How to write each, and the options to read it with."""
