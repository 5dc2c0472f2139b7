"""Whose fault a failure is: one bad video costs only itself, a bad machine or storage costs no video."""

import faulthandler
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.errors import (
    AccessDeniedError,
    NodeError,
    PipelineError,
    StorageUnavailableError,
    UnreachableVideoError,
)
from pipeline.video.locations import is_node_trouble

log = logging.getLogger(__name__)

T = TypeVar("T")

NOT_THE_VIDEOS_FAULT = tuple(
    kind.__name__ for kind in (NodeError, StorageUnavailableError, AccessDeniedError, UnreachableVideoError)
)
"""How the messages of failures begin that may be the fault of a machine or of a storage, not of the video."""
_GPU_LIBRARIES = ("CUBLAS", "CUDNN", "CUSOLVER", "NCCL")
_CONTEXT_LOST = 70


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Pauses before work is tried again, in seconds.

    Attributes:
        node_s: After each failure of a video for reasons of this machine: a full disk may be emptied.
        storage_s: After each failure of a video whose storage does not answer, beyond the retries of each read.
        rest_s: Before a machine that has just failed gets its next video; doubled with every failure more.
        longest_rest_s: Upper bound of that.
    """

    node_s: tuple[float, ...] = (5.0, 20.0)
    storage_s: tuple[float, ...] = (5.0, 10.0, 20.0, 40.0, 60.0)
    rest_s: float = 30.0
    longest_rest_s: float = 300.0

    def rest(self, failures: int) -> float:
        """Pause of a machine that has failed so many videos in a row."""
        return min(self.rest_s * 2 ** (failures - 1), self.longest_rest_s) if failures else 0.0


def describe(error: BaseException) -> str:
    """Type and message of an error, on one line, for a row's ``error`` column."""
    message = " ".join(str(error).split()) or "no message"
    # a file name that is not UTF-8 reaches us as half surrogates, which no column can hold
    return f"{type(error).__name__}: {message}"[:2000].encode("utf-8", "replace").decode()


def kind_of(message: str) -> str:
    """The class of a failure, by the message that :func:`describe` made of it."""
    return message.partition(":")[0]


def is_withheld(message: str | None) -> bool:
    """Whether a failure's message says that a machine or a storage, not the video, may be to blame."""
    return message is not None and kind_of(message) in NOT_THE_VIDEOS_FAULT


def attempt(
    video_id: str, work: Callable[[], T], on_failure: Callable[[str], T], patience: Patience | None = None
) -> T:
    """Run ``work`` for one video; whatever goes wrong with it becomes the result of ``on_failure(message)``.

    Trouble of this machine or of a storage is waited out for a while. If it stays, the message says so
    (:func:`is_withheld`), and the video is tried elsewhere or later.

    Work that failed for want of GPU memory is tried a second time, since another worker may share the card. A GPU
    context that an error has poisoned fails everything after it, so the process ends instead; Ray starts another and
    the attempt counts.
    """
    about = {"video_id": video_id}
    patience = patience or Patience()
    pauses: dict[type[PipelineError], Iterator[float]] = {
        NodeError: iter(patience.node_s),
        StorageUnavailableError: iter(patience.storage_s),
    }
    has_memory_attempt = True
    while True:
        try:
            return work()
        except (NodeError, StorageUnavailableError) as error:
            pause = next(pauses[type(error)], None)
            log.warning("video %s: %s", video_id, describe(error), extra=about)
            if pause is None:
                return on_failure(describe(on_this_node(error) if isinstance(error, NodeError) else error))
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


@contextmanager
def node_trouble() -> Iterator[None]:
    """Tell errors of this machine (no disk space, memory, descriptors) from others: raises NodeError for them."""
    try:
        yield
    except (OSError, MemoryError) as error:
        if is_node_trouble(error):
            raise NodeError(describe(error)) from error
        raise


def on_this_node(error: Exception) -> NodeError:
    """``error`` as trouble of this machine, which its message names."""
    return NodeError(f"node {socket.gethostname()}: {error}")


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
