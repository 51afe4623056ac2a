"""Building the prepared folder: what is in it, when it is built again, and that it is whole."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from data_prep.base.files import OutputError, sha256_of
from data_prep.base.tables import read_faces
from data_prep.prepare import analysis
from data_prep.prepare import build as building
from data_prep.prepare.build import build, read_manifest
from data_prep.prepare.options import BuildOptions
from tests.makers import add_example, hash_tree, make_dataset, make_photo, make_voc


@pytest.fixture
def out(tmp_path):
    return tmp_path / "prepared"


def build_quietly(root, out, **options):
    return build(BuildOptions(roots=[root], out=out, workers=1, **options))


def forbid_work(monkeypatch):
    def fail(*_args, **_options):
        raise AssertionError("photos were looked at again")

    monkeypatch.setattr(analysis, "survey_photos", fail)


def test_everything_contracted_is_there(dataset, out):
    result = build_quietly(dataset, out)
    assert sorted(path.name for path in out.iterdir()) == [
        "audit.html",
        "crops",
        "faces.csv",
        "manifest.json",
    ]
    faces = read_faces(out)
    assert len(faces) == 20
    assert set(faces["source"]) == {"faces"}
    assert set(faces["split"]) == {"train", "valid"}
    assert (faces[["width", "height"]].to_numpy() == (120, 90)).all()
    assert faces.iloc[0][["xmin", "ymin", "xmax", "ymax"]].tolist() == [10, 12, 30, 40]
    assert result.record == read_manifest(out)
    assert result.record["leaked_share"]["ours"] == 0
    assert result.findings == ()


def test_crops_lie_by_split_and_class(dataset, out):
    build_quietly(dataset, out, ratio=0.5)
    faces = read_faces(out)
    assert not faces["kept"].all()
    for row in faces.itertuples():
        split = row.split if row.kept else "train-dropped"
        assert row.crop.startswith(f"crops/{split}/{row.label}/")
        side = round(1.5 * max(row.xmax - row.xmin, row.ymax - row.ymin))
        assert cv2.imread(str(out / row.crop)).shape == (side, side, 3)
    assert len(list((out / "crops").rglob("*.jpg"))) == len(faces)


def test_copies_of_a_photo_stay_on_one_side(dataset, out):
    for number in range(3):
        make_photo(dataset / "images" / f"copy{number}.jpg", seed=0, quality=60 + 10 * number)
        make_voc(dataset / "annotations" / f"copy{number}.xml", f"copy{number}.jpg")
    build_quietly(dataset, out)
    faces = read_faces(out)
    copies = faces[faces["image"].str.contains("copy") | (faces["image"] == "images/photo0.jpg")]
    assert copies["group"].nunique() == 1
    assert copies["split"].nunique() == 1


def test_several_datasets_in_one_build(tmp_path, out):
    roots = [make_dataset(tmp_path / name, seed=seed) for seed, name in enumerate(("one", "two"))]
    build(BuildOptions(roots=roots, out=out, workers=1))
    assert read_faces(out)["source"].value_counts().to_dict() == {"one": 20, "two": 20}


def test_same_input_gives_the_same_folder(dataset, tmp_path):
    for name in ("a", "b"):
        build_quietly(dataset, tmp_path / name)
    for file in ("faces.csv", "audit.html", "manifest.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_second_build_with_nothing_changed_does_no_work(dataset, out, monkeypatch):
    first = build_quietly(dataset, out)
    before = hash_tree(out)
    forbid_work(monkeypatch)
    second = build_quietly(dataset, out)
    assert not first.up_to_date
    assert second.up_to_date
    assert second.record == first.record
    assert hash_tree(out) == before


def change_annotation(dataset, _out):
    path = dataset / "annotations" / "photo0.xml"
    path.write_text(path.read_text().replace("<xmin>10<", "<xmin>11<"))


def delete_crop(_dataset, out):
    next((out / "crops").rglob("*.jpg")).unlink()


def delete_page(_dataset, out):
    (out / "audit.html").unlink()


def edit_table(_dataset, out):
    path = out / "faces.csv"
    path.write_text(path.read_text().replace("with_mask", "without_mask", 1))


def change_photo(dataset, _out):
    make_photo(dataset / "images" / "photo0.jpg", seed=99, quality=95)


def add_photo(dataset, _out):
    add_example(dataset, "new", 55)


def break_manifest(_dataset, out):
    (out / "manifest.json").write_text('{"inputs": null}')


@pytest.mark.parametrize(
    "change",
    [
        change_annotation,
        delete_crop,
        delete_page,
        edit_table,
        change_photo,
        add_photo,
        break_manifest,
    ],
)
def test_any_change_leads_to_a_new_build(dataset, out, change):
    build_quietly(dataset, out)
    change(dataset, out)
    assert not build_quietly(dataset, out).up_to_date
    faces = read_faces(out)
    assert all((out / crop).is_file() for crop in faces["crop"])
    assert len(list((out / "crops").rglob("*.jpg"))) == len(faces)


@pytest.mark.parametrize(
    "options",
    [
        {"scale": 2.0},
        {"fold": 1},
        {"seed": 1},
        {"blur_rule": "none"},
        {"alias": ["bare=without_mask"]},
    ],
)
def test_other_options_are_not_up_to_date(dataset, out, options, monkeypatch):
    build_quietly(dataset, out)
    forbid_work(monkeypatch)
    with pytest.raises(AssertionError, match="looked at again"):
        build_quietly(dataset, out, **options)


@pytest.mark.parametrize("step", ["draw_sheets", "render_page", "write_faces"])
def test_interrupted_build_leaves_the_old_results(dataset, out, monkeypatch, step):
    build_quietly(dataset, out)
    before = hash_tree(out)

    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(analysis if step == "draw_sheets" else building, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        build_quietly(dataset, out, scale=2.0)
    assert hash_tree(out) == before


def test_failed_first_build_leaves_no_folder(dataset, out, monkeypatch):
    def fail(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OutputError, match=r"prepared.*No space left.*free some space"):
        build_quietly(dataset, out)
    assert not out.exists()


def test_kill_in_the_middle_of_the_swap_is_mended_by_the_next_build(dataset, out, monkeypatch):
    real, moved = Path.replace, []

    def stop_after_crops(self, target):
        result = real(self, target)
        if Path(target) == out / "crops":
            moved.append(target)
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(Path, "replace", stop_after_crops)
    with pytest.raises(KeyboardInterrupt):
        build_quietly(dataset, out)
    monkeypatch.undo()
    assert moved
    assert not (out / "faces.csv").exists()
    assert not build_quietly(dataset, out).up_to_date
    assert len(read_faces(out)) == 20


@pytest.mark.parametrize("name", ["manifest.json", "faces.csv", "audit.html"])
def test_files_of_somebody_else_are_not_overwritten(dataset, out, name):
    out.mkdir()
    (out / name).write_text('{"mine": 1}')
    with pytest.raises(OutputError, match=f"{name} was not written by build"):
        build_quietly(dataset, out)
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [(name, '{"mine": 1}')]


def test_folder_with_crops_of_somebody_else_is_not_touched(dataset, out):
    make_photo(out / "crops" / "precious.jpg")
    before = hash_tree(out)
    with pytest.raises(OutputError, match="was not written by build"):
        build_quietly(dataset, out)
    assert hash_tree(out) == before


def test_other_files_in_the_folder_stay(dataset, out):
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    build_quietly(dataset, out)
    assert (out / "notes.txt").read_text() == "mine"


def test_really_full_disk(dataset, out):
    """A limit on file size makes a real write fail half-way, as a full disk does."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    command = [sys.executable, "-m", "data_prep", "build", dataset, "-o", out, "--workers", "1"]
    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {out}")
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_manifest_tells_what_the_build_was_made_of(dataset, out):
    build_quietly(dataset, out, seed=4)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["options"]["seed"] == 4
    assert manifest["datasets"] == [{"source": "faces", "root": str(dataset), "photos": 10}]
    assert manifest["faces_sha256"] == sha256_of(out / "faces.csv")
