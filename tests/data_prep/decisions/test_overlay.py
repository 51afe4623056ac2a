"""Decisions laid over datasets: what fits, what doesn't, and why."""

import shutil
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.base.labels import CLASSES
from data_prep.base.records import AnnotatedPhoto, Box, Dataset, Face
from data_prep.decisions import overlay as overlays
from data_prep.decisions.overlay import REASONS, describe_overlay
from data_prep.formats.registry import read_dataset
from tests.data_prep.deciding import decide, lay_over, write_ledger
from tests.makers import add_example, hash_tree, make_photo, make_voc

WITH, WITHOUT, INCORRECT = CLASSES

IMAGE = "images/photo0.jpg"

FIRST, SECOND = (10, 12, 30, 40), (60, 20.5, 100, 70)
"""The boxes of photo0, both `with_mask`."""


@pytest.fixture
def lay(dataset):
    """Lay ledgers over the dataset; nothing in it may change."""

    def call(*ledgers):
        before = hash_tree(dataset)
        overlay = lay_over([read_dataset(dataset)], *ledgers)
        assert hash_tree(dataset) == before
        return overlay

    return call


@pytest.fixture
def on_first(dataset):
    """A decision on the first face of photo0."""

    def call(action, *more, **changes):
        return replace(decide(dataset, IMAGE, 0, WITH, FIRST, action, *more), **changes)

    return call


def faces_of(overlay, image=IMAGE):
    (dataset,) = overlay.datasets
    (photo,) = [photo for photo in dataset.photos if photo.image == image]
    return photo.faces


def reasons_of(overlay):
    return overlay.record["not_applied"]


def assert_nothing_applied(overlay, reason, *words):
    assert overlay.record["applied"] == {}
    assert reasons_of(overlay) == {reason: 1}
    (finding,) = overlay.findings
    assert not finding.dropped
    for word in (REASONS[reason], "object 0", *words):
        assert word in finding.message


def test_new_box_is_clipped_to_the_photo(lay, on_first):
    overlay = lay([on_first("rebox", WITH, (-5, 60, 130, 95))])
    assert faces_of(overlay)[0].box == Box(0, 60, 120, 90)


def test_decision_on_a_clipped_box_fits_and_leaves_it_as_annotated(dataset, lay):
    add_example(dataset, "odd", 50, [(WITH, (100, 10, 121, 40))])
    decision = decide(dataset, "images/odd.jpg", 0, WITH, (100, 10, 120, 40), "relabel", WITHOUT)
    assert faces_of(lay([decision]), "images/odd.jpg") == (Face(0, WITHOUT, Box(100, 10, 121, 40)),)


@pytest.mark.parametrize(("shift", "fits"), [(0.5, True), (-0.5, True), (0.51, False)])
@pytest.mark.parametrize("side", range(4))
def test_boxes_agree_within_half_a_pixel(lay, on_first, side, shift, fits):
    box = [float(value) for value in FIRST]
    box[side] += shift
    overlay = lay([on_first("drop", box=Box(*box))])
    assert len(faces_of(overlay)) == 2 - fits
    if not fits:
        assert_nothing_applied(overlay, "box-moved")


def test_turned_photo_is_clipped_as_it_was_looked_at(dataset, lay):
    exif = Image.Exif()
    exif[0x0112] = 6
    make_photo(dataset / "images" / "odd.jpg", 120, 90, seed=60, exif=exif)
    make_voc(dataset / "annotations" / "odd.xml", "odd.jpg", [(WITH, (60, 70, 95, 121))], (90, 120))
    decision = decide(dataset, "images/odd.jpg", 0, WITH, (60, 70, 90, 120), "drop")
    assert faces_of(lay([decision]), "images/odd.jpg") == ()


def test_decision_without_a_place(lay, on_first):
    overlay = lay([on_first("drop", source="elsewhere")])
    assert_nothing_applied(overlay, "source-absent", "elsewhere/images/photo0.jpg")


def test_photos_that_swapped_names(lay, dataset):
    decisions = [
        decide(dataset, f"images/photo{n}.jpg", 0, WITH, (10, 12, 30 + n, 40), "relabel", to)
        for n, to in ((1, WITHOUT), (2, INCORRECT))
    ]
    for now, once in ((1, 2), (2, 1)):
        make_photo(dataset / "images" / f"photo{now}.jpg", seed=once, quality=95)
        box = (10, 12, 30 + once, 40)
        make_voc(dataset / "annotations" / f"photo{now}.xml", f"photo{now}.jpg", [(WITH, box)])
    overlay = lay(decisions)
    assert faces_of(overlay, "images/photo1.jpg")[0].label == INCORRECT
    assert faces_of(overlay, "images/photo2.jpg")[0].label == WITHOUT
    assert overlay.findings == ()


def test_same_bytes_in_another_source_are_another_photo(tmp_path, dataset, on_first):
    decision = on_first("drop")
    other = shutil.copytree(dataset, tmp_path / "other")
    (dataset / IMAGE).unlink()
    overlay = lay_over([read_dataset(root) for root in (dataset, other)], [decision])
    assert_nothing_applied(overlay, "photo-gone")


def test_renamed_photo_with_a_copy_is_not_guessed(lay, on_first, dataset):
    decision = on_first("drop")
    for name in ("one", "two"):
        shutil.copy(dataset / IMAGE, dataset / "images" / f"{name}.jpg")
        make_voc(dataset / "annotations" / f"{name}.xml", f"{name}.jpg", [(WITH, FIRST)])
    (dataset / IMAGE).unlink()
    assert_nothing_applied(lay([decision]), "faces-alike")


def test_faces_alike(lay, on_first, dataset):
    path = dataset / "annotations" / "photo0.xml"
    make_voc(path, "photo0.jpg", [(WITH, FIRST), (WITH, FIRST)])
    assert [face.object for face in faces_of(lay([on_first("drop")]))] == [1]
    make_voc(path, "photo0.jpg", [(WITH, SECOND), (WITH, FIRST), (WITH, FIRST)])
    assert_nothing_applied(lay([on_first("drop")]), "faces-alike")


@pytest.mark.parametrize(
    ("now", "decision", "reason"),
    [
        ((WITHOUT, FIRST), ("relabel", INCORRECT), "label-changed"),
        ((WITHOUT, FIRST), ("keep",), "label-changed"),
        ((WITHOUT, FIRST), ("drop",), "label-changed"),
        ((WITHOUT, FIRST), ("relabel", WITHOUT), "already"),
        ((WITH, (11, 12, 30, 40)), ("relabel", WITHOUT), "box-moved"),
        ((WITHOUT, (11, 12, 30, 40)), ("relabel", WITHOUT), "box-moved"),
        ((WITH, (1, 1, 9, 9)), ("relabel", WITHOUT), "face-gone"),
        ((WITH, (1, 1, 9, 9)), ("keep",), "face-gone"),
        ((WITH, (1, 1, 9, 9)), ("drop",), "already"),
        ((WITHOUT, (1, 1, 9, 9)), ("rebox", WITHOUT, (1, 1, 9, 9)), "already"),
        ((WITH, (0, 1, 9, 9)), ("rebox", WITH, (-7, 1, 9, 9)), "already"),
        ((WITH, (1, 1, 9, 9)), ("rebox", WITHOUT, (1, 1, 9, 9)), "face-gone"),
    ],
)
def test_annotation_that_was_changed(lay, on_first, dataset, now, decision, reason):
    told = on_first(*decision)
    make_voc(dataset / "annotations" / "photo0.xml", "photo0.jpg", [now])
    overlay = lay([told])
    assert_nothing_applied(overlay, reason, "of ann", decision[0])
    assert overlay.findings[0].kind == (
        "decision-in-data" if reason == "already" else "unfit-decision"
    )
    assert overlay.datasets == (read_dataset(dataset),)


def test_partly_changed_data(lay, dataset):
    decisions = [
        decide(dataset, f"images/photo{n}.jpg", 0, WITH, (10, 12, 30 + n, 40), "relabel", WITHOUT)
        for n in range(4)
    ]
    make_voc(dataset / "annotations" / "photo1.xml", "photo1.jpg", [(INCORRECT, (10, 12, 31, 40))])
    make_photo(dataset / "images" / "photo2.jpg", seed=99)
    (dataset / "images" / "photo3.jpg").unlink()
    overlay = lay(decisions)
    assert reasons_of(overlay) == {"photo-gone": 1, "photo-changed": 1, "label-changed": 1}
    assert faces_of(overlay)[0].label == WITHOUT
    assert describe_overlay(overlay.record) == (
        "1 applied (1 relabel); 3 not applied (1 photo gone, 1 photo changed, 1 label changed)"
    )


def by_bob(decision):
    return replace(decision, by="bob")


@pytest.mark.parametrize(
    ("ann", "bob", "outcome"),
    [
        (("drop",), ("drop",), "drop"),
        (("relabel", WITHOUT), ("relabel", WITHOUT), "relabel"),
        (("rebox", WITH, (9, 12, 31, 40)), ("rebox", WITH, (8, 12, 31, 40)), "rebox"),
        (("rebox", WITHOUT, (8, 12, 31, 40)), ("relabel", WITHOUT), "relabel"),
        (("keep",), ("drop",), None),
        (("relabel", INCORRECT), ("relabel", WITHOUT), None),
        (("rebox", WITH, (9, 12, 31, 40)), ("rebox", WITH, (60, 12, 80, 40)), None),
        (("rebox", WITH, (9, 12, 31, 40)), ("rebox", WITHOUT, (9, 12, 31, 40)), None),
        (("keep",), ("skip",), "keep"),
    ],
)
def test_two_reviewers(lay, on_first, ann, bob, outcome):
    first, second = on_first(*ann), by_bob(on_first(*bob))
    for overlay in (lay([first], [second]), lay([first, second])):
        assert overlay.record["applied"] == ({outcome: 1} if outcome else {})
        assert reasons_of(overlay) == ({} if outcome else {"disputed": 2})
        if outcome is None:
            (finding,) = overlay.findings
            assert finding.kind == "disputed-decision"
            assert "of ann" in finding.message
            assert "of bob" in finding.message
            assert faces_of(overlay)[0] == Face(0, WITH, Box(*FIRST))
        elif outcome == "rebox":
            assert faces_of(overlay)[0].box == Box(8, 12, 31, 40)


def test_dispute_ends_when_one_gives_in(lay, on_first):
    views = [on_first("relabel", WITHOUT), by_bob(on_first("keep"))]
    assert reasons_of(lay(views)) == {"disputed": 2}
    assert faces_of(lay([*views, by_bob(on_first("relabel", WITHOUT))]))[0].label == WITHOUT
    assert faces_of(lay(views, [by_bob(on_first("undo"))]))[0].label == WITHOUT


def test_last_word_that_does_not_fit_does_not_bring_back_an_earlier_one(lay, on_first):
    first = on_first("relabel", WITHOUT)
    outside = on_first("rebox", WITH, (130, 60, 140, 80))
    assert_nothing_applied(lay([first, outside]), "box-outside")
    assert_nothing_applied(lay([first, on_first("keep", given=INCORRECT)]), "label-changed")


def test_decisions_on_one_face_under_two_numbers_are_on_one_face(lay, on_first):
    dispute = [on_first("drop"), by_bob(on_first("keep", object=7))]
    assert reasons_of(lay(dispute)) == {"disputed": 2}
    later = [on_first("drop"), on_first("relabel", WITHOUT, object=7)]
    assert faces_of(lay(later))[0].label == WITHOUT


def test_what_one_did_before_and_another_wants_otherwise_is_disputed(lay, on_first, dataset):
    done = on_first("relabel", WITHOUT)
    make_voc(dataset / "annotations" / "photo0.xml", "photo0.jpg", [(WITHOUT, FIRST)])
    back = by_bob(decide(dataset, IMAGE, 0, WITHOUT, FIRST, "relabel", INCORRECT))
    assert reasons_of(lay([done, back])) == {"disputed": 2}
    kept = by_bob(decide(dataset, IMAGE, 0, WITHOUT, FIRST, "keep"))
    overlay = lay([done, kept])
    assert overlay.record["applied"] == {"keep": 1}
    assert reasons_of(overlay) == {"already": 1}


def test_second_round_builds_on_the_first(lay, on_first, dataset):
    """The second time, the face is shown as the first decisions made it."""
    box = (6, 8, 34, 44)
    first = on_first("rebox", WITHOUT, box)
    keep = decide(dataset, IMAGE, 0, WITHOUT, box, "keep")
    again = decide(dataset, IMAGE, 0, WITHOUT, box, "relabel", INCORRECT)
    for later in (keep, by_bob(keep)):
        overlay = lay([first, later])
        assert faces_of(overlay)[0] == Face(0, WITHOUT, Box(*box))
        assert overlay.record["applied"] == {"rebox": 1}
        assert overlay.findings == ()
    assert faces_of(lay([first, again]))[0] == Face(0, INCORRECT, Box(*box))
    assert [face.object for face in faces_of(lay([first, replace(keep, action="drop")]))] == [1]
    assert reasons_of(lay([first, by_bob(again)])) == {"disputed": 2}
    assert reasons_of(lay([keep])) == {"box-moved": 1}


def test_torn_line_is_a_finding(lay, tmp_path, on_first):
    path = write_ledger(tmp_path / "a.jsonl", on_first("drop"))
    path.write_bytes(path.read_bytes() + b'{"at": "20')
    overlay = lay(path)
    assert [finding.kind for finding in overlay.findings] == ["torn-ledger"]
    assert overlay.record["applied"] == {"drop": 1}
    assert overlay.record["ledgers"][0]["lines"] == 1


def test_only_photos_with_decisions_are_read(lay, on_first, monkeypatch):
    read = []
    real = overlays.sha256_of
    monkeypatch.setattr(overlays, "sha256_of", lambda path: read.append(path.name) or real(path))
    lay([on_first("drop"), on_first("keep")])
    assert read == ["photo0.jpg"]
    lay([on_first("drop", image="images/lost.jpg")])
    assert sorted(read[1:]) == [f"photo{n}.jpg" for n in range(10)]


GRID = [Box(x, y, x + 20, y + 20) for x in (5, 35, 65, 95) for y in (5, 35, 65)]
"""Boxes that can't be taken for one another."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three photos, and the same under other names in other folders."""
    root = tmp_path_factory.mktemp("sets") / "faces"
    for number in range(3):
        make_photo(root / f"{number}.jpg", seed=number)
        (root / "new").mkdir(exist_ok=True)
        shutil.copy(root / f"{number}.jpg", root / "new" / f"x{number}.jpg")
    return root


@st.composite
def worlds(draw):
    """Faces (photo, box, class, wish) where a wish is an action with its class and box, or None."""
    places = draw(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(GRID)), unique=True))
    faces = []
    for photo, box in places:
        label = draw(st.sampled_from(CLASSES))
        wishes = [None, ("keep", None, None), ("drop", None, None)]
        wishes += [("relabel", name, None) for name in CLASSES if name != label]
        wishes += [("rebox", name, box._replace(xmin=1, ymax=89)) for name in CLASSES]
        faces.append((photo, box, label, draw(st.sampled_from(wishes))))
    return faces


def as_dataset(root, faces, names, order):
    """The faces as a dataset, those of each photo in the order of `order`."""
    photos = []
    for number, name in enumerate(names):
        here = [faces[i] for i in order if faces[i][0] == number]
        listed = tuple(Face(i, label, box) for i, (_, box, label, _) in enumerate(here))
        photos.append(AnnotatedPhoto(root.name, root, name, f"{number}.xml", 120, 90, listed))
    return Dataset(root.name, root, tuple(photos), ())


@settings(max_examples=60, deadline=None)
@given(faces=worlds(), data=st.data())
def test_replay_onto_reordered_renamed_and_partly_missing_data(folder, faces, data):
    names = [f"{number}.jpg" for number in range(3)]
    old = as_dataset(folder, faces, names, range(len(faces)))
    numbers = {(photo.image, face.box): face.object for photo in old.photos for face in photo.faces}
    ledger = [
        decide(folder, names[photo], numbers[names[photo], box], label, box, *wish)
        for photo, box, label, wish in faces
        if wish
    ]
    order = data.draw(st.permutations(range(len(faces))))
    renamed = data.draw(st.lists(st.booleans(), min_size=3, max_size=3))
    gone = data.draw(st.sets(st.sampled_from(range(len(faces))))) if faces else set()
    now = [f"new/x{n}.jpg" if new else names[n] for n, new in enumerate(renamed)]
    fresh = as_dataset(folder, faces, now, [i for i in order if i not in gone])
    overlay = lay_over([fresh], data.draw(st.permutations(ledger)))

    expected = set()
    for index, (photo, box, label, wish) in enumerate(faces):
        action, to, to_box = wish or ("keep", None, None)
        if index not in gone and action != "drop":
            expected.add((now[photo], to_box or box, to or label))
    (result,) = overlay.datasets
    assert {(p.image, f.box, f.label) for p in result.photos for f in p.faces} == expected
    kept = {(p.image, f.object) for p in result.photos for f in p.faces}
    assert kept <= {(p.image, f.object) for p in fresh.photos for f in p.faces}
    lost = [faces[i][3] for i in gone if faces[i][3]]
    made = Counter(wish[0] for i, (*_, wish) in enumerate(faces) if wish and i not in gone)
    assert overlay.record["applied"] == made
    assert len(overlay.findings) == len(lost) == sum(reasons_of(overlay).values())


@settings(max_examples=60, deadline=None)
@given(faces=worlds(), data=st.data())
def test_applying_twice_is_applying_once(folder, faces, data):
    """Corrected data need nothing more of the same ledger: it changes no face again."""
    names = [f"{number}.jpg" for number in range(3)]
    old = as_dataset(folder, faces, names, range(len(faces)))
    ledger = [
        decide(folder, photo.image, face.object, face.label, face.box, *wish)
        for photo in old.photos
        for face in photo.faces
        if (wish := next(w for p, b, _, w in faces if names[p] == photo.image and b == face.box))
    ]
    once = lay_over([old], ledger).datasets
    twice = lay_over(once, ledger)
    assert twice.datasets == once
    assert set(twice.record["applied"]) <= {"keep"}
    assert set(reasons_of(twice)) <= {"already"}
