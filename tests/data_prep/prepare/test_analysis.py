"""The numbers that build and audit share."""

import pandas as pd
import pytest

from data_prep.base.errors import DatasetError
from data_prep.base.files import (
    OutputError,
    refuse_dataset_folders,
)
from data_prep.base.records import Finding
from data_prep.prepare.analysis import (
    count_leaks,
    list_duplicates,
    require_faces,
    split_faces,
    summarise,
)
from data_prep.prepare.options import BuildOptions, OptionError

OPTIONS = BuildOptions(roots=[])


def make_faces(photos=40):
    rows = []
    for photo in range(photos):
        for index in range(3):
            label = "with_mask" if index else ("without_mask", "mask_weared_incorrect")[photo % 2]
            rows.append(
                {
                    "source": "set",
                    "image": f"{photo}.jpg",
                    "object": index,
                    "label": label,
                    "group": f"set/{photo - photo % 2 if photo < 6 else photo}.jpg",
                    "blur": float(photo * 3 + index),
                    "short_side": 20.0,
                }
            )
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"scale": 0.9}, "--scale 0.9"),
        ({"scale": float("nan")}, "--scale nan"),
        ({"folds": 1}, "--folds 1"),
        ({"fold": 5}, "--fold 5: use 0 to 4"),
        ({"fold": -1}, "--fold -1"),
        ({"seed": -1}, "--seed -1"),
        ({"ratio": 0}, "--ratio 0"),
        ({"ratio": float("inf")}, "--ratio inf"),
    ],
)
def test_senseless_options_are_refused_by_name(values, reason):
    with pytest.raises(OptionError, match=reason):
        BuildOptions(roots=[], **values)


def test_output_inside_a_dataset_is_refused(tmp_path):
    (tmp_path / "set").mkdir()
    for out in (tmp_path / "set", tmp_path / "set" / "prepared", tmp_path / "x" / ".." / "set"):
        with pytest.raises(OutputError, match="meets the dataset"):
            refuse_dataset_folders([out], [tmp_path / "set"], "-o", around=True)
    refuse_dataset_folders([tmp_path / "set2"], [tmp_path / "set"], "-o")
    refuse_dataset_folders([tmp_path], [tmp_path / "set"], "-o", around=True)


def test_split_thins_out_training_only():
    faces = split_faces(make_faces(), OPTIONS)
    assert faces.loc[faces["split"] == "valid", "kept"].all()
    train = faces[faces["split"] == "train"]
    kept = train.loc[train["kept"], "label"].value_counts()
    second = train["label"].value_counts().iloc[1]
    assert kept["with_mask"] == int(1.5 * second)
    assert kept["mask_weared_incorrect"] == (train["label"] == "mask_weared_incorrect").sum()


def test_duplicates_are_listed_by_photo():
    assert list_duplicates(make_faces()) == {
        "set/0.jpg": ["set/0.jpg", "set/1.jpg"],
        "set/2.jpg": ["set/2.jpg", "set/3.jpg"],
        "set/4.jpg": ["set/4.jpg", "set/5.jpg"],
    }


def test_leaks_are_counted_under_both_splits():
    faces = split_faces(make_faces(), OPTIONS)
    leaks = count_leaks(faces, OPTIONS)
    assert leaks["ours"] == 0
    assert leaks["naive"] > 0.8


def test_summary_adds_up():
    faces = split_faces(make_faces(), OPTIONS)
    findings = [Finding("a", "broken-xml", "m", True), Finding("b", "clipped-box", "m", False)]
    summary = summarise([], faces, findings, OPTIONS)
    assert sum(summary["counts"].values()) == summary["faces"] == 120
    assert summary["counts"].keys() <= {
        f"set/{split}/{label}"
        for split in ("train", "valid")
        for label in ("with_mask", "without_mask", "mask_weared_incorrect")
    }
    assert summary["photos"] == 40
    assert sum(summary["kept_per_class"].values()) == summary["kept_in_training"]
    assert (summary["duplicate_groups"], summary["photos_in_duplicate_groups"]) == (3, 6)
    assert summary["findings"] == {"broken-xml": 1, "clipped-box": 1}
    assert summary["left_out"] == 1


def test_nothing_left_tells_why():
    findings = [Finding("a", "broken-xml", f"{n}.xml: broken.", True) for n in range(5)]
    with pytest.raises(DatasetError, match=r"0\.xml.*2\.xml: broken\. \(and 2 more\)"):
        require_faces(pd.DataFrame([]), findings)
    with pytest.raises(DatasetError, match="no face is annotated"):
        require_faces(pd.DataFrame([]), [])
