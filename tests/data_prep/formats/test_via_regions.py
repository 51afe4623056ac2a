"""Tables of the VGG Image Annotator."""

import json
import math

import numpy as np
import pytest

from data_prep.base.errors import DatasetError
from data_prep.base.records import Box
from data_prep.formats.csv_columns import find_via_layout

HEADER = [
    *("filename", "file_size", "file_attributes", "region_count", "region_id"),
    *("region_shape_attributes", "region_attributes"),
]


def read(shape, attributes=None, **columns):
    layout = find_via_layout(HEADER, columns)
    texts = [json.dumps(value) for value in (shape, attributes or {})]
    return layout.parse(["a.jpg", "1", "{}", "1", "0", *texts], "v:2")


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ({"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}, Box(1, 2, 4, 6)),
        ({"name": "circle", "cx": 5, "cy": 6, "r": 2}, Box(3, 4, 7, 8)),
        ({"name": "ellipse", "cx": 5, "cy": 6, "rx": 2, "ry": 1}, Box(3, 5, 7, 7)),
        (
            {"name": "polygon", "all_points_x": [3, 1, 2], "all_points_y": [4, 9, 2]},
            Box(1, 2, 3, 9),
        ),
    ],
)
def test_shapes(shape, box):
    assert read(shape).box == pytest.approx(box)


def test_turned_ellipse():
    turn, angles = 0.7, np.linspace(0, 2 * math.pi, 100_000)
    xs = 50 + 20 * np.cos(angles) * math.cos(turn) - 8 * np.sin(angles) * math.sin(turn)
    ys = 40 + 20 * np.cos(angles) * math.sin(turn) + 8 * np.sin(angles) * math.cos(turn)
    found = read({"name": "ellipse", "cx": 50, "cy": 40, "rx": 20, "ry": 8, "theta": turn}).box
    assert found == pytest.approx((xs.min(), ys.min(), xs.max(), ys.max()), abs=1e-4)


@pytest.mark.parametrize(
    ("attributes", "columns", "label"),
    [
        ({"any": " mask "}, {}, "mask"),
        ({"kind": {"mask": True, "no_mask": False}}, {}, "mask"),
        ({"kind": "mask", "age": "9"}, {"label": "kind"}, "mask"),
        ({"age": "9"}, {"label": "kind"}, ""),
        ({}, {}, ""),
    ],
)
def test_class(attributes, columns, label):
    assert read({}, attributes, **columns).label == label


def test_class_that_can_not_be_told():
    with pytest.raises(DatasetError, match=r"v:2: several attributes \(a, b\).*--columns label="):
        read({}, {"a": "1", "b": "2"})


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"name": "point", "cx": 1, "cy": 2}, "the shape 'point'"),
        ({"name": "rect", "x": 1}, "a rect without its numbers"),
        ({"name": "circle", "cx": 1, "cy": 1, "r": -1}, "is inverted"),
        ({"name": "polygon", "all_points_x": [], "all_points_y": []}, "without its numbers"),
        ([], "no object"),
    ],
)
def test_faults(shape, message):
    assert message in read(shape, {"a": "mask"}).fault


def test_other_headers():
    assert find_via_layout(HEADER[:-1], {}) is None
