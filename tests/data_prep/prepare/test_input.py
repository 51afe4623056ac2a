"""Bad and unusual input through the whole build: named clearly, the rest done, pixels right."""

import cv2
import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from data_prep.base.tables import read_faces
from tests.makers import FACE, add_example, hash_tree, make_dataset, make_photo, make_voc

NAME = "fiesta de año nuevo, 口罩 & 'más' 😷"
MARKUP = "<script>alert(1)<_script>"

LEFT_OUT = {
    "annotations/cut.xml": "not well-formed XML",
    "annotations/nothing.xml": "empty",
    "images/text.jpg": "not a photo",
    "images/zero.jpg": "the file is empty (0 bytes)",
    "images/short.jpg": "damaged or truncated",
    "annotations/lost.xml": "'lost photo.jpg' is not in the folder",
    "annotations/outside.xml": "object 0: box (500, 15, 560, 55) lies outside the photo (120 × 90)",
    "annotations/inverted.xml": "object 0: box (60, 15, 20, 55) is inverted or empty",
    "annotations/nan.xml": "object 0: <xmin> is nan",
    "annotations/left.xml": "object 0: 'left' for <xmin> is not a number",
    "annotations/entity.xml": "entities, which are never expanded",
}
BOXES = {"outside": (500, 15, 560, 55), "inverted": (60, 15, 20, 55)}
BOXES |= {value: (value, 15, 20, 55) for value in ("nan", "left")}
TURNED = {"stored": ((20, 15, 60, 55), (120, 90)), "upright": ((35, 20, 75, 60), (90, 120))}
"""A face of a photo to be turned clockwise, as its file states it: x, y goes to 90 − y, x."""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A dataset with one of each, and what a build of it left out and made."""
    folder = tmp_path_factory.mktemp("odd")
    root = make_dataset(folder / "faces")
    images, annotations = root / "images", root / "annotations"
    for seed, stem in enumerate(("cut", "nothing", "text", "zero", "short", NAME), start=50):
        add_example(root, stem.replace("&", "&amp;"), seed)
    (images / f"{NAME.replace('&', '&amp;')}.jpg").rename(images / f"{NAME}.jpg")
    for stem, keep in (("cut", -30), ("nothing", 0)):
        path = annotations / f"{stem}.xml"
        path.write_text(path.read_text()[:keep])
    (images / "text.jpg").write_bytes(b"shopping list: masks\n" * 9)
    (images / "zero.jpg").write_bytes(b"")
    (images / "short.jpg").write_bytes((images / "short.jpg").read_bytes()[:-3000])
    make_voc(annotations / "lost.xml", "lost photo.jpg")
    for seed, (stem, box) in enumerate(BOXES.items(), start=60):
        add_example(root, stem, seed, [("with_mask", box), *FACE])
    path = add_example(root, "entity", 70, [("&x;", (20, 15, 60, 55))])
    (folder / "secret.txt").write_text("with_mask")
    uri = (folder / "secret.txt").as_uri()
    path.write_text(f'<!DOCTYPE annotation [<!ENTITY x SYSTEM "{uri}">]>' + path.read_text())
    make_photo(images / "lonely.jpg", seed=71)
    make_photo(images / f"{MARKUP}.jpg", seed=72)
    make_photo(images / "pixel.png", 1, 1)
    make_voc(annotations / "pixel.xml", "pixel.png", [("face", (0, 0, 1, 1))], (1, 1))
    for number, (stem, (box, size)) in enumerate(TURNED.items()):
        pixels = np.zeros((90, 120, 3), np.uint8)
        pixels[15:55, 20:60] = 255
        pixels[:5, 20 * number :] = 99
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(pixels).save(images / f"{stem}.jpg", exif=exif, quality=95)
        make_voc(annotations / f"{stem}.xml", f"{stem}.jpg", [("face", box)], size)
    return root, folder / "out"


@pytest.fixture
def result(built, run):
    root, out = built
    before = hash_tree(root)
    result = run("build", root, "-o", out, "--workers", 1, "--scale", 1)
    assert hash_tree(root) == before
    return result


def test_the_bad_is_told_and_the_rest_is_done(built, result):
    assert result.exit_code == 1
    told = [line for line in result.stderr.splitlines() if line.startswith("left out: ")]
    page = (built[1] / "audit.html").read_text(encoding="utf-8")
    assert len(told) == len(LEFT_OUT)
    for name, reason in LEFT_OUT.items():
        (line,) = [line for line in told if name in line]
        assert reason in line
        assert escape(line.removeprefix("left out: ")) in page
    faces = read_faces(built[1]).set_index("image")
    assert faces.index.str.fullmatch(r"images/photo\d\.jpg").sum() == 20
    assert faces.loc[[f"images/{stem}.jpg" for stem in BOXES], "object"].tolist() == [1] * 4
    others = {f"images/{stem}.jpg" for stem in (NAME, *TURNED)} | {"images/pixel.png"}
    assert others < set(faces.index)
    assert len(faces) == 20 + len(BOXES) + len(others)
    assert all((built[1] / crop).is_file() for crop in faces["crop"])
    assert "5 photo-without-annotation" in result.stdout  # Three of them have a broken one.
    assert "1 turned-photo" in result.stdout
    assert "faces/images/lonely.jpg" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.usefixtures("result")
def test_crops_are_cut_from_the_right_pixels(built):
    faces = read_faces(built[1]).set_index("image")
    crops = {image: cv2.imread(str(built[1] / crop)) for image, crop in faces["crop"].items()}
    assert crops["images/pixel.png"].shape == (1, 1, 3)
    for stem, (_, size) in TURNED.items():
        row = faces.loc[f"images/{stem}.jpg"]
        assert crops[f"images/{stem}.jpg"].min() > 240
        assert (row["width"], row["height"]) == size


def test_unknown_class(dataset, tmp_path, run):
    add_example(dataset, "odd", 77, [("wiht_mask", (20, 15, 60, 55))])
    result = run("build", dataset, "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith(
        "error: faces/annotations/odd.xml:1: object 0: unknown class 'wiht_mask'"
    )
    assert "did you mean 'with_mask'?" in result.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_to_build_from(tmp_path, run):
    root, out = tmp_path / "set", tmp_path / "out"
    root.mkdir()
    result = run("build", root, "-o", out)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {root}: no VOC annotation (*.xml), ")
    assert result.stderr.endswith(" in this folder or below it.\n")
    make_voc(root / "a.xml", "a.jpg")
    (root / "a.jpg").write_bytes(b"")
    result = run("build", root, "-o", out)
    assert result.exit_code == 2
    assert "no usable face" in result.stderr
    assert "a.jpg: the file is empty" in result.stderr
    assert not out.exists()


def test_outputs_that_can_not_be_written(dataset, tmp_path, run):
    (tmp_path / "file").write_text("x")
    before = hash_tree(dataset)
    for out, reason in (
        (tmp_path / "file" / "out", f"error: {tmp_path / 'file' / 'out'}: can't be written"),
        (dataset / "prepared", "choose another folder with -o"),
    ):
        result = run("build", dataset, "-o", out, "--workers", 1)
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert reason in line
    assert hash_tree(dataset) == before
