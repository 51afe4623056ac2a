"""Several datasets as one."""

import csv
import json
import shutil
from collections import Counter

import pytest

from data_prep.base.errors import DatasetError
from data_prep.datasets.merge import read_recode
from tests.makers import add_example, hash_tree, make_dataset


@pytest.fixture
def sources(tmp_path):
    """Two datasets that share a file under other names."""
    one = make_dataset(tmp_path / "data" / "one", photos=4)
    two = make_dataset(tmp_path / "data" / "two", photos=3, seed=1)
    add_example(two, "photo9", 90, [("Bare", (1, 2, 41, 42)), ("with_mask", (50, 2, 90, 42))])
    shutil.copy(one / "images" / "photo0.jpg", two / "images" / "photo9.jpg")
    return one, two


@pytest.fixture
def merge(run, sources, tmp_path):
    """Merge the sources, with more lines for each of them; nothing in them may change."""

    def call(one="", two='[sources.two.recode]\nBare = "without_mask"', top="", out="out"):
        table = tmp_path / "recode.toml"
        table.write_text(
            f'{top}\n[sources.one]\npath = "data/one"\nlicence = "CC0 1.0"\n{one}\n'
            f'[sources.two]\npath = "data/two"\norigin = "a, \\"b\\""\n{two}\n'
        )
        before = hash_tree(tmp_path / "data")
        result = run("merge", table, "-o", tmp_path / out, "--workers", 1)
        assert hash_tree(tmp_path / "data") == before
        return result

    return call


@pytest.fixture
def rows(tmp_path):
    def read():
        path = tmp_path / "out" / "annotations.csv"
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    return read


def count(rows, source):
    return Counter(row["label"] for row in rows if row["source"] == source)


def told(tmp_path):
    return json.loads((tmp_path / "out" / "merge.json").read_text(encoding="utf-8"))


def test_merge(merge, rows, tmp_path):
    result = merge(top="\ufeff")  # As editors on Windows save it.
    assert result.exit_code == 0
    table = rows()
    assert len(table) == 16
    assert count(table, "two") == {"mask_weared_incorrect": 1, "with_mask": 5, "without_mask": 2}
    assert {row["licence"] for row in table if row["source"] == "one"} == {"CC0 1.0"}
    assert {row["origin"] for row in table if row["source"] == "two"} == {'a, "b"'}
    for row in table:
        assert row["image"].startswith(f"photos/{row['source']}/images/")
        assert (tmp_path / "out" / row["image"]).is_file()
    same = {row["group"] for row in table if row["image"].endswith(("one/images/photo0.jpg",))}
    assert same == {row["group"] for row in table if row["image"].endswith("photo9.jpg")}
    assert same == {"one/images/photo0.jpg"}
    record = told(tmp_path)
    assert record["sources"]["two"]["before"]["Bare"] == 1
    assert record["sources"]["two"]["recoded"]["Bare"] == "without_mask"
    assert record["duplicates"]["first_groups"] == [
        ["one/images/photo0.jpg", "two/images/photo9.jpg"]
    ]
    assert "1 near-duplicate group across sources with 2 photos" in result.stdout
    assert merge().stdout == f"{tmp_path / 'out'} is up to date: nothing to do.\n"


def test_two_classes(merge, rows):
    worn = 'mask_weared_incorrect = "without_mask"\n'
    recode = f'[sources.two.recode]\nBare = "without_mask"\n{worn}'
    merge(f"[sources.one.recode]\n{worn}", recode, 'classes = ["with_mask", "without_mask"]')
    assert {row["label"] for row in rows()} == {"with_mask", "without_mask"}


def test_excluded_faces_and_photos(merge, rows, tmp_path):
    merge(
        '[sources.one.recode]\nwithout_mask = "exclude-photo"',
        '[sources.two.recode]\nBare = "exclude-face"\nwith_mask = "exclude-face"',
    )
    assert count(rows(), "one") == {"mask_weared_incorrect": 1, "with_mask": 5}
    one, two = (told(tmp_path)["sources"][name] for name in ("one", "two"))
    assert (one["excluded_photos"], one["excluded_faces"]) == (1, 2)
    assert (two["excluded_photos"], two["excluded_faces"], two["emptied_photos"]) == (0, 6, 2)
    # Photos that lost all their faces stay, as photos without faces.
    assert len([row for row in rows() if row["source"] == "two" and not row["label"]]) == 2


def test_a_name_that_no_face_has_is_told(merge, tmp_path):
    result = merge(one='[sources.one.recode]\nwithout_msk = "exclude-face"')
    assert result.exit_code == 0
    note = "note: {}: sources.one: recode: no face is called 'without_msk' there; did you mean "
    assert note.format(tmp_path / "recode.toml") + "'without_mask'?" in result.stderr
    assert result.stderr.count("no face is called") == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"two": ""}, r"error: sources.two: {data}/two/annotations/photo9.xml: object 0: unknown"),
        ({"one": 'licens = "x"'}, "sources.one: unknown key 'licens': did you mean 'licence'?"),
        ({"top": 'clases = ["a"]'}, "unknown key 'clases': did you mean 'classes'?"),
        ({"top": "classes = []"}, "classes: List should have at least 1 item"),
        ({"one": "crop_scale = 0.5"}, "sources.one.crop_scale: should be"),
        (
            {"one": '[sources.one.recode]\nmask = "with_maks"'},
            "'mask' = 'with_maks': no such class; did you mean 'with_mask'?",
        ),
        (
            {"one": '[sources.three]\npath = "data/none"'},
            "sources.three.path: {data}/none: no such",
        ),
        ({"one": '[sources.three]\npath = "set.zip"'}, "set.zip: an archive; unpack it"),
        ({"one": '[sources.three]\npath = "data/./one"'}, "one and three are the same folder"),
        ({"one": '[sources.three]\npath = "data"'}, "same folder or lie in one another"),
        ({"one": '[sources."../x"]\npath = "data"'}, "becomes a folder; use letters"),
        ({"top": "= broken"}, "can't be read as TOML"),
        ({"out": "data/one/out"}, "meets the dataset"),
    ],
)
def test_wrong_table_is_one_clear_error(merge, tmp_path, arguments, reason):
    (tmp_path / "set.zip").write_bytes(b"")
    result = merge(**arguments)
    assert result.exit_code == 2
    assert reason.format(data=tmp_path / "data") in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_dataset_in_the_place_of_the_table_is_told_what_that_holds(run, sources, tmp_path):
    result = run("merge", sources[0], "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert 'for each dataset, the lines [sources.NAME] and path = "FOLDER".' in result.stderr


def test_source_can_be_a_table_read_by_its_own_columns(run, sources, rows, tmp_path):
    (sources[1] / "images" / "t.csv").write_text("bild,klasse,x,y,w,h\nphoto0.jpg,Bare,1,2,30,40\n")
    (tmp_path / "recode.toml").write_text(
        '[sources.one]\npath = "data/one"\nformat = "voc"\n[sources.two]\n'
        'path = "data/two/images/t.csv"\nrecode = { Bare = "without_mask" }\n'
        'columns = { image = "bild", label = "klasse", box_width = "w", box_height = "h" }\n'
    )
    assert run("merge", tmp_path / "recode.toml", "-o", tmp_path / "out").exit_code == 0
    (row,) = [row for row in rows() if row["source"] == "two"]
    assert [row[key] for key in ("xmin", "ymin", "xmax", "ymax")] == ["1", "2", "31", "42"]
    assert row["label"] == "without_mask"


def test_a_path_longer_than_there_can_be_is_no_folder(tmp_path):
    (tmp_path / "recode.toml").write_text(f'[sources.a]\npath = "{"x" * 300}"\n')
    with pytest.raises(DatasetError, match=r"sources\.a\.path: .*: no such folder\.$"):
        read_recode(tmp_path / "recode.toml")
