"""The faces of a dataset in other formats, the photos linked; written as simply as can be."""

import json
from pathlib import Path

import pandas as pd

from data_prep.base.labels import CLASSES
from data_prep.base.photo import photo_size
from data_prep.base.records import Dataset

NAMED = "image=wo,label=was,xmin=x0,ymin=y0,box_width=breite,box_height=hoehe"
NAMES = "bbox_x bbox_y bbox_width bbox_height image_name image_width image_height"


def tabulate_faces(dataset: Dataset, folder: Path) -> pd.DataFrame:
    """A row per face, numbered in its photo; links the photos."""
    rows = []
    for number, photo in enumerate(dataset.photos):
        link = folder / photo.image
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photo.path.resolve())
        width, height = photo_size(photo.path)
        for face in photo.faces:
            x, y = face.box.xmin, face.box.ymin
            place = {"x": x, "y": y, "w": face.box.width, "h": face.box.height}
            corners = {"xmin": x, "ymin": y, "xmax": face.box.xmax, "ymax": face.box.ymax}
            about = {"image": photo.image, "filename": Path(photo.image).name, "number": number}
            size = {"width": width, "height": height, "count": len(photo.faces)}
            flags = {"class": face.label, "difficult": int(face.difficult), "object": face.object}
            rows.append(about | size | flags | place | corners)
    return pd.DataFrame(rows)


def to_yolo(dataset: Dataset, folder: Path) -> None:
    faces = tabulate_faces(dataset, folder)
    (folder / "data.yaml").write_text(f"names: {list(CLASSES)}")
    for image, some in faces.groupby("image"):
        path = folder / image.replace("images/", "labels/", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            f"{CLASSES.index(label)} {(x0 + x1) / 2 / width} {(y0 + y1) / 2 / height} "
            f"{(x1 - x0) / width} {(y1 - y0) / height}\n"
            for label, x0, y0, x1, y1, width, height in some[
                ["class", "xmin", "ymin", "xmax", "ymax", "width", "height"]
            ].itertuples(index=False)
        ]
        path.with_suffix(".txt").write_text("".join(lines))


def to_coco(dataset: Dataset, folder: Path) -> None:
    faces = tabulate_faces(dataset, folder)
    faces["category_id"] = faces["class"].map(CLASSES.index) + 1
    faces["bbox"] = faces[["x", "y", "w", "h"]].to_numpy().tolist()
    columns = ["number", "category_id", "bbox", "difficult"]
    names = [Path(photo.image).name for photo in dataset.photos]
    content = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(names)],
        "annotations": faces[columns].rename(columns={"number": "image_id"}).to_dict("records"),
        "categories": [{"id": n, "name": name} for n, name in enumerate(CLASSES, start=1)],
    }
    (folder / "coco.json").write_text(json.dumps(content))


def to_csv(dataset: Dataset, folder: Path) -> None:
    columns = "filename width height class xmin ymin xmax ymax"
    save_table(tabulate_faces(dataset, folder), folder, columns, columns)


def to_named_csv(dataset: Dataset, folder: Path) -> None:
    """With columns that have to be named, and sizes instead of far corners."""
    faces = tabulate_faces(dataset, folder)
    save_table(faces, folder, "class filename x y w h", "was wo x0 y0 breite hoehe", ";")


def to_makesense(dataset: Dataset, folder: Path) -> None:
    faces = tabulate_faces(dataset, folder)
    save_table(faces, folder, "class x y w h filename width height", f"label_name {NAMES}")


def to_via(dataset: Dataset, folder: Path) -> None:
    faces = tabulate_faces(dataset, folder)
    faces["file_size"], faces["file_attributes"] = 1, "{}"
    faces["region_shape_attributes"] = [
        json.dumps({"name": "rect", "x": x, "y": y, "width": width, "height": height})
        for x, y, width, height in faces[["x", "y", "w", "h"]].to_numpy().tolist()
    ]
    faces["region_attributes"] = [json.dumps({"mask": label}) for label in faces["class"]]
    columns = "filename file_size file_attributes {} {} region_shape_attributes region_attributes"
    written = columns.format("region_count", "region_id")
    save_table(faces, folder, columns.format("count", "object"), written)


def save_table(
    faces: pd.DataFrame, folder: Path, columns: str, header: str, separator: str = ","
) -> None:
    table = faces[columns.split()]
    table.to_csv(folder / "table.csv", sep=separator, header=header.split(), index=False)


WRITERS = {
    "yolo": (to_yolo, ()),
    "coco": (to_coco, ()),
    "csv": (to_csv, ()),
    "named-csv": (to_named_csv, ("--columns", NAMED)),
    "makesense": (to_makesense, ()),
    "via": (to_via, ()),
}
"""How to write each, and the options to read it with."""
