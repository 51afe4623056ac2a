"""TriMask from Python: the public API."""

__version__ = "0.2.0"


def main() -> None:
    """The command `trimask`."""
    from pipeline.cli import trimask

    trimask(prog_name="trimask")
