"""A run of a video's frames, forwards or backwards, as a source of its own."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from pipeline.video.frames import FrameSource, check_indices

_BACKWARDS_AT_ONCE = 8
"""Frames that are decoded forwards and held, so that going back does not seek for each."""


class Section:
    """Some successive frames of a source, numbered from 0; backwards where ``frames`` descends. Does not close it.

    Args:
        source: The whole video.
        frames: Positions in it.
    """

    def __init__(self, source: FrameSource, frames: range) -> None:
        self._source = source
        self._frames = frames
        self.frame_names = tuple(source.frame_names[index] for index in frames)
        self.height, self.width, self.is_image = source.height, source.width, source.is_image

    @property
    def note(self) -> str | None:
        """See :class:`FrameSource`."""
        return self._source.note

    def __len__(self) -> int:
        return len(self._frames)

    def read(self, indices: Sequence[int], side: int | None = None) -> Iterator[np.ndarray]:
        """See :meth:`FrameSource.read`; ``indices`` are positions in the section."""
        check_indices(indices, len(self), "section")
        places = [self._frames[index] for index in indices]
        if self._frames.step > 0:
            return self._source.read(places, side=side)
        return self._backwards(places, side)

    def _backwards(self, places: Sequence[int], side: int | None) -> Iterator[np.ndarray]:
        for start in range(0, len(places), _BACKWARDS_AT_ONCE):
            some = places[start : start + _BACKWARDS_AT_ONCE]
            ascending = sorted(set(some))
            held = dict(zip(ascending, self._source.read(ascending, side=side), strict=True))
            for place in some:
                yield held[place]

    def close(self) -> None:
        """Nothing is held; the source is its owner's."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
