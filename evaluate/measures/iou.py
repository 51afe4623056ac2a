"""Overlap of boxes."""

from __future__ import annotations

import numpy as np

from evaluate.records import FloatArray


def paired_iou(first: FloatArray, second: FloatArray, *, inclusive: bool = False) -> FloatArray:
    """Intersection over union, row by row.

    Args:
        first: (M, 4) xmin, ymin, xmax, ymax in pixels.
        second: (M, 4) the same.
        inclusive: Count `xmax` and `ymax` as the last pixel inside, so that a side is
            `xmax - xmin + 1`, as the VOC development kit does. Otherwise they are the far edges.

    Returns:
        (M,) values from 0 to 1; 0 where both boxes are empty.

    >>> box = np.array([[0.0, 0.0, 10.0, 10.0]])
    >>> paired_iou(box, box + [5, 0, 5, 0])
    array([0.33333333])
    """
    extra = 1.0 if inclusive else 0.0
    # Column by column: the arrays are long and the temporary ones stay small.
    width = np.minimum(first[:, 2], second[:, 2]) - np.maximum(first[:, 0], second[:, 0]) + extra
    height = np.minimum(first[:, 3], second[:, 3]) - np.maximum(first[:, 1], second[:, 1]) + extra
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    union = _areas(first, extra) + _areas(second, extra) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _areas(boxes: FloatArray, extra: float) -> FloatArray:
    return (boxes[:, 2] - boxes[:, 0] + extra) * (boxes[:, 3] - boxes[:, 1] + extra)
