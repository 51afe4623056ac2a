"""Bad input through the whole build: named clearly, the rest done, nothing of the user's changed."""

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.faces import read_faces
from tests.makers import FACE, add_example, hash_tree, make_photo, make_pixels, make_voc

GOOD = 20
"""Faces of the dataset fixture, which are in the result whatever else is in the folder."""


@pytest.fixture
def build(dataset, tmp_path, run):
    """Build the dataset; checks what holds in every case."""

    def call(*options):
        before = hash_tree(dataset)
        result = run("build", dataset, "-o", tmp_path / "out", "--workers", 1, *options)
        assert hash_tree(dataset) == before
        if result.exit_code == 2:
            assert not (tmp_path / "out").exists()
            assert len(result.stderr.strip().splitlines()[-1:]) == 1
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


def crop_of(tmp_path, faces, image):
    crop = faces.loc[faces["image"] == image, "crop"].item()
    return cv2.imread(str(tmp_path / "out" / crop))[:, :, ::-1].astype(int)


def test_broken_xml(dataset, build):
    path = add_example(dataset, "odd", 77)
    path.write_text(path.read_text()[:-30])
    assert_left_out(build(), "faces/annotations/odd.xml", "not well-formed XML")


def test_empty_xml(dataset, build):
    add_example(dataset, "odd", 77).write_text("")
    assert_left_out(build(), "odd.xml", "empty")


def test_xml_without_photo(dataset, build):
    annotate(dataset, "lost photo.jpg")
    assert_left_out(build(), "odd.xml", "'lost photo.jpg' is not in the folder")


def test_photo_without_xml_is_a_note(dataset, build, tmp_path):
    make_photo(dataset / "images" / "lonely.jpg", seed=77)
    outcome = build()
    assert_done(outcome, extra=0)
    assert "1 photo-without-annotation" in outcome[0].stdout
    assert "faces/images/lonely.jpg" in (tmp_path / "out" / "audit.html").read_text()


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"shopping list: masks\n" * 9, "not a photo"), (b"", "the file is empty (0 bytes)")],
    ids=["text file", "zero bytes"],
)
def test_file_called_jpg_that_is_none(dataset, build, content, reason):
    (dataset / "images" / "odd.jpg").write_bytes(content)
    annotate(dataset, "odd.jpg")
    assert_left_out(build(), "images/odd.jpg", reason)


def test_truncated_jpeg(dataset, build):
    add_example(dataset, "odd", 77)
    path = dataset / "images" / "odd.jpg"
    path.write_bytes(path.read_bytes()[:-3000])
    assert_left_out(build(), "images/odd.jpg", "damaged or truncated")


def test_one_pixel_photo_whose_box_lies_outside(dataset, build):
    make_photo(dataset / "images" / "odd.png", 1, 1)
    annotate(dataset, "odd.png", size=(1, 1))
    assert_left_out(build(), "odd.xml", "object 0", "outside the photo (1 × 1)")


def test_one_pixel_photo_with_a_one_pixel_face(dataset, build, tmp_path):
    make_photo(dataset / "images" / "odd.png", 1, 1)
    annotate(dataset, "odd.png", objects=[("face", (0, 0, 1, 1))], size=(1, 1))
    assert crop_of(tmp_path, assert_done(build()), "images/odd.png").shape == (2, 2, 3)


def test_cmyk_jpeg(dataset, build, tmp_path):
    Image.new("CMYK", (120, 90), (0, 255, 255, 0)).save(dataset / "images" / "odd.jpg")
    annotate(dataset, "odd.jpg")
    crop = crop_of(tmp_path, assert_done(build()), "images/odd.jpg")
    assert np.abs(crop - (255, 0, 0)).max() <= 4


def test_16_bit_png(dataset, build, tmp_path):
    cv2.imwrite(str(dataset / "images" / "odd.png"), np.full((90, 120), 32768, np.uint16))
    annotate(dataset, "odd.png")
    crop = crop_of(tmp_path, assert_done(build()), "images/odd.png")
    assert np.abs(crop - 128).max() <= 1


def test_palette_png(dataset, build, tmp_path):
    image = Image.fromarray(make_pixels(seed=77)).quantize(32)
    image.save(dataset / "images" / "odd.png")
    annotate(dataset, "odd.png")
    crop = crop_of(tmp_path, assert_done(build()), "images/odd.png")
    assert np.abs(crop - np.asarray(image.convert("RGB"), int)[5:65, 10:70]).mean() < 4


def test_png_with_alpha(dataset, build, tmp_path):
    layer = np.zeros((90, 120, 4), np.uint8)
    Image.fromarray(layer).save(dataset / "images" / "odd.png")
    annotate(dataset, "odd.png")
    crop = crop_of(tmp_path, assert_done(build()), "images/odd.png")
    assert crop.min() >= 254


def save_turned(path):
    """A photo stored lying on its side, to be turned clockwise; the face to find is white."""
    pixels = np.zeros((90, 120, 3), np.uint8)
    pixels[15:55, 20:60] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif, quality=95)


def test_exif_turned_photo_with_boxes_of_the_stored_photo(dataset, build, tmp_path):
    save_turned(dataset / "images" / "odd.jpg")
    annotate(dataset, "odd.jpg", objects=[("face", (20, 15, 60, 55))], size=(120, 90))
    faces = assert_done(build("--scale", 1))
    assert crop_of(tmp_path, faces, "images/odd.jpg").min() > 240


def test_exif_turned_photo_with_boxes_of_the_upright_photo(dataset, build, tmp_path):
    save_turned(dataset / "images" / "odd.jpg")
    # A quarter turn clockwise takes x, y to 90 − y, x.
    annotate(dataset, "odd.jpg", objects=[("face", (35, 20, 75, 60))], size=(90, 120))
    outcome = build("--scale", 1)
    faces = assert_done(outcome)
    assert crop_of(tmp_path, faces, "images/odd.jpg").min() > 240
    row = faces[faces["image"] == "images/odd.jpg"].iloc[0]
    assert (row["width"], row["height"]) == (90, 120)
    assert "1 turned-photo" in outcome[0].stdout


def test_unicode_and_spaces_in_names(dataset, build):
    name = "fiesta de año nuevo, 口罩 & 'más' 😷"
    make_photo(dataset / "images" / f"{name}.jpg", seed=77)
    make_voc(dataset / "annotations" / f"{name}.xml", f"{name.replace('&', '&amp;')}.jpg")
    assert f"images/{name}.jpg" in set(assert_done(build())["image"])


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((500, 15, 560, 55), "lies outside the photo (120 × 90)"),
        ((60, 15, 20, 55), "is inverted or empty"),
        (("nan", 15, 20, 55), "is not finite"),
        (("left", 15, 20, 55), "'left' for <xmin>, which is not a number"),
    ],
)
def test_hopeless_box(dataset, build, box, reason):
    path = add_example(dataset, "odd", 77, [("with_mask", box)])
    assert_left_out(build(), f"annotations/{path.name}", "object 0", reason)


def test_good_face_beside_a_hopeless_one_stays(dataset, build):
    add_example(dataset, "odd", 77, [("face", (60, 15, 20, 55)), *FACE])
    result, faces = build()
    assert result.exit_code == 1
    assert faces.loc[faces["image"] == "images/odd.jpg", "object"].tolist() == [1]


def test_unknown_class(dataset, build):
    add_example(dataset, "odd", 77, [("wiht_mask", (20, 15, 60, 55))])
    result, _ = build()
    assert result.exit_code == 2
    assert result.stderr.startswith("error: faces/annotations/odd.xml:1: unknown class 'wiht_mask'")
    assert "did you mean 'with_mask'?" in result.stderr


def test_unknown_class_with_an_alias(dataset, build):
    add_example(dataset, "odd", 77, [("zebra", (20, 15, 60, 55))])
    faces = assert_done(build("--alias", "zebra=without_mask"))
    assert faces.loc[faces["image"] == "images/odd.jpg", "label"].item() == "without_mask"


def test_entities_are_not_expanded(dataset, build, tmp_path):
    (tmp_path / "secret.txt").write_text("with_mask")
    make_photo(dataset / "images" / "odd.jpg", seed=77)
    path = annotate(dataset, "odd.jpg", objects=[("&x;", (20, 15, 60, 55))])
    uri = (tmp_path / "secret.txt").as_uri()
    path.write_text(f'<!DOCTYPE annotation [<!ENTITY x SYSTEM "{uri}">]>' + path.read_text())
    assert_left_out(build(), "odd.xml", "entities, which are never expanded")


def test_billion_laughs(dataset, build):
    make_photo(dataset / "images" / "odd.jpg", seed=77)
    path = annotate(dataset, "odd.jpg", objects=[("&l9;", (20, 15, 60, 55))])
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    path.write_text(f'<!DOCTYPE annotation [<!ENTITY l0 "ha">{levels}]>' + path.read_text())
    assert_left_out(build(), "odd.xml")


def test_markup_in_names_is_shown_not_run(dataset, build, tmp_path):
    make_photo(dataset / "images" / "<script>alert(1)<_script>.jpg", seed=77)
    build()
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_empty_folder(tmp_path, run):
    (tmp_path / "empty").mkdir()
    result = run("build", tmp_path / "empty", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {tmp_path / 'empty'}: no VOC annotation (*.xml) in this folder or below it.\n"
    )
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


def test_too_few_photos_to_split(tmp_path, run):
    add_example(tmp_path / "set", "a", 0)
    result = run("build", tmp_path / "set", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "1 groups of photos can't be split into 5 folds" in result.stderr
