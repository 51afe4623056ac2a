"""Box voting against the sum written out."""

import pytest
import torch
from torchvision.ops import box_iou, nms

from pipeline.inference.boxes import VOTE_IOU, VOTE_SCORE, take_votes, weigh_votes


def test_mean_weighted_by_score():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 1, 10, 11], [30, 30, 40, 40]])
    scores = torch.tensor([0.9, 0.3, 0.5])
    voted = take_votes(weigh_votes(boxes, scores, torch.tensor([0, 2])), boxes)
    assert voted[0].tolist() == pytest.approx([0, 0.25, 10, 10.25])
    assert voted[1].tolist() == pytest.approx([30, 30, 40, 40])


def test_all_boxes_one_by_one():
    torch.manual_seed(0)
    corner = torch.rand(200, 2) * 40
    boxes = torch.cat([corner, corner + 10 + 5 * torch.rand(200, 2)], dim=1)
    scores = torch.rand(200) + 0.01
    keep = nms(boxes, scores, 0.4)
    voted = take_votes(weigh_votes(boxes, scores, keep), boxes)
    for row, index in enumerate(keep.tolist()):
        overlaps = box_iou(boxes[index : index + 1], boxes)[0].tolist()
        near = [
            j
            for j, iou in enumerate(overlaps)
            if j == index or (iou >= VOTE_IOU and scores[j] >= VOTE_SCORE)
        ]
        expected = sum(boxes[j] * scores[j] for j in near) / sum(scores[j] for j in near)
        torch.testing.assert_close(voted[row], expected)


def test_doubtful_boxes_have_a_say_in_their_own_place_only():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 1, 10, 11]])
    scores = torch.tensor([0.9, 0.01])
    voted = take_votes(weigh_votes(boxes, scores, torch.tensor([0, 1])), boxes)
    assert voted[0].tolist() == boxes[0].tolist()
    assert 0 < voted[1, 1] < 0.02


def test_no_box():
    nothing = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)
    assert take_votes(weigh_votes(*nothing), nothing[0]).shape == (0, 4)
