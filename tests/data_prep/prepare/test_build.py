"""Building the prepared folder: what is in it, what is printed, when it is built again."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from data_prep.base import cluster
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
    (out / "more").mkdir(parents=True)
    (out / "more" / "notes.txt").write_text("mine")
    result = build_quietly(dataset, out, seed=4)
    names = ["audit.html", "crops", "faces.csv", "manifest.json", "more"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert (out / "more" / "notes.txt").read_text() == "mine"
    faces = read_faces(out)
    assert len(faces) == 20
    assert set(faces["source"]) == {"faces"}
    assert set(faces["split"]) == {"train", "valid"}
    assert (faces[["width", "height"]].to_numpy() == (120, 90)).all()
    assert faces.iloc[0][["xmin", "ymin", "xmax", "ymax"]].tolist() == [10, 12, 30, 40]
    assert result.findings == ()
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert result.record == read_manifest(out) == manifest
    assert manifest["leaked_share"]["ours"] == 0
    assert manifest["options"]["seed"] == 4
    assert manifest["datasets"] == [{"source": "faces", "root": str(dataset), "photos": 10}]
    assert manifest["faces_sha256"] == sha256_of(out / "faces.csv")


def test_crops_of_two_datasets_lie_by_split_and_class(tmp_path, out):
    roots = [make_dataset(tmp_path / name, 6, seed) for seed, name in enumerate(("one", "two"))]
    build(BuildOptions(roots=roots, out=out, workers=1, ratio=0.5))
    faces = read_faces(out)
    assert faces["source"].value_counts().to_dict() == {"one": 12, "two": 12}
    assert not faces["kept"].all()
    for row in faces.itertuples():
        split = row.split if row.kept else "train-dropped"
        assert row.crop.startswith(f"crops/{split}/{row.label}/")
        side = round(1.5 * max(row.xmax - row.xmin, row.ymax - row.ymin))
        assert cv2.imread(str(out / row.crop)).shape == (side, side, 3)
    assert len(list((out / "crops").rglob("*.jpg"))) == len(faces)


def test_second_build_with_nothing_changed_does_no_work(dataset, out, tmp_path, monkeypatch):
    first = build_quietly(dataset, out)
    build_quietly(dataset, tmp_path / "again")
    for file in ("faces.csv", "audit.html", "manifest.json"):
        assert (out / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    before = hash_tree(out)
    forbid_work(monkeypatch)
    second = build_quietly(dataset, out)
    assert not first.up_to_date
    assert second.up_to_date
    assert second.record == first.record
    assert hash_tree(out) == before


def edit(path, old, new):
    path.write_text(path.read_text().replace(old, new, 1))


CHANGES = {
    "annotation": lambda root, _: edit(
        root / "annotations" / "photo0.xml", "<xmin>10<", "<xmin>9<"
    ),
    "lost crop": lambda _, out: next((out / "crops").rglob("*.jpg")).unlink(),
    "lost page": lambda _, out: (out / "audit.html").unlink(),
    "table": lambda _, out: edit(out / "faces.csv", "with_mask", "without_mask"),
    "photo": lambda root, _: make_photo(root / "images" / "photo0.jpg", seed=99, quality=95),
    "new photo": lambda root, _: add_example(root, "new", 55),
    "manifest": lambda _, out: (out / "manifest.json").write_text('{"inputs": null}'),
}


def test_any_change_leads_to_a_new_build(tmp_path, out):
    dataset = make_dataset(tmp_path / "faces", 6)
    build_quietly(dataset, out)
    for name, change in CHANGES.items():
        change(dataset, out)
        assert not build_quietly(dataset, out).up_to_date, name
        crops = {path.relative_to(out).as_posix() for path in (out / "crops").rglob("*.jpg")}
        assert crops == set(read_faces(out)["crop"]), name
        assert build_quietly(dataset, out).up_to_date, name


def test_other_options_are_not_up_to_date(dataset, out, monkeypatch):
    build_quietly(dataset, out)
    forbid_work(monkeypatch)
    others = {"scale": 2.0, "fold": 1, "seed": 1, "blur_rule": "none", "alias": ["b=without_mask"]}
    for name, value in others.items():
        with pytest.raises(AssertionError, match="looked at again"):
            build_quietly(dataset, out, **{name: value})


def test_interrupted_build_leaves_the_old_results(dataset, out, monkeypatch):
    build_quietly(dataset, out)
    before = hash_tree(out)

    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    steps = [(analysis, "summarise"), (building, "render_page"), (building, "write_faces")]
    for module, step in steps:
        with monkeypatch.context() as patch:
            patch.setattr(module, step, interrupt)
            with pytest.raises(KeyboardInterrupt):
                build_quietly(dataset, out, scale=2.0)
        shutil.rmtree(out / ".staging")  # What is known of the photos, for the next time.
        assert hash_tree(out) == before


def read_tree(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_stopped_build_goes_on_where_it_was(dataset, out, monkeypatch):
    """Equal to the byte; a photo anew whose crops are gone, all if something else is asked for."""
    add_example(dataset, "z", 1, [("with_mask", (80, 15, 121, 55)), ("face", (5, 5, 30, 30))])
    (dataset / "images" / "zz.jpg").write_bytes(b"no photo")
    make_voc(dataset / "annotations" / "zz.xml", "zz.jpg", [("face", (5, 5, 30, 30))])
    real, seen, whole = analysis.describe_photo, [], out.with_name("whole")

    def describe(pixels):
        seen.append(pixels)
        if len(seen) > 6 and not whole.exists():
            raise KeyboardInterrupt
        return real(pixels)

    monkeypatch.setattr(analysis, "describe_photo", describe)
    stopped = [out.with_name(name) for name in ("a", "b", "c")]
    for folder in stopped:
        with pytest.raises(KeyboardInterrupt):
            build_quietly(dataset, folder)
        seen.clear()
    build_quietly(dataset, whole)
    next((stopped[1] / ".staging").rglob("photo0_*.jpg")).unlink()
    for folder, options, looked_at in zip(stopped, ({}, {}, {"seed": 3}), (5, 6, 11), strict=True):
        seen.clear()
        build_quietly(dataset, folder, **options)
        assert len(seen) == looked_at
        assert options or read_tree(folder) == read_tree(whole)


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


@pytest.mark.parametrize("name", ["manifest.json", "faces.csv", "metrics.json", "crops/mine.jpg"])
def test_files_of_somebody_else_are_not_overwritten(dataset, out, name):
    path = out / name
    path.parent.mkdir(parents=True)
    path.write_text('{"mine": 1}')
    before = hash_tree(out)
    with pytest.raises(OutputError, match=r"was not written by this command|holds other files"):
        build_quietly(dataset, out)
    assert hash_tree(out) == before


def test_really_full_disk(dataset, out):
    """A limit on file size makes a real write fail half-way, as a full disk does."""
    resource = pytest.importorskip("resource", reason="limits of POSIX")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    command = [sys.executable, "-m", "data_prep", "build", dataset, "-o", out, "--workers", "1"]
    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {out}")
    assert "Traceback" not in done.stderr
    assert not out.exists()


@pytest.fixture
def run_build(dataset, out, run):
    return lambda *options: run("build", dataset, "-o", out, "--workers", 1, *options)


def test_build_prints_a_short_summary(run_build, out):
    result = run_build()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["faces", "train", "kept", "valid"]
    assert [line.split()[0] for line in lines[1:4]] == [
        "with_mask",
        "without_mask",
        "mask_weared_incorrect",
    ]
    counts = [[int(word) for word in line.split()[1:]] for line in lines[1:4]]
    assert sum(train + valid for train, _, valid in counts) == 20
    assert all(kept <= train for train, kept, _ in counts)
    assert lines[4].startswith("photos     10 with 20 faces")
    assert lines[5].startswith("leaks      0.0% of validation faces (")
    assert lines[6] == "findings   none"
    assert str(out / "audit.html") in lines[7]
    assert len(lines) == 8
    assert result.stderr == ""  # what is done in a moment needs no progress


def test_many_faults_are_not_all_told(run_build, dataset):
    for number in range(30):
        make_voc(dataset / "annotations" / f"odd{number}.xml", f"lost{number}.jpg")
    result = run_build()
    lines = [line for line in result.stderr.splitlines() if line.startswith("left out")]
    assert len(lines) == 21
    assert lines[-1].startswith("left out: 10 more, listed in ")
    assert result.exit_code == run_build().exit_code == 1  # also when all is up to date


def test_options_reach_the_build(run_build, out, tmp_path):
    arguments = "--scale 2 --folds 3 --fold 1 --seed 5 --blur global --ratio 2 --alias a=with_mask"
    (tmp_path / "names.txt").write_text("mask")
    reading = ["--format", "voc", "--columns", "image=file", "--crop-scale", "3", "--names"]
    assert run_build(*arguments.split(), *reading, tmp_path / "names.txt").exit_code == 0
    options = json.loads((out / "manifest.json").read_text())["options"]
    assert options.pop("aliases")["a"] == "with_mask"
    assert options == {
        "scale": 2.0,
        "folds": 3,
        "fold": 1,
        "seed": 5,
        "blur_rule": "global",
        "ratio": 2.0,
        "format": "voc",
        "columns": {"image": "file"},
        "crop_scale": 3.0,
        "names": str(tmp_path / "names.txt"),
    }


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--scale 0.5", "error: --scale 0.5"),
        ("--scale nan", "error: --scale nan"),
        ("--folds 1", "error: --folds 1"),
        ("--fold 5", "error: --fold 5: use 0 to 4"),
        ("--fold -1", "error: --fold -1"),
        ("--seed -1", "error: --seed -1"),
        ("--ratio 0", "error: --ratio 0"),
        ("--ratio inf", "error: --ratio inf"),
        ("--alias x=y", "error: --alias x=y: write NAME=CLASS"),
        ("--folds 11", "error: 10 groups of photos can't be split into 11 folds"),
        ("--blur some", "'some'"),
        ("--workers 0", "'--workers'"),
        ("--nonsense", "--nonsense"),
    ],
)
def test_wrong_use_is_one_clear_error(run_build, out, arguments, reason):
    result = run_build(*arguments.split())
    assert result.exit_code == 2
    assert reason in result.stderr
    assert not out.exists()


def spread_here(option, name, cpus, function, calls):
    """As `call_by_ray`, in this process."""
    assert (option, name, cpus > 0) == ("--cluster", "ray", True)
    return itertools.starmap(function, calls)


def test_a_cluster_gives_the_same_to_the_byte_and_goes_on(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda _: True)
    monkeypatch.setattr(analysis, "call_by_ray", spread_here)
    monkeypatch.setattr(analysis, "BLOCK", 3)
    (dataset / "images" / "photo3.png").write_bytes(b"no photo")
    write, written = Path.write_bytes, []

    def stop(path, data):
        written.append(path)
        if len(written) > 10:
            raise KeyboardInterrupt
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", stop)
        with pytest.raises(KeyboardInterrupt):
            build_quietly(dataset, tmp_path / "spread", cluster="ray")
    build_quietly(dataset, tmp_path / "spread", cluster="ray")
    build_quietly(dataset, tmp_path / "plain")
    assert read_tree(tmp_path / "spread") == read_tree(tmp_path / "plain")


@pytest.mark.slow
def test_a_ray_gives_the_same_to_the_byte(dataset, tmp_path):
    pytest.importorskip("ray")
    build_quietly(dataset, tmp_path / "spread", cluster="ray")
    build_quietly(dataset, tmp_path / "plain")
    assert read_tree(tmp_path / "spread") == read_tree(tmp_path / "plain")


def test_a_cluster_needs_ray(run_build, monkeypatch):
    monkeypatch.setattr(cluster, "find_spec", lambda _: None)
    result = run_build("--cluster", "ray")
    assert (result.exit_code, "pip install 'trimask[ray]'" in result.stderr) == (2, True)
