"""Decoding in a child process that may hang, lie or die: its owner gets frames in time, or a VideoError."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Self
from weakref import WeakSet

import numpy as np

from pipeline.video.frames import DEFAULT_LIMITS, EVERY_FRAME, FrameSelection, VideoLimits, check_indices
from pipeline.video.locations import needs_credentials
from pipeline.video.wire import FrameSlots, failure
from pipeline.video.worker import Worker, WorkerDiedError

# Shared memory of one read; very large frames get fewer slots than ``prefetch``.
_MAX_SHARED_BYTES = 512 * 2**20


class IsolatedDecoder:
    """Opens videos in one long-lived child process, which is started when needed and replaced after a failure.

    Videos in stores that need credentials are read in a second child: what decodes other files has no secrets.

    The sources have the interface of :func:`pipeline.video.source.open_video`. Decoding, colour conversion and resizing
    happen in the child, ahead of the consumer by at most ``prefetch`` frames per read. Several sources may be open and
    several reads under way at once; they take turns. Not for use by several threads at once.

    Example:
        >>> with IsolatedDecoder(timeout_s=60) as decoder, decoder.open("clip.mp4") as source:
        ...     for frame in source.read(range(len(source)), side=1024):
        ...         print(frame.shape)
    """

    def __init__(
        self, *, timeout_s: float = 60.0, prefetch: int = 4, opener: str = "pipeline.video.source:open_video"
    ) -> None:
        """Remember the settings; the child starts with the first video.

        Args:
            timeout_s: How long the child may take for one frame, or stand still while opening, before it is killed.
            prefetch: Frames decoded ahead.
            opener: ``module:function`` that opens a video in the child, with the signature of ``open_video``: the place
                to put another decoder.
        """
        if timeout_s <= 0 or prefetch < 1:
            raise ValueError(f"timeout_s must be above 0 and prefetch at least 1, got {timeout_s} and {prefetch}")
        self._timeout_s = timeout_s
        self._prefetch = prefetch
        self._opener = opener
        self._workers: dict[bool, Worker] = {}  # by whether it has the credentials of storage

    @property
    def pid(self) -> int | None:
        """Process id of a living child, if there is one."""
        return next((worker.pid for worker in self._workers.values() if worker.is_alive), None)

    def open(
        self, location: str, selection: FrameSelection = EVERY_FRAME, limits: VideoLimits = DEFAULT_LIMITS
    ) -> "IsolatedSource":
        """Open a video in the child; see :func:`pipeline.video.source.open_video`.

        Raises:
            VideoError: If it cannot be read, or the child hangs or dies over it.
        """
        has_credentials = needs_credentials(location)
        worker = self._workers.get(has_credentials)
        if worker is not None and worker.is_alive:
            try:
                return IsolatedSource(worker, location, selection, limits, self._prefetch)
            except WorkerDiedError:
                pass  # it may have died of something before this video: one more try, in a new process
        if worker is not None:
            worker.stop()
        worker = self._workers[has_credentials] = Worker(self._timeout_s, self._opener, has_credentials=has_credentials)
        return IsolatedSource(worker, location, selection, limits, self._prefetch)

    def close(self) -> None:
        """End the children; harmless when repeated. Sources opened through them can no longer be read."""
        for worker in self._workers.values():
            worker.stop()
        self._workers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class IsolatedSource:
    """A :class:`~pipeline.video.frames.FrameSource` whose frames are decoded in another process."""

    def __init__(
        self, worker: Worker, location: str, selection: FrameSelection, limits: VideoLimits, prefetch: int
    ) -> None:
        self._worker = worker
        self._prefetch = prefetch
        self._reads: WeakSet[_IsolatedRead] = WeakSet()
        self._is_closed = False
        self._number = worker.new_conversation()
        self.location = location
        request = {"selection": asdict(selection), "limits": asdict(limits)}
        worker.send({"operation": "open", "number": self._number, "location": location, **request}, location)
        opened = worker.wait_for(self._number, location, "opening it")
        if opened["event"] == "failed":
            worker.end_conversation(self._number)
            raise failure(opened)
        self.frame_names: tuple[str, ...] = tuple(opened["frame_names"])
        self.height: int = opened["height"]
        self.width: int = opened["width"]
        self.is_image: bool = opened["is_image"]
        self.note: str | None = None

    def __len__(self) -> int:
        return len(self.frame_names)

    def read(self, indices: Sequence[int], side: int | None = None) -> Iterator[np.ndarray]:
        """Start decoding at once, and yield frames as they come; see :meth:`FrameSource.read`.

        Raises:
            IndexError: If an index is out of range.
            VideoError: If a frame cannot be read, or the child hangs or dies over it.
        """
        check_indices(indices, len(self), self.location)
        self.check_open()
        height, width = (self.height, self.width) if side is None else (side, side)
        slots = max(1, min(self._prefetch, len(indices), _MAX_SHARED_BYTES // (height * width * 3)))
        number = self._worker.new_conversation()
        request = {
            "operation": "read",
            "number": number,
            "source": self._number,
            "location": self.location,
            "indices": [int(index) for index in indices],
            "side": side,
            "slots": slots,
            "height": height,
            "width": width,
        }
        descriptor = FrameSlots.create_file(slots * height * width * 3)
        try:
            self._worker.send(request, self.location, descriptor)
            shared = FrameSlots(descriptor, slots, height, width)
        finally:
            os.close(descriptor)
        names = [self.frame_names[index] for index in indices]
        read = _IsolatedRead(self, self._worker, number, names, shared)
        self._reads.add(read)
        return read

    def check_open(self) -> None:
        """Raise ValueError if this source has been closed."""
        if self._is_closed:
            raise ValueError(f"{self.location}: read after close")

    def close(self) -> None:
        """Let the child drop the video and every read of it; harmless when repeated."""
        if not self._is_closed:
            for read in list(self._reads):
                read.close()
            self._is_closed = True
            self._worker.tell({"operation": "close", "number": self._number})
            self._worker.end_conversation(self._number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _IsolatedRead(Iterator[np.ndarray]):
    """One read under way. Closing or dropping it stops the child's work on it."""

    def __init__(
        self, source: IsolatedSource, worker: Worker, number: int, names: list[str], shared: FrameSlots
    ) -> None:
        self._source = source
        self._worker = worker
        self._number = number
        self._names = names
        self._shared = shared
        self._taken = 0
        self._is_running = True

    def __next__(self) -> np.ndarray:
        self._source.check_open()
        if not self._is_running:
            raise StopIteration
        if self._taken == len(self._names):
            self.close()
            raise StopIteration
        try:
            message = self._worker.wait_for(
                self._number, self._source.location, f"reading frame {self._names[self._taken]!r}"
            )
            if message["event"] == "failed":
                raise failure(message)
        except BaseException:
            self.close()
            raise
        frame: np.ndarray = self._shared.frames[message["slot"]].copy()
        self._source.note = message["note"] or self._source.note
        self._taken += 1
        self._worker.tell({"operation": "more", "number": self._number, "slot": message["slot"]})
        return frame

    def close(self) -> None:
        """Stop early; harmless when repeated."""
        if self._is_running:
            self._is_running = False
            self._worker.tell({"operation": "stop", "number": self._number})
            self._worker.end_conversation(self._number)

    def __del__(self) -> None:
        self.close()
