"""YOLO's folder layouts, class names and photos without faces."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from data_prep.base.errors import DatasetError, UserError
from data_prep.base.labels import UnknownLabelError
from data_prep.base.photo import read_photo
from data_prep.base.records import Box
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.registry import read_dataset
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
    assert "1 photos have no label file" in read.findings[0].message
    assert not any(finding.dropped for finding in read.findings)


def test_outlines_become_boxes(root):
    add(root, "images/a.jpg", "labels/a.txt", f"{LINE}0 .1 .2 .3 .9 .2 .4 .15 .1\n")
    read = read_dataset(root)
    assert read.photos[0].faces[1].box == pytest.approx(Box(12, 9, 36, 81))
    (finding,) = read.findings
    assert (finding.kind, finding.dropped) == ("outlined-faces", False)
    assert "set/labels/a.txt: 1 faces are outlined" in finding.message


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


def test_rounding_loses_no_face_of_a_pixel(root):
    make_photo(root / "images" / "a.jpg", 400, 225)
    values = (207.5 / 400, 39 / 225, 1 / 400, 2 / 225)
    add(root, None, "labels/a.txt", "0 " + " ".join(map(repr, values)))
    assert read_dataset(root).photos[0].faces[0].box == Box(207, 38, 208, 40)


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


def test_a_part_of_a_dataset(root):
    add(root, "train/images/a.jpg", "train/labels/a.txt")
    assert read_dataset(root / "train").photos[0].faces[0].label == "without_mask"


def test_ids_without_names(root):
    (root / "data.yaml").unlink()
    add(root, "images/a.jpg", "labels/a.txt")
    with pytest.raises(DatasetError, match=r"labels/a.txt:1: class id 1 without names.*--names"):
        read_dataset(root)
    (root / "labels" / "a.txt").write_text(LINE.replace("1 ", "no_mask ", 1))
    assert read_dataset(root).photos[0].faces[0].label == "without_mask"


def test_faulty_names_file(root):
    add(root, "images/a.jpg", "labels/a.txt")
    (root / "data.yaml").write_text("names: [one")
    with pytest.raises(UserError, match=r"data.yaml: not YAML that can be read"):
        read_dataset(root)


def test_unknown_class(root):
    (root / "data.yaml").write_text("names: [things, masc]")
    add(root, "images/a.jpg", "labels/a.txt", "\n" + LINE)
    with pytest.raises(UnknownLabelError, match=r"set/labels/a.txt:2: id 1 in .*data.yaml.*'masc'"):
        read_dataset(root)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7 .5 .5 .1 .1", "class id 7 is not in"),
        ("-1 .5 .5 .1 .1", "class id -1 is not in"),
        ("0 .5 .5 -.1 .1", "is inverted"),
        ("0 .5 .5 inf .1", "is inf"),
        ("0 .5 .5 .1", "3 numbers"),
        ("0 50 50 10 10", "no relative coordinate"),
        ("\x00\x01", "0 numbers"),
    ],
)
def test_faulty_line_is_left_out_alone(root, line, message):
    add(root, "images/a.jpg", "labels/a.txt", f"{line}\n{LINE}")
    read = read_dataset(root)
    (finding,) = read.findings
    assert finding.dropped
    assert finding.message.startswith("set/labels/a.txt:1: ")
    assert message in finding.message
    assert [face.object for face in read.photos[0].faces] == [1]


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
    assert {(finding.file, finding.kind) for finding in read.findings} == {
        ("set/labels/lost.txt", "missing-photo"),
        ("set/labels/latin.txt", "broken-labels"),
        ("set/images/broken.jpg", "unreadable-photo"),
        ("set/images/good.png", "second-annotation"),
    }
    assert all(finding.dropped for finding in read.findings)


def test_labels_without_photos_and_photos_without_labels(root):
    add(root, None, "labels/a.txt")
    with pytest.raises(DatasetError, match="no photo"):
        read_dataset(root)
    (root / "labels" / "a.txt").unlink()
    add(root, "images/a.jpg", None)
    with pytest.raises(DatasetError, match="no label file"):
        read_dataset(root, ReadOptions(format=Format.YOLO))
