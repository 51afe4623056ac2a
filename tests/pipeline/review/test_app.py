"""The page's server: what it shows, what it writes, and what it goes on with."""

import hashlib

import cv2
import numpy as np
import pytest

from data_prep.base.crop import crop_face
from data_prep.base.labels import CLASSES
from data_prep.base.photo import read_photo
from data_prep.base.records import Box
from data_prep.decisions.ledger import read_ledger, settle
from pipeline.review.app import measure_pace, view_progress
from pipeline.review.session import Choice
from tests.pipeline.review.makers import BOXES, make_suspects, write_about

WITH, WITHOUT, WRONGLY = CLASSES


def test_a_face_comes_with_all_there_is_to_know(visit):
    face = visit().face(1)
    assert face["label"] == WITHOUT
    assert face["box"] == list(BOXES[1])
    assert (face["width"], face["height"]) == (120, 90)
    assert face["name"] == "set/images/000.jpg, object 1"
    assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert face["suggested"] == max(face["probabilities"], key=face["probabilities"].get)
    assert face["reasons"] == ["the model is sure of another class", "6 of 8 neighbours differ"]
    assert len(face["similar"]) == 8
    assert all(similar["label"] == CLASSES[similar["row"] % 3] for similar in face["similar"])
    assert face["standing"] is None
    assert face["problem"] is None


def test_the_crop_is_the_one_the_model_gets(visit, found, capfd):
    answer = visit().client.get("/picture/crop/4")
    assert capfd.readouterr().err == "", "OpenCV warns of options of another format"
    shown = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    photo = read_photo(found.parent / "set/images/001.jpg").pixels
    assert answer.headers["content-type"] == "image/png"
    assert np.array_equal(shown, crop_face(photo, Box(*BOXES[1])))


def test_photos_and_similar_faces_are_shown(visit, tmp_path):
    """Of a similar face the prepared crop, shrunk, when it is there."""
    folder = make_suspects(tmp_path / "own")
    crop = folder.parent / "prepared" / "crops" / "train" / "with_mask" / "0.jpg"
    crop.parent.mkdir(parents=True)
    cv2.imwrite(str(crop), np.full((500, 500, 3), 200, np.uint8))
    client, shapes = visit(folder=folder).client, []
    for path in ("photo/0", "similar/3", "similar/0"):
        answer = client.get(f"/picture/{path}")
        pixels = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        shapes.append(pixels.shape)
    assert shapes == [(90, 120, 3), (36, 36, 3), (144, 144, 3)]
    assert pixels.mean() == pytest.approx(200, abs=3)


@pytest.mark.parametrize(
    ("choice", "action", "to", "to_box"),
    [
        ({"action": "keep"}, "keep", None, None),
        ({"action": "label", "to": WITH}, "keep", None, None),
        ({"action": "label", "to": WITHOUT}, "relabel", WITHOUT, None),
        ({"action": "label", "to": WRONGLY}, "relabel", WRONGLY, None),
        ({"action": "drop"}, "drop", None, None),
        ({"action": "skip"}, "skip", None, None),
        ({"action": "rebox", "to_box": [5.04, 8, 33, 36.26]}, "rebox", WITH, (5, 8, 33, 36.3)),
        (
            {"action": "rebox", "to": WRONGLY, "to_box": [-9, 8, 500, 40]},
            *("rebox", WRONGLY, (0, 8, 120, 40)),
        ),
    ],
)
def test_every_choice_is_a_line_of_the_ledger(visit, found, ledger, choice, action, to, to_box):
    answer = visit().decide(0, **choice)
    (decision,) = read_ledger(ledger).decisions
    assert (decision.action, decision.to, decision.to_box) == (action, to, to_box)
    assert (decision.by, decision.given, decision.box) == ("ada", WITH, Box(*BOXES[0]))
    assert decision.key == ("set", "images/000.jpg", 0)
    data = (found.parent / "set/images/000.jpg").read_bytes()
    assert decision.photo_sha256 == hashlib.sha256(data).hexdigest()
    assert answer["ahead"][0] == 1


@pytest.mark.parametrize(
    "choices",
    [
        [{"action": "label"}, {"action": "label", "to": "no such class"}, {"action": "undo"}],
        [{"action": "keep", "version": -1, "status": 409}, {"action": "rebox"}],
        [
            {"action": "rebox", "to_box": box}
            for box in ([30, 10, 10, 30], [200, 200, 300, 300], list(BOXES[0]), [0, 0, 10])
        ],
    ],
)
def test_what_can_not_be_decided_writes_nothing(visit, ledger, choices):
    page = visit()
    for choice in choices:
        page.decide(0, **{"status": 422, **choice})
    assert not ledger.exists()


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity", '"7"x', "null"])
def test_what_is_no_number_is_an_answer_not_a_crash(visit, ledger, number):
    page = visit()
    body = f'{{"edition": "{page.edition}", "position": 0, "version": 0, "action": "rebox", '
    body += f'"to_box": [{number}, 1, 50, 50]}}'
    headers = {"x-review": "1", "content-type": "application/json"}
    answer = page.client.post("/api/decide", content=body, headers=headers)
    assert answer.status_code == 422
    assert "reload" in answer.json()["message"]
    assert not ledger.exists()


def test_progress_and_counts(visit, ledger):
    page = visit()
    told = page.get("/api/session")["next"]
    (root,) = page.session.suspects.about.roots.values()
    assert told == f"python -m data_prep build {root} -o cleaned --decisions {ledger}"
    assert visit("bob", blind=True).get("/api/session")["next"].endswith(f"agreement {ledger}")
    page.decide(0, "keep")
    page.decide(1, "drop")
    page.decide(2, "skip")
    answer = page.decide(3, "label", to=WITHOUT)
    progress = answer["progress"]
    told = [progress[name] for name in ("total", "decided", "kept", "changed", "skipped")]
    assert told == [12, 3, 1, 2, 1]
    assert answer["ahead"] == [4, 5, 6, 7]


def test_undo_goes_back_face_by_face(visit, ledger):
    page = visit()
    page.decide(0, "keep")
    progress = page.decide(0, "drop")["progress"]
    assert (progress["kept"], progress["changed"]) == (0, 1)
    page.undo()
    assert page.face(0)["standing"]["action"] == "keep"
    page.decide(2, "skip")
    assert [page.undo()["position"] for _ in range(3)] == [2, 0, None]
    assert page.starts_at == 0
    assert not settle(read_ledger(ledger).decisions)
    assert len(read_ledger(ledger).decisions) == 6


def test_two_servers_on_one_ledger_see_each_other(visit, ledger):
    first, second = visit(), visit()
    seen = second.face(0)["version"]
    first.decide(0, "label", to=WITHOUT)
    conflict = second.decide(0, "keep", version=seen, status=409)
    assert "another window" in conflict["message"]
    assert second.face(0)["standing"] == {"action": "relabel", "to": WITHOUT, "to_box": None}
    assert second.starts_at == 1
    assert len(read_ledger(ledger).decisions) == 1
    second.decide(0, "keep")
    assert first.undo()["position"] == 0
    assert second.face(0)["standing"]["action"] == "relabel"


def test_reviewers_are_kept_apart(visit):
    ada, bob = visit("ada"), visit("bob")
    ada.decide(0, "drop")
    assert bob.starts_at == 0
    assert bob.face(0)["standing"] is None
    assert bob.face(0)["others"] == [{"by": "ada", "action": "drop", "to": None, "to_box": None}]
    assert bob.undo()["position"] is None


def test_a_blind_reviewer_learns_nothing(visit):
    ada = visit("ada")
    for position in range(12):
        ada.decide(position, "label", to=WITHOUT)
    bob = visit("bob", blind=True)
    texts = []
    for position in range(12):
        assert set(bob.face(position)) == {
            *("position", "version", "box", "width", "height", "problem", "decidable"),
            *("standing", "skipped"),
        }
        answer = bob.decide(position, "label", to=WITHOUT)
        assert "kept" not in answer["progress"]
        assert bob.face(position)["standing"]["action"] == "label"
        texts.append(str(bob.face(position)) + str(answer))
    hidden = ("ada", "keep", "relabel", "images/", WRONGLY)
    assert not any(word in "".join(texts) for word in hidden)
    bob.get("/picture/similar/0", 404)
    assert visit("cyd", blind=True).decide(0, "keep", status=422)
    assert visit("cyd", blind=True).decide(0, "rebox", to_box=[1, 1, 50, 50], status=422)


def test_a_blind_order_is_shuffled_by_the_seed_and_covers_what_others_decided(start):
    ada = start("ada")
    for position in range(8):
        ada.decide(position, Choice("keep"), 0)
    rows = [start("bob", blind=True, seed=seed).rows.tolist() for seed in (0, 0, 1)]
    assert sorted(rows[0]) == list(range(8))
    assert rows[0] == rows[1] != rows[2]
    assert rows[0] != sorted(rows[0])


def test_a_page_of_another_session_can_not_decide(visit, ledger):
    page, other = visit(first=3), visit(first=4)
    assert page.get("/api/session")["progress"]["total"] == 3
    page.get("/api/face/3", 404)
    page.edition = other.edition
    assert "reload" in page.decide(0, "keep", status=410)["message"]
    page.undo(status=410)
    assert not ledger.exists()
    assert visit(first=3).edition != other.edition
    assert visit(first=4).edition == other.edition, "the same after a restart"


@pytest.fixture
def damaged(tmp_path):
    """Photo 0 is missing, photo 1 cut short; the box of face 6 is empty."""
    folder = make_suspects(tmp_path / "own")
    photos = folder.parent / "set" / "images"
    (photos / "000.jpg").unlink()
    (photos / "001.jpg").write_bytes((photos / "001.jpg").read_bytes()[:400])
    table = (folder / "suspects.csv").read_text().splitlines()
    table[7] = table[7].replace(",8.0,10.0,30.0,34.0,", ",30.0,10.0,30.0,34.0,")
    (folder / "suspects.csv").write_text("\n".join(table) + "\n")
    return folder


def test_bad_photos_are_told_and_passed(visit, damaged, ledger):
    page = visit(folder=damaged)
    assert "No such file" in page.face(0)["problem"]
    assert "damaged" in page.face(3)["problem"]
    for kind, number in (("crop", 0), ("photo", 0), ("crop", 3), ("crop", 6), ("similar", 0)):
        page.get(f"/picture/{kind}/{number}", 404)
    assert page.client.get("/picture/photo/6").status_code == 200
    assert [page.face(position)["decidable"] for position in (0, 3, 6)] == [False, True, True]
    assert "Without the photo" in page.decide(0, "keep", status=422)["message"]
    page.decide(3, "drop")
    assert read_ledger(ledger).decisions[0].action == "drop"


def test_a_blind_reviewer_learns_no_name_from_bad_photos(visit, damaged):
    page = visit("bob", folder=damaged, blind=True)
    problems = set()
    for position in range(12):
        problems.add(page.face(position)["problem"])
        for path in (f"/picture/crop/{position}", f"/picture/photo/{position}"):
            answer = page.client.get(path)
            if answer.status_code == 404:
                problems.add(answer.json()["message"])
    assert problems == {None, "This face can't be shown."}


def test_the_hint_counts_the_whole_folder(visit, tmp_path):
    folder = make_suspects(tmp_path / "own", rows=100)
    page = visit(folder=folder)
    for position in range(25):
        page.decide(position, "keep" if position % 10 else "drop")
    short = visit(folder=folder, first=3)
    hint = short.get("/api/session")["progress"]["hint"]
    assert "3 of your last 25" in hint["text"]
    assert "you have changed 3 faces" in hint["text"]
    assert "At the start: about 5 likely errors (1 to 9)" in hint["text"]
    assert "one in 38 of the 75 faces left" in hint["text"]
    assert hint["stop"] is None


def test_as_many_as_may_be_wrong_first_and_the_rest_on_request(visit, tmp_path):
    folder = make_suspects(tmp_path / "own", rows=100, likely=[5.4, 2.0, 11.2])
    page = visit(folder=folder, likely=True)
    answer = page.get("/api/session")
    assert (answer["progress"]["total"], answer["progress"]["rest"]) == (12, 88)
    told = "About 5 likely errors (2 to 11) in 100 labels: these are the 12 most suspect faces"
    assert told in answer["progress"]["hint"]["text"]
    page.get("/api/face/12", status=404)
    for position in range(12):
        ahead = page.decide(position, "keep")["ahead"]
    assert ahead == []
    answer = page.post("/api/rest", {"edition": page.edition})
    assert answer["ahead"][0] == 12
    assert (answer["progress"]["total"], answer["progress"]["rest"]) == (100, 0)
    assert answer["progress"]["decided"] == 12
    page.decide(50, "drop")
    # Begun anew, what is further on is not on the way: neither shown nor taken back.
    page = visit(folder=folder, likely=True)
    assert page.undo()["position"] == 11


def test_going_on_no_longer_pays_after_73_in_vain(start, tmp_path):
    session = start(folder=make_suspects(tmp_path / "own", rows=80))
    stops = []
    for position in range(73):
        session.decide(position, Choice("keep"), 0)
        if position >= 71:
            hint = view_progress(session, position)["progress"]["hint"]
            stops.append(hint["stop"])
    assert stops[0] is None
    assert "good place to stop" in stops[1]
    assert hint["text"].startswith("None of your last 73 decisions changed anything (95 % interval")
    start("bob", folder=tmp_path / "own" / "found").decide(0, Choice("drop"), 0)
    disputed = start(folder=tmp_path / "own" / "found", disputed=True)
    told = view_progress(disputed, 0)["progress"]
    assert (told["total"], told["hint"]) == (1, None), "the counts begin anew"


@pytest.mark.parametrize(
    "seconds", [(0, 3, 6, 600, 603), (0, 0.01, 0.02, 3.02, 6.02, 9.02), (0, 3, 6), ()]
)
def test_pace_leaves_breaks_and_imports_out(seconds):
    times = [f"2026-11-20T10:{int(s) // 60:02}:{s % 60:06.3f}Z" for s in seconds]
    assert measure_pace(times) == (pytest.approx(20) if len(seconds) > 3 else None)


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "ABSOLUTE", "images/link.jpg", "images/out/secret.jpg"]
)
def test_no_path_leads_out_of_the_dataset(visit, tmp_path, name):
    folder = make_suspects(tmp_path / "own")
    root, secret = folder.parent / "set", folder.parent / "secret.jpg"
    secret.write_bytes((root / "images" / "000.jpg").read_bytes())
    (root / "images" / "link.jpg").symlink_to(secret)
    (root / "images" / "out").symlink_to(folder.parent)
    bad = str(secret) if name == "ABSOLUTE" else name
    # The crop, too, must lie in its folder.
    write_about(folder, {"set": root}, root / "images")
    text = (folder / "suspects.csv").read_text().replace("images/000.jpg,0,", f"{bad},0,")
    (folder / "suspects.csv").write_text(text.replace("crops/train/with_mask/0.jpg", bad))
    page = visit(folder=folder)
    assert "leads out" in page.face(0)["problem"]
    for kind in ("crop", "photo", "similar"):
        page.get(f"/picture/{kind}/0", 404)
    assert page.client.get("/picture/photo/1").status_code == 200


@pytest.mark.parametrize(
    "paths",
    [
        ("static/../app.py", "static/%2e%2e/app.py", "static/..%2fapp.py", "docs", "openapi.json"),
        ("picture/photo/..%2f..%2fsecret", "picture/photo/-1", "picture/photo/12"),
        ("picture/similar/12", "picture/other/0", "api/progress/12", f"api/face/{10**21}"),
    ],
)
def test_nothing_else_is_served(visit, paths):
    client = visit().client
    assert {client.get(f"/{path}").status_code for path in paths} <= {404, 422}


def test_a_damaged_ledger_is_an_answer_not_a_crash(visit, ledger):
    page = visit()
    page.decide(0, "keep")
    with ledger.open("a") as file:
        file.write("not a decision\n")
    assert f"{ledger}:2" in page.decide(1, "keep", version=0, status=500)["message"]
    assert len(ledger.read_text().splitlines()) == 2
