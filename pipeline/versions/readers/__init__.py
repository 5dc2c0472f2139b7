"""Readers of what annotation tools write, one module each, and the table that names them."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import UsageError
from pipeline.versions.annotations import Annotations
from pipeline.versions.readers import coco, cvat, fiftyone, label_studio, png, youtube_vis

__all__ = ["READERS", "Reader", "reader_of"]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Reads one tool's files.

    Attributes:
        name: As in ``--format``.
        read: From a file's or folder's location to what it says; raises UsageError.
    """

    name: str
    read: Callable[[str], Annotations]


READERS = {
    name: Reader(name=name, read=module.read)
    for name, module in {
        "cvat": cvat,
        "label-studio": label_studio,
        "fiftyone": fiftyone,
        "coco": coco,
        "youtube-vis": youtube_vis,
        "png": png,
    }.items()
}


def reader_of(name: str) -> Reader:
    """The reader of that name. Raises UsageError."""
    if name not in READERS:
        raise UsageError(f"unknown format {name!r}; choose from {', '.join(READERS)}")
    return READERS[name]
