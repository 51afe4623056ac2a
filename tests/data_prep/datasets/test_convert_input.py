"""Converting what is odd, misnamed, lost or given in other ways."""

import json

import pytest

from data_prep.datasets import convert as converting
from data_prep.formats.contracts import ReadOptions
from data_prep.formats.registry import read_dataset
from tests.makers import add_example, hash_tree, make_photo, make_voc


def labels(root):
    read = read_dataset(root, ReadOptions(classes=None))
    return [face.label for photo in read.photos for face in photo.faces]


def test_columns_names_and_format_can_be_told(run, tmp_path):
    root = tmp_path / "set"
    make_photo(root / "images" / "a.jpg")
    (root / "t.csv").write_text("bild,klasse,l,o,r,u\nimages/a.jpg,Bare,1,2,30,40\n")
    (root / "labels").mkdir()
    (root / "labels" / "a.txt").write_text("0.0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "own.txt").write_text("Mundschutz\n")
    columns = "image=bild,label=klasse,xmin=l,ymin=o,xmax=r,ymax=u"
    for form, more in {
        "csv": ("--columns", columns),
        "yolo": ("--names", tmp_path / "own.txt"),
    }.items():
        out = tmp_path / form
        result = run("convert", root, "-o", out, "--to", "csv", "--format", form, *more)
        assert result.exit_code == 0
        assert labels(out) == [{"csv": "Bare", "yolo": "Mundschutz"}[form]]


def test_crops_are_recognised(run, tmp_path):
    make_photo(tmp_path / "set" / "Mask" / "a.jpg")
    make_photo(tmp_path / "set" / "no_mask" / "b.jpg", seed=1)
    out = tmp_path / "out"
    assert run("convert", tmp_path / "set", "-o", out, "--to", "csv").exit_code == 0
    assert labels(out) == ["Mask", "no_mask"]


@pytest.mark.parametrize("place", ["out", "images/out"])
def test_folder_of_a_table_is_never_written_to(run, tmp_path, place):
    make_photo(tmp_path / "set" / "images" / "a.jpg")
    table = tmp_path / "set" / "t.csv"
    table.write_text("image,label,xmin,ymin,xmax,ymax\na.jpg,Bare,1,2,30,40\n")
    before = hash_tree(tmp_path)
    result = run("convert", table, "-o", tmp_path / "set" / place, "--to", "csv")
    assert result.exit_code == 2
    assert "meets the dataset" in result.stderr
    assert hash_tree(tmp_path) == before


def test_archive_is_named_wherever_the_output_goes(run, tmp_path):
    (tmp_path / "set.zip").write_bytes(b"")
    result = run("convert", tmp_path / "set.zip", "-o", tmp_path / "out", "--to", "csv")
    assert result.exit_code == 2
    assert "an archive; unpack it" in result.stderr


def test_nothing_left_is_an_error_not_an_empty_dataset(run, tmp_path):
    make_photo(tmp_path / "set" / "a.jpg")
    make_voc(tmp_path / "set" / "b.xml", "b.jpg")
    result = run("convert", tmp_path / "set", "-o", tmp_path / "out", "--to", "coco")
    assert result.exit_code == 2
    assert "no photo is left" in result.stderr
    assert "its photo 'b.jpg' is not in the folder" in result.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_not_read_is_told(run, tmp_path):
    root = tmp_path / "set"
    path = add_example(root, "a", 1)
    path.write_text(path.read_text().replace("<difficult>", "<truncated>1</truncated><difficult>"))
    result = run("convert", root, "-o", tmp_path / "coco", "--to", "coco")
    assert "note: set: not read, so not carried on: truncated of 1 objects." in result.stderr
    assert result.exit_code == 0
    file = tmp_path / "coco" / "annotations.json"
    file.write_text(file.read_text().replace('"iscrowd"', '"segmentation": [[1]], "iscrowd"'))
    result = run("convert", tmp_path / "coco", "-o", tmp_path / "csv", "--to", "csv")
    assert "not carried on: segmentation of 1 annotations." in result.stderr
    table = tmp_path / "csv" / "annotations.csv"
    table.write_text(table.read_text().replace("difficult", "licence"))
    result = run("convert", tmp_path / "csv", "-o", tmp_path / "voc", "--to", "voc")
    assert "annotations.csv: not read, so not carried on: licence." in result.stderr


def test_photo_lost_meanwhile_is_named_as_such(run, dataset, tmp_path, monkeypatch):
    place = converting.place_photos

    def lose_and_place(*arguments):
        (dataset / "images" / "photo3.jpg").unlink()
        return place(*arguments)

    monkeypatch.setattr(converting, "place_photos", lose_and_place)
    result = run("convert", dataset, "-o", tmp_path / "out", "--to", "csv")
    assert result.exit_code == 2
    assert "photo3.jpg: can't be read (No such file or directory)" in result.stderr
    assert "free some space" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_crops_of_a_broken_photo_are_not_counted(run, dataset, tmp_path):
    (dataset / "images" / "photo0.jpg").write_bytes(b"")
    out = tmp_path / "out"
    assert run("convert", dataset, "-o", out, "--to", "crops").exit_code == 1
    record = json.loads((out / "convert.json").read_text(encoding="utf-8"))
    counts = record["counts"]
    assert (counts["photos"], sum(counts["faces"].values())) == (9, 18)
    assert record["not_held"] == {"places in the photo": 18}


def test_names_that_differ_in_case_keep_their_faces(run, tmp_path):
    root = tmp_path / "set"
    for index, name in enumerate(["a", "A"]):
        add_example(root, name, index, [("with_mask", (10, 12, 30 + 20 * index, 40))])
    if len(list((root / "images").iterdir())) < 2:
        pytest.skip("this disk holds no two such names")
    for form in ("csv", "voc", "coco", "csv"):
        out = tmp_path / f"{root.name}-{form}"
        assert run("convert", root, "-o", out, "--to", form).exit_code == 0
        boxes = {p.image: p.faces[0].box.xmax for p in read_dataset(out).photos}
        assert boxes == {"images/a.jpg": 30, "images/A.jpg": 50}
        root = out


def test_yolo_names_that_differ_in_case(run, tmp_path):
    root = tmp_path / "set"
    (root / "labels").mkdir(parents=True)
    (root / "data.yaml").write_text("names: [with_mask]")
    for width, name in {0.2: "a", 0.5: "A"}.items():
        make_photo(root / "images" / f"{name}.jpg")
        (root / "labels" / f"{name}.txt").write_text(f"0 0.5 0.5 {width} 0.5\n")
    if len(list((root / "images").iterdir())) < 2:
        pytest.skip("this disk holds no two such names")
    widths = {p.image: round(p.faces[0].box.width) for p in read_dataset(root).photos}
    assert widths == {"images/a.jpg": 24, "images/A.jpg": 60}


def test_yolo_of_photos_called_like_files_of_names(run, tmp_path):
    root = tmp_path / "set"
    for index, name in enumerate(["classes", "names", "other"]):
        add_example(root, name, index)
    out = tmp_path / "out"
    assert run("convert", root, "-o", out, "--to", "yolo").exit_code == 0
    assert labels(out) == ["with_mask"] * 3
