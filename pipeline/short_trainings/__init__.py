"""Trainings short enough for folds: a recipe on part of the faces, judged on the others."""
