"""Decoding: the pixels are right whatever the file's format, and a bad file is a clear error."""

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.base.photo import PHOTO_SUFFIXES, PhotoError, photo_size, read_photo, upright_size
from tests.makers import make_photo, make_pixels

ORIENTATION = 0x0112


def save_turned(path, orientation, pixels):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


def test_png_pixels_are_exact(tmp_path):
    pixels = make_photo(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert np.array_equal(photo.pixels, pixels)
    assert (photo.width, photo.height, photo.orientation, photo.upright) == (120, 90, 1, False)
    assert photo.pixels.flags.writeable


def test_channels_are_red_green_blue(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 5, 3), (10, 20, 200), np.uint8))  # BGR
    assert read_photo(tmp_path / "a.png").pixels[0, 0].tolist() == [200, 20, 10]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif", ".gif"])
def test_common_formats_are_read(tmp_path, suffix):
    assert suffix in PHOTO_SUFFIXES
    pixels = np.full((30, 40, 3), (200, 100, 50), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}")
    difference = read_photo(tmp_path / f"a{suffix}").pixels.astype(int) - pixels
    assert np.abs(difference).max() <= 6


def test_grey_has_three_equal_channels(tmp_path):
    grey = make_pixels()[:, :, 0]
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.array_equal(read_photo(tmp_path / "a.png").pixels, np.dstack([grey] * 3))


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), values)
    assert read_photo(tmp_path / "a.png").pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_16_bit_colour_is_scaled(tmp_path):
    values = np.array([[(0, 32768, 65535)]], np.uint16)  # BGR
    cv2.imwrite(str(tmp_path / "a.png"), values)
    assert read_photo(tmp_path / "a.png").pixels[0, 0].tolist() == [255, 128, 0]


@pytest.mark.parametrize(
    ("ink", "colour"),
    [
        ((0, 0, 0, 0), (255, 255, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0, 255, 255, 0), (255, 0, 0)),
        ((255, 0, 255, 0), (0, 255, 0)),
    ],
)
def test_cmyk_jpeg_has_the_right_colours(tmp_path, ink, colour):
    Image.new("CMYK", (16, 16), ink).save(tmp_path / "a.jpg", quality=95)
    difference = read_photo(tmp_path / "a.jpg").pixels.astype(int) - colour
    assert np.abs(difference).max() <= 3


def test_palette_png_is_exact(tmp_path):
    image = Image.fromarray(make_pixels()).quantize(16)
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_photo(tmp_path / "a.png").pixels, np.asarray(image.convert("RGB")))


def test_palette_png_with_transparency_lies_on_white(tmp_path):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 1), 1)
    image.save(tmp_path / "a.png", transparency=0)
    pixels = read_photo(tmp_path / "a.png").pixels
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [0, 0, 255]


def test_alpha_is_laid_on_white(tmp_path):
    layer = np.zeros((1, 3, 4), np.uint8)
    layer[0, :, 3] = [0, 128, 255]  # black, seen through more or less
    Image.fromarray(layer).save(tmp_path / "a.png")
    assert read_photo(tmp_path / "a.png").pixels[0, :, 0].tolist() == [255, 127, 0]


def test_unicode_and_spaces_in_the_name(tmp_path):
    pixels = make_photo(tmp_path / "fiesta de año nuevo 口罩 😷.png")
    assert np.array_equal(read_photo(tmp_path / "fiesta de año nuevo 口罩 😷.png").pixels, pixels)


def test_ending_does_not_matter(tmp_path):
    pixels = make_photo(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(read_photo(tmp_path / "a.jpg").pixels, pixels)


TURNS = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_upright_turns_as_exif_says(tmp_path, orientation):
    pixels = make_pixels(12, 8)
    save_turned(tmp_path / "a.png", orientation, pixels)
    stored = read_photo(tmp_path / "a.png")
    assert np.array_equal(stored.pixels, pixels)
    assert (stored.orientation, stored.upright) == (orientation, False)
    turned = read_photo(tmp_path / "a.png", upright=True)
    assert np.array_equal(turned.pixels, TURNS[orientation](pixels))


@pytest.mark.parametrize(
    ("fit_size", "is_turned"), [((12, 8), False), ((8, 12), True), ((50, 50), False), (None, False)]
)
def test_photo_is_turned_only_where_its_stored_size_does_not_fit(tmp_path, fit_size, is_turned):
    pixels = make_pixels(12, 8)
    save_turned(tmp_path / "a.png", 6, pixels)
    photo = read_photo(tmp_path / "a.png", fit_size=fit_size)
    assert photo.upright is is_turned
    assert np.array_equal(photo.pixels, TURNS[6](pixels) if is_turned else pixels)


def test_photo_without_exif_is_never_turned(tmp_path):
    make_photo(tmp_path / "a.png", 12, 8)
    assert not read_photo(tmp_path / "a.png", fit_size=(8, 12)).upright


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"these are not pixels\n" * 20, "not a photo"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "damaged|not a photo"),
    ],
)
def test_file_that_is_no_photo(tmp_path, content, reason):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(PhotoError, match=rf"a\.jpg.*({reason})"):
        read_photo(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_truncated_photo_is_refused_not_filled_up(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    make_photo(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(PhotoError, match="damaged or truncated"):
        read_photo(path)


def test_missing_file(tmp_path):
    with pytest.raises(PhotoError, match="No such file"):
        read_photo(tmp_path / "a.jpg")


def test_folder_instead_of_a_file(tmp_path):
    with pytest.raises(PhotoError, match="directory"):
        read_photo(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_is_always_a_photo_error(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.jpg"
    save_turned(path, 6, make_pixels(24, 16))
    good = np.frombuffer(path.read_bytes(), np.uint8)
    refused = 0
    for _ in range(300):
        bad = good.copy()
        places = rng.integers(0, len(bad), 4)
        bad[places] = rng.integers(0, 256, len(places))
        path.write_bytes(bad.tobytes())
        try:
            assert photo_size(path) != (0, 0)
            assert read_photo(path, upright=True).pixels.shape[2] == 3
        except PhotoError:
            refused += 1
    assert 0 < refused < 300


def test_size_from_the_header(tmp_path):
    make_photo(tmp_path / "a.jpg", 50, 30)
    assert photo_size(tmp_path / "a.jpg") == (50, 30)
    (tmp_path / "b.jpg").write_bytes(b"no")
    with pytest.raises(PhotoError, match=r"b\.jpg"):
        photo_size(tmp_path / "b.jpg")


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 20)), (3, (40, 20)), (6, (20, 40))])
def test_size_as_looked_at(tmp_path, orientation, size):
    save_turned(tmp_path / "a.jpg", orientation, make_pixels(40, 20))
    assert upright_size(tmp_path / "a.jpg") == size
