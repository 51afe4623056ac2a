"""Converting: options, findings, folders, second runs."""

import json

import pytest

from data_prep.base.files import (
    PhotoMode,
    sha256_of,
)
from data_prep.datasets import convert as converting
from data_prep.decisions.ledger import append_decision
from data_prep.formats.contracts import Format, ReadOptions
from data_prep.formats.registry import read_dataset
from tests.data_prep.deciding import decide
from tests.makers import add_example, hash_tree, make_photo, make_voc


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
    add_example(dataset, "more", 99)
    assert "photos     11" in convert("voc").stdout
    assert len(labels(tmp_path / "out")) == 21


def test_other_format_into_the_same_folder_leaves_nothing_of_the_first(convert, tmp_path):
    convert("voc")
    (tmp_path / "out" / "mine.txt").write_text("a user's")
    convert("yolo", "--photos", "none")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"data.yaml", "labels", "convert.json", "mine.txt"}


def test_changed_output_is_not_written_over(convert, tmp_path):
    convert("csv")
    table = tmp_path / "out" / "annotations.csv"
    table.write_text("worked on")
    result = convert("csv", "--photos", "none")
    assert result.exit_code == 2
    assert "annotations.csv: was changed after it was written; move it away" in result.stderr
    assert table.read_text() == "worked on"


def test_lost_output_is_written_again(convert, tmp_path):
    convert("csv")
    (tmp_path / "out" / "images" / "photo3.jpg").unlink()
    assert "written" in convert("csv").stdout
    assert (tmp_path / "out" / "images" / "photo3.jpg").is_file()


def test_killed_run_is_just_run_again(convert, dataset, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(converting.OutputFolder, "swap_in", stop)
    with pytest.raises(KeyboardInterrupt):
        converting.convert(
            converting.ConvertOptions(dataset=dataset, out=tmp_path / "out", to=Format.VOC)
        )
    monkeypatch.undo()
    assert convert("voc").exit_code == 0


def test_what_a_kill_leaves_is_known_for_ours(convert, tmp_path):
    (tmp_path / "out" / ".staging" / "images").mkdir(parents=True)
    (tmp_path / "out" / "convert.json").write_text('{"inputs": null}')
    assert convert("voc").exit_code == 0
    assert not (tmp_path / "out" / ".staging").exists()


def test_file_of_a_user_in_the_way_is_not_written_over(convert, tmp_path):
    convert("csv", "--photos", "none")
    mine = tmp_path / "out" / "images" / "photo0.jpg"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    result = convert("csv")
    assert result.exit_code == 2
    assert "photo0.jpg: was not written by this command" in result.stderr
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("place", ["", "new", ".."])
def test_dataset_is_never_written_to(convert, dataset, place):
    result = convert("voc", out=dataset / place)
    assert result.exit_code == 2
    assert "meets the dataset" in result.stderr
    assert "choose another folder with -o" in result.stderr


def test_folder_of_others_is_refused(convert, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    result = convert("voc")
    assert result.exit_code == 2
    assert "holds other files" in result.stderr


@pytest.mark.parametrize("text", ["{}", "[1]", "mine", '{"mine": 1}'])
def test_record_of_others_is_refused(convert, tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "convert.json").write_text(text)
    result = convert("voc")
    assert result.exit_code == 2
    assert "convert.json: was not written by this command" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["convert.json"]


def test_links_share_the_file_and_copies_do_not(convert, dataset, tmp_path):
    for mode, shared in ((PhotoMode.LINK, True), (PhotoMode.COPY, False)):
        convert("csv", "--photos", mode, out=tmp_path / mode)
        photo = tmp_path / mode / "images" / "photo0.jpg"
        assert photo.samefile(dataset / "images" / "photo0.jpg") == shared
        assert photo.read_bytes() == (dataset / "images" / "photo0.jpg").read_bytes()


def test_photos_are_copied_where_links_fail(convert, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", fail)
    assert convert("csv", "--photos", "link").exit_code == 0
    assert (tmp_path / "out" / "images" / "photo0.jpg").stat().st_nlink == 1


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
        (["crops", "--photos", "copy"], "a folder of crops holds no photos"),
        (["voc", "--scale", "2"], "only crops have one"),
        (["crops", "--scale", "0.5"], "use a number from 1 to 10"),
        (["voc", "--alias", "a=with_mask"], "add --canonical"),
        (["xml"], "'xml'"),
    ],
)
def test_wrong_use_is_one_clear_error(convert, tmp_path, arguments, reason):
    result = convert(*arguments)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert not (tmp_path / "out").exists()


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
