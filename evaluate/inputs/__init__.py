"""Annotations and predictions as arrays."""
