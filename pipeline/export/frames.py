"""Pictures of a video's frames beside an export, for tools that want them."""

import io
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from pipeline.dataset.video_frames import VideoFrames
from pipeline.errors import UsageError, VideoError
from pipeline.export.answers import Answers, VideoAnswers
from pipeline.export.names import NameStyle, escaped, written_video
from pipeline.storage import atomic_write, delete, join, make_directory, parent

IMAGES_FOLDER = "images"
QUALITY = 95


def picture_name(video_id: str, frame: str) -> str:
    """The name that an export gives to the picture of a frame.

    Example:
        >>> picture_name("pond", "00000")
        'pond/00000.jpg'
    """
    return f"{written_video(video_id, NameStyle.ESCAPED)}/{escaped(frame)}.jpg"


def jpeg(frame: np.ndarray) -> bytes:
    """A frame (uint8 RGB ``[H, W, 3]``) as a JPEG file."""
    data = io.BytesIO()
    Image.fromarray(frame).save(data, "JPEG", quality=QUALITY, subsampling=0)
    return data.getvalue()


def evenly_spread(frames: Sequence[str], count: int | None) -> list[int]:
    """Indices of at most ``count`` frames, first and last among them; all of them for None."""
    if count is None or count >= len(frames):
        return list(range(len(frames)))
    return sorted({round(index * (len(frames) - 1) / max(1, count - 1)) for index in range(count)})


class FrameWriter:
    """Writes frames as JPEG files under ``images/`` of an export's folder, each by its :func:`picture_name`.

    Args:
        answers: What is exported; videos that cannot be read are left out of it.
        folder: The export's folder; None where the export is a single file.
        is_wanted: Without it nothing is written.

    Raises:
        UsageError: Pictures are wanted, but the export is a single file.
    """

    def __init__(self, answers: Answers, folder: str | None, is_wanted: bool) -> None:
        if is_wanted and folder is None:
            raise UsageError("--with-frames needs a folder as --output")
        self._answers = answers
        self._images = join(folder, IMAGES_FOLDER) if is_wanted and folder is not None else None
        self._frames = VideoFrames({})

    def write(self, video: VideoAnswers, names: Sequence[str] | None = None) -> bool:
        """Write frames of a video: those of these names, or all.

        Returns:
            Whether the video can be exported; False where it is left out because its frames cannot be read.

        Raises:
            VideoError: They cannot be read, and answers may not be missing.
        """
        if self._images is None:
            return True
        names = video.frames if names is None else names
        written: list[str] = []
        try:
            frames = self._frames.read_at(video.video, names, (video.height, video.width))
            for name, frame in zip(names, frames, strict=True):
                target = join(self._images, picture_name(video.video_id, name))
                make_directory(parent(target))
                atomic_write(target, jpeg(frame))
                written.append(target)
        except VideoError as error:
            for target in written:
                delete(target)
            self._answers.leave_out(video, error)
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._frames.close()
