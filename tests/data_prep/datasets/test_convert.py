"""Converting: options, findings, folders, second runs, and what is odd, misnamed or lost."""

import json

import pytest

from data_prep.base.files import (
    sha256_of,
)
from data_prep.datasets import convert as converting
from data_prep.decisions.ledger import append_decision
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.registry import read_dataset
from tests.data_prep.deciding import decide
from tests.makers import add_example, hash_tree, make_photo, make_voc

READ_ONLY = {"via", "via3", "vott", "createml", "supervisely", "medical-mask", "wider"}


@pytest.fixture
def convert(run, dataset, tmp_path):
    def call(to, *options, out=tmp_path / "out"):
        before = hash_tree(dataset)
        result = run("convert", dataset, "-o", out, "--to", to, *options)
        assert hash_tree(dataset) == before
        return result

    return call


def record(tmp_path):
    return json.loads((tmp_path / "out" / "convert.json").read_text(encoding="utf-8"))


def labels(root):
    read = read_dataset(root, ReadOptions(classes=None))
    return [face.label for photo in read.photos for face in photo.faces]


def test_summary_and_record(convert, tmp_path):
    result = convert("coco", "--photos", "none")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "photos     10, 0 of them without faces",
        "faces      3 mask_weared_incorrect, 14 with_mask, 3 without_mask",
        "not held   nothing",
        "findings   none",
        f"written    {tmp_path / 'out'}, {tmp_path / 'out' / 'convert.json'}",
    ]
    told = record(tmp_path)
    assert (told["from"], told["options"]["to"]) == ("voc", "coco")
    assert told["files"] == {"annotations.json": sha256_of(tmp_path / "out" / "annotations.json")}
    assert told["photos"] == {}


def test_second_run_does_nothing_until_something_changes(convert, dataset, tmp_path):
    convert("voc")
    before = hash_tree(tmp_path / "out")
    result = convert("voc")
    assert result.stdout == f"{tmp_path / 'out'} is up to date: nothing to do.\n"
    assert hash_tree(tmp_path / "out") == before
    lost = tmp_path / "out" / "images" / "photo3.jpg"
    lost.unlink()
    assert "written" in convert("voc").stdout
    assert lost.is_file()
    add_example(dataset, "more", 99)
    assert "photos     11" in convert("voc").stdout
    assert len(labels(tmp_path / "out")) == 21


def test_other_format_into_the_same_folder_leaves_nothing_of_the_first(convert, tmp_path):
    convert("voc")
    (tmp_path / "out" / "mine.txt").write_text("a user's")
    convert("yolo", "--photos", "none")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"data.yaml", "labels", "convert.json", "mine.txt"}


def test_what_was_changed_or_is_of_a_user_is_not_written_over(convert, tmp_path):
    convert("csv", "--photos", "none")
    mine = tmp_path / "out" / "images" / "photo0.jpg"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    result = convert("csv")
    assert result.exit_code == 2
    assert "photo0.jpg: was not written by this command" in result.stderr
    assert mine.read_bytes() == b"mine"
    mine.unlink()
    table = tmp_path / "out" / "annotations.csv"
    table.write_text("worked on")
    result = convert("csv")
    assert result.exit_code == 2
    assert "annotations.csv: was changed after it was written; move it away" in result.stderr
    assert table.read_text() == "worked on"


def test_killed_run_is_just_run_again(convert, dataset, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    monkeypatch.setattr(converting.files.OutputFolder, "swap_in", stop)
    with pytest.raises(KeyboardInterrupt):
        converting.convert(converting.ConvertOptions(dataset=dataset, out=out, to=Format.VOC))
    monkeypatch.undo()
    (out / ".staging" / "images").mkdir(parents=True, exist_ok=True)
    (out / "convert.json").write_text('{"inputs": null}')
    assert convert("voc").exit_code == 0
    assert not (out / ".staging").exists()


@pytest.mark.parametrize("place", ["", "new", ".."])
def test_dataset_is_never_written_to(convert, dataset, place):
    result = convert("voc", out=dataset / place)
    assert result.exit_code == 2
    assert "meets the dataset" in result.stderr
    assert "choose another folder with -o" in result.stderr


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("thesis.txt", "mine", "holds other files"),
        *(
            ("convert.json", text, "convert.json: was not written by this command")
            for text in ("[1]", "mine", '{"mine": 1}')
        ),
    ],
)
def test_folder_of_others_is_refused(convert, tmp_path, name, text, reason):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(text)
    result = convert("voc")
    assert result.exit_code == 2
    assert reason in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_links_share_the_file_and_copies_do_not(convert, dataset, tmp_path, monkeypatch):
    def compare(mode, out):
        convert("csv", "--photos", mode, out=tmp_path / out)
        photo, original = (root / "images" / "photo0.jpg" for root in (tmp_path / out, dataset))
        assert photo.read_bytes() == original.read_bytes()
        return photo.samefile(original)

    def fail(*_):
        raise OSError(18, "Invalid cross-device link")

    assert compare("link", "linked")
    assert not compare("copy", "copied")
    monkeypatch.setattr("os.link", fail)
    assert not compare("link", "where-links-fail")


def test_clipped_and_lost_boxes_are_findings(convert, dataset, tmp_path):
    boxes = [("with_mask", (100, 10, 121, 40)), ("with_mask", (130, 10, 150, 40))]
    add_example(dataset, "odd", 50, boxes)
    result = convert("csv")
    assert result.exit_code == 1
    assert record(tmp_path)["findings"] == {"clipped-box": 1, "degenerate-box": 1}
    assert "left out: faces/annotations/odd.xml: object 1" in result.stderr
    table = (tmp_path / "out" / "annotations.csv").read_text()
    assert "images/odd.jpg,120,90,0,with_mask,100,10,120,40,0\n" in table


def test_broken_photo_is_used_by_its_stated_size(convert, dataset, tmp_path):
    for name, size in (("stated", (120, 90)), ("unknown", None)):
        (dataset / "images" / f"{name}.jpg").write_bytes(b"no photo")
        make_voc(dataset / "annotations" / f"{name}.xml", f"{name}.jpg", size=size)
    result = convert("csv")
    assert result.exit_code == 1
    assert record(tmp_path)["findings"] == {"unreadable-photo": 2}
    table = (tmp_path / "out" / "annotations.csv").read_text()
    assert "stated.jpg,120,90" in table
    assert "unknown" not in table


def test_names_as_written_or_canonical(convert, dataset, tmp_path):
    add_example(dataset, "odd", 50, [("No Mask", (1, 2, 21, 22)), ("bare", (31, 2, 61, 22))])
    assert convert("voc").exit_code == 0
    assert {"No Mask", "bare"} < set(labels(tmp_path / "out"))
    assert convert("voc", "--canonical").exit_code == 2
    assert convert("voc", "--canonical", "--alias", "bare=without_mask").exit_code == 0
    assert labels(tmp_path / "out").count("without_mask") == 5


def test_decisions_are_applied_under_the_names_as_written(convert, dataset, tmp_path):
    for number in (1, 2):
        add_example(dataset, f"odd{number}", 50 + number, [("No Mask", (1, 2, 21, 22))])
    ledger = tmp_path / "decisions.jsonl"
    for image, name, box, action, to in (
        ("odd1", "without_mask", (1, 2, 21, 22), "relabel", "with_mask"),
        ("photo0", "with_mask", (10, 12, 30, 40), "drop", None),
    ):
        found = decide(dataset, f"images/{image}.jpg", 0, name, box, action, to)
        append_decision(ledger, found)
    result = convert("voc", "--decisions", ledger)
    assert result.exit_code == 0
    read = read_dataset(tmp_path / "out", ReadOptions(classes=None))
    faces = {p.image: [face.label for face in p.faces] for p in read.photos}
    assert faces["images/odd1.jpg"] == ["with_mask"]
    assert faces["images/odd2.jpg"] == ["No Mask"]
    assert len(faces["images/photo0.jpg"]) == 1
    assert record(tmp_path)["decisions"]["applied"] == {"relabel": 1, "drop": 1}
    assert record(tmp_path)["not_held"] == {"object numbers": 1}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("crops --photos copy", "a folder of crops holds no photos"),
        ("voc --scale 2", "only crops have one"),
        ("crops --scale 0.5", "use a number from 1 to 10"),
        ("voc --alias a=with_mask", "add --canonical"),
        (
            "xml",
            "--to xml: unknown; use one of voc, yolo, coco, csv, labelme, label-studio, cvat, f",
        ),
    ],
)
def test_wrong_use_is_one_clear_error(convert, tmp_path, arguments, reason):
    result = convert(*arguments.split())
    assert result.exit_code == 2
    assert reason in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_format_that_is_only_read_is_refused_with_those_that_are_written(convert):
    told = convert("via").stderr
    written = told.removeprefix("error: --to via: only read; use one of ").strip(".\n").split(", ")
    assert set(written) == {name.value for name in Format} - READ_ONLY


def test_photos_of_one_name_in_several_folders_keep_their_faces(run, tmp_path):
    root = tmp_path / "set"
    for number, folder in enumerate(("a", "b")):
        make_photo(root / "images" / folder / "x.jpg", seed=number)
        box = (10 + number, 10, 40, 40)
        make_voc(root / "notes" / f"{folder}.xml", f"{folder}\\x.jpg", [("mask", box)])
    run("convert", root, "-o", tmp_path / "out", "--to", "voc")
    for folder in (root, tmp_path / "out"):
        faces = {p.image: p.faces[0].box.xmin for p in read_dataset(folder).photos}
        assert faces == {"images/a/x.jpg": 10, "images/b/x.jpg": 11}


def test_columns_names_and_format_can_be_told(run, tmp_path):
    root = tmp_path / "set"
    make_photo(root / "images" / "a.jpg")
    (root / "t.csv").write_text("bild,klasse,l,o,r,u\nimages/a.jpg,Bare,1,2,30,40\n")
    (root / "labels").mkdir()
    (root / "labels" / "a.txt").write_text("0.0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "own.txt").write_text("Mundschutz\n")
    make_photo(tmp_path / "crops" / "Mask" / "a.jpg")
    make_photo(tmp_path / "crops" / "no_mask" / "b.jpg", seed=1)
    columns = "image=bild,label=klasse,xmin=l,ymin=o,xmax=r,ymax=u"
    for number, (given, options, found) in enumerate(
        [
            (root, ["--format", "csv", "--columns", columns], ["Bare"]),
            (root, ["--format", "yolo", "--names", tmp_path / "own.txt"], ["Mundschutz"]),
            (tmp_path / "crops", [], ["Mask", "no_mask"]),
        ]
    ):
        out = tmp_path / f"out{number}"
        assert run("convert", given, "-o", out, "--to", "csv", *options).exit_code == 0
        assert labels(out) == found


def test_folder_of_a_table_is_never_written_to(run, tmp_path):
    make_photo(tmp_path / "set" / "images" / "a.jpg")
    table = tmp_path / "set" / "t.csv"
    table.write_text("image,label,xmin,ymin,xmax,ymax\na.jpg,Bare,1,2,30,40\n")
    before = hash_tree(tmp_path)
    result = run("convert", table, "-o", tmp_path / "set" / "images" / "out", "--to", "csv")
    assert result.exit_code == 2
    assert "meets the dataset" in result.stderr
    assert hash_tree(tmp_path) == before


def test_nothing_left_is_an_error_not_an_empty_dataset(run, tmp_path):
    make_photo(tmp_path / "set" / "a.jpg")
    make_voc(tmp_path / "set" / "b.xml", "b.jpg")
    (tmp_path / "set.zip").write_bytes(b"")
    for name, reasons in {
        "set": ("no photo is left", "its photo 'b.jpg' is not in the folder"),
        "set.zip": ("an archive; unpack it",),
    }.items():
        result = run("convert", tmp_path / name, "-o", tmp_path / "out", "--to", "coco")
        assert result.exit_code == 2
        assert all(reason in result.stderr for reason in reasons)
        assert not (tmp_path / "out").exists()


def test_what_is_not_read_is_told(run, tmp_path):
    root = tmp_path / "set"
    path = add_example(root, "a", 1)
    path.write_text(path.read_text().replace("<difficult>", "<truncated>1</truncated><difficult>"))
    result = run("convert", root, "-o", tmp_path / "coco", "--to", "coco")
    assert "not read, so not carried on: truncated of 1 face." in result.stderr
    assert result.exit_code == 0
    file = tmp_path / "coco" / "annotations.json"
    file.write_text(file.read_text().replace('"iscrowd"', '"segmentation": [[1]], "iscrowd"'))
    result = run("convert", tmp_path / "coco", "-o", tmp_path / "csv", "--to", "csv")
    assert "not carried on: segmentation of 1 face." in result.stderr
    table = tmp_path / "csv" / "annotations.csv"
    table.write_text(table.read_text().replace("difficult", "licence"))
    result = run("convert", tmp_path / "csv", "-o", tmp_path / "voc", "--to", "voc")
    assert "annotations.csv: not read, so not carried on: licence." in result.stderr


def test_photo_lost_meanwhile_is_named_as_such(run, dataset, tmp_path, monkeypatch):
    place = converting.files.place_photos

    def lose_and_place(*arguments):
        (dataset / "images" / "photo3.jpg").unlink()
        return place(*arguments)

    monkeypatch.setattr(converting.files, "place_photos", lose_and_place)
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


def test_yolo_of_photos_called_like_files_of_names(run, tmp_path):
    root = tmp_path / "set"
    for index, name in enumerate(["classes", "names", "other"]):
        add_example(root, name, index)
    out = tmp_path / "out"
    assert run("convert", root, "-o", out, "--to", "yolo").exit_code == 0
    assert labels(out) == ["with_mask"] * 3
