"""Ref-YouTube-VOS: a zip that holds ``Annotations/``."""

from functools import partial

from pipeline.export.check import check_pictures
from pipeline.export.formats.common import Format, video_expression_frame, write_pictures


def _path_of(video_id: str, expression_id: str, frame: str) -> str:
    return "Annotations/" + video_expression_frame(video_id, expression_id, frame)


FORMAT = Format(
    name="ref-youtube-vos",
    write=partial(write_pictures, path_of=_path_of),
    check=partial(check_pictures, path_of=_path_of),
)
