"""Box conventions: fitted from annotated photos, shipped ones, and faces drawn by them."""

import json

import numpy as np
import pytest

from data_prep.base.boxes import BoxOffsets, OffsetsError
from data_prep.base.records import Box
from data_prep.base.tables import read_faces
from pipeline.inference.boxes import FaceBoxes
from pipeline.inference.predictor import Predictor
from pipeline.inference.records import Face, Frame
from pipeline.nets.options import SHIPPED, find_boxes
from tests.pipeline.makers import assert_refused, call

MOVES = BoxOffsets(0.1, -0.2, 0.05, 0.0)


class Mover:
    """Finds every annotated face, its box such that `MOVES` gives the annotated one."""

    def __init__(self, prepared):
        self.boxes = read_faces(prepared).groupby("image")[list(Box._fields)]

    def predict(self, source):
        for frame in source:
            found = []
            for left, top, right, bottom in self.boxes.get_group(frame.name).to_numpy(float):
                wide, high = (right - left) / 0.95, (bottom - top) / 1.2
                box = Box(left - 0.1 * wide, top + 0.2 * high, right - 0.05 * wide, bottom)
                found.append(Face(box, 0.9, (0.8, 0.1, 0.1)))
            yield frame, found


def test_offsets_are_those_that_boxes_lie_apart(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "load", lambda *_, **__: Mover(prepared))
    out, root = tmp_path / "my boxes.json", prepared.parent / "set"
    for _ in range(2):  # Its own file is written anew.
        result = call("fit-boxes", root, "-o", out)
        assert result.exit_code == 0
    assert result.stderr.endswith(f"; python run.py PHOTOS --boxes '{out}'\n")
    found = BoxOffsets.read(out)
    offsets = [found.left, found.top, found.right, found.bottom]
    assert offsets == pytest.approx([0.1, -0.2, 0.05, 0.0], abs=0.003)
    assert (found.faces, found.source) == (len(read_faces(prepared)), "set")
    low, high = found.interval["top"]
    assert low <= found.top <= high
    assert "| top | -0.200 |" in result.stdout
    assert_refused(call("fit-boxes", root, "-o", root / "boxes.json"), "meets the dataset")
    out.write_text(json.dumps({"mine": 1}))
    assert_refused(call("fit-boxes", root, "-o", out), "no offsets of boxes")


def test_faces_are_drawn_by_a_convention_within_the_photo_and_named_as_before():
    class Detector:
        quality = "normal"
        sha256, bf16, card = "", False, None

        def detect(self, photos, **_):
            boxes = np.array([[10, 5, 30, 25], [40, 20, 60, 30]], np.float32)
            scores, shares = np.array([0.9, 0.8], np.float32), np.eye(3, dtype=np.float32)[:2]
            return [FaceBoxes(boxes, scores, np.zeros((2, 5, 2)), shares) for _ in photos]

    frame = Frame("a.png", pixels=np.zeros((40, 60, 3), np.uint8))
    plain, moved = Predictor(Detector(), None), Predictor(Detector(), None, boxes=MOVES)
    (before,), (after,) = plain([frame]), moved([frame])
    assert [tuple(face.box) for face in after] == [(12, 1, 31, 25), (42, 18, 60, 30)]
    assert [face.probabilities for face in after] == [face.probabilities for face in before]
    assert plain.identify() != moved.identify()


def test_shipped_conventions_and_no_others():
    names = sorted(path.stem.removeprefix("boxes-") for path in SHIPPED.glob("boxes-*.json"))
    assert names == ["facemask", "head", "ilc"]
    assert find_boxes("ilc").top < -0.05 < find_boxes("facemask").top
    with pytest.raises(OffsetsError, match="no such file; give one or facemask, head, ilc"):
        find_boxes("hed")
