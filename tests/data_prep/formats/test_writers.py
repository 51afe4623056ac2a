"""What is written, read again by parsers that know nothing of the writers."""

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image, ImageOps

from data_prep.base.errors import DatasetError
from data_prep.datasets.convert import ConvertOptions, convert
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.registry import FORMATS, read_dataset
from tests.makers import add_example, make_photo, make_voc

AS_WRITTEN = ReadOptions(classes=None)
FACES = {
    "images/día 1/año neu.jpg": [
        ("with_mask", (10.1, 12, 30.7, 40.3333333333333)),
        ("no mask", (60, 20.5, 100, 70)),
    ],
    "images/día 2/año neu.jpg": [("with_mask", (0.1, 0.2, 0.3 + 33, 55.7))],
    "images/empty.jpg": [],
    "images/x.png": [("Mask, worn", (5, 5, 45, 44))],
}
SIZE = (120, 90)


@pytest.fixture
def odd(tmp_path):
    """Blanks and accents, a name twice, a photo without faces, no stated size, difficult faces."""
    root = tmp_path / "odd"
    for seed, (image, objects) in enumerate(FACES.items()):
        make_photo(root / image, *SIZE, seed=seed)
        note = root / f"{image.replace('images', 'annotations').rsplit('.', 1)[0]}.xml"
        path = make_voc(note, image, objects, None if image.endswith("png") else SIZE)
        if image.endswith("png"):
            path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
    return root


@pytest.fixture
def twins(tmp_path):
    """Two photos that share a stem."""
    for seed, name in enumerate(("a.jpg", "a.png")):
        make_photo(tmp_path / "set" / name, seed=seed)
        make_voc(tmp_path / "set" / f"{name}.xml", name)
    return tmp_path / "set"


@pytest.fixture
def write(odd, tmp_path):
    def call(form, root=odd, **options):
        out = tmp_path / form
        return out, convert(ConvertOptions(dataset=root, out=out, to=form, **options))

    return call


def test_voc_files(write):
    out, result = write(Format.VOC)
    assert result.record["not_held"] == {}
    for image, faces in FACES.items():
        file = out / image.replace("images", "annotations").replace("jpg", "xml")
        root = ElementTree.parse(file.with_suffix(".xml")).getroot()
        # The name alone where it tells the photo.
        name = image if "año" in image else image.split("/")[-1]
        assert root.findtext("filename") == name
        assert [root.findtext(f"size/{side}") for side in ("width", "height")] == ["120", "90"]
        objects = root.findall("object")
        assert [o.findtext("name") for o in objects] == [label for label, _ in faces]
        assert {o.findtext("difficult") for o in objects} <= ({"1"} if "png" in image else {"0"})
        for element, (_, box) in zip(objects, faces, strict=True):
            assert tuple(float(side.text) for side in element.find("bndbox")) == box
    text = (out / "annotations" / "empty.xml").read_text(encoding="utf-8")
    assert text == (
        "<?xml version='1.0' encoding='UTF-8'?>\n<annotation>\n\t<folder>images</folder>\n"
        "\t<filename>empty.jpg</filename>\n\t<size>\n\t\t<width>120</width>\n"
        "\t\t<height>90</height>\n\t\t<depth>3</depth>\n\t</size>\n"
        "\t<segmented>0</segmented>\n</annotation>\n"
    )


def test_voc_of_photos_that_share_a_stem(write, twins):
    out, _ = write(Format.VOC, twins)
    assert sorted(path.name for path in out.rglob("*.xml")) == ["a.jpg.xml", "a.png.xml"]


def test_voc_of_a_photo_whose_stem_is_the_name_of_another(twins, write):
    for seed, name in enumerate(("b.jpg", "B.png", "b.jpg.jpg"), 7):
        make_photo(twins / name, seed=seed)
        make_voc(twins / f"{name}.xml", name)
    out, _ = write(Format.VOC, twins)
    assert len([*out.rglob("*.xml")]) == 5


def test_voc_of_a_name_that_xml_forbids(write, tmp_path):
    root = tmp_path / "set"
    make_photo(root / "a\x01b.jpg")
    make_voc(root / "a\x01b.xml", "")
    with pytest.raises(DatasetError, match=r"XML can't hold the name .* rename it"):
        write(Format.VOC, root)
    assert not (tmp_path / "voc").exists()


@pytest.mark.parametrize("form", [n for n, f in FORMATS.items() if f.writes and f.holds_photos])
def test_names_that_look_coded_or_end_alike_are_read_again(write, tmp_path, form):
    rows = []
    # The last are in a folder called as one that is written.
    nested = ("b.jpg", "images/b.jpg")
    names = ("a b.jpg", "sub/a b.jpg", "50%20.jpg", "x+y.jpg", "c#1.jpg", *nested)
    for seed, name in enumerate(names):
        make_photo(tmp_path / "set" / name, *SIZE, seed=seed)
        rows.append(f"{name},mask,10,12,{30 + seed},40")
    text = "\n".join(["image,label,xmin,ymin,xmax,ymax", *rows])
    (tmp_path / "set" / "a.csv").write_text(text)
    out, _ = write(form, tmp_path / "set")
    read, source = (read_dataset(root, AS_WRITTEN).photos for root in (out, tmp_path / "set"))
    found = {p.path.read_bytes(): round(p.faces[0].box.xmax) for p in read}
    assert found == {p.path.read_bytes(): round(p.faces[0].box.xmax) for p in source}
    assert len(found) == len(rows)


def test_yolo_files(write):
    out, result = write(Format.YOLO)
    assert result.record["not_held"] == {"difficult flags": 1}
    data = yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8"))
    assert data["train"] == "images"
    for image, faces in FACES.items():
        assert (out / image).is_file()
        labels = Path(str(out / image).replace("/images/", "/labels/")).with_suffix(".txt")
        lines = labels.read_text().splitlines()
        assert len(lines) == len(faces)
        for line, (label, box) in zip(lines, faces, strict=True):
            number, x, y, w, h = line.split()
            assert data["names"][int(number)] == label
            x, w = float(x) * SIZE[0], float(w) * SIZE[0]
            y, h = float(y) * SIZE[1], float(h) * SIZE[1]
            read = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            assert read == pytest.approx(box, abs=1e-6)


def test_yolo_of_photos_that_share_a_stem(write, twins):
    out, result = write(Format.YOLO, twins)
    assert [f.kind for f in result.findings] == ["name-clash"]
    assert result.record["left_out"] == 1
    # Without labels of its own, the second must not pass for a photo without faces.
    assert [path.name for path in (out / "images").iterdir()] == ["a.jpg"]


def test_yolo_photo_below_two_folders_called_images(write, tmp_path):
    root = tmp_path / "set"
    make_photo(root / "images" / "b" / "images" / "a.jpg")
    make_voc(root / "a.xml", "a.jpg")
    out, _ = write(Format.YOLO, root)
    # Trainers replace the last one.
    assert (out / "images" / "b" / "labels" / "a.txt").is_file()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_yolo_boxes_lie_in_the_upright_photo(write, tmp_path, orientation):
    pixels = np.zeros((60, 100, 3), np.uint8)
    pixels[7:23, 11:31] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "set").mkdir()
    Image.fromarray(pixels).save(tmp_path / "set" / "a.png", exif=exif)
    make_voc(tmp_path / "set" / "a.xml", "a.png", [("mask", (11, 7, 31, 23))], (100, 60))
    out, _ = write(Format.YOLO, tmp_path / "set")
    upright = ImageOps.exif_transpose(Image.open(out / "images" / "a.png"))
    x, y, w, h = cv2.boundingRect(np.array(upright.convert("L")))
    width, height = upright.size
    wanted = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
    shares = (out / "labels" / "a.txt").read_text().split()[1:]
    assert tuple(map(float, shares)) == pytest.approx(wanted, abs=1e-11)


def test_boxes_that_refer_to_the_upright_photo_are_not_turned_again(write, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    make_photo(tmp_path / "set" / "a.jpg", 100, 60, exif=exif)
    make_voc(tmp_path / "set" / "a.xml", "a.jpg", [("mask", (6, 10, 30, 50))], (60, 100))
    out, _ = write(Format.YOLO, tmp_path / "set")
    assert (out / "labels" / "a.txt").read_text() == "0 0.3 0.3 0.4 0.4\n"


def test_coco_file(write):
    out, result = write(Format.COCO)
    assert result.record["not_held"] == {}
    record = json.loads((out / "annotations.json").read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in record["categories"]}
    images = {image["id"]: image for image in record["images"]}
    assert {(i["file_name"], i["width"], i["height"]) for i in images.values()} == {
        (image, *SIZE) for image in FACES
    }
    read = {image: [] for image in FACES}
    for item in record["annotations"]:
        image = images[item["image_id"]]["file_name"]
        x, y, w, h = item["bbox"]
        read[image].append((names[item["category_id"]], pytest.approx((x, y, x + w, y + h))))
        assert item["area"] == pytest.approx(w * h)
        assert item["iscrowd"] == 0
        assert item.get("difficult", 0) == int("png" in image)
    assert read == FACES
    assert len({item["id"] for item in record["annotations"]}) == 4


def test_csv_file(write):
    out, result = write(Format.CSV)
    assert result.record["not_held"] == {}
    with (out / "annotations.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    read = {image: [] for image in FACES}
    for row in rows:
        assert (row["width"], row["height"]) == ("120", "90")
        if row["image"] == "images/empty.jpg":
            assert {row[key] for key in list(row)[3:]} == {""}
            continue
        box = tuple(float(row[side]) for side in ("xmin", "ymin", "xmax", "ymax"))
        assert int(row["object"]) == len(read[row["image"]])
        read[row["image"]].append((row["label"], box))
        assert row["difficult"] == str(int("png" in row["image"]))
    assert read == FACES
    assert len(rows) == 5


def test_crops(write):
    out, result = write(Format.CROPS, scale=2)
    assert result.record["not_held"] == {
        "places in the photo": 4,
        "difficult flags": 1,
        "photos without faces": 1,
    }
    crops = {path.parent.name: Image.open(path).size for path in out.rglob("*.jpg")}
    assert crops == {"Mask, worn": (80, 80), "no mask": (99, 99), "with_mask": crops["with_mask"]}
    as_crops = ReadOptions(classes=None, format=Format.CROPS)  # any folder name is a class then
    labels = sorted(face.label for p in read_dataset(out, as_crops).photos for face in p.faces)
    assert labels == sorted(label for faces in FACES.values() for label, _ in faces)


@pytest.mark.parametrize("label", ["../up", "a/b", ".hidden", "CON:", "tail."])
def test_class_that_can_not_be_a_folder(write, tmp_path, label):
    add_example(tmp_path / "set", "a", 0, [(label, (5, 5, 45, 44))])
    with pytest.raises(DatasetError, match="can't be the name of a folder"):
        write(Format.CROPS, tmp_path / "set")
    assert not (tmp_path / "up").exists()
    assert not (tmp_path / "crops").exists()


UPRIGHT_TOOLS = (Format.LABELME, Format.LABEL_STUDIO, Format.CVAT, Format.FIFTYONE)


@pytest.mark.parametrize(
    "form", [name for name, form in FORMATS.items() if form.writes and form.holds_photos]
)
def test_round_trip(odd, write, form):
    out, result = write(form)
    first, again = read_dataset(odd, AS_WRITTEN), read_dataset(out, AS_WRITTEN)
    names = [photo.image.removeprefix("data/") for photo in again.photos]
    assert names == [photo.image for photo in first.photos]
    for old, new in zip(first.photos, again.photos, strict=True):
        assert [face.label for face in new.faces] == [face.label for face in old.faces]
        for mine, wanted in zip(new.faces, old.faces, strict=True):
            shares = (Format.YOLO, Format.LABEL_STUDIO, Format.FIFTYONE)
            tolerance = 1e-6 if form in shares else {Format.COCO: 1e-12}.get(form, 0)
            assert mine.box == pytest.approx(wanted.box, abs=tolerance, rel=0)
            if form not in (Format.YOLO, *UPRIGHT_TOOLS):
                assert mine.difficult == wanted.difficult
    if form in UPRIGHT_TOOLS:
        assert result.record["not_held"] == {"difficult flags": 1}


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("form", UPRIGHT_TOOLS)
def test_tools_show_photos_upright(write, tmp_path, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    make_photo(tmp_path / "set" / "a.jpg", 100, 60, exif=exif)
    make_voc(tmp_path / "set" / "a.xml", "a.jpg", [("mask", (11, 7, 31, 23))], (100, 60))
    out, _ = write(form, tmp_path / "set")
    text = "".join(path.read_text() for path in out.rglob("*") if path.suffix in (".json", ".xml"))
    upright = {1: (11, 7, 31, 23), 3: (69, 37, 89, 53), 6: (37, 11, 53, 31)}[orientation]
    if form is Format.CVAT:
        sides = dict(zip(("xtl", "ytl", "xbr", "ybr"), upright, strict=True))
        assert all(f'{name}="{value}"' in text for name, value in sides.items())
    (photo,) = read_dataset(out, AS_WRITTEN).photos
    size = (60, 100) if orientation == 6 else (100, 60)
    assert photo.stated_size == size
    there = upright if orientation == 6 else (11, 7, 31, 23)
    assert photo.faces[0].box == pytest.approx(there, abs=1e-6)


def test_what_labelling_tools_import(write):
    """Against the examples in the documentation of each."""
    out, _ = write(Format.LABELME)
    record = json.loads((out / "images" / "día 2" / "año neu.json").read_text(encoding="utf-8"))
    (shape,) = record.pop("shapes")
    assert record["imagePath"] == "año neu.jpg"
    assert (record["imageData"], record["imageWidth"], record["imageHeight"]) == (None, *SIZE)
    assert shape["shape_type"] == "rectangle"
    assert shape["points"] == [[0.1, 0.2], [33.3, 55.7]]
    out, _ = write(Format.LABEL_STUDIO)
    tasks = json.loads((out / "tasks.json").read_text(encoding="utf-8"))
    assert tasks[2] == {"data": {"image": "/data/local-files/?d=images/empty.jpg"}} | {
        "annotations": [{"result": []}]
    }
    value = tasks[3]["annotations"][0]["result"][0]["value"]
    assert value["rectanglelabels"] == ["Mask, worn"]
    assert (value["x"], value["height"]) == pytest.approx((5 / 1.2, 39 / 0.9))
    view = ElementTree.parse(out / "labeling_config.xml").getroot()
    names = [one.get("value") for one in view.iter("Label")]
    assert names == ["with_mask", "Mask, worn", "no mask"]
    out, _ = write(Format.CVAT)
    root = ElementTree.parse(out / "annotations.xml").getroot()
    image = root.findall("image")[3]
    assert (image.get("name"), image.get("width"), image.get("height")) == ("x.png", "120", "90")
    assert [image[0].get(key) for key in ("xtl", "ytl", "xbr", "ybr")] == ["5", "5", "45", "44"]
    out, _ = write(Format.FIFTYONE)
    record = json.loads((out / "labels.json").read_text(encoding="utf-8"))
    samples = {path.relative_to(out / "data") for path in (out / "data").rglob("*.*")}
    assert {str(path.with_suffix("")) for path in samples} == record["labels"].keys()
    (face,) = record["labels"]["images/x"]
    assert face["bounding_box"] == pytest.approx([5 / 120, 5 / 90, 40 / 120, 39 / 90])


@pytest.mark.parametrize("form", [Format.LABELME, Format.FIFTYONE])
def test_tools_that_call_photos_by_their_stem(write, twins, form):
    out, result = write(form, twins)
    assert [f.kind for f in result.findings] == ["name-clash"]
    assert [path.name for path in out.rglob("a.*g")] == ["a.jpg"]
