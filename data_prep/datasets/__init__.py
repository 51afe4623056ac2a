"""Whole datasets: convert, merge, fetch."""
