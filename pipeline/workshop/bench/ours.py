"""Our own arrangement, timed: the library as users call it, with its parts wrapped from outside."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np

from pipeline.model import segment as segment_module
from pipeline.model.sa2va import Sa2VA, VideoMasks
from pipeline.model.sam2 import stream
from pipeline.model.sam2.stream import SegmentOptions
from pipeline.video.frames import FrameSource
from pipeline.workshop.bench.clock import StageClock, replaced


class TimedSource:
    """A frame source that tells how long its reader waited for frames."""

    def __init__(self, source: FrameSource, clock: StageClock) -> None:
        self._source = source
        self._clock = clock
        self.frame_names = source.frame_names
        self.height, self.width, self.is_image = source.height, source.width, source.is_image

    def __len__(self) -> int:
        return len(self._source)

    @property
    def note(self) -> str | None:
        """What the source says about its frames."""
        return self._source.note

    def read(self, indices: Sequence[int], side: int | None = None) -> Iterator[np.ndarray]:
        """As the source's own; the source starts at once."""
        return self._timed(self._source.read(indices, side=side))

    def _timed(self, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        take = self._clock.wrap("waiting for frames", lambda: next(frames, None))
        while (frame := take()) is not None:
            yield frame

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def __enter__(self) -> "TimedSource":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def timed(model: Sa2VA, clock: StageClock) -> Iterator[None]:
    """Time the parts of ``model`` by stage while the body runs."""
    grounder, segmenter = model.grounder, model.segmenter
    parts = (
        (grounder.tower, "look", "vision tower", True),
        (grounder, "ground_tokens", "language model", True),
        (segmenter, "encode", "image encoder", True),
        (segmenter, "decode", "decoders", True),
        (segmenter, "high_resolution", "decoders", True),
        (segmenter, "encode_memory", "memory encoder", True),
        (segmenter.memory_reader, "project", "memory attention", True),
        (segmenter.memory_reader, "read", "memory attention", True),
        (stream, "final_masks", "masks to full size", False),
        (segment_module, "encode_masks", "RLE", False),
    )
    with ExitStack() as stack:
        for owner, name, stage, count in parts:
            stack.enter_context(replaced(owner, name, clock.wrap(stage, getattr(owner, name), count=count)))
        yield


def segment(
    model: Sa2VA,
    source: FrameSource,
    expressions: Sequence[str],
    num_keyframes: int,
    clock: StageClock,
    options: SegmentOptions,
) -> VideoMasks:
    """Masks for all expressions of a video, timed."""
    with timed(model, clock):
        return model.segment(
            TimedSource(source, clock), list(expressions), num_keyframes=num_keyframes, options=options
        )
