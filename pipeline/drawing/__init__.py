"""Masks drawn on bare faces."""
