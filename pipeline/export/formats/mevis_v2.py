"""MeViS v2: laid out as MeViS. Expressions that match nothing must be empty in every frame: see ``--reject-below``."""

from functools import partial

from pipeline.export.check import check_pictures
from pipeline.export.formats.common import Format, video_expression_frame, write_pictures

FORMAT = Format(
    name="mevis-v2",
    write=partial(write_pictures, path_of=video_expression_frame),
    check=partial(check_pictures, path_of=video_expression_frame),
)
