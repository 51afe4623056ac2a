"""High quality: looks at one photo fused, against a slow loop, and what depends on it."""

from dataclasses import replace

import numpy as np
import pytest

import trimask
from data_prep.base.boxes import overlap
from data_prep.base.records import Box
from pipeline.inference.boxes import CLOSER, VOTE_IOU, FaceBoxes, fuse_looks
from pipeline.inference.detector import Detector, choose_factor
from pipeline.inference.folder import predict_folder
from pipeline.inference.sources import find_photos
from pipeline.nets.options import SHIPPED
from tests.demo import read_portrait
from tests.pipeline.makers import CPU, save_photo, stand_ins

PLACES = np.array([[x, y] for x in (0, 100, 200) for y in (0, 100)], float)


def look(rng):
    """Faces at most of the places, boxes of about 40 px."""
    corners = PLACES[rng.random(len(PLACES)) < 0.8]
    corners = corners + rng.normal(0, 1, corners.shape)
    boxes = np.hstack([corners, corners + 40 + rng.normal(0, 1, corners.shape)]).astype(np.float32)
    scores = rng.uniform(0.05, 1, len(boxes)).astype(np.float32)
    shares = rng.dirichlet((1, 1, 1), len(boxes)).astype(np.float32)
    return FaceBoxes(boxes, scores, rng.random((len(boxes), 5, 2), np.float32), shares)


def fuse_slowly(looks):
    """Face by face, surest first: its score, box, landmarks and probabilities."""
    rows = [
        (float(score), box, points, shares, number)
        for number, one in enumerate(looks)
        for score, box, points, shares in zip(
            one.scores, one.boxes, one.landmarks, one.probabilities, strict=True
        )
    ]
    rows.sort(key=lambda row: -row[0])
    fused = []
    while rows:
        near = [row for row in rows if overlap(Box(*row[1]), Box(*rows[0][1])) >= VOTE_IOU]
        means = (
            np.average([r[i] for r in near], axis=0, weights=[r[0] for r in near]) for i in (1, 3)
        )
        best = [max([r[0] for r in near if r[4] == n], default=0) for n in range(len(looks))]
        fused.append((sum(best) / len(looks), *means, near[0][2]))
        rows = [row for row in rows if overlap(Box(*row[1]), Box(*rows[0][1])) < VOTE_IOU]
    return sorted(fused, key=lambda row: -row[0])


@pytest.mark.parametrize(("seed", "factor"), [(0, 1.0), (1, 2.0), (2, 3.0), (0, 4.5), (1, 4.5)])
def test_looks_are_fused_as_by_the_slow_loop(seed, factor):
    """The third counts for faces that are not large already at the first scale."""
    rng = np.random.default_rng(seed)
    looks = [look(rng) for _ in range(3)]
    fused = fuse_looks(*looks, factor)
    looks = looks[: 3 if factor < 4 else 2]
    scores, boxes, shares, points = zip(*fuse_slowly(looks), strict=True)
    np.testing.assert_allclose(fused.scores, scores, rtol=1e-5)
    np.testing.assert_allclose(fused.boxes, boxes, atol=1e-3)
    np.testing.assert_allclose(fused.probabilities, shares, atol=1e-5)
    np.testing.assert_array_equal(fused.landmarks, points)


def test_photos_without_a_face_and_a_face_of_one_look():
    none, some = (
        look(np.random.default_rng(0)).take(np.zeros(0, int)),
        look(np.random.default_rng(0)),
    )
    assert fuse_looks(none, none, none, 1.0).boxes.shape == (0, 4)
    alone = fuse_looks(none, some.take(np.array([0])), none, 1.0)
    assert alone.scores.tolist() == pytest.approx([some.scores[0] / 3])
    assert alone.boxes.tolist() == pytest.approx(some.boxes[:1])


@pytest.fixture(scope="module")
def detectors():
    path = SHIPPED / "detector.safetensors"
    normal, high = (Detector.load(path, device=CPU) for _ in range(2))
    high.quality = "high"
    return normal, high


def test_high_quality_is_the_photo_its_mirror_image_and_a_closer_look(detectors):
    normal, high = detectors
    photo = read_portrait()[:400]
    height, width = photo.shape[:2]
    (mirrored,) = normal.detect([np.ascontiguousarray(photo[:, ::-1])])
    looks = [
        normal.detect([photo])[0],
        replace(
            mirrored,
            boxes=np.stack(
                [
                    width - mirrored.boxes[:, 2],
                    mirrored.boxes[:, 1],
                    width - mirrored.boxes[:, 0],
                    mirrored.boxes[:, 3],
                ],
                axis=1,
            ),
            landmarks=mirrored.mirror(width).landmarks,
        ),
        normal.detect([photo], resize=CLOSER * choose_factor(width, height, None))[0],
    ]
    expected = fuse_looks(*looks, choose_factor(width, height, None))
    expected = expected.take(expected.scores >= 0.02)
    (found,) = high.detect([photo], min_score=0.02)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    # Left stays left: the portrait's eyes as both looks see them.
    points = [looks[0].landmarks[0], mirrored.mirror(width).landmarks[0]]
    np.testing.assert_allclose(*points, atol=0.1 * looks[0].sides[0])
    (sure,) = high.detect([photo], min_score=0.5)
    np.testing.assert_array_equal(sure.boxes, found.boxes[: len(sure.boxes)])


def test_another_quality_is_another_run(tmp_path):
    (tmp_path / "photos").mkdir()
    save_photo(tmp_path / "photos/a.png")
    photos, predictor = find_photos(str(tmp_path / "photos")), stand_ins()

    def run():
        summary = predict_folder(photos, tmp_path / "out", predictor, draw=False)
        return summary["photos_done_now"], summary.get("quality")

    assert [run(), run()] == [(1, None), (0, None)]
    predictor.detector.quality = "high"
    assert [run(), run()] == [(1, "high"), (0, "high")]


def test_what_is_no_quality():
    with pytest.raises(ValueError, match="quality='best': normal or high"):
        trimask.load(quality="best")
    assert trimask.load(device="cpu", quality="high").predictor.detector.quality == "high"
