"""Plain pictures ``<video>/<expression>/<frame>.png`` in a folder or zip, for looking at and for other tools."""

from functools import partial

from pipeline.export.check import check_pictures
from pipeline.export.formats.common import Format, video_expression_frame, write_pictures
from pipeline.export.names import NameStyle

NAMES = NameStyle.ESCAPED

FORMAT = Format(
    name="png",
    write=partial(write_pictures, path_of=video_expression_frame, names=NAMES),
    check=partial(check_pictures, path_of=video_expression_frame, names=NAMES),
    names=NAMES,
)
