"""PASCAL VOC: files, and datasets with their photos."""

from __future__ import annotations

import os
import unicodedata

import pytest

from data_prep.base.errors import DatasetError
from data_prep.base.labels import UnknownLabelError
from data_prep.base.records import Box, Face
from data_prep.formats import voc
from data_prep.formats.contracts import Faults, ReadOptions
from data_prep.formats.input_files import InputError
from data_prep.formats.registry import read_dataset
from tests.makers import add_example, make_photo, make_voc


def kinds(dataset):
    return [finding.kind for finding in dataset.findings]


@pytest.mark.parametrize(
    ("stated", "stored"),
    [
        ("a.jpg", "a.jpg"),
        ("a.png", "a.jpg"),  # the set was encoded anew
        ("A.JPG", "a.jpg"),
        ("C:\\shots\\a.jpg", "a.jpg"),
        ("/home/someone/a.jpg", "a.jpg"),
        ("", "note.jpg"),  # nothing stated: the annotation's own stem
        ("something else.jpg", "note.jpg"),
        (unicodedata.normalize("NFC", "año.jpg"), unicodedata.normalize("NFD", "año.jpg")),
    ],
)
def test_photo_is_found(tmp_path, stated, stored):
    make_photo(tmp_path / "deep" / "er" / stored)
    make_voc(tmp_path / "note.xml", stated)
    assert [photo.image for photo in read_dataset(tmp_path).photos] == [f"deep/er/{stored}"]


def test_name_goes_before_stem(tmp_path):
    make_photo(tmp_path / "a.jpg")
    make_photo(tmp_path / "a.png", seed=1)
    make_voc(tmp_path / "a.xml", "a.png")
    read = read_dataset(tmp_path)
    assert [photo.image for photo in read.photos] == ["a.png"]
    assert kinds(read) == ["photo-without-annotation"]


def test_hidden_files_are_not_read(dataset):
    make_photo(dataset / ".cache" / "x.jpg")
    (dataset / "annotations" / "._photo0.xml").write_bytes(b"\x00\x05\x16\x07")
    assert read_dataset(dataset).findings == ()


def test_second_annotation_of_a_photo_is_left_out(dataset):
    make_voc(dataset / "annotations" / "photo0_again.xml", "photo0.jpg")
    read = read_dataset(dataset)
    assert kinds(read) == ["second-annotation"]
    assert "photo0_again.xml" in read.findings[0].message
    assert len(read.photos) == 10


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_name_that_is_not_utf8_is_listed(dataset):
    try:
        make_photo(dataset / "images" / os.fsdecode(b"a\xf1o.png"))
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    (finding,) = read_dataset(dataset).findings
    assert finding.kind == "bad-name"
    assert finding.message.encode().decode() == "faces/images/a\ufffdo.png: " + (
        "the file's name is not valid UTF-8; rename it."
    )


@pytest.mark.parametrize("missing", ["annotations", "images"])
def test_folder_without_photos_or_annotations(dataset, missing):
    for path in (dataset / missing).iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"no (VOC annotation|photo)"):
        read_dataset(dataset)
    with pytest.raises(DatasetError, match="no such folder"):
        read_dataset(dataset / "nowhere")


def test_unknown_class_stops_unless_an_alias_makes_it_known(dataset):
    path = add_example(dataset, "odd", 77, [("masc", (1, 1, 20, 20))])
    path.write_text(path.read_text().replace("<object>", "\n\n<object>"))
    with pytest.raises(
        UnknownLabelError, match=r"faces/annotations/odd\.xml:3: .*'masc'.*did you mean 'mask'"
    ):
        read_dataset(dataset)
    read = read_dataset(dataset, ReadOptions(aliases={"masc": "with_mask"}))
    assert len(read.photos) == 11


def test_parts_that_number_their_photos_alike(tmp_path):
    for index, part in enumerate(["train", "val"]):
        box = (10, 12, 30 + 10 * index, 40)
        make_photo(tmp_path / "set" / part / "images" / "1.jpg", seed=index)
        make_voc(tmp_path / "set" / part / "annotations" / "1.xml", "1.jpg", [("mask", box)])
    read = read_dataset(tmp_path / "set")
    assert not read.findings
    boxes = {photo.image: photo.faces[0].box.xmax for photo in read.photos}
    assert boxes == {"train/images/1.jpg": 30, "val/images/1.jpg": 40}


def test_linked_folders_are_followed_and_loops_are_not(dataset, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    for name in ("images", "annotations"):
        (linked / name).symlink_to(dataset / name)
    (linked / "again").symlink_to(dataset / "images")
    (linked / "self").symlink_to(linked)
    (linked / "above").symlink_to(tmp_path)
    read, direct = read_dataset(linked), read_dataset(dataset)
    assert not read.findings
    assert len(read.photos) == len(direct.photos)
    assert {photo.path.resolve() for photo in read.photos} == {p.path for p in direct.photos}


def test_folder_that_can_not_be_read_is_told(dataset, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    (dataset / "closed").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    (finding,) = read_dataset(dataset).findings
    assert finding.dropped
    assert "closed: the folder can't be read (Permission denied)" in finding.message


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def read_voc(path, name=None):
    faults = Faults(name or str(path))
    return voc.read_voc(path, faults, ReadOptions())[0], faults.findings


def wrap(objects="", head=""):
    return f"{head}<annotation><filename>a.jpg</filename>{objects}</annotation>"


BNDBOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox>"


def test_everything_is_read(tmp_path):
    objects = [("with_mask", (1, 2, 3, 4)), ("with_incorrect_mask", (0.5, 1.25, 7, 8))]
    found, findings = read_voc(make_voc(tmp_path / "a.xml", "a.png", objects, size=(40, 30)))
    assert (found.image, found.size) == ("a.png", (40, 30))
    assert found.faces == (
        Face(0, "with_mask", Box(1, 2, 3, 4)),
        Face(1, "mask_weared_incorrect", Box(0.5, 1.25, 7, 8)),
    )
    assert findings == []


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        ("<object><name>face</name></object>", "bad-box", "no <bndbox>"),
        (f"<object>{BNDBOX}</object>", "unnamed-object", "no class name"),
    ],
)
def test_faulty_object_is_left_out_and_keeps_its_index(tmp_path, body, kind, reason):
    good = f"<object><name>face</name>{BNDBOX}</object>"
    found, (finding,) = read_voc(write(tmp_path / "a.xml", wrap(body + good)), "set/a.xml")
    assert ([face.object for face in found.faces], found.size) == ([1], None)
    assert (finding.file, finding.kind, finding.dropped) == ("set/a.xml", kind, True)
    assert finding.message.startswith("set/a.xml:1: object 0")
    assert reason in finding.message


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("<annotation><object>", "not well-formed"),
        ("no xml at all", "not well-formed"),
        ("<html></html>", "<annotation> expected, <html> found"),
    ],
)
def test_file_that_is_no_annotation(tmp_path, text, reason):
    with pytest.raises(InputError, match=reason):
        read_voc(write(tmp_path / "a.xml", text))
    with pytest.raises(InputError, match="No such file"):
        read_voc(tmp_path / "b.xml")


def test_outside_entity_is_not_read(tmp_path):
    secret = write(tmp_path / "secret.txt", "the secret")
    head = f'<!DOCTYPE annotation [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    body = f"<object><name>&x;</name>{BNDBOX}</object>"
    with pytest.raises(InputError, match="declares XML entities") as caught:
        read_voc(write(tmp_path / "a.xml", wrap(body, head)))
    assert "the secret" not in str(caught.value)


def test_billion_laughs_are_not_expanded(tmp_path):
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    head = f'<!DOCTYPE annotation [<!ENTITY l0 "ha">{levels}]>'
    with pytest.raises(InputError, match=r"declares XML entities|not well-formed"):
        read_voc(write(tmp_path / "a.xml", wrap("<folder>&l9;</folder>", head)))


def test_harmless_doctype_and_utf16_are_read(tmp_path):
    found, _ = read_voc(write(tmp_path / "a.xml", wrap(head="<!DOCTYPE annotation>")))
    assert found.image == "a.jpg"
    head = '<?xml version="1.0" encoding="utf-16"?>'
    (tmp_path / "b.xml").write_bytes(wrap(head=head).replace("a.jpg", "ñ.jpg").encode("utf-16"))
    assert read_voc(tmp_path / "b.xml")[0].image == "ñ.jpg"
