"""Pictures of a video's frames beside an export, for tools that want them."""

import io
import logging
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from pipeline.errors import UsageError, VideoError
from pipeline.export.names import NameStyle, escaped, written_video
from pipeline.storage import atomic_write, join, make_directory, parent
from pipeline.video.frames import FrameSelection
from pipeline.video.isolated import IsolatedDecoder

logger = logging.getLogger(__name__)

IMAGES_FOLDER = "images"
QUALITY = 95
DECODE_TIMEOUT_S = 120.0


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


class FrameReader:
    """Reads frames of videos by name; decoding happens in a process of its own."""

    def __init__(self) -> None:
        self._decoder = IsolatedDecoder(timeout_s=DECODE_TIMEOUT_S)

    def read(self, video: str, frames: Sequence[str], height_width: tuple[int, int]) -> Iterator[np.ndarray]:
        """Yield frames of the video at a location, uint8 RGB ``[H, W, 3]``; only these are decoded.

        Raises:
            VideoError: It cannot be read, or is of another size than its masks.
        """
        with self._decoder.open(video, FrameSelection(frames=tuple(frames))) as source:
            if (source.height, source.width) != height_width:
                raise VideoError(
                    f"{video}: is {source.width}x{source.height} pixels, its masks are "
                    f"{height_width[1]}x{height_width[0]}"
                )
            yield from source.read(range(len(source)))

    def close(self) -> None:
        """End the decoder's process; harmless when repeated."""
        self._decoder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FrameWriter(FrameReader):
    """Writes frames as JPEG files under ``images/`` of an export's folder, each by its :func:`picture_name`.

    Args:
        folder: The export's folder; None where the export is a single file.
        is_wanted: Without it nothing is written.

    Raises:
        UsageError: Pictures are wanted, but the export is a single file.
    """

    def __init__(self, folder: str | None, is_wanted: bool) -> None:
        super().__init__()
        if is_wanted and folder is None:
            raise UsageError("--with-frames needs a folder as --output")
        self._images = join(folder, IMAGES_FOLDER) if is_wanted and folder is not None else None

    def write(self, video_id: str, video: str, frames: Sequence[str], height_width: tuple[int, int]) -> None:
        """Write some frames of a video. Raises VideoError."""
        if self._images is None:
            return
        for name, frame in zip(frames, self.read(video, frames, height_width), strict=True):
            target = join(self._images, picture_name(video_id, name))
            make_directory(parent(target))
            atomic_write(target, jpeg(frame))
