"""Keeping one bad video from costing more than itself, and a bad machine or storage from costing any video."""

import faulthandler
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from pipeline.errors import AccessDeniedError, NodeError, PipelineError, StorageUnavailableError

log = logging.getLogger(__name__)

T = TypeVar("T")

NODE_PAUSES_S = (5.0, 20.0)
"""Pauses before work is tried again that failed because of the machine: a full disk may be emptied."""
STORAGE_PAUSES_S = (5.0, 10.0, 20.0, 40.0, 60.0)
"""Pauses before a video is tried again whose storage does not answer, beyond the retries of each read."""
NOT_THE_VIDEOS_FAULT = (StorageUnavailableError.__name__, AccessDeniedError.__name__)
"""How the messages of failures begin that are held back until it is clear whether the storage serves others."""
_GPU_LIBRARIES = ("CUBLAS", "CUDNN", "CUSOLVER", "NCCL")
_CONTEXT_LOST = 70


def describe(error: BaseException) -> str:
    """Type and message of an error, on one line, for a row's ``error`` column."""
    message = " ".join(str(error).split()) or "no message"
    # a file name that is not UTF-8 reaches us as half surrogates, which no column can hold
    return f"{type(error).__name__}: {message}"[:2000].encode("utf-8", "replace").decode()


def is_withheld(message: str | None) -> bool:
    """Whether a failure's message says that a storage, not the video, may be to blame."""
    return message is not None and message.partition(":")[0] in NOT_THE_VIDEOS_FAULT


def attempt(video_id: str, work: Callable[[], T], on_failure: Callable[[str], T]) -> T:
    """Run ``work`` for one video; whatever goes wrong with it becomes the result of ``on_failure(message)``.

    Work that failed for want of GPU memory is tried a second time, since another worker may share the card. A GPU
    context that an error has poisoned fails everything after it, so the process ends instead; Ray starts another and
    the attempt counts.

    Raises:
        NodeError: This machine cannot work, also after pauses; no video is to blame.
    """
    about = {"video_id": video_id}
    pauses: dict[type[PipelineError], Iterator[float]] = {
        NodeError: iter(NODE_PAUSES_S),
        StorageUnavailableError: iter(STORAGE_PAUSES_S),
    }
    has_memory_attempt = True
    while True:
        try:
            return work()
        except (NodeError, StorageUnavailableError) as error:
            pause = next(pauses[type(error)], None)
            log.warning("video %s: %s", video_id, describe(error), extra=about)
            if pause is None and isinstance(error, NodeError):
                raise NodeError(f"node {socket.gethostname()}: {error}") from error
            if pause is None:
                return on_failure(describe(error))
        except PipelineError as error:
            log.warning("video %s: %s", video_id, describe(error), extra=about)
            return on_failure(describe(error))
        except Exception as error:
            log.exception("video %s", video_id, extra=about)
            _end_if_context_is_lost(error)
            if not _is_out_of_memory(error) or not has_memory_attempt:
                return on_failure(describe(error))
            has_memory_attempt, pause = False, 0.0
        # outside of the handlers, whose tracebacks hold the failed step's tensors
        _empty_cache()
        time.sleep(pause)


def _torch() -> Any:  # noqa: ANN401 - the module
    """PyTorch where this process uses it: writers do without."""
    return sys.modules.get("torch")


def _is_out_of_memory(error: Exception) -> bool:
    torch = _torch()
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def _empty_cache() -> None:
    torch = _torch()
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _end_if_context_is_lost(error: Exception) -> None:
    """End the process if the GPU's context is lost, which may first show as an error of one of its libraries."""
    torch = _torch()
    if torch is None:
        return
    lost = isinstance(error, torch.AcceleratorError)
    if not lost and isinstance(error, RuntimeError) and any(name in str(error).upper() for name in _GPU_LIBRARIES):
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            lost = True
    if lost:
        log.error("the GPU context is lost; this worker ends")
        os._exit(_CONTEXT_LOST)


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """End this process if the body takes longer than ``seconds``; ``None`` waits for ever.

    The timer runs in C, beside the interpreter: it also ends a call that hangs while it holds the interpreter's lock.
    Where the process stood is written to standard error, which Ray keeps in the worker's log.
    """
    if seconds is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or 2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


class Withheld:
    """Failures that may be a storage's fault, held back until it is known whether the storage serves anybody.

    Args:
        limit: So many of them in a row, with no video done in between, end the run.
    """

    def __init__(self, limit: int = 10) -> None:
        self._limit = limit
        self._in_a_row = 0
        self.messages: dict[str, str] = {}

    def add(self, video_id: str, message: str) -> None:
        """Hold one back.

        Raises:
            StorageUnavailableError: The storage refuses everybody now.
        """
        self.messages[video_id] = message
        self._in_a_row += 1
        if self._in_a_row >= self._limit:
            self.give_up()

    def served(self) -> None:
        """A video was done: the storage serves others."""
        self._in_a_row = 0

    def check_end(self, done: int) -> None:
        """At the end of a run: raise unless some video was done."""
        if self.messages and not done:
            self.give_up()

    def give_up(self) -> None:
        """Raise StorageUnavailableError with what was last said."""
        message = list(self.messages.values())[-1]
        raise StorageUnavailableError(
            f"the storage of the videos serves nobody any more ({len(self.messages)} videos, none marked as failed; "
            f"last: {message}); when it is back, start the same command again"
        )
