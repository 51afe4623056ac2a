"""Bad and unusual input through the whole build: named clearly, the rest done, pixels right."""

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.base.tables import read_faces
from tests.makers import FACE, add_example, hash_tree, make_photo, make_voc

GOOD = 20
"""Faces of the dataset fixture, which are in the result whatever else is in the folder."""


@pytest.fixture
def checked_build(dataset, tmp_path, run):
    """Build the dataset; checks what holds in every case."""

    def call(*options):
        before = hash_tree(dataset)
        result = run("build", dataset, "-o", tmp_path / "out", "--workers", 1, *options)
        assert hash_tree(dataset) == before
        if result.exit_code == 2:
            assert not (tmp_path / "out").exists()
            return result, None
        faces = read_faces(tmp_path / "out")
        assert (faces["image"].str.match(r"images/photo\d\.jpg")).sum() == GOOD
        assert all((tmp_path / "out" / crop).is_file() for crop in faces["crop"])
        page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
        for line in result.stderr.splitlines():
            if line.startswith("left out: "):
                name = line.removeprefix("left out: ").split(":")[0]
                assert name.replace("&", "&amp;").replace("'", "&#39;") in page
        return result, faces

    return call


def assert_left_out(outcome, *words):
    result, faces = outcome
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("left out: ")]
    for word in words:
        assert word in line
    assert len(faces) == GOOD


def assert_done(outcome, extra=1):
    result, faces = outcome
    assert result.exit_code == 0
    assert "left out" not in result.stderr
    assert len(faces) == GOOD + extra
    return faces


def annotate(dataset, photo, **options):
    return make_voc(dataset / "annotations" / "odd.xml", photo, **options)


@pytest.mark.parametrize(("keep", "reason"), [(-30, "not well-formed XML"), (0, "empty")])
def test_broken_xml(dataset, checked_build, keep, reason):
    path = add_example(dataset, "odd", 77)
    path.write_text(path.read_text()[:keep])
    assert_left_out(checked_build(), "faces/annotations/odd.xml", reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"shopping list: masks\n" * 9, "not a photo"),
        (b"", "the file is empty (0 bytes)"),
        (None, "damaged or truncated"),
    ],
    ids=["text file", "zero bytes", "truncated"],
)
def test_broken_photo(dataset, checked_build, content, reason):
    add_example(dataset, "odd", 77)
    path = dataset / "images" / "odd.jpg"
    path.write_bytes(path.read_bytes()[:-3000] if content is None else content)
    assert_left_out(checked_build(), "images/odd.jpg", reason)


def test_xml_without_photo(dataset, checked_build):
    annotate(dataset, "lost photo.jpg")
    assert_left_out(checked_build(), "odd.xml", "'lost photo.jpg' is not in the folder")


def test_photo_without_xml_is_a_note(dataset, checked_build, tmp_path):
    make_photo(dataset / "images" / "lonely.jpg", seed=77)
    outcome = checked_build()
    assert_done(outcome, extra=0)
    assert "1 photo-without-annotation" in outcome[0].stdout
    assert "faces/images/lonely.jpg" in (tmp_path / "out" / "audit.html").read_text()


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((500, 15, 560, 55), "lies outside the photo (120 × 90)"),
        ((60, 15, 20, 55), "is inverted or empty"),
        (("nan", 15, 20, 55), "<xmin> is nan"),
        (("left", 15, 20, 55), "'left' for <xmin> is not a number"),
    ],
)
def test_only_the_face_with_a_hopeless_box_is_left_out(dataset, checked_build, box, reason):
    add_example(dataset, "odd", 77, [("with_mask", box), *FACE])
    result, faces = checked_build()
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("left out: ")]
    assert line.startswith("left out: faces/annotations/odd.xml:")
    assert "object 0" in line
    assert reason in line
    assert faces.loc[faces["image"] == "images/odd.jpg", "object"].tolist() == [1]


def test_unknown_class(dataset, checked_build):
    add_example(dataset, "odd", 77, [("wiht_mask", (20, 15, 60, 55))])
    result, _ = checked_build()
    assert result.exit_code == 2
    assert result.stderr.startswith("error: faces/annotations/odd.xml:1: unknown class 'wiht_mask'")
    assert "did you mean 'with_mask'?" in result.stderr
    faces = assert_done(checked_build("--alias", "wiht_mask=without_mask"))
    assert faces.loc[faces["image"] == "images/odd.jpg", "label"].item() == "without_mask"


def test_entities_are_not_expanded(dataset, checked_build, tmp_path):
    (tmp_path / "secret.txt").write_text("with_mask")
    make_photo(dataset / "images" / "odd.jpg", seed=77)
    path = annotate(dataset, "odd.jpg", objects=[("&x;", (20, 15, 60, 55))])
    uri = (tmp_path / "secret.txt").as_uri()
    path.write_text(f'<!DOCTYPE annotation [<!ENTITY x SYSTEM "{uri}">]>' + path.read_text())
    assert_left_out(checked_build(), "odd.xml", "entities, which are never expanded")


def test_billion_laughs(dataset, checked_build):
    make_photo(dataset / "images" / "odd.jpg", seed=77)
    path = annotate(dataset, "odd.jpg", objects=[("&l9;", (20, 15, 60, 55))])
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    path.write_text(f'<!DOCTYPE annotation [<!ENTITY l0 "ha">{levels}]>' + path.read_text())
    assert_left_out(checked_build(), "odd.xml")


def test_markup_in_names_is_shown_not_run(dataset, checked_build, tmp_path):
    make_photo(dataset / "images" / "<script>alert(1)<_script>.jpg", seed=77)
    checked_build()
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_nothing_to_build_from(dataset, tmp_path, run):
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


def crop_of(tmp_path, faces, image):
    crop = faces.loc[faces["image"] == image, "crop"].item()
    return cv2.imread(str(tmp_path / "out" / crop))[:, :, ::-1].astype(int)


def test_one_pixel_photo_with_a_one_pixel_face(dataset, checked_build, tmp_path):
    make_photo(dataset / "images" / "odd.png", 1, 1)
    annotate(dataset, "odd.png", objects=[("face", (0, 0, 1, 1))], size=(1, 1))
    assert crop_of(tmp_path, assert_done(checked_build()), "images/odd.png").shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("box", "size", "findings"),
    [
        ((20, 15, 60, 55), (120, 90), "none"),
        # A quarter turn clockwise takes x, y to 90 − y, x.
        ((35, 20, 75, 60), (90, 120), "1 turned-photo"),
    ],
    ids=["stored", "upright"],
)
def test_boxes_of_a_photo_turned_by_exif(dataset, checked_build, tmp_path, box, size, findings):
    """A photo stored lying on its side, to be turned clockwise; the face to find is white."""
    pixels = np.zeros((90, 120, 3), np.uint8)
    pixels[15:55, 20:60] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(dataset / "images" / "odd.jpg", exif=exif, quality=95)
    annotate(dataset, "odd.jpg", objects=[("face", box)], size=size)
    outcome = checked_build("--scale", 1)
    faces = assert_done(outcome)
    assert crop_of(tmp_path, faces, "images/odd.jpg").min() > 240
    row = faces[faces["image"] == "images/odd.jpg"].iloc[0]
    assert (row["width"], row["height"]) == size
    assert f"findings   {findings}" in outcome[0].stdout


def test_unicode_and_spaces_in_names(dataset, checked_build):
    name = "fiesta de año nuevo, 口罩 & 'más' 😷"
    make_photo(dataset / "images" / f"{name}.jpg", seed=77)
    make_voc(dataset / "annotations" / f"{name}.xml", f"{name.replace('&', '&amp;')}.jpg")
    assert f"images/{name}.jpg" in set(assert_done(checked_build())["image"])
