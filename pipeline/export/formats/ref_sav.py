"""Ref-SAV predictions ``<video>/<expression>/<frame>.png``, as MeViS."""

from functools import partial

from pipeline.export.check import check_pictures
from pipeline.export.formats.common import Format, video_expression_frame, write_pictures

FORMAT = Format(
    name="ref-sav",
    write=partial(write_pictures, path_of=video_expression_frame),
    check=partial(check_pictures, path_of=video_expression_frame),
)
