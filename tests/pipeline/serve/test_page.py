"""The page: what it shows, in a real browser, and that no other host is asked for anything."""

import base64
import csv
import io
import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from inspect import signature
from pathlib import Path

import av
import pytest

import trimask
from data_prep.formats.predictions import COLUMNS
from pipeline.inference.records import Frame
from tests.pipeline.inference.video.makers import WALK, write_clip
from tests.pipeline.makers import paint_photo, save_photo, stand_ins
from tests.pipeline.needs import needs_shipped

pytest.importorskip("gradio")
from fastapi.testclient import TestClient

from pipeline.serve.api import create_app
from pipeline.serve.page import POLICY, gr, make_page, show
from pipeline.serve.service import Found, Limits, Service

LAUNCH = signature(gr.Blocks.launch)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ROOT = Path(__file__).parents[3]
CLIP = 2  # Number of the page's event.
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def read_table(html, name="predictions.csv"):
    (data,) = re.findall(rf'"{name}" href="data:text/csv;base64,([^"]*)"', html)
    return list(csv.reader(io.StringIO(base64.b64decode(data).decode())))


def test_what_is_shown_of_photos():
    frame = Frame("<b>.png", pixels=paint_photo(), learnt="near")
    (faces,) = stand_ins()([frame])
    broken = Frame("x.jpg", error="x.jpg: not a photo & more")
    html = show([Found(frame, faces=faces), Found(broken), Found(Frame("c"))])
    assert "2 faces on 2 of 3 photos: 1 with mask, 1 without mask" in html
    assert "&lt;b&gt;.png" in html
    assert "<b>.png" not in html
    assert "not a photo &amp; more" in html
    assert html.count("No face was found.") == html.count("learnt from this photo") == 1
    head, *rows = read_table(html)
    assert tuple(head) == COLUMNS
    assert [row[0] for row in rows] == ["<b>.png"] * 2


def test_gradio_keeps_no_other_door_open(tmp_path):
    """No address of its own runs anything, and files that were not dropped are not given out."""
    app = create_app(service := Service(stand_ins(), Limits(body=20_000)))
    page, options = make_page(service)
    gr.mount_gradio_app(app, page, "/", **options)
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    with TestClient(app) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        text = client.get("/").text
        assert "fonts.googleapis.com" not in text + client.get("/theme.css").text
        assert client.get("/gradio_api/info").json()["named_endpoints"] == {}
        for path in (secret, ROOT / "pyproject.toml"):
            answer = client.get(f"/gradio_api/file={path}")
            assert answer.status_code in (403, 404)
        large = client.post("/gradio_api/upload", files={"files": b"x" * 30_000})
        assert large.status_code == 413
    assert "http" not in POLICY


def ask_page(client, number, *data):
    """What an event of the page answers, past the page itself."""
    sent = {"data": data, "fn_index": number, "session_hash": "own"}
    assert client.post("/gradio_api/queue/join", json=sent).status_code == 200
    with client.stream("GET", "/gradio_api/queue/data?session_hash=own") as lines:
        (done,) = [line for line in lines.iter_lines() if "process_completed" in line]
    return done


@pytest.mark.filterwarnings("ignore")
def test_the_page_reads_no_file_that_was_not_dropped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = create_app(service := Service(stand_ins()))
    page, options = make_page(service)
    gr.mount_gradio_app(app, page, "/", **options)
    save_photo(secret := tmp_path / "folder" / "secret.png")
    with TestClient(app) as client:
        (dropped,) = client.post("/gradio_api/upload", files={"files": secret.open("rb")}).json()
        for path in (secret, Path(dropped).parent / ".." / ".." / secret, Path("/etc/hostname")):
            file = {"path": str(path), "meta": {"_type": "gradio.FileData"}, "orig_name": "a.png"}
            for number, data in ((0, [file]), (1, file)):
                told = ask_page(client, number, data, 0.5, "found")
                assert "2 faces" not in told
                assert '"success":false' in told
                assert str(tmp_path) not in told
        file = {"path": dropped, "meta": {"_type": "gradio.FileData"}, "orig_name": "a.png"}
        told = ask_page(client, 0, [file], 0.5, "found")
        assert "2 faces" in told
        assert not Path(dropped).exists()
    assert secret.exists()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The page around stand-ins, and the folder that it holds what was dropped in."""
    pytest.importorskip("trackers")
    monkeypatch.chdir(tmp_path)
    app = create_app(service := Service(stand_ins(0.3)))
    blocks, options = make_page(service)
    gr.mount_gradio_app(app, blocks, "/", **options)
    with TestClient(app) as client:
        yield client, Path(os.environ["GRADIO_TEMP_DIR"])


def drop_clip(client, path):
    (dropped,) = client.post("/gradio_api/upload", files={"files": path.open("rb")}).json()
    file = {"path": dropped, "meta": {"_type": "gradio.FileData"}, "orig_name": path.name}
    _, film, html = json.loads(ask_page(client, CLIP, file, 0.5, "found")[5:])["output"]["data"]
    return film, html


@pytest.mark.filterwarnings("ignore")
def test_a_clip_gives_a_film_and_tables_and_leaves_nothing(place, tmp_path):
    client, folder = place
    film, html = drop_clip(client, write_clip(tmp_path / "a.mov", WALK * 4))
    assert "1 person at most: 1 with mask" in html
    assert html.count("<tr>") == 2
    persons, faces = (read_table(html, name) for name in ("tracks.csv", "predictions.csv"))
    assert [row[:2] for row in persons] == [["image", "track"], ["a.mov", "1"]]
    assert {row[0] for row in faces[1:]} == {"a.mov"}
    frames = sorted({int(row[faces[0].index("frame")]) for row in faces[1:]})
    assert (len(frames), frames[:3]) == (19, [0, 3, 5])  # Ten of a second's 25.
    answer = client.get(film["value"]["url"] if "value" in film else film["url"])
    (tmp_path / "film.mp4").write_bytes(answer.content)
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == len(frames)
    left = {path.name for path in folder.rglob("*") if path.is_file() and path.stat().st_size}
    assert left == {"a.mov.mp4"}


@pytest.mark.filterwarnings("ignore")
def test_a_clip_is_bounded(place, tmp_path, monkeypatch):
    client, _ = place
    path = write_clip(tmp_path / "a.mp4", WALK * 4)
    monkeypatch.setattr("pipeline.serve.page.LONGEST", 1.0)
    assert "11 frames of 1.0 s" in drop_clip(client, path)[1]
    monkeypatch.setattr("pipeline.serve.page.PATIENCE", 0.0)
    film, html = drop_clip(client, path)
    assert "the nets are busy" in html
    assert not film.get("value")


@pytest.mark.filterwarnings("ignore")
def test_no_clip_leads_to_other_files(place, tmp_path):
    client, folder = place
    write_clip(tmp_path / "secret.ts")
    bad = tmp_path / "list.mp4"
    bad.write_text(f"ffconcat version 1.0\nfile {tmp_path}/secret.ts")
    film, html = drop_clip(client, bad)
    assert "list.mp4: can&#39;t be read as a video" in html
    assert str(folder) not in html
    assert not film.get("value")
    file = {"path": str(tmp_path / "secret.ts"), "meta": {"_type": "gradio.FileData"}}
    assert '"success":false' in ask_page(client, CLIP, {**file, "orig_name": "a"}, 0.5, "found")


@needs_shipped
def test_a_space_launches_the_page(monkeypatch):
    launched = {}
    monkeypatch.setattr(gr.Blocks, "launch", lambda page, **options: launched.update(options))
    monkeypatch.setattr(sys, "path", [*sys.path])
    runpy.run_path(str(ROOT / "pipeline/serve/app.py"), run_name="__main__")
    assert launched["max_file_size"] > 0
    assert set(launched) <= set(LAUNCH.parameters)


@pytest.fixture
def start():
    """Starts the command; gives its process and its address."""
    started = []

    def run(*options):
        command = [sys.executable, "-m", "pipeline", "serve", "--port", "0", *options]
        server = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        started.append(server)
        for line in server.stderr:
            if line.startswith("serving: http"):
                return server, line.split()[1]
        raise AssertionError("the server did not start")

    yield run
    for server in started:
        server.kill()
        server.wait()


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        options += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


def held():
    """Files that the page keeps."""
    places = [path for path in Path("/dev/shm").glob("*-trimask") if path.is_dir()]
    return {path for place in places for path in place.rglob("*") if path.is_file()}


@pytest.mark.slow
@needs_shipped
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_the_page_in_a_browser(start, browser, tmp_path):
    server, address = start()
    save_photo(tmp_path / "none.png")
    before = held()
    for size in (DESK, PHONE):
        asked, faults = [], []
        page = browser.new_page(viewport=size, permissions=["camera"])
        page.on("request", lambda request: asked.append(request.url))  # noqa: B023
        page.on("pageerror", lambda error: faults.append(str(error)))  # noqa: B023
        page.on("console", lambda m: m.type == "error" and faults.append(m.text))  # noqa: B023
        page.goto(address)
        drop = page.locator("input[type=file]").first
        drop.wait_for(state="attached")
        page.wait_for_timeout(1000)
        drop.set_input_files([trimask.EXAMPLE, tmp_path / "none.png"])
        page.wait_for_selector(".tm-photo")
        html = page.inner_html(".tm")
        assert "1 face: 1 without mask" in html
        rows = read_table(html)
        (face,) = trimask.load(device="cpu").predict(trimask.EXAMPLE)
        assert [float(cell) for cell in rows[1][1:5]] == pytest.approx(list(face.box), abs=1e-4)
        link = "document.querySelector('.tm a[download]')?.href"
        old = page.evaluate(link)
        page.get_by_label("head").click()
        page.wait_for_function(f"old => {link} && {link} != old", arg=old)
        taller = read_table(page.inner_html(".tm"))[1]
        assert float(taller[2]) < float(rows[1][2])
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
        picture = page.locator(".tm-photo img").first
        assert picture.evaluate("node => node.complete && node.naturalWidth > 100")
        page.get_by_role("tab", name="Camera").click()
        page.click("text=Click to Access Webcam")
        page.wait_for_timeout(1500)
        page.click("[aria-label='capture photo']")
        page.wait_for_selector(".tm-photo h3:has-text('image.png')")
        others = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
        assert others == []
        assert faults == []
        page.close()
    assert [path for path in held() - before if path.stat().st_size] == []
    server.send_signal(signal.SIGTERM)
    server.wait(20)
    assert held() == before


@needs_shipped
@pytest.mark.slow
def test_a_stop_answers_what_was_taken(start, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    import httpx

    server, address = start("--no-page", "--wait-ms", "900")
    with ThreadPoolExecutor() as pool:
        photo = trimask.EXAMPLE.read_bytes()
        files = {"files": {"file": photo}, "timeout": 30}
        answer = pool.submit(httpx.post, f"{address}v1/predict", **files)
        while "trimask_waiting 1.0" not in httpx.get(f"{address}metrics").text:
            pass
        server.send_signal(signal.SIGTERM)
        assert len(answer.result().json()["photos"][0]["faces"]) == 1
    assert server.wait(20) == 0
    assert server.stderr.read().endswith("ended\n")
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)
