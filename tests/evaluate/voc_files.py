"""Annotation files for the tests."""

from __future__ import annotations

from collections.abc import Sequence


def voc_xml(
    filename: str, faces: Sequence[tuple[str, Sequence[float]]], size: tuple[int, int] | None
) -> str:
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>"
        f"<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for label, box in faces
    )
    return f"<annotation><filename>{filename}</filename>{stated}{objects}</annotation>"
