"""Trainings of the classifier and the detector."""
