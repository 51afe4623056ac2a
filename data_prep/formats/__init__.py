"""Formats of datasets and predictions, one file each, read and written."""
