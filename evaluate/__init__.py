"""Predictions against annotations: matching, average precision, metrics."""
