"""Photos done by many processes give what one gives, whatever is killed in between."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from data_prep.base import cluster as ray
from data_prep.base.errors import UserError
from pipeline.inference import addresses, cluster, predictor
from pipeline.inference.cluster import Cluster, ClusterError, split_photos
from pipeline.inference.command import app
from pipeline.inference.folder import predict_folder
from pipeline.inference.sinks import JOURNAL
from pipeline.inference.sources import PhotoSet, find_photos
from pipeline.nets.options import SHIPPED
from tests.pipeline.inference.test_folder import outcome, photos  # noqa: F401
from tests.pipeline.makers import save_photo, stand_ins


class InProcess:
    """What of Ray Data is called, in this process: blocks are done last to first."""

    def __init__(self, most=None):
        self.data, self.most = self, most

    def from_items(self, rows, override_num_blocks):
        assert len(rows) == override_num_blocks
        self.rows = rows
        return self

    def map_batches(self, actor, fn_constructor_args, fn_constructor_kwargs, **_):
        self.actor = actor(*fn_constructor_args, **fn_constructor_kwargs)
        return self

    def iter_rows(self):
        for row in self.rows[::-1][: self.most]:
            answer = self.actor({"photos": [row["photos"]]})["answer"]
            yield {"answer": answer[0]}
        if self.most is not None:
            raise KeyboardInterrupt

    def ActorPoolStrategy(self, size):  # noqa: N802
        assert size == 2

    def cluster_resources(self):
        return {"CPU": 3.0, "memory": 64e9}

    def nodes(self):
        return [{"Alive": True}, {"Alive": False}]


@pytest.fixture
def spread(monkeypatch):
    """A run whose blocks hold two photos each."""
    monkeypatch.setattr(ray, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setattr(cluster, "BATCH_FRAMES", 2)
    nets = stand_ins()
    monkeypatch.setattr(predictor.Predictor, "load", lambda weights, **_: nets)

    def run(folder, out, most=None, **options):
        @contextmanager
        def start(option, name, cpus):
            assert (option, name) == ("--cluster", "ray")
            yield InProcess(most)

        monkeypatch.setattr(cluster, "start_ray", start)
        given = {"cluster": Cluster("ray", SHIPPED), **options}
        return predict_folder(find_photos(str(folder), leave_out=out), out, nets, **given)

    return run


def test_blocks_hold_all_photos_in_order_and_what_belongs_to_them():
    names = tuple(f"{number:04}.jpg" for number in range(5000))
    found = PhotoSet(Path("root"), names, (("x.txt", "ending .txt"),), items={names[40]: b"40"})
    blocks = split_photos(replace(found, salvage=True), 3)
    assert sum((block.images for block in blocks), ()) == names
    sizes = [len(block) for block in blocks]
    assert (sizes[0], sizes[-2:], sorted(sizes, reverse=True)) == (cluster.MOST, [16, 8], sizes)
    assert len(sizes) < 5000 / 128
    assert [block.items for block in blocks[:2]] == [{names[40]: b"40"}, {}]
    assert {(block.root, block.passed_over, block.salvage) for block in blocks} == {
        (Path("root"), (), True)
    }
    assert [len(block) for block in split_photos(replace(found, images=names[:20]), 3)] == [16, 4]


def test_blocks_of_large_files_hold_few(tmp_path, monkeypatch):
    names = tuple(f"{number:03}.jpg" for number in range(400))
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes(3 if number < 96 else 1))
    monkeypatch.setattr(cluster, "BYTES", 100)
    sizes = [len(block) for block in split_photos(PhotoSet(tmp_path, names), 1)]
    assert sizes == [32, 32, 32, 96, 96, 48, 32, 16, 16]


@pytest.mark.parametrize("draw", [True, False])
def test_results_are_those_of_a_plain_run(photos, tmp_path, spread, draw):  # noqa: F811
    (photos / "broken.jpg").write_bytes(b"no photo")
    save_photo(photos / "grey.gif", seed=9)
    spread(photos, tmp_path / "plain", cluster=None, draw=draw)
    summary = spread(photos, tmp_path / "spread", draw=draw)
    files, told = outcome(tmp_path / "spread")
    assert told.pop("actors") == summary["actors"] == 2
    assert (files, told) == outcome(tmp_path / "plain")
    assert summary["seconds"].keys() >= {"detect", "classify", "decode"}


def test_stopped_it_goes_on_with_what_is_left(photos, tmp_path, spread):  # noqa: F811
    out = tmp_path / "out"
    assert spread(photos, out, most=1)["photos_left"] == 4
    done = (out / JOURNAL).read_text()
    (out / "annotated" / "a.jpg").mkdir(parents=True)  # Where a drawing goes: told, nothing lost.
    with pytest.raises(UserError, match=r"a\.jpg"):
        spread(photos, out)
    (out / "annotated" / "a.jpg").rmdir()
    assert spread(photos, out)["photos_left"] == 0
    assert (out / JOURNAL).read_text().startswith(done)
    again = spread(photos, out)
    assert (again["photos_done_now"], again["actors"]) == (0, 0)


def test_other_weights_on_a_machine_are_refused(photos, tmp_path, spread, monkeypatch):  # noqa: F811
    monkeypatch.setattr(predictor.Predictor, "load", lambda *_, **__: stand_ins(resize=2))
    monkeypatch.setattr(predictor.Predictor, "identify", lambda self: {"resize": self.resize})
    with pytest.raises(ClusterError, match="other weights"):
        spread(photos, tmp_path / "out")


def test_what_cannot_be_spread_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "find_spec", lambda name: None)
    with pytest.raises(ClusterError, match=r"pip install 'trimask\[ray\]'"):
        Cluster("ray", SHIPPED)
    for name in ("dask", "ray=", "RAY"):
        with pytest.raises(ClusterError, match="use ray or ray=ADDRESS"):
            Cluster(name, SHIPPED)
    monkeypatch.setattr(ray, "find_spec", lambda name: SimpleNamespace())
    (tmp_path / "a.mp4").write_bytes(b"")
    args = [str(tmp_path), "-o", str(tmp_path / "out"), "--cluster", "ray"]
    told = CliRunner().invoke(app, args)
    assert (told.exit_code, "photos only" in told.output) == (2, True)


def test_an_object_store_is_a_folder_elsewhere(photos, tmp_path, spread, monkeypatch):  # noqa: F811
    store = pytest.importorskip("pyarrow.fs").LocalFileSystem()
    (photos / "broken.jpg").write_bytes(b"no photo")
    (photos / ".hidden.jpg").write_bytes(b"")
    (photos / "clip.mp4").write_bytes(b"")
    known = {"s3://bucket": str(photos), "s3://bucket/z.png": str(photos / "z.png")}
    monkeypatch.setattr(addresses, "_open_bucket", lambda address: (store, known[address]))
    spread(photos / "**" / "*.[!m]*", tmp_path / "plain", cluster=None)
    summary = spread("s3://bucket", tmp_path / "far")
    assert summary["passed_over"] == [
        {"image": ".hidden.jpg", "reason": "hidden"},
        {"image": "clip.mp4", "reason": "a video in an object store"},
    ]
    for name in ("predictions.csv", "photos.csv"):
        far = (tmp_path / "far" / name).read_text().replace("s3://", "")
        assert far == (tmp_path / "plain" / name).read_text()
    assert spread("s3://bucket", tmp_path / "far")["photos_done_now"] == 0
    save_photo(photos / "z.png", seed=8)
    assert spread("s3://bucket", tmp_path / "far", cluster=None)["photos_done_now"] == 1
    assert find_photos("s3://bucket/z.png").images == ("z.png",)
    (photos / "z.png").unlink()
    with pytest.raises(UserError, match=r"s3://bucket/z\.png: can't be listed"):
        find_photos("s3://bucket/z.png")
