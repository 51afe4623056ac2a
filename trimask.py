"""TriMask from Python: the public API."""

__version__ = "0.2.0"
