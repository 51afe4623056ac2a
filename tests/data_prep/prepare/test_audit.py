"""The audit: a report and no more."""

import json

import pytest

from data_prep.base.errors import DatasetError
from data_prep.base.tables import read_faces
from data_prep.prepare.audit import audit
from data_prep.prepare.options import AuditOptions
from tests.makers import add_example, hash_tree, make_photo, make_voc


@pytest.fixture
def out(tmp_path):
    return tmp_path / "audit"


def audit_quietly(root, out, **options):
    return audit(AuditOptions(roots=[root], out=out, workers=1, **options))


def read_record(out):
    return json.loads((out / "audit.json").read_text(encoding="utf-8"))


def add_copy(dataset):
    make_photo(dataset / "images" / "copy.jpg", seed=0, quality=70)
    make_voc(dataset / "annotations" / "copy.xml", "copy.jpg")


def test_two_files_no_crops_and_nothing_changed(dataset, out):
    before = hash_tree(dataset)
    audit_quietly(dataset, out)
    assert sorted(path.name for path in out.iterdir()) == ["audit.html", "audit.json"]
    assert hash_tree(dataset) == before


def test_record_tells_counts_findings_groups_and_leaks(dataset, out):
    add_copy(dataset)
    add_example(dataset, "odd", 77, [("face", (60, 15, 20, 55))])
    result = audit_quietly(dataset, out)
    record = read_record(out)
    assert record["faces"] == 21
    assert record["findings"] == {"degenerate-box": 1}
    assert record["left_out"] == 1
    assert record["duplicates"] == [["faces/images/copy.jpg", "faces/images/photo0.jpg"]]
    assert record["leaked_share"]["ours"] == 0 < record["leaked_share"]["naive"]
    assert [finding["kind"] for finding in record["all_findings"]] == ["degenerate-box"]
    assert record["known_groups"] is None
    assert result.record == record


def test_audit_looks_ahead_to_the_same_build(dataset, out, tmp_path, run):
    audit_quietly(dataset, out)
    run("build", dataset, "-o", tmp_path / "prepared", "--workers", 1)
    record = read_record(out)
    faces = read_faces(tmp_path / "prepared")
    assert record["counts"] == {
        f"{source}/{split}/{label}": count
        for (source, split, label), count in faces.groupby(["source", "split", "label"])
        .size()
        .items()
    }


def test_known_groups_are_compared(dataset, out, tmp_path):
    add_copy(dataset)
    known = tmp_path / "known.txt"
    known.write_text("photo0 copy\nphoto1 photo2\nphoto3 elsewhere\n")
    audit_quietly(dataset, out, known_groups=known)
    assert read_record(out)["known_groups"] == {"found": 1, "total": 2}


def test_unreadable_known_groups(dataset, out, tmp_path):
    (tmp_path / "known.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DatasetError, match=r"known\.txt: not a readable list"):
        audit_quietly(dataset, out, known_groups=tmp_path / "known.txt")


def test_too_few_photos_to_split_are_audited_all_the_same(tmp_path, out):
    add_example(tmp_path / "set", "a", 0)
    result = audit_quietly(tmp_path / "set", out)
    assert [finding.kind for finding in result.findings] == ["no-split"]
    assert read_record(out)["counts"] == {"set/train/with_mask": 1}
    assert "can&#39;t be split" in (out / "audit.html").read_text(encoding="utf-8")
