"""What parses but may mean something else: names, sizes, turns, orders of numbers, classes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from data_prep.base.errors import DatasetError
from data_prep.base.labels import UnknownLabelError, parse_aliases
from data_prep.base.records import Box
from data_prep.datasets.convert import ConvertOptions, convert
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.exif_frame import frame_photos
from data_prep.formats.plausible import doubt_boxes
from data_prep.formats.registry import read_dataset
from evaluate.inputs.truth import read_truth
from tests.makers import make_photo, make_voc

FACE = [("mask", (10, 12, 30, 40))]


def kinds(read, *, dropped=False):
    return [finding.kind for finding in read.findings if finding.dropped or not dropped]


def turn(path, orientation, size=(120, 90)):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path, exif=exif)


def test_names_in_files_that_were_renamed(tmp_path):
    for number in range(3):
        make_photo(tmp_path / "s" / "images" / f"{number}.jpg", seed=number)
        box = (10, 12, 30 + number, 40)
        make_voc(tmp_path / "s" / "notes" / f"{number}.xml", f"{number + 1}.jpg", [("mask", box)])
    read = read_dataset(tmp_path / "s")
    found = {photo.image: photo.faces[0].box.xmax for photo in read.photos}
    assert found == {f"images/{number}.jpg": 30 + number for number in range(3)}
    assert kinds(read) == ["name-conflict"] * 2
    assert "names the photo images/1.jpg, but is called after images/0.jpg" in (
        read.findings[0].message
    )
    truth = read_truth(tmp_path / "s")
    assert truth.boxes[:, 2].tolist() == [30, 31, 32]
    assert truth.warnings[0].endswith("And 1 more of this kind.")
    # Without the photos the files' own names tell.
    names = read_truth(tmp_path / "s" / "notes")
    assert names.photos == ("0.jpg", "1.jpg", "3.jpg")


def test_size_tells_which_photo_is_meant(tmp_path):
    make_photo(tmp_path / "a.jpg", 50, 60)
    make_photo(tmp_path / "b.jpg", 120, 90, seed=1)
    make_voc(tmp_path / "a.xml", "b.jpg", FACE, (120, 90))
    read = read_dataset(tmp_path)
    assert [photo.image for photo in read.photos] == ["b.jpg"]
    assert kinds(read) == ["name-conflict", "photo-without-annotation"]


def test_photo_in_a_format_that_is_not_read(tmp_path):
    make_photo(tmp_path / "b.jpg")
    make_voc(tmp_path / "b.xml", "b.jpg", FACE)
    make_voc(tmp_path / "a.xml", "a.jpg", FACE)
    (tmp_path / "a.HEIC").write_bytes(b"")
    read = read_dataset(tmp_path)
    assert kinds(read) == ["missing-photo", "unread-ending"]
    assert "There is a.HEIC, whose format is not read; write it as JPEG" in read.findings[0].message
    (tmp_path / "a.HEIC").rename(tmp_path / "a.mpo")
    assert "There is a.mpo, whose format is not" in read_dataset(tmp_path).findings[0].message


@pytest.mark.parametrize("ending", ["jfif", "JPE", "avif", "jp2", "ppm", "webp", "tif"])
def test_endings(tmp_path, ending):
    Image.new("RGB", (120, 90)).save(tmp_path / "x.jpg")
    form = {"jfif": "jpeg", "jpe": "jpeg", "jp2": "jpeg2000", "tif": "tiff"}
    kind = form.get(ending.lower(), ending)
    Image.new("RGB", (120, 90)).save(tmp_path / f"a.{ending}", format=kind)
    make_voc(tmp_path / "a.xml", "a.jpg", FACE)
    photos, findings = frame_photos(read_dataset(tmp_path).photos)
    assert [(photo.image, photo.size[0]) for photo in photos] == [(f"a.{ending}", 120)]
    assert not findings


@pytest.mark.parametrize(
    ("stated", "box", "kind"),
    [
        ((240, 180), Box(5, 6, 15, 20), "resized-photo"),
        ((60, 45), Box(20, 24, 60, 80), "resized-photo"),
        ((180, 135), Box(20 / 3, 8, 20, 80 / 3), "resized-photo"),
        (
            (54, 41),
            Box(200 / 9, 80 / 3, 200 / 3, 800 / 9),
            "resized-photo",
        ),  # Its height was rounded up.
        ((119, 90), Box(10, 12, 30, 40), "size-differs"),  # Off by a pixel: as good as equal.
        # Nonsense that does no harm, or a photo that was made square.
        ((120, 120), Box(10, 12, 30, 40), "size-differs"),
    ],
)
def test_photo_that_was_resized(tmp_path, stated, box, kind):
    make_photo(tmp_path / "s" / "a.jpg")
    make_voc(tmp_path / "s" / "a.xml", "a.jpg", FACE, stated)
    read = read_dataset(tmp_path / "s")
    assert read.photos[0].faces[0].box == pytest.approx(box)
    assert kinds(read) == [kind]
    truth = read_truth(tmp_path / "s")
    assert truth.boxes[0].tolist() == pytest.approx(list(read.photos[0].faces[0].box))
    assert len(truth.warnings) == bool(kind)
    result = convert(ConvertOptions(dataset=tmp_path / "s", out=tmp_path / "o", to=Format.VOC))
    assert result.record["left_out"] == 0
    assert read_dataset(tmp_path / "o").photos[0].faces[0].box == read.photos[0].faces[0].box


def test_photo_that_was_cropped_is_left_out(tmp_path):
    make_photo(tmp_path / "a.jpg", 120, 50)
    make_voc(tmp_path / "a.xml", "a.jpg", [("mask", (10, 12, 30, 80))], (120, 90))
    read = read_dataset(tmp_path)
    assert (read.photos, kinds(read, dropped=True)) == ((), ["size-differs"])


@pytest.mark.parametrize(
    ("orientation", "size", "stated", "told"),
    [
        (3, (120, 90), (120, 90), ["untold-turn"]),
        (6, (90, 90), (90, 90), ["untold-turn"]),
        (3, (120, 90), None, ["untold-turn"]),
        (6, (120, 90), (120, 90), []),
        (6, (120, 90), (90, 120), ["turned-photo"]),
        (1, (120, 90), None, []),
    ],
)
def test_turn_that_nothing_tells(tmp_path, orientation, size, stated, told):
    turn(tmp_path / "a.png", orientation, size)
    make_voc(tmp_path / "a.xml", "a.png", FACE, stated)
    assert kinds(read_dataset(tmp_path)) == told
    assert len(read_truth(tmp_path).warnings) == told.count("untold-turn")


@pytest.mark.parametrize("form", ["voc", "coco"])
@pytest.mark.parametrize(
    ("states", "box"),
    [
        ([(90, 120)], Box(90, 50, 110, 78)),  # Turned by 180°, from the upright photo.
        ([(90, 120), (180, 240)], Box(90, 50, 110, 78)),
        ([(120, 90)], Box(10, 12, 30, 40)),
        ([(90, 120), (120, 90)], Box(10, 12, 30, 40)),  # They differ.
        ([], Box(10, 12, 30, 40)),
    ],
)
def test_turn_that_other_photos_tell(tmp_path, form, states, box):
    sizes = {f"{number}.png": size for number, size in enumerate(states)}
    for name, size in (sizes | {"down.png": (120, 90), "square.png": (90, 90)}).items():
        turned, stored = (6, (120, 90)) if name in sizes else (3, size)
        turn(tmp_path / "s" / name, turned, stored)
        make_voc(tmp_path / "s" / f"{name[:-4]}.xml", name, FACE, size)
    root = tmp_path / "s"
    if form == "coco":
        coco = {"categories": [{"id": 1, "name": "mask"}], "images": [], "annotations": []}
        for number, path in enumerate(sorted(root.glob("*.xml"))):
            size = (sizes | {"down.png": (120, 90), "square.png": (90, 90)})[f"{path.stem}.png"]
            about = dict(zip(("width", "height"), size, strict=True))
            coco["images"].append({"id": number, "file_name": f"{path.stem}.png", **about})
            one = {"id": number, "image_id": number, "category_id": 1, "bbox": [10, 12, 20, 28]}
            coco["annotations"].append(one)
            path.unlink()
        (root / "a.json").write_text(json.dumps(coco))
    read = read_dataset(root)
    found = {photo.image: photo.faces[0].box for photo in read.photos}
    assert found["down.png"] == box
    upright = box.xmin == 90
    assert found["square.png"] == (Box(60, 50, 80, 78) if upright else Box(10, 12, 30, 40))
    assert kinds(read).count("untold-turn") == 2 * (not upright)
    truth = read_truth(root / "a.json" if form == "coco" else root)
    faces = dict(zip((truth.photos[n] for n in truth.photo), truth.boxes.tolist(), strict=True))
    assert faces == {name: list(own) for name, own in found.items()}


def test_turned_photo_that_was_resized(tmp_path):
    turn(tmp_path / "a.png", 6)
    make_voc(tmp_path / "a.xml", "a.png", FACE, (180, 240))
    read = read_dataset(tmp_path)
    assert kinds(read) == ["resized-photo", "turned-photo"]
    (photo,), _ = frame_photos(read.photos)
    assert photo.size == (90, 120)
    assert photo.faces[0].box == Box(5, 6, 15, 20)


def test_photo_upside_down_that_was_resized(tmp_path):
    for name in ("voc", "cvat"):
        turn(tmp_path / name / "a.png", 3)
    make_voc(tmp_path / "voc" / "a.xml", "a.png", FACE, (240, 180))
    stored = read_dataset(tmp_path / "voc")
    assert stored.photos[0].faces[0].box == Box(5, 6, 15, 20)
    assert kinds(stored) == ["resized-photo", "untold-turn"]
    image = '<image id="0" name="a.png" width="240" height="180">'
    box = '<box label="mask" xtl="10" ytl="12" xbr="30" ybr="40"/>'
    (tmp_path / "cvat" / "a.xml").write_text(f"<annotations>{image}{box}</image></annotations>")
    upright = read_dataset(tmp_path / "cvat")
    assert upright.photos[0].faces[0].box == Box(105, 70, 115, 84)
    assert kinds(upright) == ["resized-photo"]


SIZE, WIDE = (320, 240), (500, 190)
ORDERS = {
    "xmin, xmax, ymin, ymax": lambda b: Box(b[0], b[2], b[1], b[3]),
    "ymin, xmin, ymax, xmax": lambda b: Box(b[1], b[0], b[3], b[2]),
    "x, y, width, height": lambda b: Box(b[0], b[1], b[2] - b[0], b[3] - b[1]),
    "centre x, centre y, width, height": lambda b: Box(
        (b[0] + b[2]) / 2, (b[1] + b[3]) / 2, b[2] - b[0], b[3] - b[1]
    ),
}


@pytest.fixture
def boxes():
    random = np.random.default_rng(0)
    corners = random.uniform((0, 0), (450, 140), (50, 2))
    return [
        Box(x, y, x + a, y + b)
        for (x, y), (a, b) in zip(corners, random.uniform(5, 50, (50, 2)), strict=True)
    ]


@pytest.mark.parametrize("order", ORDERS)
def test_numbers_in_another_order(boxes, order):
    assert doubt_boxes(boxes, [WIDE] * 50, "corners") == ""
    assert doubt_boxes(boxes, [None] * 50, "corners") == ""
    told = doubt_boxes([ORDERS[order](box) for box in boxes], [WIDE] * 50, "corners")
    assert told.endswith(f"Are they {order}?")


def test_corners_taken_for_sizes(boxes):
    read = [Box(b[0], b[1], b[0] + b[2], b[1] + b[3]) for b in boxes]
    told = doubt_boxes(read, [WIDE] * 50, "sized")
    assert told.endswith("Are they xmin, ymin, xmax, ymax?")


@pytest.mark.parametrize(
    ("header", "write", "asked"),
    [
        ("x,y,w,h", lambda b: b, "Are they xmin, ymin, xmax, ymax"),
        ("x1,y1,x2,y2", lambda b: [b[0] / 390, b[1] / 190, b[2] / 390, b[3] / 190], "Are they sh"),
        ("x,y,w,h", lambda b: [*b[:2], b[2] - b[0], b[3] - b[1]], ""),
    ],
)
def test_tables_whose_heading_does_not_fit(tmp_path, boxes, header, write, asked):
    make_photo(tmp_path / "a.jpg", *WIDE)
    rows = [f"a.jpg,mask,{','.join(map(str, write(box)))}" for box in boxes]
    (tmp_path / "t.csv").write_text("\n".join([f"name,class,{header}", *rows]))
    if asked:
        with pytest.raises(DatasetError, match=asked):
            read_dataset(tmp_path)
    else:
        found = read_dataset(tmp_path).photos[0].faces
        assert [face.box for face in found] == [pytest.approx(box) for box in boxes]


def test_mislabelled_columns_are_named(tmp_path, boxes):
    make_photo(tmp_path / "a.jpg", *WIDE)
    rows = [f"a.jpg,mask,{','.join(map(str, box))}" for box in boxes]
    (tmp_path / "t.csv").write_text("\n".join(["name,class,x1,x2,y1,y2", *rows]))
    with pytest.raises(DatasetError, match=r"boxes are inverted.*mislabelled") as caught:
        read_dataset(tmp_path)
    asked = str(caught.value).partition("--columns ")[2].rstrip(".")
    columns = dict(pair.split("=") for pair in asked.split(","))
    read = read_dataset(tmp_path, ReadOptions(columns=columns))
    assert [face.box for face in read.photos[0].faces] == boxes


def add_labels(root, lines, names="names: [mask, no_mask]\n"):
    make_photo(root / "images" / "a.jpg", *SIZE)
    (root / "labels").mkdir()
    (root / "labels" / "a.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text(names)


def test_pixels_in_labels_of_yolo(tmp_path):
    add_labels(tmp_path, ["0 100 100 50 50", "1 200 150 20 20"])
    for read in (read_dataset, read_truth):
        with pytest.raises(ValueError, match="100 is no relative coordinate"):
            read(tmp_path)


def test_faces_of_one_pixel_are_not_lost_by_rounding(tmp_path):
    add_labels(tmp_path, [f"0 {(x + 0.5) / 320:.12f} 0.5 {1 / 320:.12f} 0.1" for x in range(320)])
    for count in (len(read_dataset(tmp_path).photos[0].faces), len(read_truth(tmp_path).boxes)):
        assert count == 320
    assert read_truth(tmp_path).warnings == ()


def test_corners_in_labels_of_yolo(tmp_path, boxes):
    lines = [f"0 {b[0] / 500} {b[1] / 190} {b[2] / 500} {b[3] / 190}" for b in boxes]
    add_labels(tmp_path, lines)
    with pytest.raises(DatasetError, match="Are they xmin, ymin, xmax, ymax"):
        read_dataset(tmp_path)


POINTS = "0.45 0.45 0.55 0.45 0.5 0.5 0.46 0.58 0.54 0.58"
MANY = "0.4 0.4 0.7 0.4 0.7 0.65 0.4 0.65 0.5 0.5 0.55 0.6"  # Wide, but around the middle.
SPREAD = "0.2 0.25 0.8 0.25 0.5 0.5 0.3 0.7 0.7 0.7"


@pytest.mark.parametrize(
    ("lines", "boxes"),
    [
        ([f"0 0.5 0.5 0.25 0.3 {POINTS}"], [(120, 84, 200, 156)]),
        (["0 0.5 0.5 0.25 0.3" + " -1" * 10], [(120, 84, 200, 156)]),
        (["0 0.5 0.5 0.25 0.3" + " 0" * 10], [(120, 84, 200, 156)]),  # Nobody has marked them.
        ([f"0 0.5 0.5 0.8 0.9 {SPREAD}"], [(32, 12, 288, 228)]),
        (["0 0.5 0.5 0.25 0.3 0.5 0.5 2"], [(120, 84, 200, 156)]),  # A point and how visible it is.
        ([f"0 0.5 0.5 0.4 0.6 {MANY}"], [(96, 48, 224, 192)]),
        (["0 0.5 0.5 0.25 0.3" + " 0.5 0.5 2" * 4], [(120, 84, 200, 156)]),  # An even number.
        # Outlines: of seven corners, from the chin on, of a small square in the middle, of three.
        (["0 .1 .1 .5 .05 .9 .1 .95 .5 .9 .9 .5 .95 .1 .9"], [(32, 12, 304, 228)]),
        (["0 .5 .6 .45 .55 .44 .5 .47 .42 .53 .42 .56 .5 .55 .55"], [(140.8, 100.8, 179.2, 144)]),
        (["0 .45 .45 .55 .45 .55 .55 .45 .55"], [(144, 108, 176, 132)]),
        (["0 .5 .25 .75 .75 .25 .75"], [(80, 60, 240, 180)]),
    ],
)
def test_landmarks_are_no_outlines(tmp_path, lines, boxes):
    add_labels(tmp_path, [*lines, "1 0.5 0.5 0.2 0.2"])
    read = read_dataset(tmp_path)
    found = [face.box for face in read.photos[0].faces]
    assert found == [pytest.approx(box) for box in [*boxes, (128, 96, 192, 144)]]
    truth = read_truth(tmp_path)
    assert truth.boxes.tolist() == [pytest.approx(list(box)) for box in found]


def test_files_of_class_names_that_disagree(tmp_path):
    add_labels(tmp_path, ["0 0.5 0.5 0.2 0.2"])
    (tmp_path / "labels" / "classes.txt").write_text("no_mask\nmask\n")
    for read in (read_dataset, read_truth):
        with pytest.raises(DatasetError, match=r"disagree: class id 0 is '.*mask' or .*--names"):
            read(tmp_path)
    (tmp_path / "labels" / "classes.txt").rename(tmp_path / "images" / "classes.txt")
    with pytest.raises(DatasetError, match="disagree"):
        read_dataset(tmp_path)
    (tmp_path / "images" / "classes.txt").unlink()
    asked = ReadOptions(names=tmp_path / "data.yaml")
    assert read_dataset(tmp_path, asked).photos[0].faces[0].label == "with_mask"
    # Other words for the same, and more classes, are no contradiction.
    (tmp_path / "labels" / "classes.txt").write_text("With Mask\nwithout_mask\nother\n")
    assert read_dataset(tmp_path).photos[0].faces[0].label == "with_mask"


def test_names_are_those_nearest_to_the_labels_on_both_sides(tmp_path):
    for seed, (part, names) in enumerate({"x": "mask\nno_mask", "y": "no_mask\nmask"}.items()):
        add_labels(
            tmp_path / part, ["0 0.5 0.5 0.2 0.2"], f"names: [{names.replace(chr(10), ',')}]"
        )
        make_photo(tmp_path / part / "images" / "a.jpg", *SIZE, seed=seed)
    labels = [photo.faces[0].label for photo in read_dataset(tmp_path).photos]
    truth = read_truth(tmp_path)
    assert labels == [truth.classes[n] for n in truth.labels] == ["with_mask", "without_mask"]


def test_other_files_beside_annotations_are_passed_over(tmp_path):
    make_photo(tmp_path / "a.jpg")
    make_voc(tmp_path / "a.xml", "a.jpg", FACE)
    (tmp_path / "project.xml").write_text("<project/>")
    (tmp_path / "README.txt").write_text("a b 1 2 3 4\n")
    (tmp_path / "package.json").write_text("{}")
    (note,) = read_dataset(tmp_path).findings
    assert (note.kind, note.dropped) == ("not-read", False)
    truth = read_truth(tmp_path)
    assert (truth.photos, truth.warnings) == (("a.jpg",), ())


def test_labels_in_a_folder_of_another_name(tmp_path):
    make_photo(tmp_path / "img" / "a.jpg", *SIZE)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.txt").write_text("0 0.5 0.5 0.25 0.3\n")
    with pytest.raises(DatasetError, match=r"a\.txt looks like YOLO's labels: .*--names FILE"):
        read_dataset(tmp_path)
    (tmp_path / "classes.txt").write_text("mask\n")
    assert read_dataset(tmp_path).photos[0].faces[0].box == pytest.approx((120, 84, 200, 156))
    assert read_truth(tmp_path).boxes.tolist() == [pytest.approx([120, 84, 200, 156])]


def test_all_unknown_classes_at_once_and_ignored_ones(tmp_path):
    for number, names in enumerate((["face_mask", "hat"], ["hat"], ["hat"])):
        make_photo(tmp_path / "s" / f"{number}.jpg", seed=number)
        objects = [(name, FACE[0][1]) for name in names]
        make_voc(tmp_path / "s" / f"{number}.xml", f"{number}.jpg", objects)
    make_photo(tmp_path / "s" / "e.jpg", seed=9)
    make_voc(tmp_path / "s" / "e.xml", "e.jpg", [])
    with pytest.raises(UnknownLabelError) as caught:
        read_dataset(tmp_path / "s")
    assert "'face_mask': if it means with_mask: --alias 'face_mask=with_mask'" in str(caught.value)
    assert "'hat' (3 times)" in str(caught.value)
    options = ReadOptions(aliases=parse_aliases(["face_mask=with_mask", "hat="]))
    read = read_dataset(tmp_path / "s", options)
    assert [[face.object for face in photo.faces] for photo in read.photos] == [[0], [], [], []]
    assert "3 faces of the class 'hat' are left out" in read.findings[-1].message
    # Photos of which nothing is left are not those without a face.
    photos, findings = frame_photos(read.photos)
    assert [photo.image for photo in photos] == ["0.jpg", "e.jpg"]
    assert [finding.kind for finding in findings] == ["all-faces-left-out"] * 2


def test_folders_called_after_classes_further_up(tmp_path):
    for seed, part in enumerate(("CMFD/00000", "CMFD/01000", "IMFD/00000")):
        make_photo(tmp_path / part / "a.jpg", seed=seed)
    (tmp_path / "README.txt").write_text("Photos of masks")
    with pytest.raises(DatasetError, match="folders called CMFD, IMFD, 00000, 01000: if these"):
        read_dataset(tmp_path)
    aliases = parse_aliases(["CMFD=with_mask", "IMFD=mask_weared_incorrect"])
    labels = [p.faces[0].label for p in read_dataset(tmp_path, ReadOptions(aliases=aliases)).photos]
    assert labels == ["with_mask", "with_mask", "mask_weared_incorrect"]
    make_photo(tmp_path / "CMFD/00000" / "b.jpg", seed=5)
    read = read_dataset(tmp_path, ReadOptions(aliases=aliases | {"cmfd": ""}))
    assert [p.image for p in read.photos] == ["IMFD/00000/a.jpg"]
    make_photo(tmp_path / "c.jpg", seed=6)
    with pytest.raises(DatasetError, match=r"c\.jpg lies beside .* classes: --format crops leaves"):
        read_dataset(tmp_path, ReadOptions(aliases=aliases | {"00000": "", "01000": ""}))
    make_photo(tmp_path / "m" / "mask" / "with" / "a.jpg")
    make_photo(tmp_path / "m" / "mask" / "without" / "b.jpg")
    with pytest.raises(DatasetError, match="folders called mask, with, without"):
        read_dataset(tmp_path / "m")
    (note,) = read.findings  # None says besides that nobody has annotated them.
    assert "3 faces of the class 'CMFD' are left out" in note.message


def test_unknown_classes_are_no_matter_to_what_is_read_later(tmp_path):
    """Also when reading failed for something else before they were told."""
    first, second, options = tmp_path / "1", tmp_path / "2", ReadOptions()
    make_photo(first / "a.jpg")
    make_voc(first / "a.xml", "a.jpg", [("hat", (40, 40, 20, 20))] * 3)
    with pytest.raises(DatasetError, match="3 of 3 boxes are inverted"):
        read_dataset(first, options)
    make_photo(second / "a.jpg")
    make_voc(second / "a.xml", "a.jpg", [("with_mask", FACE[0][1])])
    assert len(read_dataset(second, options).photos) == 1
