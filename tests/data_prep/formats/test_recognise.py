"""Which format a folder is in, and what is said when that can't be told."""

import json
import shutil

import pytest

from data_prep.base.errors import DatasetError
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.photo_match import list_dataset
from data_prep.formats.registry import read_dataset, read_datasets, recognise
from tests.makers import make_photo

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
    (tmp_path / "set").mkdir()
    for name, tool in {"faces.zip": "zipfile", "faces.tar.gz": "tarfile"}.items():
        path = tmp_path / "set" / name
        path.write_bytes(b"")
        with pytest.raises(DatasetError, match=rf"an archive; unpack.*-m {tool} -e {name} faces"):
            read_dataset(path)
    with pytest.raises(DatasetError, match=r"an archive; unpack it"):
        read_dataset(tmp_path / "set")


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
