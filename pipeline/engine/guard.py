"""Keeping one bad video from costing more than itself."""

import logging
import os
from collections.abc import Callable
from typing import TypeVar

import torch

from pipeline.errors import PipelineError

log = logging.getLogger(__name__)

T = TypeVar("T")


def describe(error: BaseException) -> str:
    """Type and message of an error, on one line, for a row's ``error`` column."""
    message = " ".join(str(error).split()) or "no message"
    # a file name that is not UTF-8 reaches us as half surrogates, which no column can hold
    return f"{type(error).__name__}: {message}"[:2000].encode("utf-8", "replace").decode()


def attempt(video_id: str, work: Callable[[], T], on_failure: Callable[[str], T]) -> T:
    """Run ``work`` for one video; whatever goes wrong with it becomes the result of ``on_failure(message)``.

    A CUDA context that an error has poisoned fails everything after it, so the process ends instead; Ray starts another
    and the attempt counts.
    """
    about = {"video_id": video_id}
    try:
        return work()
    except PipelineError as error:
        log.warning("video %s: %s", video_id, describe(error), extra=about)
        return on_failure(describe(error))
    except torch.OutOfMemoryError as error:
        torch.cuda.empty_cache()
        log.warning("video %s: out of GPU memory", video_id, extra=about)
        return on_failure(describe(error))
    except torch.AcceleratorError:
        log.exception("video %s: the GPU context is lost; this worker ends", video_id, extra=about)
        os._exit(70)
    except Exception as error:
        log.exception("video %s", video_id, extra=about)
        return on_failure(describe(error))
