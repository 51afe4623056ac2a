"""Unusual photos through the whole build: their crops have the right pixels."""

import cv2
import numpy as np
from PIL import Image

from tests.data_prep.checks import annotate, assert_done, assert_left_out
from tests.makers import make_photo, make_pixels, make_voc


def crop_of(tmp_path, faces, image):
    crop = faces.loc[faces["image"] == image, "crop"].item()
    return cv2.imread(str(tmp_path / "out" / crop))[:, :, ::-1].astype(int)


def test_one_pixel_photo_whose_box_lies_outside(dataset, checked_build):
    make_photo(dataset / "images" / "odd.png", 1, 1)
    annotate(dataset, "odd.png", size=(1, 1))
    assert_left_out(checked_build(), "odd.xml", "object 0", "outside the photo (1 × 1)")


def test_one_pixel_photo_with_a_one_pixel_face(dataset, checked_build, tmp_path):
    make_photo(dataset / "images" / "odd.png", 1, 1)
    annotate(dataset, "odd.png", objects=[("face", (0, 0, 1, 1))], size=(1, 1))
    assert crop_of(tmp_path, assert_done(checked_build()), "images/odd.png").shape == (2, 2, 3)


def test_cmyk_jpeg(dataset, checked_build, tmp_path):
    Image.new("CMYK", (120, 90), (0, 255, 255, 0)).save(dataset / "images" / "odd.jpg")
    annotate(dataset, "odd.jpg")
    crop = crop_of(tmp_path, assert_done(checked_build()), "images/odd.jpg")
    assert np.abs(crop - (255, 0, 0)).max() <= 4


def test_16_bit_png(dataset, checked_build, tmp_path):
    cv2.imwrite(str(dataset / "images" / "odd.png"), np.full((90, 120), 32768, np.uint16))
    annotate(dataset, "odd.png")
    crop = crop_of(tmp_path, assert_done(checked_build()), "images/odd.png")
    assert np.abs(crop - 128).max() <= 1


def test_palette_png(dataset, checked_build, tmp_path):
    image = Image.fromarray(make_pixels(seed=77)).quantize(32)
    image.save(dataset / "images" / "odd.png")
    annotate(dataset, "odd.png")
    crop = crop_of(tmp_path, assert_done(checked_build()), "images/odd.png")
    assert np.abs(crop - np.asarray(image.convert("RGB"), int)[5:65, 10:70]).mean() < 4


def test_png_with_alpha(dataset, checked_build, tmp_path):
    layer = np.zeros((90, 120, 4), np.uint8)
    Image.fromarray(layer).save(dataset / "images" / "odd.png")
    annotate(dataset, "odd.png")
    crop = crop_of(tmp_path, assert_done(checked_build()), "images/odd.png")
    assert crop.min() >= 254


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
