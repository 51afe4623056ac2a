"""What is asked over HTTP: the same faces as in Python, and a clear answer whatever is sent."""

import asyncio
import base64
import io
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event

import numpy as np
import pytest
from PIL import Image

import trimask
from data_prep.base.labels import CLASSES
from data_prep.base.records import Box
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import Face
from pipeline.nets.options import SHIPPED
from tests.makers import make_pixels
from tests.pipeline.makers import paint_photo, stand_ins
from tests.pipeline.needs import needs_shipped

pytest.importorskip("prometheus_client")
from fastapi.testclient import TestClient

from pipeline.serve import service as service_module
from pipeline.serve.api import create_app
from pipeline.serve.service import BOXES, Ask, Limits, Service

PREDICT = "/v1/predict"
FACE = Face(Box(1.0, 2.0, 11.0, 22.0), 0.9, (0.7, 0.2, 0.1))


@pytest.fixture
def start():
    """Opens a client of a service; stand-ins for the nets find painted faces."""
    clients = []

    def open_client(predictor=None, wait=0.0, **limits):
        service = Service(predictor or stand_ins(), Limits(**limits), wait)
        client = TestClient(create_app(service))
        clients.append(client.__enter__())
        client.service = service
        return client

    yield open_client
    for client in clients:
        client.__exit__(None, None, None)


def to_file(pixels, format_="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_)
    return buffer.getvalue()


def send(client, *photos, query="", **options):
    files = [("file", (f"{index}.png", photo)) for index, photo in enumerate(photos)]
    return client.post(PREDICT + query, files=files, **options)


@pytest.fixture(scope="module")
def photo():
    return to_file(paint_photo())


def assert_same(told, faces):
    """Every digit of an answer is that of `trimask.predict`."""
    assert told["width"], told["height"] == faces.size
    assert len(told["faces"]) == len(faces) > 0
    for one, face in zip(told["faces"], faces, strict=True):
        assert one == {
            "box": list(face.box),
            "label": face.label,
            "score": face.score,
            "detection": face.detection,
            "probabilities": dict(zip(CLASSES, face.probabilities, strict=True)),
        }


@needs_shipped
def test_same_answers_as_predict_to_the_last_digit(start):
    model = trimask.load(device="cpu")
    client = start(model.predictor, wait=0.05)
    data = trimask.EXAMPLE.read_bytes()
    looks = [Image.open(trimask.EXAMPLE).convert("RGB").resize((w, 240)) for w in (200, 240, 300)]
    photos = [data, *(to_file(np.asarray(look)) for look in looks)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda one: send(client, one).json(), photos))
    for answer, one in zip(answers, photos, strict=True):
        assert_same(answer["photos"][0], model.predict(one))
    low = send(client, data, query="?thresh=0.02&resize=1").json()["photos"][0]
    assert_same(low, model.predict(data, thresh=0.02, resize=1))
    told = client.get("/v1/model").json()
    for net in ("detector", "classifier"):
        card = json.loads((SHIPPED / f"{net}.json").read_text())
        assert told["cards"][net]["sha256"] == told["identity"][net] == card["sha256"]
        assert told["cards"][net]["results"] == card["results"]


def test_a_form_and_json_are_the_same(start, photo):
    client = start()
    form = send(client, photo).json()
    sent = {"photos": [{"image": "x/0.png", "data": base64.b64encode(photo).decode()}]}
    assert client.post(PREDICT, json=sent).json() == form
    assert_same(form["photos"][0], trimask.Model(stand_ins()).predict(photo))
    assert set(form["photos"][0]) == {"image", "width", "height", "orientation", "faces"}


@pytest.fixture
def site(serve, photo):
    """A server with a photo, and one that is slow to answer."""

    def answer(request):
        if "slow" in request.path:
            time.sleep(1)
        request.send_response(404 if "gone" in request.path else 200)
        request.end_headers()
        request.wfile.write(photo)

    return serve(answer)


def test_addresses_are_asked_where_allowed_and_each_answers_for_itself(start, site, photo):
    urls = {"urls": [f"{site}/x/0.png?a=b", f"{site}/gone.png", "http://[", "file:///etc/passwd"]}
    refused = start().post(PREDICT, json=urls)
    assert refused.status_code == 403
    assert "--allow-urls" in refused.json()["detail"]
    client = start(urls="any")
    good, *bad = client.post(PREDICT, json=urls).json()["photos"]
    assert good == send(client, photo).json()["photos"][0]
    assert [one["image"] for one in bad] == ["gone.png", "[", "passwd"]
    words = ["the server answers 404", "Invalid IPv6", "unknown url type"]
    assert all(word in one["error"] for word, one in zip(words, bad, strict=True))
    assert client.post(PREDICT, json={"urls": urls["urls"][1:2]}).status_code == 422
    both = {"photos": [{"data": base64.b64encode(photo).decode()}], **urls}
    assert len(client.post(PREDICT, json=both).json()["photos"]) == 5
    closed = start(urls="public").post(PREDICT, json=urls).json()["photos"]
    assert "is no public host" in closed[0]["error"]
    text = client.get("/metrics").text
    assert 'trimask_photos_total{outcome="unreadable"} 7.0' in text


def test_an_address_that_does_not_answer_holds_no_others(start, site):
    client = start(urls="any", seconds=0.5)
    names = ["slow", "0.png", "slow", "0.png"]
    photos = client.post(PREDICT, json={"urls": [f"{site}/{name}" for name in names]}).json()
    told = [one.get("error", "") for one in photos["photos"]]
    assert told == ["slow: not there in time.", "", "slow: not there in time.", ""]


def test_a_bad_photo_alone_is_refused_and_of_several_answers_for_itself(start, photo):
    client = start()
    alone = send(client, b"no photo")
    assert alone.status_code == 422
    assert alone.json()["detail"] == "0.png: not a photo in a known format; check the file."
    both = send(client, photo, b"no photo", photo).json()["photos"]
    assert [len(one["faces"]) for one in both] == [2, 0, 2]
    assert [one.get("error", "")[:5] for one in both] == ["", "1.png", ""]


def test_a_turned_photo_is_upright(start):
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    pixels = np.ascontiguousarray(np.rot90(paint_photo()))
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    (told,) = send(start(), buffer.getvalue()).json()["photos"]
    assert (told["width"], told["height"], told["orientation"]) == (120, 90, 6)
    assert len(told["faces"]) == 2


@pytest.mark.parametrize(
    ("options", "status", "word"),
    [
        ({"files": [("photo", b"x")]}, 400, "0 photos"),
        ({"files": [("file", b"x")] * 5}, 413, "5 photos"),
        ({"json": {"photos": []}}, 400, "0 photos"),
        ({"json": {"photos": [], "photo": 1}}, 400, "photo: Extra"),
        ({"json": {"photos": [{"data": 5}]}}, 400, "photos.0.data"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "body"),
        ({"content": b"x", "headers": {"content-type": "image/png"}}, 415, "fields named file"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "form"),
    ],
)
def test_what_can_not_be_answered(start, options, status, word):
    answer = start(photos=4).post(PREDICT, **options)
    assert answer.status_code == status
    assert word in answer.json()["detail"]


@pytest.mark.parametrize("query", ["thresh=2", "thresh=nan", "resize=0", "resize=9", "boxes=x"])
def test_options_out_of_range(start, photo, query):
    answer = send(start(), photo, query=f"?{query}")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"query.{query.partition('=')[0]}: ")


def test_opened_in_a_browser_it_says_what_to_do(start):
    answer = start().get(PREDICT)
    assert (answer.status_code, answer.json()["detail"][:16]) == (405, "POST photos here")


def test_an_option_that_is_none_is_named(start, photo):
    answer = send(start(), photo, query="?threshold=0.3&token=x")
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("threshold is no option")


def test_drawings(start, photo):
    client = start()
    for answer in (
        send(client, photo, query="?draw=true"),
        send(client, photo, headers={"accept": "image/jpeg"}),
    ):
        assert answer.headers["content-type"] == "image/jpeg"
        drawing = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert drawing.shape == (360, 480, 3)
    assert "photos" in send(client, photo, headers={"accept": "*/*"}).json()
    assert send(client, photo, photo, query="?draw=true").status_code == 400
    assert send(client, b"no photo", query="?draw=true").status_code == 422


def test_boxes_in_another_convention_are_those_of_predict(start, photo):
    client = start()
    for name, boxes in BOXES.items():
        predictor = replace(stand_ins(), boxes=boxes)
        (told,) = send(client, photo, query=f"?boxes={name}").json()["photos"]
        assert_same(told, trimask.Model(predictor).predict(photo))
    assert len(BOXES) == 4
    told = send(client, photo, query="?boxes=hed").json()["detail"]
    assert told == "query.boxes: should be 'found', 'facemask', 'ilc' or 'head'."


def test_what_is_told_of_the_service(start, photo):
    client = start()
    send(client, photo, b"no photo")
    send(client, b"no photo")
    text = client.get("/metrics").text
    for line in (
        'trimask_requests_total{status="200"} 1.0',
        'trimask_requests_total{status="422"} 1.0',
        'trimask_photos_total{outcome="unreadable"} 2.0',
        'trimask_faces_total{label="with_mask"} 1.0',
        "trimask_waiting 0.0",
    ):
        assert line in text
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.head("/healthz").status_code == 200  # As some that watch services ask.
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/healthz", "/metrics", "/v1/model", PREDICT} == set(paths)
    asked = paths[PREDICT]["post"]
    assert set(asked["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert {"200", "400", "413", "422", "429", "500", "503"} == set(asked["responses"])


@dataclass(frozen=True)
class Odd(Predictor):
    """Does what a test asks for with each batch of frames, and notes their number."""

    act: object = None
    sizes: list = field(default_factory=list)

    def __call__(self, frames, clock=None):
        self.sizes.append(len(frames))
        return self.act(frames)


def make_odd(act):
    plain = stand_ins()
    return Odd(plain.detector, plain.classifier, act=act)


def find_one(frames):
    return [[FACE] for _ in frames]


def test_requests_that_arrive_together_share_a_batch(start, photo):
    odd = make_odd(find_one)
    client = start(odd, wait=0.3)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: send(client, photo), range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert sum(odd.sizes) == 6
    assert max(odd.sizes) >= 3


def test_too_many_requests_are_told_when_to_come_again(start, photo):
    begun, go_on = Event(), Event()

    def wait(frames):
        begun.set()
        go_on.wait(10)
        return find_one(frames)

    client = start(make_odd(wait), queue=2)
    with ThreadPoolExecutor(2) as pool:
        first = [pool.submit(send, client, photo) for _ in range(2)]
        begun.wait(10)
        while client.service._requests < 2:
            pass
        refused = send(client, photo)
        go_on.set()
        assert [one.result().status_code for one in first] == [200, 200]
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert send(client, photo).status_code == 200


def test_bytes_of_all_requests_are_bounded(start):
    service = start(held=1000).service
    with service.admit(5000), pytest.raises(service_module.BusyError), service.admit(1):
        pass
    with service.admit(600), service.admit(400):
        assert service._bytes == 1000
    assert service._bytes == service._requests == 0


def test_nets_that_are_broken_tell_no_faces(start, photo):
    nan = replace(FACE, detection=float("nan"))
    for act in (lambda frames: [[nan] for _ in frames], lambda frames: 1 / 0):
        client = start(make_odd(act))
        answer = send(client, photo)
        assert answer.status_code == 500
        assert "no faces are told" in answer.json()["detail"]
        assert "label" not in answer.text
    assert 'status="500"' in client.get("/metrics").text


def test_one_photo_that_the_nets_fail_on_fails_alone(start, photo):
    def act(frames):
        if any(frame.size == (7, 7) for frame in frames):
            raise RuntimeError("of this size")
        return find_one(frames)

    client = start(make_odd(act), wait=0.3)
    poison = to_file(make_pixels(7, 7))
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda one: send(client, one).status_code, [photo, poison, photo, photo])
        assert list(answers) == [200, 500, 200, 200]


def test_no_request_ends_the_thread(start, photo):
    ends = iter([True])

    def act(frames):
        if next(ends, False):
            raise SystemExit
        return find_one(frames)

    client = start(make_odd(act))
    assert send(client, photo).status_code == 500
    assert send(client, photo).status_code == 200


def test_a_batch_that_hangs_is_told(start, photo, monkeypatch):
    monkeypatch.setattr(service_module, "STUCK", 0.05)
    go_on = Event()
    client = start(make_odd(lambda frames: go_on.wait(10) and find_one(frames)), seconds=0.3)
    assert send(client, photo).status_code == 503
    assert client.get("/healthz").status_code == 503
    monkeypatch.setattr(service_module, "decode_item", None)
    assert send(client, photo).status_code == 503  # Nothing is decoded to wait in vain.
    monkeypatch.undo()
    go_on.set()
    while client.get("/healthz").status_code == 503:
        pass
    assert send(client, photo).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_pixels_are_bounded_before_they_are_decoded(start, photo, monkeypatch):
    client = start(pixels=120 * 90 * 4)
    assert send(client, photo, query="?resize=2").status_code == 200
    monkeypatch.setattr(service_module, "decode_item", None)
    large = to_file(make_pixels(480, 91))
    for answer in (send(client, photo, query="?resize=2.1"), send(client, large)):
        assert answer.status_code == 422
        assert "million pixels" in answer.json()["detail"]


def test_an_answered_photo_holds_no_pixels(photo):
    service = Service(stand_ins())
    found = asyncio.run(service.find(photo, "a", Ask(), 60))
    assert (found.frame.pixels, found.size, len(found.faces)) == (None, (120, 90), 2)
    assert Image.open(io.BytesIO(found.jpeg)).size == (60, 45)
    service.exits.close()


def test_nothing_is_written_to_the_disk(start, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (900, 900, 3), np.uint8)
    data = to_file(noise)
    assert len(data) > 2_000_000
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", lambda _: 1 / 0)
    assert send(start(), data, query="?resize=0.2").status_code == 200
