"""Ledgers through the command line: build, audit, and the corrected annotation files."""

import json
from dataclasses import replace

import pytest

from data_prep.base.files import sha256_of
from data_prep.base.labels import CLASSES
from data_prep.base.tables import read_faces
from data_prep.formats.registry import read_dataset
from data_prep.prepare.build import build
from data_prep.prepare.options import BuildOptions
from tests.data_prep.deciding import decide, decide_on_table, write_ledger
from tests.makers import hash_tree, make_dataset, make_photo, make_voc

WITH, WITHOUT, INCORRECT = CLASSES


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def command(run, dataset, out):
    """Build the dataset with ledgers; nothing in it may change."""

    def call(*ledgers, more=(), name="build"):
        before = hash_tree(dataset)
        options = [word for ledger in ledgers for word in ("--decisions", ledger)]
        result = run(name, dataset, "-o", out, "--workers", 1, *options, *more)
        assert hash_tree(dataset) == before
        return result

    return call


@pytest.fixture
def by_hand(dataset, tmp_path):
    """A ledger as a person would write it, for photos 0 to 3; the last line fits nothing."""

    def line(photo, action, to=None, to_box=None, given=WITH):
        record = {
            "at": "2026-01-01T00:00:00Z",
            "by": "ann",
            "source": "faces",
            "image": f"images/photo{photo}.jpg",
            "object": 0,
            "photo_sha256": sha256_of(dataset / "images" / f"photo{photo}.jpg"),
            "box": [10, 12, 30 + photo, 40],
            "from": given,
            "action": action,
            "to": to,
            "to_box": to_box,
        }
        return json.dumps(record)

    path = tmp_path / "by-hand.jsonl"
    lines = [
        line(0, "relabel", WITHOUT),
        line(1, "drop"),
        line(2, "rebox", INCORRECT, [8, 10, 40, 200]),
        line(3, "keep"),
        line(4, "drop", given=INCORRECT),
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def read_rows(out):
    return {(row.image, row.object): row for row in read_faces(out).itertuples(index=False)}


def read_manifest(out):
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def test_ledger_written_by_hand(command, by_hand, out, dataset):
    command()
    before = read_rows(out)
    result = command(by_hand)
    after = read_rows(out)
    assert result.exit_code == 0
    first = ("images/photo0.jpg", 0)
    assert after[first].label == WITHOUT
    assert f"/{WITHOUT}/" in after[first].crop
    assert after[first].crop.rpartition("/")[2] == before[first].crop.rpartition("/")[2]
    assert before.keys() - after.keys() == {("images/photo1.jpg", 0)}
    assert ("images/photo1.jpg", 1) in after
    drawn = after["images/photo2.jpg", 0]
    assert (drawn.label, drawn.xmin, drawn.ymin, drawn.xmax, drawn.ymax) == (
        INCORRECT,
        8,
        10,
        40,
        90,
    )
    changed = {first, ("images/photo2.jpg", 0)}
    columns = ("label", "xmin", "ymin", "xmax", "ymax", "blur", "group", "width", "height")
    for key in after.keys() - changed:
        assert all(getattr(after[key], c) == getattr(before[key], c) for c in columns)
    assert all((out / row.crop).is_file() for row in after.values())

    assert (
        "decisions  4 applied (1 relabel, 1 rebox, 1 drop, 1 keep); 1 not applied (1 label changed)"
        in result.stdout
    )
    (told,) = [line for line in result.stderr.splitlines() if line.startswith("not applied: ")]
    assert "faces/images/photo4.jpg: object 0: 'drop' of ann at 2026-01-01T00:00:00Z" in told
    assert read_manifest(out)["decisions"] == {
        "ledgers": [{"file": str(by_hand), "sha256": sha256_of(by_hand), "lines": 5}],
        "applied": {"relabel": 1, "rebox": 1, "drop": 1, "keep": 1},
        "not_applied": {"label-changed": 1},
    }
    page = (out / "audit.html").read_text(encoding="utf-8")
    assert sha256_of(by_hand) in page
    assert "the class is not the one that was looked at" in page
    assert "Decisions that don&#39;t fit the data" in page


def test_second_build_is_up_to_date_until_the_ledger_or_a_photo_changes(
    command, by_hand, dataset, out, tmp_path
):
    command(by_hand)
    assert "up to date" in command(by_hand).stdout
    write_ledger(by_hand, decide(dataset, "images/photo5.jpg", 0, WITH, (10, 12, 35, 40), "drop"))
    by_hand.write_text(by_hand.read_text() + '{"at": "2026')
    grown = command(by_hand)
    assert "2 drop" in grown.stdout
    assert f"not applied: {by_hand}:7: the last line is cut short" in grown.stderr
    assert "up to date" in command(by_hand).stdout
    make_photo(dataset / "images" / "photo0.jpg", seed=99)
    assert "2 not applied (1 photo changed, 1 label changed)" in command(by_hand).stdout
    assert "up to date" not in command().stdout
    assert "decisions" not in read_manifest(out)
    assert "Decisions" not in (out / "audit.html").read_text(encoding="utf-8")


def test_many_decisions_on_photos_that_are_not_there_are_one_line(command, dataset, out, tmp_path):
    gone = [
        replace(
            decide(dataset, "images/photo0.jpg", n, WITH, (1, 2, 9, 9), "drop"),
            image=f"{n}.jpg",
            photo_sha256="0" * 64,
        )
        for n in range(5)
    ]
    ledger = tmp_path / "whole.jsonl"
    write_ledger(ledger, *gone)
    told = command(ledger).stderr
    reason = "the photo is not there, under this name or another"
    assert told == f"not applied: 5 decisions: {reason}; listed in {out / 'audit.html'}\n"
    page = (out / "audit.html").read_text(encoding="utf-8")
    assert all(f"faces/{n}.jpg: object {n}: " in page for n in range(5))


def test_several_ledgers_of_two_reviewers(command, dataset, out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def on(photo, *more, **others):
        box = (10, 12, 30 + photo, 40)
        return decide(dataset, f"images/photo{photo}.jpg", 0, WITH, box, *more, **others)

    one = write_ledger(tmp_path / "one.jsonl", on(0, "drop"), on(1, "relabel", WITHOUT))
    two = write_ledger(
        tmp_path / "two.jsonl", on(0, "drop", by="bob"), on(1, "keep", by="bob"), on(2, "drop")
    )
    result = command(one, two)
    assert "decisions  2 applied (2 drop); 2 not applied (2 disputed)" in result.stdout
    assert f"cat {one} {two} > all.jsonl; " in result.stdout
    assert f"review {out} --disputed --ledger all.jsonl --by NAME" in result.stdout
    assert "not applied: faces/images/photo1.jpg: object 0: reviewers disagree" in result.stderr
    rows = read_rows(out)
    assert rows["images/photo1.jpg", 0].label == WITH
    assert ("images/photo0.jpg", 0) not in rows
    assert len(read_manifest(out)["decisions"]["ledgers"]) == 2
    (tmp_path / "all.jsonl").touch()
    assert f"cat {two} {one} > all-2.jsonl; " in command(two, one).stdout


def test_second_round_on_the_prepared_folder(command, dataset, out, tmp_path):
    """What is decided on corrected faces stands when all is built from the originals again."""
    command()
    rows = [
        decide_on_table(out, dataset, 0, "relabel", INCORRECT),
        decide_on_table(out, dataset, 1, "drop"),
        decide_on_table(out, dataset, 2, "rebox", WITHOUT, (3, 4.25, 50, 51)),
    ]
    ledger = write_ledger(tmp_path / "decisions.jsonl", *rows)
    command(ledger)
    again = [
        decide_on_table(out, dataset, 0, "relabel", WITHOUT),
        decide_on_table(out, dataset, 1, "keep"),  # The third face: the second is gone.
        decide_on_table(out, dataset, 2, "drop"),
    ]
    write_ledger(ledger, *again)
    result = command(ledger)
    assert "decisions  4 applied (1 relabel, 1 rebox, 2 drop); 0 not applied" in result.stdout
    row = read_rows(out)["images/photo1.jpg", 0]
    assert (row.label, row.xmin, row.ymin, row.xmax, row.ymax) == (WITHOUT, 3, 4.25, 50, 51)


def test_corrections_move_no_photo_between_training_and_validation(run, tmp_path):
    """Else a run after cleaning would be measured on other photos than the one before."""
    dataset = make_dataset(tmp_path / "faces", photos=24)
    out, built = tmp_path / "before", tmp_path / "out"
    run("build", dataset, "-o", out, "--workers", 1)
    before = read_faces(out)
    choices = (("relabel", INCORRECT), ("drop",), ("drop",), ("keep",), ("relabel", WITHOUT))
    ledger = tmp_path / "decisions.jsonl"
    for row, face in enumerate(before.itertuples()):
        choice = choices[row % 5]
        if face.label not in choice:
            write_ledger(ledger, decide_on_table(out, dataset, row, *choice))
    (dataset / "images" / "broken.jpg").write_bytes(b"no")
    make_voc(dataset / "annotations" / "broken.xml", "broken.jpg")
    run("build", dataset, "-o", built, "--workers", 1, "--decisions", ledger)
    split, after = dict(zip(before["image"], before["split"], strict=True)), read_faces(built)
    assert len(after) < len(before)
    assert dict(zip(after["image"], after["split"], strict=True)).items() <= split.items()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}\n", ":1: 'at': Field required; mend"),
        ("\n\nno json\n", ":3: Invalid JSON"),
        (None, ": not a ledger that can be read (No such file or directory)"),
    ],
)
def test_bad_ledger_is_one_clear_error(command, out, tmp_path, text, reason):
    path = tmp_path / "bad.jsonl"
    if text is not None:
        path.write_text(text)
    result = command(path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {path}{reason}")
    assert not out.exists()


def test_dropping_every_face_is_told(run, dataset, tmp_path):
    drops = []
    for photo in read_dataset(dataset).photos:
        for face in photo.faces:
            drops.append(decide(dataset, photo.image, face.object, face.label, face.box, "drop"))
    ledger = write_ledger(tmp_path / "all.jsonl", *drops)
    result = run("build", dataset, "-o", tmp_path / "out", "--decisions", ledger)
    assert result.exit_code == 2
    assert "no face is left: decisions drop all 20" in result.stderr


def test_audit_looks_ahead_to_the_same_build(command, by_hand, out, tmp_path, run, dataset):
    result = command(by_hand, name="audit")
    assert result.exit_code == 0
    audited = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    out = tmp_path / "built"
    build(BuildOptions(roots=[dataset], out=out, decisions=[by_hand], workers=1))
    built = read_manifest(tmp_path / "built")
    for key in ("decisions", "counts", "findings"):
        assert audited[key] == built[key]
    assert "4 applied" in result.stdout
    assert "not applied: faces/images/photo4.jpg" in result.stderr
    kinds = [finding["kind"] for finding in audited["all_findings"]]
    assert kinds == ["unfit-decision"]


def test_corrected_copy_builds_to_the_same_faces(command, by_hand, out, tmp_path, dataset, run):
    command(by_hand)
    wanted = read_faces(out)
    copy = tmp_path / "copy" / "faces"
    run("convert", dataset, "--to", "voc", "-o", copy, "--decisions", by_hand)
    run("build", copy, "-o", tmp_path / "again")
    again = read_faces(tmp_path / "again")
    columns = ["image", "label", "xmin", "ymin", "xmax", "ymax"]
    assert again[columns].equals(wanted[columns])
