"""Matching against slow loops, and losses against what they should reward."""

import math

import numpy as np
import pytest
import torch

from pipeline.nets.anchors import make_anchors
from pipeline.nets.retinaface import HeadOutputs
from pipeline.runs.recipe import DetectorRecipe
from pipeline.training.detector_data import (
    BACKGROUND,
    FACE,
    IGNORED,
    detector_loss,
    match_anchors,
    match_batch,
    spare_unboxed,
)
from tests.pipeline.makers import encode_boxes

SIDE = 128
ANCHORS = torch.from_numpy(make_anchors(SIDE, SIDE))
RECIPE = DetectorRecipe(min_face=7.0, positive_iou=0.35, negatives=3)


def overlap(box, anchor):
    x, y, w, h = anchor
    other = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    wide = min(box[2], other[2]) - max(box[0], other[0])
    high = min(box[3], other[3]) - max(box[1], other[1])
    common = max(wide, 0) * max(high, 0)
    return common / ((box[2] - box[0]) * (box[3] - box[1]) + w * h - common)


def grown(box):
    """The box with sides of at least the smallest anchor's 16 pixels."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    w, h = max(box[2] - box[0], 16), max(box[3] - box[1], 16)
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def match_slowly(boxes, positive_iou, min_face):
    """Classes, and the index of the face for every anchor that has one."""
    classes, chosen = [], []
    tiny = [min(x1 - x0, y1 - y0) < min_face for x0, y0, x1, y1 in boxes]
    boxes = [grown(box) if small else box for box, small in zip(boxes, tiny, strict=True)]
    table = [[overlap(box, anchor) for box in boxes] for anchor in ANCHORS.tolist()]
    for row in table:
        face = row.index(max(row))
        near = row[face] >= positive_iou
        classes.append((IGNORED if tiny[face] else FACE) if near else BACKGROUND)
        chosen.append(face)
    for face in range(len(boxes)):
        if not tiny[face]:
            best = max(range(len(table)), key=lambda i: table[i][face])
            classes[best], chosen[best] = FACE, face
    return classes, chosen


def random_boxes(seed, count=6):
    rng = np.random.default_rng(seed)
    sides = rng.uniform(4, 90, (count, 2))
    corners = rng.uniform(0, SIDE - sides)
    return torch.tensor(np.hstack([corners, corners + sides]), dtype=torch.float32)


def match_windows(windows, score_only=(), unboxed=None):
    """The batch's targets; `score_only` and `unboxed`, else the same, number windows marked so."""
    marked = score_only if unboxed is None else unboxed, score_only
    marks = torch.tensor([[index in some for some in marked] for index in range(len(windows))])
    names = [torch.full((len(boxes),), FACE) for boxes in windows]
    return match_batch(windows, names, marks, ANCHORS, RECIPE)


def match(boxes, positive_iou=0.35, min_face=7.0):
    recipe = RECIPE.model_copy(update={"positive_iou": positive_iou, "min_face": min_face})
    names = torch.full((len(boxes),), FACE)
    return match_anchors(torch.as_tensor(boxes, dtype=torch.float32), names, ANCHORS, recipe)


CROWD = [[x, y, x + 9.0, y + 9] for x in range(3, 120, 12) for y in range(3, 60, 12)]
SHAPES = [(60, 60, 68, 68), (0, 0, 127, 10), (3, 50, 11, 120), (0, 0, 128, 128)]


@pytest.mark.parametrize("boxes", [*map(random_boxes, range(2)), CROWD, *([one] for one in SHAPES)])
@pytest.mark.parametrize(("positive_iou", "min_face"), [(0.35, 0), (0.35, 20), (0.99, 7)])
def test_same_matches_as_the_slow_loop(boxes, positive_iou, min_face):
    boxes = torch.as_tensor(boxes, dtype=torch.float32)
    classes, corners = match(boxes, positive_iou, min_face)
    slow_classes, slow_faces = match_slowly(boxes.tolist(), positive_iou, min_face)
    assert classes.tolist() == slow_classes
    faces = [i for i, name in enumerate(slow_classes) if name == FACE]
    assert torch.equal(corners[faces], boxes[[slow_faces[i] for i in faces]])
    whole = {tuple(box) for box in boxes.tolist() if min(box[2] - box[0], box[3] - box[1]) >= 20}
    assert whole <= set(map(tuple, corners[faces].tolist())), "every face gets an anchor"


def test_batch_is_matched_window_by_window():
    windows = [random_boxes(1), torch.zeros(0, 4), random_boxes(2)]
    targets = match_windows(windows)
    assert targets.classes.shape == (3, len(ANCHORS))
    for index, boxes in enumerate(windows):
        assert torch.equal(targets.classes[index], match(boxes)[0])
        assert torch.equal(targets.boxes[index], match(boxes)[1])


def answer(targets, share):
    """Outputs on the way from nothing known (share 0) to the truth (share 1)."""
    face = targets.classes == FACE
    anchors = ANCHORS.expand(*face.shape, 4)
    truth = torch.zeros(*face.shape, 4)
    truth[face] = encode_boxes(targets.boxes[face], anchors[face])
    logits = torch.where(face[..., None], torch.tensor([-6.0, 6.0]), torch.tensor([6.0, -6.0]))
    return HeadOutputs(truth * share, logits * share, torch.zeros(*face.shape, 10))


def compute_loss(outputs, targets, landmarks=None, recipe=RECIPE):
    """The losses; without landmarks of the teacher its are those of the outputs."""
    landmarks = outputs.landmarks.detach() if landmarks is None else landmarks
    teacher = HeadOutputs(torch.zeros(0), torch.zeros(0), landmarks)
    return detector_loss(outputs, teacher, targets, ANCHORS, recipe)


@pytest.fixture
def targets():
    return match_windows([random_boxes(1), random_boxes(2)])


def test_landmarks_near_the_teachers_cost_nothing(targets):
    outputs = answer(targets, 0.5)
    same = compute_loss(outputs, targets, outputs.landmarks)
    assert float(same["landmarks"]) == 0
    off = compute_loss(outputs, targets, outputs.landmarks + 0.5)
    # Smooth L1 of 0.5 is 0.125 for each of ten coordinates, times the weight.
    assert float(off["landmarks"]) == pytest.approx(0.125 * RECIPE.landmark_weight)
    assert float(off["boxes"]) == float(same["boxes"])
    parts = [off[name] for name in ("scores", "boxes", "landmarks")]
    assert float(off["total"]) == pytest.approx(float(sum(parts)))
    elsewhere = outputs.landmarks.clone()
    elsewhere[targets.classes != FACE] = 9
    assert float(compute_loss(outputs, targets, elsewhere)["landmarks"]) == 0


def score_loss_slowly(logits, classes, ratio):
    """Cross entropy of all faces and of the hardest background anchors of each window."""
    total, faces = 0.0, 0
    for rows, names in zip(logits.tolist(), classes.tolist(), strict=True):
        losses = {FACE: [], BACKGROUND: [], IGNORED: []}
        for (no, yes), name in zip(rows, names, strict=True):
            wrong = no - yes if name == FACE else yes - no
            losses[name].append(math.log1p(math.exp(wrong)))
        positive = losses[FACE]
        negative = sorted(losses[BACKGROUND], reverse=True)[: max(ratio * len(positive), ratio)]
        total += sum(positive) + sum(negative)
        faces += len(positive)
    return total / max(faces, 1)


@pytest.mark.parametrize("seed", range(3))
def test_hardest_background_counts_as_in_the_slow_loop(targets, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*targets.classes.shape, 2, generator=generator)
    classes = targets.classes.clone()
    classes[:, ::7] = IGNORED
    targets = targets._replace(classes=classes)
    outputs = answer(targets, 0.0)._replace(scores=logits)
    losses = compute_loss(outputs, targets)
    assert float(losses["scores"]) == pytest.approx(
        score_loss_slowly(logits, classes, RECIPE.negatives), rel=1e-4
    )


def test_windows_without_faces_still_teach_background():
    targets = match_windows([torch.zeros(0, 4)])
    outputs = answer(targets, 0.0)
    losses = compute_loss(outputs, targets)
    assert float(losses["scores"]) == pytest.approx(RECIPE.negatives * math.log(2), rel=1e-5)
    assert float(losses["boxes"]) == float(losses["landmarks"]) == 0


def random_outputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = (4, 2, 10)
    return HeadOutputs(*(torch.randn(2, len(ANCHORS), n, generator=generator) for n in sizes))


def test_score_only_windows_teach_scores_and_no_boxes():
    outputs = HeadOutputs(*(tensor.requires_grad_() for tensor in random_outputs()))
    targets = match_windows([random_boxes(1), random_boxes(2)], score_only=[1])
    compute_loss(outputs, targets)["total"].backward()
    face = targets.classes == FACE
    learning = outputs.scores.grad.abs().sum(dim=-1) > 0
    assert learning[face].all()
    background = (learning & ~face).sum(dim=1)
    assert torch.equal(background, RECIPE.negatives * face.sum(dim=1))
    assert (outputs.boxes.grad[1] == 0).all()
    assert (outputs.boxes.grad[0][face[0]].abs().sum(dim=-1) > 0).all()


def test_what_the_teacher_takes_for_a_face_is_no_background_where_boxes_are_missing():
    targets = match_windows([random_boxes(1), random_boxes(2)], unboxed=[1])
    teacher, before = random_outputs(), targets.classes.clone()
    spared = spare_unboxed(targets, teacher, RECIPE)
    assert torch.equal(targets.classes, before), "the targets given stay"
    doubtful = teacher.scores.softmax(dim=-1)[..., 1] > RECIPE.sure_background
    doubtful &= before == BACKGROUND
    doubtful[0] = False
    assert 0 < doubtful.sum() < len(ANCHORS)
    assert torch.equal(spared.classes, before.masked_fill(doubtful, IGNORED))
    assert torch.equal(spared.boxes, targets.boxes)
    assert torch.equal(spared.score_only, targets.score_only)


def test_boxes_of_score_only_windows_do_not_thin_out_the_others():
    windows = [random_boxes(1), random_boxes(2)]
    both = match_windows(windows, score_only=[1])
    alone = match_windows(windows[:1])
    first = compute_loss(answer(both, 0.5), both)
    second = compute_loss(answer(alone, 0.5), alone)
    assert float(first["boxes"]) == pytest.approx(float(second["boxes"]))


def test_box_loss_is_that_of_the_paper():
    """Distance-IoU: 1 − IoU + squared distance of the centres over the diagonal around both."""
    box = torch.tensor([[40.0, 40.0, 72.0, 72.0]])
    targets = match_windows([box])
    face = targets.classes[0] == FACE
    shifted = box + torch.tensor([8.0, 0.0, 8.0, 0.0])
    outputs = answer(targets, 0.0)
    outputs.boxes[0][face] = encode_boxes(shifted.expand(int(face.sum()), 4), ANCHORS[face])
    losses = compute_loss(outputs, targets)
    iou = 24 * 32 / (2 * 32 * 32 - 24 * 32)
    expected = 1 - iou + 8**2 / (40**2 + 32**2)
    assert float(losses["boxes"]) == pytest.approx(RECIPE.box_weight * expected, rel=1e-3)


@pytest.mark.parametrize("quality", [0.5, 1.0])
def test_score_to_reach_is_less_by_the_quality_of_the_box(quality):
    """Where the gradient of the scores vanishes, and which boxes it leaves alone."""
    box = torch.tensor([[40.0, 40.0, 72.0, 72.0]])
    targets = match_windows([box, box], score_only=[1])
    face = targets.classes == FACE
    outputs = answer(targets, 0.0)
    near = box + torch.tensor([8.0, 0.0, 8.0, 0.0])
    for row in (0, 1):
        own = face[row]
        outputs.boxes[row][own] = encode_boxes(near.expand(int(own.sum()), 4), ANCHORS[own])
    reached = 1 - quality * (1 - 24 * 32 / (2 * 32 * 32 - 24 * 32))
    logits = torch.zeros_like(outputs.scores)
    logits[..., FACE] = math.log(reached / (1 - reached))
    outputs = outputs._replace(scores=logits.requires_grad_())
    recipe = RECIPE.model_copy(update={"quality": quality})
    compute_loss(outputs, targets, recipe=recipe)["scores"].backward()
    assert logits.grad[0][face[0]].abs().max() < 1e-6
    missing = (reached - 1) / face.sum()
    assert logits.grad[1][face[1]][:, FACE].numpy() == pytest.approx(float(missing), rel=1e-4)


def test_bfloat16_outputs_are_taken(targets):
    exact = answer(targets, 0.5)
    half = HeadOutputs(*(tensor.bfloat16() for tensor in exact))
    ours = compute_loss(half, targets)["total"]
    theirs = compute_loss(exact, targets)["total"]
    assert ours.dtype == torch.float32
    assert float(ours) == pytest.approx(float(theirs), rel=0.02)


def test_anchors_take_the_class_of_their_face():
    boxes = torch.tensor([[20.0, 20, 52, 52], [70, 70, 102, 102], [20, 80, 50, 110]])
    names = torch.tensor([3, FACE, IGNORED])
    plain, corners = match_anchors(boxes, torch.full((3,), FACE), ANCHORS, RECIPE)
    classes, same = match_anchors(boxes, names, ANCHORS, RECIPE)
    assert torch.equal(corners, same)
    for box, name in zip(boxes, names, strict=True):
        own = (plain == FACE) & (corners == box).all(dim=1)
        assert own.any()
        assert (classes[own] == name).all()
    assert torch.equal(classes == BACKGROUND, plain == BACKGROUND)
