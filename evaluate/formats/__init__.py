"""Annotated and predicted boxes in the formats of the field."""
