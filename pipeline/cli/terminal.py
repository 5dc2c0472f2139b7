"""Printing on a terminal: names and messages come from manifests and videos, which are not trusted."""

from pipeline.logs import printable

__all__ = ["print_line", "printable"]


def print_line(value: object = "") -> None:
    """Print one line that is safe for a terminal, at once."""
    print(printable(value), flush=True)
