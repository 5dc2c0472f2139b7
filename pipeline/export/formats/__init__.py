"""The formats to export to, one module each, and the table that names them."""

from pipeline.errors import UsageError
from pipeline.export.formats import (
    coco,
    cvat,
    fiftyone,
    label_studio,
    long_rvos,
    mevis,
    mevis_v2,
    png,
    ref_davis17,
    ref_sav,
    ref_youtube_vos,
    rerun,
    revos,
    sa2va_finetune,
    saco_veval,
    votsr,
    webdataset,
    youtube_vis,
)
from pipeline.export.formats.common import Format, WriteOptions

__all__ = ["FORMATS", "Format", "WriteOptions", "format_of"]

_MODULES = (
    mevis,
    mevis_v2,
    ref_youtube_vos,
    ref_davis17,
    revos,
    long_rvos,
    ref_sav,
    votsr,
    saco_veval,
    youtube_vis,
    coco,
    cvat,
    label_studio,
    fiftyone,
    rerun,
    sa2va_finetune,
    webdataset,
    png,
)
FORMATS = {module.FORMAT.name: module.FORMAT for module in _MODULES}


def format_of(name: str) -> Format:
    """The format of that name. Raises UsageError."""
    if name not in FORMATS:
        raise UsageError(f"unknown format {name!r}; choose from {', '.join(FORMATS)}")
    return FORMATS[name]
