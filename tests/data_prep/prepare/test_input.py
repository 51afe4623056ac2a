"""Bad and unusual input through the whole build: named clearly, the rest done, pixels right."""

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.data_prep.checks import annotate, assert_done, assert_left_out
from tests.makers import FACE, add_example, hash_tree, make_photo, make_voc


def test_broken_xml(dataset, checked_build):
    path = add_example(dataset, "odd", 77)
    path.write_text(path.read_text()[:-30])
    assert_left_out(checked_build(), "faces/annotations/odd.xml", "not well-formed XML")


def test_empty_xml(dataset, checked_build):
    add_example(dataset, "odd", 77).write_text("")
    assert_left_out(checked_build(), "odd.xml", "empty")


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
    ("content", "reason"),
    [(b"shopping list: masks\n" * 9, "not a photo"), (b"", "the file is empty (0 bytes)")],
    ids=["text file", "zero bytes"],
)
def test_file_called_jpg_that_is_none(dataset, checked_build, content, reason):
    (dataset / "images" / "odd.jpg").write_bytes(content)
    annotate(dataset, "odd.jpg")
    assert_left_out(checked_build(), "images/odd.jpg", reason)


def test_truncated_jpeg(dataset, checked_build):
    add_example(dataset, "odd", 77)
    path = dataset / "images" / "odd.jpg"
    path.write_bytes(path.read_bytes()[:-3000])
    assert_left_out(checked_build(), "images/odd.jpg", "damaged or truncated")


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((500, 15, 560, 55), "lies outside the photo (120 × 90)"),
        ((60, 15, 20, 55), "is inverted or empty"),
        (("nan", 15, 20, 55), "<xmin> is nan"),
        (("left", 15, 20, 55), "'left' for <xmin> is not a number"),
    ],
)
def test_hopeless_box(dataset, checked_build, box, reason):
    path = add_example(dataset, "odd", 77, [("with_mask", box)])
    assert_left_out(checked_build(), f"annotations/{path.name}", "object 0", reason)


def test_good_face_beside_a_hopeless_one_stays(dataset, checked_build):
    add_example(dataset, "odd", 77, [("face", (60, 15, 20, 55)), *FACE])
    result, faces = checked_build()
    assert result.exit_code == 1
    assert faces.loc[faces["image"] == "images/odd.jpg", "object"].tolist() == [1]


def test_unknown_class(dataset, checked_build):
    add_example(dataset, "odd", 77, [("wiht_mask", (20, 15, 60, 55))])
    result, _ = checked_build()
    assert result.exit_code == 2
    assert result.stderr.startswith("error: faces/annotations/odd.xml:1: unknown class 'wiht_mask'")
    assert "did you mean 'with_mask'?" in result.stderr


def test_unknown_class_with_an_alias(dataset, checked_build):
    add_example(dataset, "odd", 77, [("zebra", (20, 15, 60, 55))])
    faces = assert_done(checked_build("--alias", "zebra=without_mask"))
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


def test_empty_folder(tmp_path, run):
    (tmp_path / "empty").mkdir()
    result = run("build", tmp_path / "empty", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {tmp_path / 'empty'}: no VOC annotation (*.xml), ")
    assert result.stderr.endswith(" in this folder or below it.\n")
    assert not (tmp_path / "out").exists()


def test_nothing_but_broken_photos(tmp_path, run):
    make_voc(tmp_path / "set" / "a.xml", "a.jpg")
    (tmp_path / "set" / "a.jpg").write_bytes(b"")
    result = run("build", tmp_path / "set", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "no usable face" in result.stderr
    assert "a.jpg: the file is empty" in result.stderr
    assert not (tmp_path / "out").exists()


def test_output_below_a_file(dataset, tmp_path, run):
    (tmp_path / "file").write_text("x")
    result = run("build", dataset, "-o", tmp_path / "file" / "out", "--workers", 1)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / 'file' / 'out'}: can't be written")


def test_output_inside_the_dataset(dataset, run):
    before = hash_tree(dataset)
    result = run("build", dataset, "-o", dataset / "prepared")
    assert result.exit_code == 2
    assert "choose another folder with -o" in result.stderr
    assert hash_tree(dataset) == before


def crop_of(tmp_path, faces, image):
    crop = faces.loc[faces["image"] == image, "crop"].item()
    return cv2.imread(str(tmp_path / "out" / crop))[:, :, ::-1].astype(int)


def test_one_pixel_photo_with_a_one_pixel_face(dataset, checked_build, tmp_path):
    make_photo(dataset / "images" / "odd.png", 1, 1)
    annotate(dataset, "odd.png", objects=[("face", (0, 0, 1, 1))], size=(1, 1))
    assert crop_of(tmp_path, assert_done(checked_build()), "images/odd.png").shape == (2, 2, 3)


def save_turned(path):
    """A photo stored lying on its side, to be turned clockwise; the face to find is white."""
    pixels = np.zeros((90, 120, 3), np.uint8)
    pixels[15:55, 20:60] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif, quality=95)


def test_exif_turned_photo_with_boxes_of_the_stored_photo(dataset, checked_build, tmp_path):
    save_turned(dataset / "images" / "odd.jpg")
    annotate(dataset, "odd.jpg", objects=[("face", (20, 15, 60, 55))], size=(120, 90))
    faces = assert_done(checked_build("--scale", 1))
    assert crop_of(tmp_path, faces, "images/odd.jpg").min() > 240


def test_exif_turned_photo_with_boxes_of_the_upright_photo(dataset, checked_build, tmp_path):
    save_turned(dataset / "images" / "odd.jpg")
    # A quarter turn clockwise takes x, y to 90 − y, x.
    annotate(dataset, "odd.jpg", objects=[("face", (35, 20, 75, 60))], size=(90, 120))
    outcome = checked_build("--scale", 1)
    faces = assert_done(outcome)
    assert crop_of(tmp_path, faces, "images/odd.jpg").min() > 240
    row = faces[faces["image"] == "images/odd.jpg"].iloc[0]
    assert (row["width"], row["height"]) == (90, 120)
    assert "1 turned-photo" in outcome[0].stdout


def test_unicode_and_spaces_in_names(dataset, checked_build):
    name = "fiesta de año nuevo, 口罩 & 'más' 😷"
    make_photo(dataset / "images" / f"{name}.jpg", seed=77)
    make_voc(dataset / "annotations" / f"{name}.xml", f"{name.replace('&', '&amp;')}.jpg")
    assert f"images/{name}.jpg" in set(assert_done(checked_build())["image"])
