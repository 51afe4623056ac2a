"""The split that data come with: told, kept by build and convert, its leaks named."""

import shutil
from collections import Counter

import pandas as pd
import pytest
import yaml

from data_prep.base.errors import DatasetError
from data_prep.datasets.convert import ConvertOptions, convert
from data_prep.formats.contracts import Format
from data_prep.formats.registry import read_dataset
from data_prep.grouping.split import find_leaks, find_parts, place_parts
from data_prep.prepare.build import build
from data_prep.prepare.options import BuildOptions, OptionError
from tests.makers import LABELS, make_photo, make_voc

PARTS = {"train/a.jpg": "train", "train/b.jpg": "train", "val/c.jpg": "valid", "test/d.jpg": "test"}


def make(root, images=tuple(PARTS)):
    for seed, image in enumerate(images):
        make_photo(root / image, seed=seed)
        objects = [(label, (5 + 30 * n, 5, 30 + 30 * n, 60)) for n, label in enumerate(LABELS)]
        make_voc((root / image).with_suffix(".xml"), image.split("/")[-1], objects)
    return root


VOC = {"ImageSets/Main/train.txt": "a\n", "ImageSets/Main/val.txt": "b\n"}
DARKNET = {"train.txt": "data/x/a.jpg\n", "valid.txt": "data/x/b.jpg\n"}
TWICE = {"train.txt": "a\n", "val.txt": "a\nb\n"}


@pytest.mark.parametrize(
    ("images", "lists", "parts"),
    [
        (list(PARTS), {}, "train train valid test"),
        (["images/train2017/a.jpg", "images/val2017/b.jpg"], {}, "train valid"),
        (["a.jpg", "b.jpg"], VOC, "train valid"),
        (["x/a.jpg", "x/b.jpg"], DARKNET, "train valid"),
        # What is in two lists was learnt from, what is in none is taken for training, too.
        (["a.jpg", "b.jpg", "c.jpg"], TWICE, "train valid train"),
        # The nearest folder counts, not a file's name; a part for tests validates if it must.
        (["train/x/test_1.jpg", "train/test/b.jpg"], {}, "train valid"),
    ],
)
def test_what_tells_the_parts(tmp_path, images, lists, parts):
    for name, text in lists.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found, findings = find_parts(read_dataset(make(tmp_path, images)))
    assert [found[image] for image in images] == parts.split()
    untold = "c.jpg" in images or "train/test/b.jpg" in images
    assert [finding.kind for finding in findings] == ["untold-part"] * untold


def test_nothing_tells(tmp_path):
    with pytest.raises(DatasetError, match="nothing tells of a split"):
        find_parts(read_dataset(make(tmp_path, ["images/a.jpg", "images/b.jpg"])))
    with pytest.raises(OptionError, match="parted by build"):
        ConvertOptions(dataset=tmp_path, out=tmp_path / "o", to=Format.CROPS, keep_split=True)


def test_places_stay_apart():
    parts = {"train/images/a.jpg": "train", "images/val/a.jpg": "valid"}
    assert list(place_parts(parts, parts).values()) == ["train/a.jpg", "valid/a.jpg"]
    parts = dict.fromkeys(("train/images/a.jpg", "train/a.jpg"), "train")
    assert place_parts(parts, parts) == {image: f"train/{image}" for image in parts}


def test_leaks_are_counted_by_group():
    names, groups = ["s/a", "s/b", "s/c", "s/d"], ["s/a", "s/a", "s/a", ""]
    (leak,) = find_leaks(names, groups, ["train", "train", "valid", "test"])
    assert leak.message.startswith("leak: 3 photos look alike")
    assert "train: s/a, s/b; valid: s/c" in leak.message
    assert find_leaks(names, groups, ["train", "train", "train", "test"]) == []


def test_build_keeps_the_split_and_names_its_leaks(tmp_path):
    root = make(tmp_path / "s")
    shutil.copy(root / "train" / "a.jpg", root / "val" / "copy.jpg")
    make_voc(root / "val" / "copy.xml", "copy.jpg", [("mask", (5, 5, 30, 60))])
    options = BuildOptions(roots=[root], out=tmp_path / "p", keep_split=True)
    result = build(options)
    table = pd.read_csv(tmp_path / "p" / "faces.csv")
    split = dict(zip(table["image"], table["split"], strict=True))
    assert split == PARTS | {"val/copy.jpg": "valid"}
    assert table.loc[table["split"] == "test", "crop"].str.startswith("crops/test/").all()
    (leak,) = [finding for finding in result.findings if finding.kind == "split-leak"]
    assert "train: s/train/a.jpg; valid: s/val/copy.jpg" in leak.message
    assert result.record["leaked_share"]["ours"] == pytest.approx(1 / 4)
    assert build(options).up_to_date
    (root / "train.txt").write_text("copy.jpg\n")
    again = build(options)
    assert again.record["leaked_share"]["ours"] == 0
    assert not build(BuildOptions(roots=[root], out=tmp_path / "p", folds=2)).up_to_date


def test_convert_keeps_the_split(tmp_path):
    root = make(tmp_path / "s")
    shutil.copy(root / "train" / "a.jpg", root / "test" / "copy.jpg")
    make_voc(root / "test" / "copy.xml", "copy.jpg", [("mask", (5, 5, 30, 60))])
    for form, where in ((Format.YOLO, "images"), (Format.COCO, "")):
        out = tmp_path / form
        result = convert(ConvertOptions(dataset=root, out=out, to=form, keep_split=True))
        assert Counter(finding.kind for finding in result.findings)["split-leak"] == 1
        names = {path.relative_to(out / where).as_posix() for path in out.rglob("*.jpg")}
        wanted = {"train/a.jpg", "train/b.jpg", "valid/c.jpg", "test/d.jpg", "test/copy.jpg"}
        assert names == wanted
        again, _ = find_parts(read_dataset(out))
        assert Counter(again.values()) == {"train": 2, "valid": 1, "test": 2}
    data = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    sides = {"train": "images/train", "val": "images/valid", "test": "images/test"}
    assert {key: data[key] for key in sides} == sides
    assert (tmp_path / "yolo" / "labels" / "valid" / "c.txt").is_file()
