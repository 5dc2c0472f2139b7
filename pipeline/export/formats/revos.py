"""ReVOS: pictures as for MeViS, but of 0 and 1.

The public scorer compares raw pixel values in its accuracy and robustness, so that 0/255 pictures spoil both.
"""

from functools import partial

from pipeline.export.check import check_pictures
from pipeline.export.formats.common import Format, video_expression_frame, write_pictures
from pipeline.export.names import NameStyle

NAMES = NameStyle.NESTED

FORMAT = Format(
    name="revos",
    write=partial(write_pictures, path_of=video_expression_frame, foreground=1, names=NAMES),
    check=partial(check_pictures, path_of=video_expression_frame, foregrounds=(1, 255), names=NAMES),
    names=NAMES,
)
