"""The same faces come out of a build, whatever the format."""

import numpy as np
import pytest

from data_prep.base.tables import read_faces
from data_prep.formats.registry import read_dataset
from tests.data_prep.formats.converting import WRITERS
from tests.makers import FACE, add_example, make_voc

EXACT = ["image", "object", "label", "width", "height", "group", "split", "difficult"]
BOX = ["xmin", "ymin", "xmax", "ymax"]


@pytest.mark.parametrize("form", WRITERS)
def test_build_gives_the_same_table(dataset, tmp_path, run, form):
    add_example(dataset, "odd", 55, [*FACE, ("no mask", (0.25, 3.5, 77.125, 80.0625))])
    write, options = WRITERS[form]
    other = tmp_path / form / "faces"
    write(read_dataset(dataset), other)
    for root, out, more in ((dataset, "voc", ()), (other, "out", options)):
        assert run("build", root, "-o", tmp_path / out, "--workers", 1, *more).exit_code == 0
    expected, found = read_faces(tmp_path / "voc"), read_faces(tmp_path / "out")
    assert len(expected) == 22
    assert found[EXACT].equals(expected[EXACT])
    np.testing.assert_allclose(found[BOX], expected[BOX], rtol=0, atol=1e-6)


def test_changed_options_are_a_new_build(dataset, tmp_path, run):
    write, options = WRITERS["named-csv"]
    write(read_dataset(dataset), tmp_path / "set")
    call = ("build", tmp_path / "set", "-o", tmp_path / "out", "--workers", 1)
    assert run(*call, *options).exit_code == 0
    assert "up to date" in run(*call, *options).stdout
    assert "up to date" not in run(*call, *options, "--crop-scale", 2).stdout
    table = tmp_path / "set" / "table.csv"
    table.write_text(table.read_text().replace("without_mask", "mask_weared_incorrect", 1))
    assert "up to date" not in run(*call, *options, "--crop-scale", 2).stdout


def test_changed_class_names_are_a_new_build(dataset, tmp_path, run):
    WRITERS["yolo"][0](read_dataset(dataset), tmp_path / "set")
    names = tmp_path / "own.txt"
    names.write_text("mask\nno_mask\nincorrect_mask\n")
    call = ("build", tmp_path / "set", "-o", tmp_path / "out", "--names", names, "--workers", 1)
    assert run(*call).exit_code == 0
    assert "up to date" in run(*call).stdout
    names.write_text("no_mask\nmask\nincorrect_mask\n")
    result = run(*call)
    assert "up to date" not in result.stdout
    assert read_faces(tmp_path / "out")["label"].iloc[0] == "without_mask"


def test_corrected_voc_files_need_voc_files(dataset, tmp_path, run):
    WRITERS["coco"][0](read_dataset(dataset), tmp_path / "set")
    out = tmp_path / "out"
    result = run("build", tmp_path / "set", "-o", out, "--write-voc", tmp_path / "voc")
    assert result.exit_code == 2
    assert "(coco.json); write it in any format with: python -m data_prep convert" in result.stderr
    assert not out.exists()
    assert not (tmp_path / "voc").exists()


def test_options_are_explained(dataset, tmp_path, run):
    result = run("audit", dataset, "-o", tmp_path / "out", "--columns", "photo=x")
    assert result.exit_code == 2
    assert "fields are image, label" in result.stderr
    assert run("audit", dataset, "-o", tmp_path / "out", "--crop-scale", 0.5).exit_code == 2
    result = run("audit", dataset, "-o", tmp_path / "out", "--format", "coco")
    assert result.exit_code == 2
    assert "no COCO annotations" in result.stderr
    # A file stands for its folder here too: nothing is written into it.
    (dataset / "a.csv").write_text("image,label,xmin,ymin,xmax,ymax\nphoto0.jpg,mask,1,2,30,40\n")
    result = run("audit", dataset / "a.csv", "-o", dataset / "out")
    assert result.exit_code == 2
    assert "nothing is ever written" in result.stderr


def test_photo_of_two_datasets_counts_once(dataset, tmp_path, run):
    make_voc(dataset / "images" / "again.xml", "photo0.jpg")
    result = run("audit", dataset, dataset / "images", "-o", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1
    assert "images/photo0.jpg: the same file as faces/images/photo0.jpg" in result.stderr
