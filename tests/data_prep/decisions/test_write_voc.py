"""A folder of corrected VOC files."""

import json
import shutil

import pytest

from data_prep.base.files import OutputError
from data_prep.base.labels import ALIASES, CLASSES
from data_prep.decisions.write_voc import check_voc_folder, write_voc
from data_prep.formats.contracts import ReadOptions
from data_prep.formats.registry import read_dataset
from tests.data_prep.deciding import decide, lay_over
from tests.makers import add_example, hash_tree, make_dataset, make_voc

WITH, WITHOUT, INCORRECT = CLASSES


@pytest.fixture
def overlay(dataset):
    """Photo 1 to 4 corrected, and a face that was clipped on reading left as it is."""
    add_example(dataset, "odd", 50, [(WITH, (100, 10, 121, 40)), (WITH, (1, 2, 21, 22))])
    read = read_dataset(dataset)
    ledger = [
        decide(dataset, "images/photo1.jpg", 0, WITH, (10, 12, 31, 40), "relabel", INCORRECT),
        decide(dataset, "images/photo2.jpg", 0, WITH, (10, 12, 32, 40), "drop"),
        decide(
            dataset,
            "images/photo3.jpg",
            0,
            WITH,
            (10, 12, 33, 40),
            "rebox",
            WITH,
            (-4, 1.5, 33, 41),
        ),
        decide(dataset, "images/photo4.jpg", 0, WITH, (10, 12, 34, 40), "keep"),
        decide(dataset, "images/odd.jpg", 1, WITH, (1, 2, 21, 22), "relabel", WITHOUT),
    ]
    return read, lay_over([read], ledger).datasets[0]


def read_back(dataset, out, aliases=ALIASES):
    """The written files, read with the dataset's photos beside them."""
    folder = out / dataset.name
    shutil.copytree(dataset / "images", folder / "images")
    return read_dataset(folder, ReadOptions(aliases=aliases))


def test_what_is_written_reads_as_the_decisions_say(dataset, overlay, tmp_path):
    read, corrected = overlay
    out = tmp_path / "voc"
    before = hash_tree(dataset)
    changed = write_voc([read], [corrected], out)
    assert hash_tree(dataset) == before
    assert changed == [
        f"faces/annotations/{name}.xml" for name in ("odd", "photo1", "photo2", "photo3")
    ]
    assert json.loads((out / "voc.json").read_text()) == {"changed": changed}
    again = read_back(dataset, out)
    for mine, wanted in zip(again.photos, corrected.photos, strict=True):
        assert (mine.image, mine.annotation) == (wanted.image, wanted.annotation)
        # Objects are numbered anew where one is gone.
        assert [(f.label, f.box, f.difficult) for f in mine.faces] == [
            (f.label, f.box, f.difficult) for f in wanted.faces
        ]
    assert "<xmax>121</xmax>" in (out / changed[0]).read_text()
    assert "<xmin>0</xmin><ymin>1.5</ymin>" in (out / changed[3]).read_text()


def test_unchanged_files_are_the_same_bytes(dataset, overlay, tmp_path):
    path = dataset / "annotations" / "photo5.xml"
    path.write_text(path.read_text().replace("<annotation>", "<annotation >") + "<!-- é -->\r\n")
    write_voc([overlay[0]], [overlay[1]], tmp_path / "voc")
    for name in ("photo0", "photo4", "photo5"):
        file = f"annotations/{name}.xml"
        assert (tmp_path / "voc" / "faces" / file).read_bytes() == (dataset / file).read_bytes()


def test_classes_are_called_as_the_dataset_calls_them(tmp_path):
    root = tmp_path / "faces"
    names = ["mask", "Mask", "mask", "no mask", "tapado", "tapado"]
    for number, name in enumerate(names):
        add_example(root, f"photo{number}", number, [(name, (20, 15, 60, 55))])
    aliases = {**ALIASES, "tapado": WITHOUT}
    reading = ReadOptions(aliases=aliases)
    read = read_dataset(root, reading)
    ledger = [
        decide(root, "images/photo0.jpg", 0, WITH, (20, 15, 60, 55), "relabel", WITHOUT),
        decide(root, "images/photo3.jpg", 0, WITHOUT, (20, 15, 60, 55), "relabel", WITH),
        decide(root, "images/photo4.jpg", 0, WITHOUT, (20, 15, 60, 55), "relabel", INCORRECT),
    ]
    corrected = lay_over([read], ledger).datasets
    write_voc([read], corrected, tmp_path / "voc", reading)
    folder = tmp_path / "voc" / "faces" / "annotations"
    written = [(folder / f"photo{n}.xml").read_text() for n in range(6)]
    for text, name in zip(
        written, ["tapado", "Mask", "mask", "mask", INCORRECT, "tapado"], strict=True
    ):
        assert f"<name>{name}</name>" in text
    assert [p.faces for p in read_back(root, tmp_path / "voc", aliases).photos] == [
        p.faces for p in corrected[0].photos
    ]


def test_written_again_over_what_was_written(overlay, tmp_path):
    read, corrected = overlay
    write_voc([read], [corrected], tmp_path / "voc")
    assert write_voc([read], [read], tmp_path / "voc") == []
    write_voc([read], [corrected], tmp_path / "new")
    write_voc([read], [corrected], tmp_path / "voc")
    new, old = (
        {p.name: p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in ("new", "voc")
    )
    assert new == old
    assert len(new) == 12


def test_interrupted_writing_goes_on_the_next_time(overlay, tmp_path, monkeypatch):
    from data_prep.decisions import write_voc as writing

    read, corrected = overlay
    real, count = writing.write_atomically, []

    def stop(path, data):
        count.append(path)
        if len(count) == 5:
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(writing, "write_atomically", stop)
    with pytest.raises(KeyboardInterrupt):
        write_voc([read], [corrected], tmp_path / "voc")
    monkeypatch.undo()
    assert json.loads((tmp_path / "voc" / "voc.json").read_text()) == {"changed": None}
    assert len(write_voc([read], [corrected], tmp_path / "voc")) == 4


def refuse(dataset, out, reason="meets the dataset .* choose another folder with --write-voc"):
    before = hash_tree(dataset)
    with pytest.raises(OutputError, match=reason):
        check_voc_folder(out, [read_dataset(dataset)])
    assert hash_tree(dataset) == before


def test_dataset_is_never_written_to(dataset, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    for out in (dataset, dataset / "new", tmp_path, link, dataset / "annotations" / ".."):
        refuse(dataset, out)


def test_link_into_the_dataset_is_noticed(dataset, tmp_path):
    (tmp_path / "voc" / "faces").mkdir(parents=True)
    (tmp_path / "voc" / "voc.json").write_text("{}")
    (tmp_path / "voc" / "faces" / "annotations").symlink_to(dataset / "annotations")
    refuse(dataset, tmp_path / "voc")


def test_folder_around_the_dataset_is_noticed(tmp_path):
    out = tmp_path / "voc"
    dataset = make_dataset(out / "faces" / "data" / "faces")
    (out / "voc.json").write_text("{}")
    refuse(dataset, out)


def test_link_in_place_of_a_file_is_replaced_not_followed(dataset, overlay, tmp_path):
    folder = tmp_path / "voc" / "faces" / "annotations"
    folder.mkdir(parents=True)
    (tmp_path / "voc" / "voc.json").write_text('{"changed": []}')
    (folder / "photo1.xml").symlink_to(dataset / "annotations" / "photo1.xml")
    before = hash_tree(dataset)
    write_voc([overlay[0]], [overlay[1]], tmp_path / "voc")
    assert hash_tree(dataset) == before
    assert INCORRECT in (folder / "photo1.xml").read_text()


def test_folder_with_other_files_is_not_touched(dataset, tmp_path):
    make_voc(tmp_path / "voc" / "faces" / "annotations" / "photo1.xml", "mine.jpg")
    refuse(dataset, tmp_path / "voc", "holds other files; choose an empty .* --write-voc")
    (tmp_path / "voc" / "voc.json").write_text('{"version": "7"}')
    refuse(dataset, tmp_path / "voc", "was not written by this command; .* --write-voc")
