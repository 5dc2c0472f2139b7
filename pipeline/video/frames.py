"""What a frame source is, what a caller may ask of it, and what all sources share."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from pipeline.errors import UsageError, VideoError
from pipeline.storage import scrub
from pipeline.video.resize import resize_square

logger = logging.getLogger(__name__)

_MAX_DIGITS = 18
"""Longer digit strings are names, not numbers; Python refuses to convert very long ones."""


@dataclass(frozen=True, kw_only=True)
class FrameSelection:
    """Which frames of a video are used, and so named in the output."""

    frames: tuple[str, ...] | None = None
    """Exactly these frames by name (file stem, or zero-padded index in a video file), in this order; None: all."""
    frame_stride: int = 1
    """Every Nth frame of those, starting with the first."""
    max_frames: int | None = None
    """At most this many, counted after the stride; None: no cap."""

    def __post_init__(self) -> None:
        if self.frames is not None and not self.frames:
            raise UsageError("frames must name at least one frame, or be None for all")
        if self.frame_stride < 1:
            raise UsageError(f"frame_stride must be at least 1, got {self.frame_stride}")
        if self.max_frames is not None and self.max_frames < 1:
            raise UsageError(f"max_frames must be at least 1, got {self.max_frames}")

    def apply(self, names: Sequence[str], location: str) -> list[int]:
        """Positions in ``names`` of the frames asked for.

        A name also matches with an extension (``00000.jpg``), and a number without its zeros (``0``).

        Raises:
            VideoError: If a name asked for is not among ``names``, or two of them mean one frame.
        """
        chosen = list(range(len(names))) if self.frames is None else _positions(self.frames, names, location)
        return chosen[:: self.frame_stride][: self.max_frames]


def _positions(asked: Sequence[str], names: Sequence[str], location: str) -> list[int]:
    position = {name: index for index, name in enumerate(names)}
    by_number: dict[int, int | None] = {}  # None: several names are this number
    if any(name not in position for name in asked):
        for index, name in enumerate(names):
            if name.isdecimal() and len(name) <= _MAX_DIGITS:
                by_number[int(name)] = None if int(name) in by_number else index
    found = [_position(name, position, by_number) for name in asked]
    missing = [name for name, index in zip(asked, found, strict=True) if index is None]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        shown = ", ".join(repr(name) for name in names[:3]) + (f", ... {names[-1]!r}" if len(names) > 3 else "")
        raise VideoError(
            f"{scrub(location)}: frame {missing[0]!r}{more} asked for is not among its {len(names)}, "
            f"which are called {shown}"
        )
    chosen = [index for index in found if index is not None]
    if len(set(chosen)) < len(chosen):
        twice = next(names[index] for at, index in enumerate(chosen) if index in chosen[:at])
        raise VideoError(f"{scrub(location)}: frame {twice!r} is asked for twice, under two names")
    return chosen


def _position(name: str, position: Mapping[str, int], by_number: Mapping[int, int | None]) -> int | None:
    stem = PurePosixPath(name).stem
    for candidate in (name, stem):
        if candidate in position:
            return position[candidate]
    return by_number.get(int(stem)) if stem.isdecimal() and len(stem) <= _MAX_DIGITS else None


@dataclass(frozen=True, kw_only=True)
class VideoLimits:
    """What is refused before memory or disk is spent on it."""

    max_side: int = 8192
    """Pixels; a frame that is wider or higher is refused."""
    max_pixels: int = 8192 * 8192
    """Width times height of one frame."""
    max_frames_in_video: int = 500_000
    """Frames in the source before any selection; 4.6 hours at 30 frames a second."""
    max_image_bytes: int = 512 * 2**20
    """Size of one image file or archive member."""
    max_file_bytes: int = 64 * 2**30
    """Size of a remote video file that would be fetched to local disk."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise UsageError(f"{field.name} must be at least 1, got {getattr(self, field.name)}")

    def check_size(self, width: int, height: int, what: str) -> None:
        """Refuse a frame that is larger than the limits, or has no pixels.

        Raises:
            VideoError: Naming ``what`` and the size.
        """
        if width < 1 or height < 1:
            raise VideoError(f"{what}: has no pixels ({width}x{height})")
        if max(width, height) > self.max_side or width * height > self.max_pixels:
            raise VideoError(
                f"{what}: {width}x{height} pixels is over the limit "
                f"(side {self.max_side}, {self.max_pixels} pixels in all); scale it down first"
            )

    def check_count(self, count: int, what: str) -> None:
        """Refuse a source without frames or with absurdly many.

        Raises:
            VideoError: Naming ``what`` and the count.
        """
        if count < 1:
            raise VideoError(f"{what}: has no frames")
        if count > self.max_frames_in_video:
            raise VideoError(f"{what}: has {count} frames, the limit is {self.max_frames_in_video}; split it first")


EVERY_FRAME = FrameSelection()
DEFAULT_LIMITS = VideoLimits()


def no_progress() -> None:
    """Nobody is watching."""


class FrameSource(Protocol):
    """The frames of one video, image folder, archive or image, by position."""

    frame_names: tuple[str, ...]
    """Names as in the output: file stems; zero-padded original frame index for video files."""
    height: int
    width: int
    is_image: bool

    @property
    def note(self) -> str | None:
        """What a user should know about the frames read so far, beginning with ``Note: ``; None: nothing."""
        ...

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int], side: int | None = None) -> Iterator[np.ndarray]:
        """Yield frames one by one.

        Args:
            indices: Positions in ``frame_names``; ascending order is decoded in one pass, any order works.
            side: If given, each frame comes through ``resize_square(frame, side)``.

        Yields:
            uint8 RGB ``[height, width, 3]`` or ``[side, side, 3]``; each array is the caller's own.

        Raises:
            IndexError: If an index is out of range (at the call).
            VideoError: If a frame cannot be read, or is an image of another size than the first (while iterating).
        """
        ...

    def close(self) -> None:
        """Release files and buffers; harmless when repeated."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class BaseSource:
    """What the in-process sources share: checks, resizing, context manager. Subclasses give ``_frames``."""

    is_image = False
    note: str | None = None

    def __init__(self, location: str, frame_names: Sequence[str], width: int, height: int) -> None:
        self.location = location
        self.frame_names = tuple(frame_names)
        self.width = width
        self.height = height

    def __len__(self) -> int:
        return len(self.frame_names)

    def read(self, indices: Sequence[int], side: int | None = None) -> Iterator[np.ndarray]:
        """Yield frames one by one; see :meth:`FrameSource.read`."""
        check_indices(indices, len(self), self.location)
        return self._checked(indices, side)

    def _checked(self, indices: Sequence[int], side: int | None) -> Iterator[np.ndarray]:
        for index, frame in zip(indices, self._frames(indices), strict=True):
            height, width = frame.shape[:2]
            if (height, width) != (self.height, self.width):
                raise VideoError(
                    f"{scrub(self.location)}: frame {self.frame_names[index]!r} is {width}x{height} pixels, "
                    f"the first frame is {self.width}x{self.height}; all frames must have one size"
                )
            yield frame if side is None else resize_square(frame, side)

    def _frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        raise NotImplementedError

    def close(self) -> None:
        """Release files and buffers; harmless when repeated."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def check_indices(indices: Sequence[int], count: int, location: str) -> None:
    """Raise IndexError if a position is outside a source of ``count`` frames."""
    for index in indices:
        if not 0 <= index < count:
            raise IndexError(f"{location}: frame position {index} is outside 0..{count - 1}")
