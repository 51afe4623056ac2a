"""Ray itself, on real photos: what a plain run gives, whatever dies in between."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.inference.sinks import JOURNAL
from tests.pipeline.inference.test_folder import outcome
from tests.pipeline.needs import SHARED, needs_real_data, needs_shipped

pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")
pytestmark = [
    pytest.mark.slow,
    needs_real_data,
    needs_shipped,
    pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX"),
]

ROOT = Path(__file__).parents[3]
HERE = os.environ | {"OMP_NUM_THREADS": "1", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
PHOTOS, SOON, LONG = 60, 16, 300  # How many there are, of how many it waits; seconds it waits.

NODES = """
import sys
from ray.cluster_utils import Cluster
ray = Cluster(True, head_node_args={"num_cpus": 2, "include_dashboard": False})
node = ray.add_node(num_cpus=2)
print(ray.address, flush=True)
sys.stdin.readline()
ray.remove_node(node, allow_graceful=False)
print("removed", flush=True)
sys.stdin.readline()
ray.shutdown()
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    found = sorted((SHARED / "data" / "facemask" / "images").iterdir())
    for path in found[:: len(found) // PHOTOS][:PHOTOS]:
        shutil.copy(path, folder)
    (folder / "broken.jpg").write_bytes(found[0].read_bytes()[:300])
    return folder


def start(source, out, *more, **env):
    told = out.with_suffix(".txt").open("w")
    return subprocess.Popen(
        [sys.executable, "run.py", source, "-o", out, *more],
        cwd=ROOT,
        env=HERE | env,
        stdout=told,
        stderr=told,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def check(process, out, plain, sources=("", "")):
    """It ends as a plain run, whose names of photos begin otherwise."""
    assert process.wait(LONG) == 1, out.with_suffix(".txt").read_text()  # For the broken one.
    files, summary = outcome(out)
    assert summary.pop("actors") >= 1
    files["photos.csv"] = files["photos.csv"].replace(*(name.encode() for name in sources))
    for one in summary["unreadable"]:
        one["reason"] = one["reason"].replace(*sources)
    assert (files, summary) == plain


@pytest.fixture(scope="module")
def plain(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain") / "out"
    assert start(photos, out).wait(LONG) == 1
    assert len(outcome(out)[1]["unreadable"]) == 1
    return outcome(out)


def wait_for(out, photos=SOON):
    """Until some photos are done, and not all; the lines of the journal."""
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        lines = (out / JOURNAL).read_text().splitlines() if (out / JOURNAL).exists() else []
        if len(lines) > photos:
            assert len(lines) < PHOTOS
            return lines
        time.sleep(0.05)
    raise AssertionError(out.with_suffix(".txt").read_text())


def test_nothing_is_lost_if_an_actor_dies_and_nothing_listens_outside(photos, plain, tmp_path):
    out = tmp_path / "out"
    process = start(photos, out, "--cluster", "ray")
    wait_for(out)
    family = psutil.Process(process.pid).children(recursive=True)
    listening = [
        one.laddr.ip
        for kin in family
        for one in kin.net_connections()
        if one.status == psutil.CONN_LISTEN
    ]
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    actors = [kin for kin in family if "MapWorker" in kin.name() + " ".join(kin.cmdline())]
    assert len(actors) == len(os.sched_getaffinity(0))
    actors[0].kill()
    check(process, out, plain)
    assert not any(kin.is_running() for kin in family)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_stopped_it_goes_on_and_repeats_nothing(photos, plain, tmp_path, sent):
    out = tmp_path / "out"
    process = start(photos, out, "--cluster", "ray")
    wait_for(out)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(sent)
    assert process.wait(LONG) == (130 if sent == signal.SIGINT else -sent)
    done = (out / JOURNAL).read_text()
    if sent == signal.SIGINT:
        assert psutil.wait_procs(family, timeout=10)[1] == []
    process = start(photos, out, "--cluster", "ray")
    check(process, out, plain)
    assert (out / JOURNAL).read_text().startswith(done)
    assert psutil.wait_procs(family, timeout=LONG)[1] == []  # Ray's own watch for what is killed.


def test_two_machines_one_of_which_dies(photos, plain, tmp_path):
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", NODES],
        env=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as nodes:
        address = nodes.stdout.readline().strip()
        process = start(photos, out, "--cluster", f"ray={address}")
        wait_for(out)
        nodes.stdin.write("\n")
        nodes.stdin.flush()
        assert nodes.stdout.readline() == "removed\n"
        check(process, out, plain)
        nodes.stdin.write("\n")
    assert "3 actors on 2 machines" in out.with_suffix(".txt").read_text()


def test_photos_of_an_object_store(photos, plain, tmp_path):
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    boto3 = pytest.importorskip("boto3")
    server.start()
    try:
        keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        address = "http://{}:{}".format(*server.get_host_and_port())
        client = boto3.client(
            "s3", "us-east-1", endpoint_url=address, **{k.lower(): keys[k] for k in keys}
        )
        client.create_bucket(Bucket="photos")
        for path in photos.iterdir():
            client.upload_file(str(path), "photos", f"some/{path.name}")
        keys |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": address}
        process = start("s3://photos/some", tmp_path / "out", "--cluster", "ray", **keys)
        check(process, tmp_path / "out", plain, ("s3://photos/some", str(photos)))
    finally:
        server.stop()


def test_no_ray_at_an_address(photos, tmp_path):
    process = start(photos, tmp_path / "out", "--cluster", "ray=127.0.0.1:9")
    assert process.wait(LONG) == 2
    assert "--cluster ray=127.0.0.1:9: no Ray there" in (tmp_path / "out.txt").read_text()
