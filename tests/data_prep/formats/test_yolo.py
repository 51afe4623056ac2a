"""YOLO: label files, class names, whole folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from data_prep.base.errors import DatasetError
from data_prep.base.labels import UnknownLabelError
from data_prep.base.photo import read_photo
from data_prep.base.records import Box
from data_prep.formats.contracts import Faults, Format, ReadOptions
from data_prep.formats.input_files import InputError
from data_prep.formats.label_files import ClassNames, read_class_names
from data_prep.formats.registry import read_dataset
from data_prep.formats.yolo import read_labels
from tests.makers import make_photo

NAMES = "names: [With Mask, no_mask, mask_weared_incorrect]\n"
LINE = "1 0.5 0.5 0.25 0.2\n"
BOX = Box(45, 36, 75, 54)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data.yaml").write_text(NAMES)
    return tmp_path / "set"


def add(root, photo, labels, text=LINE, seed=0):
    if photo is not None:
        make_photo(root / photo, seed=seed)
    if labels is not None:
        (root / labels).parent.mkdir(parents=True, exist_ok=True)
        (root / labels).write_text(text)


def kinds(read):
    return [finding.kind for finding in read.findings]


@pytest.mark.parametrize(
    ("photo", "labels"),
    [
        ("images/a.jpg", "labels/a.txt"),
        ("train/images/a.jpg", "train/labels/a.txt"),
        ("images/train/a.jpg", "labels/train/a.txt"),
        ("images/x/y/A.JPG", "labels/x/y/a.txt"),
        ("a.jpg", "a.txt"),
        ("obj_train_data/a.jpg", "obj_train_data/a.txt"),
        ("a.jpg", "labels/a.txt"),
    ],
)
def test_layouts(root, photo, labels):
    add(root, photo, labels)
    read = read_dataset(root)
    assert read.findings == ()
    (found,) = read.photos
    assert (found.image, found.annotation) == (photo, labels)
    assert (found.width, found.height) == (120, 90)
    assert found.faces[0].label == "without_mask"
    assert found.faces[0].box == pytest.approx(BOX)


def test_photos_without_faces_stay(root):
    add(root, "images/a.jpg", "labels/a.txt", LINE + "\n" + LINE)
    add(root, "images/b.jpg", "labels/b.txt", "\n", seed=1)
    add(root, "images/c.jpg", None, seed=2)
    add(root, "other/d.jpg", None, seed=3)
    (root / "labels" / "classes.txt").write_text("with_mask\nwithout_mask\n")
    (root / "labels" / "notes.txt").write_text("All were drawn in May.\n")
    read = read_dataset(root)
    assert [(photo.image, [face.object for face in photo.faces]) for photo in read.photos] == [
        ("images/a.jpg", [0, 1]),
        ("images/b.jpg", []),
        ("images/c.jpg", []),
    ]
    assert kinds(read) == ["photo-without-labels", "photo-without-annotation"]
    assert "1 photo has no label file" in read.findings[0].message
    assert not any(finding.dropped for finding in read.findings)


@pytest.mark.parametrize("size", [(120, 90), (90, 90)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_coordinates_refer_to_the_photo_as_it_is_looked_at(root, orientation, size):
    """A red face on the upright photo is red where the loader is told to look."""
    upright = np.zeros((size[1], size[0], 3), np.uint8)
    upright[10:30, 20:60] = (255, 0, 0)
    image = Image.fromarray(upright)
    # Each turn undoes itself, but for the two quarter turns, which undo each other.
    image.getexif()[0x0112] = {6: 8, 8: 6}.get(orientation, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (root / "images").mkdir()
    ImageOps.exif_transpose(image).save(root / "images" / "a.png", exif=exif)
    width, height = size
    values = 40 / width, 20 / height, 40 / width, 20 / height
    add(root, None, "labels/a.txt", "0 " + " ".join(map(repr, values)))
    (photo,) = read_dataset(root).photos
    pixels = read_photo(photo.path, fit_size=(photo.width, photo.height)).pixels
    xmin, ymin, xmax, ymax = (round(value) for value in photo.faces[0].box)
    assert (pixels[ymin:ymax, xmin:xmax] == (255, 0, 0)).all()
    assert (pixels[:, :, 0] == 255).sum() == (xmax - xmin) * (ymax - ymin) == 800


def test_names_nearest_to_the_labels(tmp_path):
    for index, (part, names) in enumerate({"x": "mask\nno_mask", "y": "no_mask\nmask"}.items()):
        add(tmp_path, f"{part}/images/a.jpg", f"{part}/labels/a.txt", seed=index)
        (tmp_path / part / "labels" / "classes.txt").write_text(names)
    labels = [photo.faces[0].label for photo in read_dataset(tmp_path).photos]
    assert labels == ["without_mask", "with_mask"]
    names = tmp_path / "own.names"
    names.write_text("mask\nmask_worn_incorrect")
    read = read_dataset(tmp_path, ReadOptions(names=names))
    assert {photo.faces[0].label for photo in read.photos} == {"mask_weared_incorrect"}


def test_ids_without_names(root):
    (root / "data.yaml").unlink()
    add(root, "images/a.jpg", "labels/a.txt")
    with pytest.raises(DatasetError, match=r"labels/a.txt:1: class id 1 without names.*--names"):
        read_dataset(root)
    (root / "labels" / "a.txt").write_text(LINE.replace("1 ", "no_mask ", 1))
    assert read_dataset(root).photos[0].faces[0].label == "without_mask"


def test_unknown_class(root):
    (root / "data.yaml").write_text("names: [things, masc]")
    add(root, "images/a.jpg", "labels/a.txt", "\n" + LINE)
    with pytest.raises(UnknownLabelError, match=r"set/labels/a.txt:2: id 1 in .*data.yaml.*'masc'"):
        read_dataset(root)


def test_files_that_can_not_be_used(root):
    add(root, "images/good.jpg", "labels/good.txt")
    add(root, None, "labels/lost.txt")
    add(root, "images/latin.jpg", "labels/latin.txt", seed=1)
    (root / "labels" / "latin.txt").write_bytes(b"0 \xf1")
    add(root, None, "labels/broken.txt")
    (root / "images" / "broken.jpg").write_bytes(b"no photo")
    make_photo(root / "images" / "good.png", seed=2)
    read = read_dataset(root)
    assert [photo.image for photo in read.photos] == ["images/good.jpg"]
    assert {(finding.file, finding.kind) for finding in read.findings if finding.dropped} == {
        ("set/labels/lost.txt", "missing-photo"),
        ("set/labels/latin.txt", "broken-labels"),
        ("set/labels/broken.txt", "unreadable-photo"),
        ("set/images/good.png", "second-annotation"),
    }


def test_labels_without_photos_and_photos_without_labels(root):
    add(root, None, "labels/a.txt")
    with pytest.raises(DatasetError, match="no photo"):
        read_dataset(root)
    (root / "labels" / "a.txt").unlink()
    add(root, "images/a.jpg", None)
    with pytest.raises(DatasetError, match="no label file"):
        read_dataset(root, ReadOptions(format=Format.YOLO))


@pytest.fixture
def read(tmp_path):
    def read(text, *, strict=True):
        path = tmp_path / "a.txt"
        path.write_text(text)
        faults, names = Faults("a.txt", strict), ClassNames({0: "with_mask"})
        photo = read_labels(path, "a", (200, 100), names, ReadOptions(), faults)
        faults.note_counts()
        return photo, faults.findings

    return read


def test_box_and_outline(read):
    photo, (finding,) = read("0 0.5 0.3 0.5 0.1\n \t\n no_mask 0.1 0.2 0.3 0.9 0.2 0.4 \n")
    assert [(face.object, face.label) for face in photo.faces] == [
        (0, "with_mask"),
        (1, "without_mask"),
    ]
    assert photo.faces[0].box == pytest.approx(Box(50, 25, 150, 35))
    assert photo.faces[1].box == pytest.approx(Box(20, 20, 60, 90))
    assert photo.places == ("a.txt, line 1", "a.txt, line 3")
    assert finding.kind == "outlined-faces"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0", "0 numbers"),
        ("0 .1 .2 .3 .4 .9", "5 numbers behind the class id.*prediction"),
        ("0 .1 .2 .3 .4 .5 .6 .7", "7 numbers"),
        ("0 a .2 .3 .4", "'a' for a coordinate is not a number"),
        ("0 nan .2 .3 .4", "a coordinate is nan"),
        ("0 10 20 30 40", "10 is no relative coordinate"),
        ("0 .5 .5 -.2 .1", r"box \(120, .* is inverted"),
        ("7 .5 .5 .2 .1", "class id 7 is not in"),
        ("-1 .5 .5 .2 .1", "class id -1 is not in"),
    ],
)
def test_faults_are_raised_or_noted(read, line, message):
    text = f"0 .5 .5 .2 .1\n\n{line}\n0 .5 .5 .2 .1"
    with pytest.raises(InputError, match=f"^a.txt, line 3: {message}"):
        read(text)
    photo, (finding,) = read(text, strict=False)
    assert [face.object for face in photo.faces] == [0, 2]
    assert (finding.file, finding.kind, finding.dropped) == ("a.txt", "bad-line", True)
    assert finding.message.startswith("a.txt:3: ")
    assert finding.message.endswith(" The face is left out.")


def test_lines(tmp_path: Path) -> None:
    path = tmp_path / "voc.names"
    path.write_bytes(b"\xef\xbb\xbfaeroplane\r\ntv monitor \r\n\r\n")
    assert read_class_names(path) == {0: "aeroplane", 1: "tv monitor"}


@pytest.mark.parametrize(
    "text",
    [
        "names: [no, 'with mask']\nnc: 2",
        "path: ..\nnames:\n  0: no\n  1: with mask\n",
        "names:\n- no\n- with mask\n",
        "names: {1: with mask, 0: no}",
    ],
)
def test_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(text)
    # `no` is a text here, not a truth value.
    assert read_class_names(path) == {0: "no", 1: "with mask"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", " \n", "the file is empty"),
        ("a.txt", "one\n\ntwo", "line 2: no class name; a blank line would shift"),
        ("a.yaml", "", "no class names"),
        ("a.yaml", "names: []", "no class names"),
        ("a.yaml", "names: [one, [two]]", "the name of class 1 is no text"),
        ("a.yaml", "names: {one: 1}", "'one' under 'names' is no class id"),
        ("a.yaml", "names: {-1: one}", "'-1' under 'names' is no class id"),
        ("a.yaml", "names: [one", "not YAML that can be read"),
        ("a.yaml", "a: " + "[" * 600, "not YAML that can be read"),
        ("a.yaml", "names: [\x01]", "not YAML that can be read"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_class_names(path)
    assert str(path) in str(caught.value)


def test_nothing_in_yaml_is_run(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    trap = tmp_path / "trap"
    path.write_text(f"names: !!python/object/apply:os.mkdir ['{trap}']")
    assert read_class_names(path) == {0: str(trap)}
    assert not trap.exists()
