"""Groups of photos: what a dataset says belongs together, and what a merge finds."""

from pathlib import Path

import numpy as np
import pytest

from data_prep.base.errors import DatasetError
from data_prep.base.photo import UPRIGHT
from data_prep.base.records import AnnotatedPhoto
from data_prep.base.tables import read_faces
from data_prep.datasets.convert import ConvertOptions, convert
from data_prep.datasets.merge import MergeOptions, merge_datasets
from data_prep.formats.contracts import Format
from data_prep.formats.exif_frame import FramedPhoto
from data_prep.grouping import groups as group_photos
from data_prep.grouping.duplicates import describe_photo
from data_prep.grouping.groups import (
    GROUPS,
    LookedAt,
    group_looked_at,
    join_groups,
    look_at_photos,
    read_groups,
    write_groups,
)
from data_prep.prepare.build import build
from data_prep.prepare.options import BuildOptions
from tests.makers import make_photo
from tests.pipeline.makers import paint_dataset


def photo(root, image):
    return AnnotatedPhoto(root.name, root, image, "a.xml", None, None, ())


def test_written_groups_are_read_back(tmp_path):
    groups = {"images/b, c.jpg": "one", 'images/"a".jpg': "NA", "ü.jpg": ""}
    write_groups(tmp_path / GROUPS, groups)
    assert read_groups(tmp_path) == groups
    assert (tmp_path / GROUPS).read_text().splitlines()[0] == "image,group"
    assert read_groups(tmp_path / "none") == {}


def test_groups_are_joined_by_name_and_by_photo(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    write_groups(two / GROUPS, {"a.jpg": "one/x.jpg", "b.jpg": "same", "c.jpg": "same"})
    photos = [
        photo(one, "x.jpg"), photo(one, "y.jpg"), photo(one, "z.jpg"),
        photo(two, "a.jpg"), photo(two, "b.jpg"), photo(two, "c.jpg"), photo(two, "d.jpg"),
    ]  # fmt: skip
    near = ["one/x.jpg", "one/y.jpg", "one/y.jpg", "two/a.jpg", "two/b.jpg", "two/c.jpg", ""]
    assert join_groups(photos, near) == [
        "one/x.jpg", "one/y.jpg", "one/y.jpg", "one/x.jpg", "two/b.jpg", "two/b.jpg", "",
    ]  # fmt: skip


def test_chains_of_looks_and_names_are_one_group(tmp_path):
    """a looks like b, b is made from c, c is called as d is."""
    root = tmp_path / "set"
    write_groups(root / GROUPS, {"b.jpg": "set/c.jpg", "c.jpg": "tie", "d.jpg": "tie"})
    photos = [photo(root, f"{name}.jpg") for name in "abcde"]
    near = ["set/a.jpg", "set/a.jpg", "set/c.jpg", "set/d.jpg", "set/e.jpg"]
    assert join_groups(photos, near) == ["set/a.jpg"] * 4 + ["set/e.jpg"]


def test_without_files_groups_stay_as_they_are(tmp_path):
    photos = [photo(tmp_path, "a.jpg"), photo(tmp_path, "b.jpg")]
    assert join_groups(photos, ["set/a.jpg", ""]) == ["set/a.jpg", ""]


@pytest.mark.parametrize("text", ["name,group\na,b\n", "", "\x00\xff"])
def test_other_tables_are_explained(tmp_path, text):
    (tmp_path / GROUPS).write_text(text)
    with pytest.raises(DatasetError, match=r"groups\.csv: not a table with the columns image and"):
        read_groups(tmp_path)


def test_build_never_splits_a_group_and_is_done_again_when_groups_change(tmp_path):
    root, out = paint_dataset(tmp_path / "set", 16), tmp_path / "prepared"
    options = BuildOptions(roots=[root], out=out, blur_rule="none", workers=1)
    build(options)
    faces = read_faces(out)
    valid = faces[faces["split"] == "valid"]["image"].iloc[0]
    train = faces[faces["split"] == "train"]["image"].iloc[0]
    write_groups(root / GROUPS, {valid: "pair", train: "pair"})
    assert not build(options).up_to_date
    faces = read_faces(out)
    pair = faces[faces["image"].isin([valid, train])]
    assert pair["group"].nunique() == pair["split"].nunique() == 1
    assert build(options).up_to_date


def test_converted_datasets_keep_their_groups(tmp_path):
    root = paint_dataset(tmp_path / "set", 4)
    write_groups(root / GROUPS, {"images/000.jpg": "pair", "images/002.jpg": "other/x.jpg"})
    for form in (Format.YOLO, Format.VOC):
        out = tmp_path / form.value
        options = ConvertOptions(dataset=root, out=out, to=form)
        convert(options)
        assert read_groups(out) == {"images/000.jpg": "pair", "images/002.jpg": "other/x.jpg"}
        assert convert(options).up_to_date
    write_groups(root / GROUPS, {"images/001.jpg": "pair"})
    assert not convert(options).up_to_date
    assert read_groups(tmp_path / "voc") == {"images/001.jpg": "pair"}


def test_merged_datasets_keep_their_groups(tmp_path):
    """What is made from a photo of another dataset stays with it, however it looks."""
    one, two = paint_dataset(tmp_path / "one", 4), paint_dataset(tmp_path / "two", 4, seed=9)
    write_groups(two / GROUPS, {"images/003.jpg": "one/images/001.jpg"})
    lines = [f'[sources.{name}]\npath = "{name}"\nlicence = "CC0"\norigin = "painted"\n'
             for name in ("one", "two")]  # fmt: skip
    (tmp_path / "recode.toml").write_text("\n".join(lines))
    merge_datasets(MergeOptions(tmp_path / "recode.toml", tmp_path / "merged"))
    groups = read_groups(tmp_path / "merged")
    made, original = "photos/two/images/003.jpg", "photos/one/images/001.jpg"
    assert groups[made] == groups[original]
    assert len(set(groups.values())) == len(groups) - 1
    assert one.is_dir()
    roots, out = [tmp_path / "merged"], tmp_path / "prepared"
    build(BuildOptions(roots=roots, out=out, blur_rule="none", workers=1))
    faces = read_faces(tmp_path / "prepared")
    assert faces[faces["image"].isin([made, original])]["group"].nunique() == 1


def frame(root, image):
    photo = AnnotatedPhoto("set", root, image, image, 120, 90, ())
    return FramedPhoto(photo, image, 120, 90, (), UPRIGHT)


def test_identical_photos_share_a_group_whatever_was_found(monkeypatch):
    names = [f"{letter}.jpg" for letter in "abcde"]
    photos = [frame(Path("set"), name) for name in names]
    print_ = describe_photo(np.zeros((8, 8, 3), np.uint8))
    looked = [LookedAt(sha, print_) for sha in ("x", "y", "x", "z")] + [LookedAt("", None)]
    monkeypatch.setattr(group_photos, "group_near_duplicates", lambda _: [0, 1, 2, 2])
    groups = ["set/a.jpg", "set/b.jpg", "set/a.jpg", "set/a.jpg", "set/e.jpg"]
    assert group_looked_at(photos, looked) == groups


def test_every_photo_is_compared_as_build_does(tmp_path, monkeypatch):
    for name, seed in {"a": 1, "b": 1, "c": 2}.items():
        make_photo(tmp_path / f"{name}.jpg", seed=seed)
    (tmp_path / "d.jpg").write_bytes(b"")
    photos = [frame(tmp_path, f"{letter}.jpg") for letter in "abcd"]
    compared = []
    find = group_photos.group_near_duplicates
    monkeypatch.setattr(
        group_photos,
        "group_near_duplicates",
        lambda prints: compared.append(prints) or find(prints),
    )
    groups = group_looked_at(photos, look_at_photos(photos, 1))
    assert groups == ["set/a.jpg", "set/a.jpg", "set/c.jpg", "set/d.jpg"]
    assert len(compared[0]) == 3
