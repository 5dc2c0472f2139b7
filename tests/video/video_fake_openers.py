"""Openers to put in the decoder process in place of ``open_video``: slow, hanging and dying ones.

What a fake source does is said by its location, e.g. ``hang-at-3``; its frames are 8x8 and carry their position.
"""

import ctypes
import os
import signal
import time
from pathlib import Path

import numpy as np

from pipeline.errors import VideoError
from pipeline.storage import with_retries
from pipeline.video.frames import BaseSource
from pipeline.video.source import open_video

COUNT = 50


def open_fake(location, selection, limits, progress):
    if not location.startswith("fake:"):
        return open_video(location, selection, limits, progress)
    _, action, *arguments = location.split(":")
    if action == "slow-open":
        for _ in range(int(arguments[0])):
            time.sleep(0.2)
            progress()
    if action == "hang-open":
        time.sleep(3600)
    return _FakeSource(location, action, arguments)


class _FakeSource(BaseSource):
    def __init__(self, location, action, arguments):
        super().__init__(location, [f"{index:05d}" for index in range(COUNT)], 8, 8)
        self._action = action
        self._arguments = arguments

    def _frames(self, indices):
        for index in indices:
            at = int(self._arguments[0]) if self._action != "log" else None
            if self._action == "hang" and index == at:
                time.sleep(3600)
            if self._action == "hang-holding-gil" and index == at:
                # As decord does: a C call that never returns and never lets another Python thread run.
                ctypes.PyDLL(None).sleep(3600)
            if self._action == "crash" and index == at:
                os.kill(os.getpid(), signal.SIGSEGV)
            if self._action == "pausing-store" and index == at:
                attempts = iter([ConnectionError(), ConnectionError(), ConnectionError(), ConnectionError(), None])

                def ask(attempts=attempts):
                    if (error := next(attempts)) is not None:
                        raise error

                with_retries(ask, "s3://bucket/clip.mp4", "read")
            if self._action == "surprise" and index == at:
                raise KeyError("not a VideoError")
            if self._action == "refuse" and index == at:
                raise VideoError(f"{self.location}: frame {index} is no good")
            if self._action == "log":
                time.sleep(float(self._arguments[1]))
                with Path(self._arguments[0]).open("a") as log:
                    log.write(f"{index}\n")
            yield np.full((8, 8, 3), index, np.uint8)
