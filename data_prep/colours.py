"""The colours of plots and pages; apart from the plots, which take a while to load."""

from __future__ import annotations

from data_prep.labels import CLASSES

COLOURS = dict(zip(CLASSES, ("#2a7f62", "#c8553d", "#d69a00"), strict=True))
"""Colour of each class in every plot of a page."""

INK = "#3a4750"
"""Colour of texts and of what belongs to no class."""
