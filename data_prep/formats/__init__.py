"""Datasets in the formats of the field: one reader each, recognised by what is there."""
