"""Average precision of a detector on photos held out from its training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_prep.labels import CLASSES
from data_prep.photo import read_photo
from evaluate.measures.average_precision import RankedHits, average_precisions, rank_hits
from evaluate.measures.matching import BoxGroups
from pipeline.detector import Detector
from pipeline.detector_data import Scene
from pipeline.detector_loss import FACE, IGNORED
from pipeline.face_boxes import FaceBoxes

BATCH = 8

Row = dict[str, float]


def measure_sources(detector: Detector, scenes: Sequence[Scene]) -> Row:
    """`measure_faces` for the photos of each source, its name before those of the figures."""
    row = {}
    for source in sorted({scene.source for scene in scenes}):
        figures = measure_faces(detector, [scene for scene in scenes if scene.source == source])
        row.update({f"{source}_{name}": value for name, value in figures.items()})
    return row


def measure_faces(detector: Detector, scenes: Sequence[Scene]) -> Row:
    """AP of faces at IoU 0.5 and 0.75, recall and precision at the score 0.5.

    A detector that tells classes apart also has `map50`, the mean AP of its classes at IoU 0.5,
    every face found counting for its likeliest class with its score × the class's probability.
    Faces of a class that it was not taught count neither way.
    """
    found: list[FaceBoxes] = []
    for first in range(0, len(scenes), BATCH):
        some = scenes[first : first + BATCH]
        found += detector.detect([read_photo(s.path, fit_size=s.size).pixels for s in some])
    classes = np.concatenate([scene.classes for scene in scenes])
    counts = [len(faces.scores) for faces in found]
    boxes = BoxGroups(
        np.concatenate([faces.boxes for faces in found]).astype(float),
        np.repeat(np.arange(len(scenes)), counts),
    )
    scores = np.concatenate([faces.scores for faces in found]).astype(float)
    hits = _rank(scenes, classes == IGNORED, boxes, scores)
    ap50, ap75 = average_precisions(hits, np.ones((1, len(scenes)))).ravel().tolist()
    sure = int((scores >= 0.5).sum())
    found_sure = int(hits.true[0][:sure].sum())
    row = {
        "face_ap50": ap50,
        "face_ap75": ap75,
        "recall": found_sure / max(int(hits.truths.sum()), 1),
        "precision": found_sure / max(sure - int(hits.ignored[0][:sure].sum()), 1),
    }
    told = [faces.probabilities for faces in found if faces.probabilities is not None]
    if told:
        row["map50"] = _mean_ap(detector, scenes, classes, boxes, scores, np.concatenate(told))
    return row


def _mean_ap(
    detector: Detector,
    scenes: Sequence[Scene],
    classes: np.ndarray,
    boxes: BoxGroups,
    scores: np.ndarray,
    probabilities: np.ndarray,
) -> float:
    aps = []
    for answer, name in enumerate(detector.card.learnt, start=FACE):
        own = probabilities.argmax(axis=1) == CLASSES.index(name)
        hits = _rank(
            scenes,
            classes == IGNORED,
            BoxGroups(boxes.boxes[own], boxes.groups[own]),
            (scores * probabilities.max(axis=1))[own],
            among=(classes == answer) | (classes == IGNORED),
        )
        aps.append(float(average_precisions(hits, np.ones((1, len(scenes))))[0, 0]))
    return float(np.nanmean(aps))


def _rank(
    scenes: Sequence[Scene],
    ignored: np.ndarray,
    boxes: BoxGroups,
    scores: np.ndarray,
    among: np.ndarray | None = None,
) -> RankedHits:
    """Detections matched with all annotated faces, or with those in `among`."""
    truths = np.concatenate([scene.boxes for scene in scenes]).astype(float)
    groups = np.repeat(np.arange(len(scenes)), [len(scene.boxes) for scene in scenes])
    chosen = np.ones(len(groups), bool) if among is None else among
    return rank_hits(
        BoxGroups(truths[chosen], groups[chosen]),
        ignored[chosen],
        boxes,
        scores,
        photos=len(scenes),
        ious=(0.5, 0.75),
    )
