"""Boxes judged as a whole: shares, percentages, key points, names, photos of another size."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_prep.base.errors import DatasetError
from data_prep.base.photo import photo_size
from data_prep.formats.contracts import ReadOptions
from data_prep.formats.plausible import doubt_boxes, doubt_overlap, suspect_boxes
from data_prep.formats.registry import read_dataset
from evaluate.inputs.truth import read_truth
from tests.makers import make_photo, make_voc

DATA = Path(__file__).parents[4] / "shared" / "data"
HEADER = "image,label,xmin,ymin,xmax,ymax"


def write_yolo(root, lines, names="names: [mask, no_mask]", size=(400, 300), photos=1):
    for number in range(photos):
        make_photo(root / "images" / f"{number}.jpg", *size, seed=number)
        path = root / "labels" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines[number::photos]))
    (root / "data.yaml").write_text(names)
    return root


def make_shares(count=60, low=0.1, high=0.3):
    """Corner, width and height of faces anywhere in their photos, as shares."""
    rng = np.random.default_rng(0)
    sides = rng.uniform(low, high, (count, 2))
    return np.hstack([rng.uniform(0, 1, (count, 2)) * (1 - sides), sides])


def test_corners_as_shares_taken_for_centres(tmp_path):
    lines = [f"0 {x} {y} {w} {h}" for x, y, w, h in make_shares(low=0.4, high=0.6)]
    with pytest.raises(DatasetError, match="Are they x, y, width, height"):
        read_dataset(write_yolo(tmp_path / "s", lines, photos=30))  # Two boxes in each file.
    shares = make_shares()
    # Of small faces only those at the border tell.
    small = [f"0 {x} {y} 0.06 0.08" for x, y, w, h in shares]
    small[:4] = ["0 0.001 0.4 0.06 0.08"] * 4
    (note,) = read_dataset(write_yolo(tmp_path / "few", small, photos=4)).findings[:1]
    assert note.kind == "suspect-boxes"
    assert "of 60 boxes lie outside their photos, none if the numbers are x, y, w" in note.message
    assert "none if the numbers are x, y, width" in read_truth(tmp_path / "few").warnings[0]
    right = [f"0 {x + w / 2} {y + h / 2} {w} {h}" for x, y, w, h in shares]
    assert read_dataset(write_yolo(tmp_path / "r", right, photos=30)).findings == ()


def test_percentages_taken_for_pixels(tmp_path):
    rows = [f"{n}.jpg,mask,{5 + 15 * n},10,{20 + 15 * n},40" for n in range(6)]
    for number in range(6):
        make_photo(tmp_path / f"{number}.jpg", 300, 250, seed=number)
    (tmp_path / "t.csv").write_text("\n".join([HEADER, *rows]))
    with pytest.raises(DatasetError, match="Are they percentages"):
        read_dataset(tmp_path)
    for number in range(6):
        make_photo(tmp_path / f"{number}.jpg", 120, 90, seed=number)
    assert len(read_dataset(tmp_path).photos) == 6


def test_files_of_few_boxes_are_judged_together(tmp_path):
    """Two boxes a table, x1, x2, y1, y2 under another heading: one of two is inverted."""
    for number in range(4):
        make_photo(tmp_path / f"{number}.jpg", 400, 300, seed=number)
        rows = ["5,65,100,160", "200,260,20,80"]
        text = "\n".join(
            ["image,label,xmin,ymin,xmax,ymax", *(f"{number}.jpg,mask,{r}" for r in rows)]
        )
        (tmp_path / f"{number}.csv").write_text(text)
    with pytest.raises(DatasetError, match="Are they xmin, xmax, ymin, ymax"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("points", [1, 2, 3])
@pytest.mark.parametrize("told", [True, False])
def test_few_points_in_large_faces_are_no_outlines(tmp_path, points, told):
    rng = np.random.default_rng(points)
    lines = []
    for _ in range(20):
        x, y, w, h = *rng.uniform(0.4, 0.6, 2), *rng.uniform(0.4, 0.7, 2)
        seen = [(x + w * a, y + h * b) for a, b in rng.uniform(-0.4, 0.4, (points, 2))]
        lines.append(" ".join(map(str, [0, x, y, w, h, *np.ravel(seen)])))
    names = "names: [mask]\n" + f"kpt_shape: [{points}, 2]\n" * told
    read = read_dataset(write_yolo(tmp_path / "s", lines, names))
    assert [face.box.width for face in read.photos[0].faces] == pytest.approx(
        [400 * float(line.split()[3]) for line in lines]
    )
    assert [finding.kind for finding in read.findings] == ["not-read"]


def test_quadrilaterals_stay_outlines(tmp_path):
    corners = [(0.3, 0.3), (0.5, 0.3), (0.5, 0.6), (0.3, 0.6)]
    line = " ".join(map(str, [0, *np.ravel(corners)]))
    read = read_dataset(write_yolo(tmp_path / "s", [line] * 3))
    assert read.photos[0].faces[0].box == pytest.approx((120, 90, 200, 180))


def test_class_names_elsewhere_that_disagree(tmp_path):
    root = write_yolo(tmp_path / "s", ["0 0.5 0.5 0.2 0.2"])
    (root / "data").mkdir()
    (root / "data" / "obj.names").write_text("no_mask\nmask\n")
    for read in (read_dataset, read_truth):
        with pytest.raises(DatasetError, match="disagree: class id 0 is 'mask' or 'no_mask'"):
            read(root)
    (root / "data" / "obj.names").write_text("With Mask\nno-mask\n")
    assert read_dataset(root).findings == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda boxes: boxes / 2, "multiplied by 2"),
        (lambda boxes: boxes * [416 / 400, 416 / 300] * 1, "of photos made 416 × 416"),
        (lambda boxes: boxes, ""),
    ],
)
def test_predictions_on_photos_of_another_size(change, told):
    shares = make_shares(40)
    truth = np.hstack([shares[:, :2], shares[:, :2] + shares[:, 2:]]) * np.tile((400, 300), 2)
    found = np.hstack([change(truth[:, :2]), change(truth[:, 2:])])
    photo = np.arange(40) // 2
    doubt = doubt_overlap(truth, photo, found, photo, np.tile((400.0, 300.0), (20, 1)))
    assert told in doubt
    assert bool(doubt) is bool(told)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        # Corners read as corner and size, or as centre and size.
        (lambda b: np.hstack([b[:, :2], b[:, :2] + b[:, 2:]]), "xmin, ymin, xmax, ymax"),
        (lambda b: np.hstack([b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2]), "xmin, ymin, x"),
        (lambda b: b[:, [1, 0, 3, 2]], "in the order ymin, xmin, ymax, xmax. Are they?"),
    ],
)
def test_predictions_in_another_order(change, told):
    shares = make_shares(40)
    truth = np.hstack([shares[:, :2], shares[:, :2] + shares[:, 2:]]) * np.tile((400, 300), 2)
    photo = np.arange(40) // 2
    sizes = np.tile((400.0, 300.0), (20, 1))
    assert told in doubt_overlap(truth, photo, change(truth), photo, sizes)


@pytest.mark.parametrize("faces", [1, 2, 4])
def test_few_faces_are_met_by_chance(faces):
    """Predictions of a poor detector, anywhere: some of the ways to read them always fit."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        shares = rng.uniform(0, 0.7, (faces + 50, 2))
        boxes = np.hstack([shares, shares + 0.2]) * np.tile((400, 300), 2)
        places = np.zeros(len(boxes), int)
        tables = boxes[:faces], places[:faces], boxes[faces:], places[faces:]
        assert doubt_overlap(*tables, np.array([[400.0, 300.0]])) == ""


@pytest.mark.parametrize(
    ("line", "told"),
    [("0;0.5;0.4;0.1;0.2", "write blanks between them"), ("0", "0 numbers behind the class id")],
)
def test_lines_without_blanks_are_no_classes(tmp_path, line, told):
    with pytest.raises(DatasetError, match=told):
        read_dataset(write_yolo(tmp_path / "s", [line]))


def test_ids_that_count_from_one(tmp_path):
    root = write_yolo(tmp_path / "s", ["1 0.5 0.4 0.1 0.2", "2 0.2 0.4 0.1 0.2"])
    for read in (read_dataset, read_truth):
        with pytest.raises(DatasetError, match="labels have 1 to 2: they count from 1"):
            read(root)
    (root / "data.yaml").write_text("names: {1: mask, 2: no_mask}")
    assert [face.label for face in read_dataset(root).photos[0].faces] == [
        "with_mask",
        "without_mask",
    ]


def test_pixels_in_a_file_of_fiftyone(tmp_path):
    make_photo(tmp_path / "data" / "a.jpg")
    faces = [{"label": "mask", "bounding_box": [10, 12, 30, 40]}] * 3
    (tmp_path / "labels.json").write_text(json.dumps({"labels": {"a": faces}}))
    with pytest.raises(DatasetError, match="10 is no relative coordinate"):
        read_dataset(tmp_path)


def test_address_with_a_query(tmp_path):
    make_photo(tmp_path / "images" / "a b.jpg")
    content = {
        "images": [{"id": 1, "file_name": "https://x.y/up/a%20b.jpg?v=2"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 12, 30, 40]}],
        "categories": [{"id": 1, "name": "mask"}],
    }
    (tmp_path / "c.json").write_text(json.dumps(content))
    assert [photo.image for photo in read_dataset(tmp_path).photos] == ["images/a b.jpg"]


def test_photos_of_another_size_are_told_when_measured_too(tmp_path):
    make_photo(tmp_path / "a.jpg", 400, 300)
    make_voc(tmp_path / "a.xml", "a.jpg", [("mask", (100, 80, 160, 150))], (416, 416))
    told = "states 416 × 416, the photo has 400 × 300; boxes are taken as pixels of the photo"
    (note,) = read_dataset(tmp_path).findings
    assert told in note.message
    assert told in read_truth(tmp_path).warnings[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["facemask", "ilc", "youyinnn"])
def test_real_boxes_read_in_wrong_ways(name):
    """Of all faces each wrong reading is told, of 100 in nine of ten samples; right ones never."""
    root = DATA / name
    if not root.is_dir():
        pytest.skip(f"{root} is not there")
    pairs = [
        (face.box, photo.stated_size or photo_size(photo.path))
        for photo in read_dataset(root, ReadOptions(classes=None)).photos
        for face in photo.faces
    ]
    boxes, sizes = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    rng = np.random.default_rng(0)
    samples = [np.arange(len(boxes)), *(rng.choice(len(boxes), 100, False) for _ in range(30))]
    told = {}
    for chosen in samples:
        box, size = boxes[chosen], sizes[chosen]
        half = np.tile((box[:, 2:] - box[:, :2]) / 2, 2)
        far = np.hstack([box[:, :2], box[:, :2] + box[:, 2:]])
        readings = {
            "corner as centre": (box - half, "centred"),
            "centre as corner": (box + half, "sized"),
            "corners as sizes": (far, "sized"),
            "percent": (box / np.tile(size, 2) * 100, "corners"),
            "right, centred": (box, "centred"),
            "right, corners": (box, "corners"),
        }
        for what, (read, order) in readings.items():
            doubts = [judge(read, size, order) for judge in (doubt_boxes, suspect_boxes)]
            told.setdefault(what, []).append(any(doubts))
    right = {what for what in told if what.startswith("right")}
    assert not any(any(told[what]) for what in right)
    assert all(told[what][0] and np.mean(told[what]) > 0.9 for what in told.keys() - right)
