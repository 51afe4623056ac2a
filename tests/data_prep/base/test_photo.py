"""Photos decoded, boxes clipped and turned, crops cut out."""

import math
import os

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from data_prep.base import photo
from data_prep.base.boxes import (
    ORIENTATIONS,
    DegenerateBoxError,
    clip_box,
    turn_box,
    turn_box_back,
    turn_size,
)
from data_prep.base.crop import crop_face, crop_side, resize_crop
from data_prep.base.photo import PHOTO_SUFFIXES, PhotoError, photo_size, read_photo, upright_size
from data_prep.base.records import Box
from tests.makers import make_photo, make_pixels

ORIENTATION = 0x0112


def save_turned(path, orientation, pixels):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


def test_png_pixels_are_exact_whatever_the_name(tmp_path):
    pixels = make_photo(tmp_path / "a.png")
    path = (tmp_path / "a.png").rename(tmp_path / "fiesta de año nuevo 口罩 😷.jpg")
    photo = read_photo(path)
    assert np.array_equal(photo.pixels, pixels)
    assert (photo.size, photo.orientation, photo.upright) == ((120, 90), 1, False)
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


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0, 257, 32768, 65535]], [[value] * 3 for value in (0, 1, 128, 255)]),
        ([[(0, 32768, 65535)]], [[255, 128, 0]]),  # BGR
    ],
    ids=["grey", "colour"],
)
def test_16_bits_are_scaled_not_clipped(tmp_path, values, expected):
    cv2.imwrite(str(tmp_path / "a.png"), np.array(values, np.uint16))
    assert read_photo(tmp_path / "a.png").pixels[0].tolist() == expected


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


def test_palette_png_is_exact_and_lies_on_white(tmp_path):
    image = Image.fromarray(make_pixels()).quantize(16)
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_photo(tmp_path / "a.png").pixels, np.asarray(image.convert("RGB")))
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


@pytest.mark.parametrize("ending", ["png", "tif"])  # TIFF files Pillow turns itself.
@pytest.mark.parametrize("orientation", TURNS)
def test_upright_turns_as_exif_says(tmp_path, orientation, ending):
    pixels, path = make_pixels(12, 8), tmp_path / f"a.{ending}"
    save_turned(path, orientation, pixels)
    stored = read_photo(path)
    assert np.array_equal(stored.pixels, pixels)
    assert (stored.orientation, stored.upright) == (orientation, False)
    upright = TURNS[orientation](pixels)
    turned = read_photo(path, upright=True)
    assert np.array_equal(turned.pixels, upright)
    assert (turned.orientation, turned.upright) == (orientation, True)
    assert (photo_size(path), upright_size(path)) == ((12, 8), upright.shape[1::-1])
    with Image.open(path) as image:
        assert np.array_equal(read_photo(image, upright=True).pixels, upright)


def test_tiff_with_its_orientation_in_xmp_alone(tmp_path):
    pixels, path = make_pixels(12, 8), tmp_path / "a.tif"
    Image.fromarray(pixels).save(path, tiffinfo={700: b'<x tiff:Orientation="6"/>'})
    stored, turned = (read_photo(path, upright=upright) for upright in (False, True))
    assert np.array_equal(stored.pixels, pixels)
    assert np.array_equal(turned.pixels, TURNS[6](pixels))
    assert (photo_size(path), upright_size(path)) == ((12, 8), (8, 12))


@pytest.mark.parametrize(
    ("orientation", "fit_size", "is_turned"),
    [
        (6, (12, 8), False),
        (6, (8, 12), True),
        (6, (50, 50), False),
        (6, None, False),
        (1, (8, 12), False),
    ],
)
def test_photo_is_turned_only_where_its_stored_size_does_not_fit(
    tmp_path, orientation, fit_size, is_turned
):
    pixels = make_pixels(12, 8)
    for path in (tmp_path / "a.png", tmp_path / "a.tif"):
        save_turned(path, orientation, pixels)
        photo = read_photo(path, fit_size=fit_size)
        assert photo.upright is is_turned
        assert np.array_equal(photo.pixels, TURNS[6](pixels) if is_turned else pixels)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"these are not pixels\n" * 20, "not a photo"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "damaged|not a photo"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not a photo in"),
        (None, "No such file"),
    ],
)
def test_file_that_is_no_photo(tmp_path, content, reason):
    if content is not None:
        (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(PhotoError, match=rf"a\.jpg.*({reason})"):
        read_photo(tmp_path / "a.jpg")
    with pytest.raises(PhotoError, match=r"a\.jpg"):
        photo_size(tmp_path / "a.jpg")
    with pytest.raises(PhotoError, match="directory"):
        read_photo(tmp_path)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_truncated_photo_is_refused_not_filled_up(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    make_photo(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(PhotoError, match="damaged or truncated"):
        read_photo(path)


@pytest.mark.parametrize("turned", [1, 6])
def test_salvaged_photo_has_the_rows_there_are(tmp_path, turned):
    path = tmp_path / "a.jpg"
    save_turned(path, turned, make_pixels(64, 96))
    data, whole = path.read_bytes(), read_photo(path, upright=True)
    assert whole.salvaged == 0
    path.write_bytes(data[:-2])
    ended = read_photo(path, upright=True, salvage=True)
    assert np.array_equal(ended.pixels, whole.pixels)
    assert ended.salvaged == 96
    path.write_bytes(data[: len(data) * 2 // 3])
    half = read_photo(path, upright=True, salvage=True)
    alike = (half.pixels == whole.pixels).all(axis=(1 if turned == 1 else 0, 2))
    alike = alike if turned == 1 else alike[::-1]  # The first row is now the last column.
    assert 30 < half.salvaged < 80
    assert alike[: half.salvaged - 18].all()
    assert not alike[half.salvaged :].any()
    with pytest.raises(PhotoError, match="damaged or truncated"):
        read_photo(path, upright=True)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_photo_converted_in_strips_is_the_same(tmp_path, monkeypatch, mode):
    image = Image.fromarray(make_pixels(30, 23)).convert(mode)
    image.save(tmp_path / "a.tif")
    expected = read_photo(tmp_path / "a.tif").pixels
    monkeypatch.setattr(photo, "STRIP", 100)
    assert np.array_equal(read_photo(tmp_path / "a.tif").pixels, expected)


def test_nothing_is_made_up_where_no_row_is_there(tmp_path):
    path = tmp_path / "a.jpg"
    make_photo(path)
    data = path.read_bytes()
    for kept in (data[:300], data[: data.index(b"\xff\xda") + 4]):
        path.write_bytes(kept)
        with pytest.raises(PhotoError):
            read_photo(path, salvage=True)


def test_pipes_and_large_photos_are_not_read(tmp_path):
    make_photo(tmp_path / "a.png", 20, 10)
    assert read_photo(tmp_path / "a.png", max_pixels=200).size[0] == 20
    with pytest.raises(PhotoError, match=r"too many pixels.*20 × 10"):
        read_photo(tmp_path / "a.png", max_pixels=199)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "b.jpg")
        with pytest.raises(PhotoError, match="a device or a pipe"):
            read_photo(tmp_path / "b.jpg")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 128, 255]], np.int32), [0, 128, 255]),
        (np.array([[0, 32768, 65535]], np.int32), [0, 128, 255]),
        (np.array([[0, 500_000, 1_000_000]], np.int32), [0, 128, 255]),
        (np.array([[-100, 0, 300]], np.int32), [0, 64, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 127.5, 200]], np.float32), [0, 128, 200]),
        (np.array([[-1, 0, np.nan, 3]], np.float32), [0, 64, 64, 255]),
    ],
)
def test_32_bit_tiff_is_brought_to_its_real_range(tmp_path, values, expected):
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert read_photo(tmp_path / "a.tif").pixels[0, :, 0].tolist() == expected


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("suffix", "times"), [(".jpg", 300), (".avif", 30)])
def test_random_damage_is_always_a_photo_error(tmp_path, suffix, times):
    rng = np.random.default_rng(0)
    path = tmp_path / f"a{suffix}"
    save_turned(path, 6, make_pixels(24, 16))
    good = np.frombuffer(path.read_bytes(), np.uint8)
    refused = 0
    for _ in range(times):
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


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 20)), (3, (40, 20)), (6, (20, 40))])
def test_size_as_stored_and_as_looked_at(tmp_path, orientation, size):
    save_turned(tmp_path / "a.jpg", orientation, make_pixels(40, 20))
    assert photo_size(tmp_path / "a.jpg") == (40, 20)
    assert upright_size(tmp_path / "a.jpg") == size


coordinate = st.floats(-50, 150)


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        (Box(20, 5, 10, 15), "inverted"),
        (Box(10, 15, 20, 5), "inverted"),
        (Box(10, 5, 10, 15), "inverted or empty"),
        (Box(50, 5, 60, 15), "outside"),
        (Box(-20, 5, 0, 15), "outside"),
        (Box(39.5, 5, 60, 15), "under one pixel"),
        (Box(math.nan, 5, 10, 15), "not finite"),
        (Box(0, 5, math.inf, 15), "not finite"),
    ],
)
def test_hopeless_box_is_refused_with_the_reason(box, reason):
    with pytest.raises(DegenerateBoxError, match=reason):
        clip_box(box, 40, 30)


@given(coordinate, coordinate, coordinate, coordinate)
@example(0, 0, 100, 80)
@example(30, 5, 101, 20)
def test_clipped_box_lies_in_both(xmin, ymin, xmax, ymax):
    box = Box(xmin, ymin, xmax, ymax)
    try:
        clipped, changed = clip_box(box, 100, 80)
    except DegenerateBoxError:
        return
    assert clipped == Box(max(xmin, 0), max(ymin, 0), min(xmax, 100), min(ymax, 80))
    assert clipped.short_side >= 1
    assert changed == (clipped != box)
    assert clip_box(clipped, 100, 80) == (clipped, False)


WIDTH, HEIGHT = 90, 60


def find_mark(pixels: np.ndarray) -> Box:
    rows, columns = np.nonzero(pixels)
    x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return Box(float(x0), float(y0), float(x1), float(y1))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_box_lies_where_pillow_turns_its_pixels(orientation: int) -> None:
    box = Box(5.0, 11.0, 25.0, 42.0)
    stored = np.zeros((HEIGHT, WIDTH), np.uint8)
    stored[11:42, 5:25] = 255
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(image)
    assert turn_size(WIDTH, HEIGHT, orientation) == upright.size
    assert turn_box(box, WIDTH, HEIGHT, orientation) == find_mark(np.asarray(upright))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("box", [Box(5.0, 11.0, 25.0, 42.0), Box(-3.25, 0.0, 90.0, 61.5)])
def test_there_and_back(orientation: int, box: Box) -> None:
    turned = turn_box(box, WIDTH, HEIGHT, orientation)
    assert turn_box_back(turned, WIDTH, HEIGHT, orientation) == box


def look_up(position, side, length):
    """Index along one axis: shift a window that fits, mirror where it is longer than the photo."""
    if side <= length:
        return position
    index = position
    while not 0 <= index < length:
        index = -1 - index if index < 0 else 2 * length - 1 - index
    return index


def crop_slowly(photo, box, scale):
    height, width = photo.shape[:2]
    side = max(1, round(scale * max(box.xmax - box.xmin, box.ymax - box.ymin)))

    def start(centre, length):
        if side > length:
            return -((side - length) // 2)
        first = round(centre - side / 2)
        while first < 0:
            first += 1
        while first + side > length:
            first -= 1
        return first

    left = start((box.xmin + box.xmax) / 2, width)
    top = start((box.ymin + box.ymax) / 2, height)
    crop = np.zeros((side, side, 3), np.uint8)
    for row in range(side):
        for column in range(side):
            y, x = look_up(top + row, side, height), look_up(left + column, side, width)
            crop[row, column] = photo[y, x]
    return crop


@st.composite
def cases(draw):
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    xmin, ymin = draw(st.floats(0, width - 1)), draw(st.floats(0, height - 1))
    xmax = draw(st.floats(xmin + 1, width)) if xmin + 1 < width else width
    ymax = draw(st.floats(ymin + 1, height)) if ymin + 1 < height else height
    scale = draw(st.sampled_from([1.0, 1.5, 2.0, 3.7]))
    return make_pixels(width, height, seed=1), Box(xmin, ymin, xmax, ymax), scale


@settings(max_examples=80, deadline=None)
@given(cases())
def test_same_pixels_as_the_slow_crop_in_its_own_memory(case):
    photo, box, scale = case
    expected, before = crop_slowly(photo, box, scale), photo.copy()
    crop = crop_face(photo, box, scale)
    assert np.array_equal(crop, expected)
    assert len(crop) == crop_side(box, scale)
    less = resize_crop(crop, 7) if len(crop) > 7 else crop
    assert np.array_equal(crop_face(photo, box, scale, most=7), less)
    crop[:] = 0
    assert np.array_equal(photo, before)


@pytest.mark.parametrize(
    ("box", "scale", "reason"),
    [
        (Box(5, 5, 5, 9), 1.5, "empty box"),
        (Box(9, 5, 5, 9), 1.5, "empty box"),
        (Box(0, 0, math.nan, 5), 1.5, "empty box"),
        (Box(1, 1, 9, 9), 0.9, "crop scale"),
    ],
)
def test_empty_box_and_scale_that_cuts_into_the_face_are_refused(box, scale, reason):
    with pytest.raises(ValueError, match=reason):
        crop_face(make_pixels(20, 20), box, scale)


def test_shrinking_averages_areas():
    crop = make_pixels(40, 40)
    means = crop.reshape(10, 4, 10, 4, 3).mean(axis=(1, 3))
    assert np.abs(resize_crop(crop, 10) - means).max() <= 0.5 + 1e-6
