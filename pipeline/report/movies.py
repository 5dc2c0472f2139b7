"""Overlay videos: one H.264 file per expression, its masks drawn over every frame."""

import logging
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.dataset.layout import video_stem
from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.video_frames import VideoFrames, grey_picture
from pipeline.errors import VideoError
from pipeline.evaluation.rejection import open_rejection
from pipeline.export.sinks import finished_file
from pipeline.masks import decode_mask
from pipeline.report.collect import Key
from pipeline.report.overlay import draw_mask
from pipeline.schema import Status
from pipeline.storage import join, make_directory

logger = logging.getLogger(__name__)

_COLUMNS = ("video_id", "expression_id", "object_id", "height", "width", "frames", "masks")

Row = dict[str, Any]


def movie_name(key: Key) -> str:
    """The file of one expression: readable, safe on any disk whatever the ids hold, and different for every key.

    Example:
        >>> movie_name(("../clip", "0"))
        'clip-0-dc6d78efbac31b2b.mp4'
    """
    video_id, expression_id = key
    return video_stem(f"{video_id}\0{expression_id}") + ".mp4"


def write_movies(
    dataset: str,
    folder: str,
    video_frames: VideoFrames,
    *,
    frames_per_second: float = 10.0,
    allow_missing: bool = False,
    reject_below: float | None = None,
) -> dict[Key, str | None]:
    """Write an overlay video for every expression that has masks; existing files are replaced.

    Rows and frames are streamed: memory holds the masks of one expression and one frame.

    Args:
        dataset: The mask dataset.
        folder: Where the files go; path or fsspec URL.
        video_frames: The videos; where one cannot be read, its masks are drawn on plain grey.
        frames_per_second: How fast the files play.
        allow_missing: Leave out expressions whose rows do not read back.
        reject_below: Leave out expressions with a lower verdict (or, without one, ``presence``).

    Returns:
        What was written: why there is only grey behind the masks, or None where the video is there.

    Raises:
        StorageError: ``folder`` cannot be written.
    """
    make_directory(folder)
    written: dict[Key, str | None] = {}
    found = MaskDataset(dataset, filters=[("status", "==", Status.OK.value)], skip_damaged=allow_missing)
    rejection = open_rejection(found, reject_below)
    rows = found.iter_rows(rejection.columns(*_COLUMNS))
    for key, group in groupby(rows, key=lambda row: (row["video_id"], row["expression_id"])):
        objects = sorted(group, key=lambda row: row["object_id"])
        if not objects[0]["frames"] or not objects[0]["height"] or not objects[0]["width"]:
            continue
        if rejection.rejects(objects):
            continue
        with finished_file(join(folder, movie_name(key))) as path:
            written[key] = _write_movie(path, objects, video_frames, frames_per_second)
    return written


def _write_movie(path: Path, objects: Sequence[Row], video_frames: VideoFrames, frames_per_second: float) -> str | None:
    size = (objects[0]["height"], objects[0]["width"])
    problem: list[str] = []
    pictures = _pictures(objects[0], size, video_frames, problem)
    drawn = (_drawn(frame, objects, index) for index, frame in enumerate(pictures))
    encode_movie(path, drawn, size, frames_per_second)
    return problem[0] if problem else None


def _pictures(row: Row, size: tuple[int, int], video_frames: VideoFrames, problem: list[str]) -> Iterator[np.ndarray]:
    """The video's frames; plain ground from the first one on that cannot be read, and ``problem`` says why."""
    given = 0
    try:
        for frame in video_frames.read(row["video_id"], row["frames"], size):
            yield frame
            given += 1
    except VideoError as error:
        problem.append(str(error))
    for _ in range(given, len(row["frames"])):
        yield grey_picture(size)


def _drawn(frame: np.ndarray, objects: Sequence[Row], index: int) -> np.ndarray:
    for row in objects:
        rle = row["masks"][index] if row["masks"] and index < len(row["masks"]) else None
        if rle is None:
            continue
        try:
            mask = decode_mask(rle)
        except ValueError as error:
            logger.warning("video %r, frame %d: damaged mask left out: %s", row["video_id"], index, error)
            continue
        if mask.shape == frame.shape[:2]:
            frame = draw_mask(frame, mask, row["object_id"])
    return frame


def encode_movie(path: Path, frames: Iterator[np.ndarray], size: tuple[int, int], frames_per_second: float) -> None:
    """Encode frames (uint8 RGB ``[height, width, 3]``) as H.264 in yuv420p, which every player shows.

    That format has no odd sizes: the last row or column is then repeated once.

    Args:
        path: Local file to write; its name need not end in ``.mp4``.
        frames: One after the other.
        size: Height and width of every frame.
        frames_per_second: As played.
    """
    import av

    height, width = size
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(frames_per_second).limit_denominator(1001))
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast"}
        for frame in frames:
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
