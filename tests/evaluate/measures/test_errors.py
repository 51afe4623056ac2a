from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from evaluate.arrays import Detections, GroundTruth
from evaluate.measures.errors import ALL, REPAIRS, describe_budget, fix_errors, sort_worst
from evaluate.measures.headline import describe_headline
from evaluate.measures.matching import (
    DETECTION_KINDS,
    KINDS,
    MISSED,
    ErrorKinds,
)
from tests.evaluate.scenes import Seen, as_detections, as_truth, make_case, make_clutter
from tests.evaluate.slow_voc import Corners, slow_area, slow_iou

HALF, TENTH = Fraction(1, 2), Fraction(1, 10)
FACE, BESIDE = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0)
# IoU 0.3 with FACE.
LOW = (0.0, 0.0, 10.0, 3.0)
FAR = (90.0, 90.0, 99.0, 99.0)


def corners(box: np.ndarray) -> Corners:
    xmin, ymin, xmax, ymax = map(int, box)
    return xmin, ymin, xmax, ymax


def by_rank(detections: Detections) -> list[int]:
    return sorted(range(len(detections)), key=lambda row: -detections.scores[row])


def slow_kinds(
    truth: GroundTruth, detections: Detections, inclusive: bool
) -> tuple[list[str], dict[int, int]]:
    """The kind of every detection, and the face it is about, one detection after the other."""
    kinds = [""] * len(detections)
    meant: dict[int, int] = {}
    taken = set()
    for d in by_rank(detections):
        own, own_face, other, other_face = Fraction(0), -1, Fraction(0), -1
        for g in range(len(truth.photo)):
            if truth.photo[g] != detections.photo[d]:
                continue
            overlap = slow_iou(corners(detections.boxes[d]), corners(truth.boxes[g]), inclusive)
            if truth.labels[g] == detections.labels[d]:
                if overlap > own:
                    own, own_face = overlap, g
            elif overlap > other:
                other, other_face = overlap, g
        if own >= HALF and truth.difficult[own_face]:
            kinds[d], meant[d] = "ignored", own_face
        elif own >= HALF and own_face not in taken:
            kinds[d], meant[d] = "true", own_face
            taken.add(own_face)
        elif own >= HALF:
            kinds[d], meant[d] = "second_hit", own_face
        elif other >= HALF:
            kinds[d], meant[d] = "wrong_class", other_face
        elif own >= TENTH:
            kinds[d], meant[d] = "poor_box", own_face
        elif other >= TENTH:
            kinds[d], meant[d] = "wrong_class_and_box", other_face
        else:
            kinds[d], meant[d] = "false_face", -1
    return kinds, meant


def slow_maps(
    truth: GroundTruth, detections: Detections, inclusive: bool, eleven_point: bool
) -> dict[str, Fraction | None]:
    """mAP as it is ("") and after each repair."""
    kinds, meant = slow_kinds(truth, detections, inclusive)
    faces = [g for g in range(len(truth.photo)) if not truth.difficult[g]]
    hit = {meant[d] for d, kind in enumerate(kinds) if kind == "true"}
    mistaken = {meant[d] for d, kind in enumerate(kinds) if kind in ("wrong_class", "poor_box")}
    maps: dict[str, Fraction | None] = {}
    for repair in ("", *REPAIRS):
        repaired = KINDS if repair == ALL else (repair,)
        lists: dict[int, list[bool]] = {label: [] for label in range(len(truth.classes))}
        now_hit = set(hit)
        for d in by_rank(detections):
            kind, face = kinds[d], meant[d]
            if kind == "ignored":
                continue
            if kind not in repaired:
                lists[int(detections.labels[d])].append(kind == "true")
            elif (
                kind in ("wrong_class", "poor_box")
                and face not in now_hit
                and not truth.difficult[face]
            ):
                now_hit.add(face)
                lists[int(truth.labels[face])].append(True)
        aps = []
        for label, flags in lists.items():
            asked = [g for g in faces if truth.labels[g] == label]
            if not asked:
                continue
            if MISSED in repaired:
                asked = [g for g in asked if g in hit | mistaken]
            if asked:
                aps.append(slow_area(flags, len(asked), eleven_point=eleven_point))
            else:
                aps.append(Fraction(not flags))
        maps[repair] = sum(aps, Fraction(0)) / len(aps) if aps else None
    return maps


def names(errors: ErrorKinds) -> list[str]:
    return [
        "true" if true else "ignored" if ignored else DETECTION_KINDS[kind] if kind >= 0 else "?"
        for true, ignored, kind in zip(errors.true, errors.ignored, errors.kind, strict=True)
    ]


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_kinds_equal_the_slow_implementation(seed: int, inclusive: bool) -> None:
    truth, detections = make_clutter(seed, found=80)
    errors = make_case(truth, detections, inclusive=inclusive).errors
    kinds, meant = slow_kinds(truth, detections, inclusive)
    assert names(errors) == kinds
    assert errors.face.tolist() == [meant[d] for d in range(len(detections))]
    for d, face in enumerate(errors.face):
        overlaps = [
            slow_iou(corners(detections.boxes[d]), corners(truth.boxes[g]), inclusive)
            for g in ([face] if face >= 0 else np.flatnonzero(truth.photo == detections.photo[d]))
        ]
        assert errors.overlap[d] == pytest.approx(float(max(overlaps, default=0)))


def test_clutter_has_every_kind() -> None:
    seen = {
        kind for seed in range(8) for kind in slow_kinds(*make_clutter(seed, found=80), False)[0]
    }
    assert seen == {"true", "ignored", *DETECTION_KINDS}


@pytest.mark.parametrize("eleven_point", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_gains_equal_the_slow_implementation(seed: int, eleven_point: bool) -> None:
    truth, detections = make_clutter(seed, found=80)
    record = describe_budget(make_case(truth, detections, eleven_point=eleven_point))
    expected = slow_maps(truth, detections, False, eleven_point)
    assert record["map50"] == pytest.approx(float(expected[""]), abs=1e-12)
    for repair in REPAIRS:
        value = float(expected[repair])
        assert record["fixed_map50"][repair] == pytest.approx(value, abs=1e-12), repair
        assert record["gain"][repair] == pytest.approx(value - float(expected[""]), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_every_error_has_one_kind_and_no_repair_harms(seed: int) -> None:
    truth, detections = make_clutter(seed, faces=12 + 2 * seed, found=15 * (seed % 4))
    errors = make_case(truth, detections).errors
    states = np.stack([errors.true, errors.ignored, *map(errors.is_kind, DETECTION_KINDS)])
    assert (states.sum(axis=0) == 1).all()
    faces = np.stack([truth.difficult, errors.hit, errors.mistaken, errors.missed])
    assert (faces.sum(axis=0) == 1).all()
    case = make_case(truth, detections)
    record, headline = describe_budget(case), describe_headline(case)
    assert record["map50"] == pytest.approx(headline["map50"])
    assert record["ap50"] == pytest.approx(headline["ap50"])
    gains = [gain for by_class in record["class_gain"].values() for gain in by_class.values()]
    assert min(gain for gain in gains if gain is not None) >= -1e-12
    # All fixed is all right: 1 for every class with faces.
    assert record["fixed_map50"][ALL] == pytest.approx(1)
    for label, name in enumerate(truth.classes):
        if (truth.labels[~truth.difficult] == label).any():
            assert record["ap50"][name] + record["class_gain"][ALL][name] == pytest.approx(1)
        else:
            assert record["ap50"][name] is record["class_gain"][ALL][name] is None


def budget_of(faces: list[Seen], found: list[Seen]) -> tuple[list[str], dict[str, float]]:
    truth, detections = as_truth(faces, photos=2), as_detections(found)
    record = describe_budget(make_case(truth, detections))
    gains = {repair: gain for repair, gain in record["gain"].items() if gain}
    return names(make_case(truth, detections).errors), gains


MASKED, BARE, SECOND = Seen(0, 0, FACE), Seen(0, 1, BESIDE), Seen(0, 0, BESIDE)
HIT = Seen(0, 0, FACE, 0.9)
TAKEN, RIGHT = Seen(0, 1, FACE, 0.9), Seen(0, 1, BESIDE, 0.8)
BY_HAND: list[tuple[list[Seen], list[Seen], str, dict[str, float]]] = [
    # The masked face is found as unmasked, ahead of the unmasked one: AP 0 and 1/2 become 1 and 1.
    # The masked face is not missed.
    ([MASKED, BARE], [TAKEN, RIGHT], "wrong_class true", {"wrong_class": 0.75, ALL: 0.75}),
    # A wrong class on a face already hit is removed.
    (
        *([MASKED, BARE], [TAKEN, RIGHT, Seen(0, 0, FACE, 0.7)]),
        *("wrong_class true true", {"wrong_class": 0.25, ALL: 0.25}),
    ),
    ([MASKED], [], "", {MISSED: 1, ALL: 1}),
    ([], [HIT], "false_face", {}),
    ([MASKED], [Seen(0, 0, LOW, 0.9)], "poor_box", {"poor_box": 1, ALL: 1}),
    # Behind a hit a poor box is only removed, and behind all hits it costs nothing.
    (
        *([MASKED], [Seen(0, 0, LOW, 0.95), HIT]),
        *("poor_box true", {"poor_box": 0.5, ALL: 0.5}),
    ),
    ([MASKED], [Seen(0, 0, LOW, 0.1), HIT], "poor_box true", {}),
    # Wrong class and box is removed and the face stays missed. Masked: 0 and missed, without
    # detections; unmasked: 1/2.
    (
        *([MASKED, BARE], [Seen(0, 1, LOW, 0.9), RIGHT]),
        *("wrong_class_and_box true", {"wrong_class_and_box": 0.25, MISSED: 0.5, ALL: 0.75}),
    ),
    # 1/2 + 1/2 × 2/3 becomes 1.
    (
        *([MASKED, SECOND], [HIT, Seen(0, 0, (0, 0, 10, 9), 0.8), Seen(0, 0, BESIDE, 0.7)]),
        *("true second_hit true", {"second_hit": 1 / 6, ALL: 1 / 6}),
    ),
    # In the other photo there is no face at all.
    (
        *([MASKED], [Seen(0, 0, FAR, 0.95), HIT, Seen(1, 0, FACE, 0.7)]),
        *("false_face true false_face", {"false_face": 0.5, ALL: 0.5}),
    ),
    # Missed faces are no longer asked for: 1/3 at precision 1/2 becomes 1/1 at precision 1/2.
    (
        *([MASKED, SECOND, Seen(1, 0, FACE)], [Seen(0, 0, FAR, 0.95), HIT]),
        *("false_face true", {MISSED: 1 / 3, "false_face": 1 / 6, ALL: 5 / 6}),
    ),
    # A class with all faces missed; with false detections of it nothing is won before they are
    # removed too.
    ([MASKED, BARE], [HIT], "true", {MISSED: 0.5, ALL: 0.5}),
    ([MASKED, BARE], [HIT, Seen(0, 1, FAR, 0.8)], "true false_face", {ALL: 0.5}),
]


@pytest.mark.parametrize(("faces", "found", "kinds", "gains"), BY_HAND)
def test_by_hand(faces: list[Seen], found: list[Seen], kinds: str, gains: dict[str, float]) -> None:
    assert budget_of(faces, found) == (kinds.split(), pytest.approx(gains))


def test_of_several_on_one_face_only_the_surest_becomes_a_hit() -> None:
    faces = [Seen(0, 0, FACE), Seen(0, 0, BESIDE)]
    found = [Seen(0, 1, FACE, 0.7), Seen(0, 2, FACE, 0.9), Seen(0, 0, BESIDE, 0.8)]
    truth, detections = as_truth(faces), as_detections(found)
    budget = fix_errors(make_case(truth, detections))
    masked, unmasked, wrongly = budget[1 + REPAIRS.index("wrong_class")]
    assert masked.scores.tolist() == [0.9, 0.8]
    assert masked.true.tolist() == [[True, True]]
    assert len(unmasked.scores) == len(wrongly.scores) == 0


@pytest.mark.parametrize(
    ("faces", "found", "kinds"),
    [
        # A second hit comes before a wrong class on the same place, that before a poor box.
        ([MASKED, Seen(0, 1, FACE)], [HIT, Seen(0, 0, FACE, 0.8)], "true second_hit"),
        ([Seen(0, 0, LOW), Seen(0, 1, FACE)], [HIT], "wrong_class"),
        ([Seen(0, 0, (0, 0, 10, 2)), Seen(0, 1, LOW)], [HIT], "poor_box"),
        # An IoU on a threshold belongs to the nearer kind.
        ([MASKED], [Seen(0, 1, (0, 0, 10, 5))], "wrong_class"),
        ([MASKED], [Seen(0, 0, (0, 0, 10, 1))], "poor_box"),
        ([MASKED], [Seen(0, 1, (0, 0, 10, 1))], "wrong_class_and_box"),
        ([MASKED], [Seen(0, 0, (0, 0, 9, 1))], "false_face"),
    ],
)
def test_kinds_by_hand(faces: list[Seen], found: list[Seen], kinds: str) -> None:
    assert budget_of(faces, found)[0] == kinds.split()


def test_difficult_faces() -> None:
    faces = [Seen(0, 0, FACE, difficult=True), Seen(0, 1, BESIDE)]
    found = [Seen(0, 0, FACE, 0.9), Seen(0, 1, FACE, 0.8), Seen(0, 1, BESIDE, 0.7)]
    kinds, gains = budget_of(faces, found)
    # Given its right class, the second would lie on a difficult face of it and not count.
    assert kinds == ["ignored", "wrong_class", "true"]
    assert gains == {"wrong_class": 0.5, ALL: 0.5}


def test_worst_first() -> None:
    faces = [Seen(0, 0, FACE), Seen(0, 1, (50, 50, 90, 80)), Seen(1, 0, BESIDE)]
    found = [Seen(0, 0, FAR, 0.3), Seen(1, 0, FAR, 0.8), Seen(1, 1, FAR, 0.8), Seen(1, 2, BESIDE)]
    case = make_case(as_truth(faces, photos=2), as_detections(found))
    assert sort_worst(case, "false_face").tolist() == [1, 2, 0]
    assert sort_worst(case, MISSED).tolist() == [1, 0]
    assert sort_worst(case, "wrong_class").tolist() == [3]
    assert case.errors.mistaken.tolist() == [False, False, True]
    assert sort_worst(case, "poor_box").tolist() == []
