"""Experiment trackers: nothing of them is loaded, told or sent unless one is asked for."""
