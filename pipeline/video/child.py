"""The decoder process: ``python -m pipeline.video.child SOCKET TIMEOUT_S MODULE:FUNCTION``, started by IsolatedDecoder.

One thread does everything: between two frames it looks for messages, so that a stop is heard within one frame's time.
Every step runs under a kernel timer that kills this process, even if its owner is gone and a decoder spins for ever.
"""

import importlib
import logging
import math
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.errors import NodeError, PipelineError, VideoError
from pipeline.storage import scrub, watched_pauses
from pipeline.video.frames import FrameSelection, FrameSource, VideoLimits
from pipeline.video.locations import is_node_trouble
from pipeline.video.wire import Channel, FrameSlots, HungUpError, Message

logger = logging.getLogger(__name__)

Opener = Callable[[str, FrameSelection, VideoLimits, Callable[[], None]], FrameSource]

# The owner's deadline comes first; this one is for when the owner is gone.
_TIMER_GRACE_S = 5

_SECONDS_BETWEEN_SIGNS_OF_LIFE = 0.2


@dataclass
class _Reading:
    """One ``read`` under way: frames still to come and the slots that may be filled."""

    location: str
    source: FrameSource
    frames: Iterator[np.ndarray]
    slots: FrameSlots
    free: list[int]


class Child:
    """Serves one owner until it hangs up."""

    def __init__(self, channel: Channel, timeout_s: float, opener: Opener) -> None:
        self._channel = channel
        self._timer_s = math.ceil(timeout_s) + _TIMER_GRACE_S
        self._opener = opener
        self._sources: dict[int, FrameSource] = {}
        self._readings: dict[int, _Reading] = {}
        self._last_sign_of_life = 0.0

    def serve(self) -> None:
        """Answer messages and decode ahead into free slots; returns when the owner hangs up."""
        while True:
            runnable = [number for number, reading in self._readings.items() if reading.free]
            if not runnable or self._channel.has_message():
                try:
                    message = self._channel.receive()
                except HungUpError:
                    return
                self._handle(message)
                continue
            for number in runnable:
                self._guarded(partial(self._decode_one, number), number, self._readings[number].location)

    def _handle(self, message: Message) -> None:
        operation, number = message["operation"], message["number"]
        if operation == "open":
            self._guarded(partial(self._open, message), number, message["location"])
        elif operation == "read":
            slots = FrameSlots.receive(self._channel, message["slots"], message["height"], message["width"])
            self._guarded(partial(self._start_reading, message, slots), number, message["location"])
        elif operation == "more" and number in self._readings:
            self._readings[number].free.append(message["slot"])
        elif operation == "stop":
            self._readings.pop(number, None)
        elif operation == "close" and number in self._sources:
            self._guarded(self._sources.pop(number).close, number, "")

    def _guarded(self, step: Callable[[], None], number: int, location: str) -> None:
        """Run one step under the timer; a failure becomes a message, this process goes on."""
        signal.alarm(self._timer_s)
        try:
            with watched_pauses(self._sign_of_life):
                step()
        except PipelineError as error:
            self._fail(error, number)
        except HungUpError:
            raise  # the owner is gone
        except Exception as error:
            logger.exception("unexpected failure while decoding")
            kind = NodeError if is_node_trouble(error) else VideoError
            reason = scrub(f"{type(error).__name__}: {error}")
            self._fail(kind(f"{scrub(location)}: cannot be decoded ({reason})"), number)
        finally:
            signal.alarm(0)

    def _fail(self, error: PipelineError, number: int) -> None:
        self._readings.pop(number, None)
        self._channel.send(
            {"event": "failed", "number": number, "kind": type(error).__name__, "reason": scrub(str(error))}
        )

    def _open(self, message: Message) -> None:
        selection = message["selection"]
        if selection["frames"] is not None:
            selection["frames"] = tuple(selection["frames"])
        source = self._opener(
            message["location"], FrameSelection(**selection), VideoLimits(**message["limits"]), self._sign_of_life
        )
        self._sources[message["number"]] = source
        self._channel.send(
            {
                "event": "opened",
                "number": message["number"],
                "frame_names": list(source.frame_names),
                "height": source.height,
                "width": source.width,
                "is_image": source.is_image,
            }
        )

    def _sign_of_life(self) -> None:
        """Start the deadlines anew, here and (now and then) at the owner.

        Called when opening makes headway, and while a storage is waited for between two attempts.
        """
        signal.alarm(self._timer_s)
        now = time.monotonic()
        if now - self._last_sign_of_life > _SECONDS_BETWEEN_SIGNS_OF_LIFE:
            self._last_sign_of_life = now
            self._channel.send({"event": "alive"})

    def _start_reading(self, message: Message, slots: FrameSlots) -> None:
        source = self._sources[message["source"]]
        self._readings[message["number"]] = _Reading(
            location=message["location"],
            source=source,
            frames=source.read(message["indices"], message["side"]),
            slots=slots,
            free=list(range(message["slots"])),
        )

    def _decode_one(self, number: int) -> None:
        reading = self._readings[number]
        frame = next(reading.frames, None)
        if frame is None:  # the owner has all frames it asked for
            del self._readings[number]
            return
        slot = reading.free.pop(0)
        np.copyto(reading.slots.frames[slot], frame)
        self._channel.send({"event": "frame", "number": number, "slot": slot, "note": reading.source.note})


def main(arguments: list[str]) -> None:
    """Serve the owner at the other end of an inherited socket."""
    descriptor, timeout_s, opener = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, which then hangs up
    module, _, function = opener.partition(":")
    channel = Channel(socket.socket(fileno=int(descriptor)))
    child = Child(channel, float(timeout_s), getattr(importlib.import_module(module), function))
    try:
        channel.send({"event": "alive"})
        child.serve()
    except HungUpError:
        logger.debug("the owner hung up")


if __name__ == "__main__":
    main(sys.argv[1:])
