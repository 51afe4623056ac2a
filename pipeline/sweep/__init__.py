"""Trying the combinations of some numbers of a recipe: a run folder each, and a table."""
