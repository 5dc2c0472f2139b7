"""MeViS and the LSVOS and PVUW tracks on it: a zip with the video folders at its top level."""

from functools import partial

from pipeline.export.check import check_pictures
from pipeline.export.formats.common import Format, video_expression_frame, write_pictures

FORMAT = Format(
    name="mevis",
    write=partial(write_pictures, path_of=video_expression_frame),
    check=partial(check_pictures, path_of=video_expression_frame),
)
