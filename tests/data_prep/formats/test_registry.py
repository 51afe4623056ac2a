"""What format a folder is in, and the same faces from each."""

from __future__ import annotations

import json
import shlex
import shutil
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from data_prep.base.errors import DatasetError
from data_prep.base.files import PhotoMode
from data_prep.base.labels import UnknownLabelError
from data_prep.base.records import Box, Face
from data_prep.base.tables import read_faces
from data_prep.datasets.convert import ConvertOptions, convert
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.csv import parse_columns
from data_prep.formats.exif_frame import frame_photos
from data_prep.formats.photo_match import list_dataset
from data_prep.formats.registry import read_dataset, read_datasets, recognise
from tests.data_prep.formats.converting import WRITERS
from tests.makers import FACE, add_example, make_dataset, make_photo, make_voc

TABLE = "image,label,xmin,ymin,xmax,ymax\nimages/photo0.jpg,mask,1,2,30,40\n"


def find(root):
    return recognise(list_dataset(root), ReadOptions())


def add_coco(path):
    content = {
        "images": [{"id": 1, "file_name": "photo0.jpg"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "name": "mask"}],
    }
    path.write_text(json.dumps(content))


def test_what_lies_beside_voc_files_is_no_format(dataset):
    (dataset / "readme.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (dataset / "classes.txt").write_text("mask\n")
    (dataset / "weather.csv").write_text("day,weather\n1,rain\n")
    (dataset / "package.json").write_text('{"name": "faces"}')
    (dataset / "ImageSets" / "Main").mkdir(parents=True)
    (dataset / "ImageSets" / "Main" / "train.txt").write_text("photo0\nphoto1\n")
    assert find(dataset) is Format.VOC
    # Photos sorted by class, and annotated all the same.
    (dataset / "images").rename(dataset / "mask")
    assert find(dataset) is Format.VOC


def test_other_xml_files_are_no_voc(dataset):
    shutil.rmtree(dataset / "annotations")
    (dataset / "project.xml").write_text("<project/>")
    (dataset / "faces.csv").write_text(TABLE)
    assert find(dataset) is Format.CSV


def test_several_formats_are_named(dataset):
    (dataset / "a.csv").write_text(TABLE)
    add_coco(dataset / "b.json")
    (dataset / "labels").mkdir()
    (dataset / "labels" / "photo0.txt").write_text("mask 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DatasetError) as caught:
        find(dataset)
    message = str(caught.value)
    assert "voc (annotations/photo0.xml), yolo (labels/photo0.txt), coco (b.json), csv (a.csv)" in (
        message
    )
    assert "--format NAME" in message
    for form, photos in {"voc": 10, "yolo": 10, "coco": 1, "csv": 1}.items():
        assert len(read_dataset(dataset, ReadOptions(format=Format(form))).photos) == photos


def test_nothing_known(tmp_path):
    make_photo(tmp_path / "a.jpg")
    (tmp_path / "notes.csv").write_text("a,b\n")
    with pytest.raises(DatasetError, match=r"no VOC.*YOLO.*COCO.*crops.*not known: notes.csv"):
        find(tmp_path)


def test_archives(tmp_path):
    (tmp_path / "a set").mkdir()
    for name, tool in {"faces.zip": "zipfile", "faces.tar.gz": "tarfile"}.items():
        path = tmp_path / "a set" / name
        path.write_bytes(b"")
        with pytest.raises(DatasetError, match="an archive; unpack it") as refused:
            read_dataset(path)
        command = str(refused.value).partition(" the folder: ")[2]
        folder = str(tmp_path / "a set" / "faces")
        assert shlex.split(command) == ["python", "-m", tool, "-e", str(path), folder]
    with pytest.raises(DatasetError, match=r"an archive; unpack it"):
        read_dataset(tmp_path / "a set")


def test_prepared_folder(tmp_path):
    for name in ("faces.csv", "manifest.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(DatasetError, match="a prepared folder, as build writes it"):
        read_dataset(tmp_path)


def test_one_file_of_a_dataset(dataset):
    (dataset / "a.csv").write_text(TABLE)
    (dataset / "b.csv").write_text(TABLE.replace("photo0", "photo1"))
    add_coco(dataset / "c.json")
    for name, image in {"b.csv": "images/photo1.jpg", "c.json": "images/photo0.jpg"}.items():
        read = read_dataset(dataset / name)
        assert (read.source, [photo.image for photo in read.photos]) == ("faces", [image])
        assert not any(finding.dropped for finding in read.findings)
    with pytest.raises(DatasetError, match="two datasets are called 'faces'"):
        read_datasets([dataset / "a.csv", dataset / "b.csv"])
    with pytest.raises(DatasetError, match=r"photo0.xml: a file; give the folder"):
        read_dataset(dataset / "annotations" / "photo0.xml")
    (dataset / "annotations" / "d.csv").write_text(TABLE)
    with pytest.raises(DatasetError, match="no photo beside it or below; give the folder of both"):
        read_dataset(dataset / "annotations" / "d.csv")


@pytest.mark.parametrize("form", WRITERS)
def test_same_faces_from_each_format(dataset, tmp_path, form):
    add_example(dataset, "odd", 55, [*FACE, ("no mask", (0.25, 3.5, 77.125, 80.0625))])
    write, options = WRITERS[form]
    write(read_dataset(dataset), tmp_path / form / "faces")
    columns = parse_columns(options[1]) if options else {}
    found = read_dataset(tmp_path / form / "faces", ReadOptions(columns=columns))
    expected, _ = frame_photos(read_dataset(dataset).photos)
    photos, _ = frame_photos(found.photos)
    assert [(p.image, p.size) for p in photos] == [(p.image, p.size) for p in expected]
    pairs = [
        pair
        for one, other in zip(photos, expected, strict=True)
        for pair in zip(one.faces, other.faces, strict=True)
    ]
    assert len(pairs) == 22
    for one, other in pairs:
        assert (one.object, one.label, one.difficult) == (
            other.object,
            other.label,
            other.difficult,
        )
        assert one.box == pytest.approx(other.box, abs=1e-6)


@pytest.mark.parametrize(
    ("form", "options", "file", "old", "new"),
    [
        ("named-csv", (), "table.csv", "without_mask", "mask_weared_incorrect"),
        ("yolo", ("--names", "own.txt"), "own.txt", "mask\nno_mask", "no_mask\nmask"),
    ],
)
def test_changed_files_are_a_new_build(tmp_path, run, monkeypatch, form, options, file, old, new):
    monkeypatch.chdir(tmp_path)
    write, more = WRITERS[form]
    write(read_dataset(make_dataset(tmp_path / "faces", 6)), Path("set"))
    Path("own.txt").write_text("mask\nno_mask\nincorrect_mask\n")
    call = ("build", "set", "-o", "out", "--workers", 1, "--blur", "none", *options, *more)
    assert run(*call).exit_code == 0
    before = read_faces(Path("out"))["label"].tolist()
    assert "up to date" in run(*call).stdout
    path = Path("set" if form == "named-csv" else ".") / file
    path.write_text(path.read_text().replace(old, new, 1))
    assert "up to date" not in run(*call).stdout
    assert read_faces(Path("out"))["label"].tolist() != before


def test_options_are_explained(dataset, tmp_path, run):
    result = run("audit", dataset, "-o", tmp_path / "out", "--columns", "photo=x")
    assert result.exit_code == 2
    assert "fields are image, label" in result.stderr
    assert run("audit", dataset, "-o", tmp_path / "out", "--crop-scale", 0.5).exit_code == 2
    result = run("audit", dataset, "-o", tmp_path / "out", "--format", "coco")
    assert result.exit_code == 2
    assert "no COCO annotations" in result.stderr
    # A file stands for its folder here too: nothing is written into it.
    (dataset / "a.csv").write_text("image,label,xmin,ymin,xmax,ymax\nphoto0.jpg,mask,1,2,30,40\n")
    result = run("audit", dataset / "a.csv", "-o", dataset / "out")
    assert result.exit_code == 2
    assert "nothing is ever written" in result.stderr


def test_photo_of_two_datasets_counts_once(dataset, tmp_path, run):
    make_voc(dataset / "images" / "again.xml", "photo0.jpg")
    result = run("audit", dataset, dataset / "images", "-o", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1
    assert "images/photo0.jpg: the same file as faces/images/photo0.jpg" in result.stderr


@pytest.mark.parametrize("split", ["", "train/"])
def test_the_folder_is_the_class(tmp_path, split):
    make_photo(tmp_path / f"{split}With Mask" / "a.jpg", 60, 40)
    make_photo(tmp_path / f"{split}no_mask" / "b.png", 50, 50, seed=1)
    read = read_dataset(tmp_path)
    assert read.findings == ()
    assert [(p.image, p.annotation, p.width, p.height, p.faces) for p in read.photos] == [
        (name, name, *size, (Face(0, label, Box(0, 0, *size)),))
        for name, size, label in (
            (f"{split}With Mask/a.jpg", (60, 40), "with_mask"),
            (f"{split}no_mask/b.png", (50, 50), "without_mask"),
        )
    ]


def test_the_face_is_the_middle_of_a_wider_crop(tmp_path):
    make_photo(tmp_path / "mask" / "a.jpg", 60, 30)
    read = read_dataset(tmp_path, ReadOptions(crop_scale=1.5))
    assert read.photos[0].faces[0].box == pytest.approx(Box(10, 5, 50, 25))
    with pytest.raises(DatasetError, match="crop-scale"):
        read_dataset(tmp_path, ReadOptions(crop_scale=0.5))


def test_recognised_only_when_all_folders_are_classes(tmp_path):
    make_photo(tmp_path / "mask" / "a.jpg")
    make_photo(tmp_path / "others" / "b.jpg", seed=1)
    for classes in (ReadOptions(), ReadOptions(classes=None)):
        with pytest.raises(
            DatasetError, match=r"no VOC annotation.*folders called mask, others: if these"
        ):
            read_dataset(tmp_path, classes)
    with pytest.raises(UnknownLabelError, match=r"/others: unknown class 'others'"):
        read_dataset(tmp_path, ReadOptions(format=Format.CROPS))
    read = read_dataset(tmp_path, ReadOptions(aliases={"mask": "with_mask", "others": "with_mask"}))
    assert len(read.photos) == 2
    read = read_dataset(tmp_path, ReadOptions(classes=None, format=Format.CROPS))
    assert [photo.faces[0].label for photo in read.photos] == ["mask", "others"]


def test_photos_that_are_no_crops(tmp_path):
    make_photo(tmp_path / "set" / "mask" / "a.jpg")
    (tmp_path / "set" / "mask" / "b.jpg").write_bytes(b"no photo")
    make_photo(tmp_path / "set" / "c.jpg", seed=1)
    read = read_dataset(tmp_path / "set", ReadOptions(format=Format.CROPS))
    assert [photo.image for photo in read.photos] == ["mask/a.jpg"]
    assert [(f.file, f.kind, f.dropped) for f in read.findings] == [
        ("set/mask/b.jpg", "unreadable-photo", True),
        ("set/c.jpg", "photo-without-annotation", False),
    ]


DATA = Path(__file__).parents[4] / "shared" / "data"

TOLERANCE = 1e-8
"""Pixels; what YOLO's shares written to 12 places give is below 1e-9."""


def parse(root):
    """Stem, class and box of every face, clipped to the stated size."""
    for path in sorted((root / "annotations").glob("*.xml")):
        xml = ElementTree.parse(path).getroot()
        width, height = (float(xml.findtext(f"size/{side}")) for side in ("width", "height"))
        for element in xml.findall("object"):
            x0, y0, x1, y1 = (float(side.text) for side in element.find("bndbox"))
            box = (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
            yield path.stem, element.findtext("name"), box


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the real datasets are not here")
@pytest.mark.parametrize("name", ["facemask", "ilc"])
def test_round_trip(name, tmp_path):
    wanted = list(parse(DATA / name))
    for form in (Format.VOC, Format.YOLO, Format.COCO, Format.CSV):
        out = tmp_path / form
        result = convert(
            ConvertOptions(dataset=DATA / name, out=out, to=form, photos=PhotoMode.LINK)
        )
        assert result.record["left_out"] == 0
        assert result.record["not_held"] == {}
        read = read_dataset(tmp_path / form, ReadOptions(classes=None))
        found = {
            (Path(photo.image).stem, place): face
            for photo in read.photos
            for place, face in enumerate(photo.faces)
        }
        places: Counter[str] = Counter()
        for stem, label, box in wanted:
            face = found.pop((stem, places[stem]))
            places[stem] += 1
            assert face.label == label
            assert face.box == pytest.approx(box, abs=TOLERANCE)
        assert not found
