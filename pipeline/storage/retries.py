"""Storage operations are repeated where another attempt may succeed."""

import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TypeVar

from pipeline.storage.failures import explain, is_transient

logger = logging.getLogger(__name__)
T = TypeVar("T")

ATTEMPTS = 8
"""With doubling pauses in between: about half a minute until a storage counts as gone."""
FIRST_PAUSE_S = 0.25
_watcher: ContextVar[Callable[[], None] | None] = ContextVar("watcher of pauses", default=None)


def with_retries(action: Callable[[], T], url: str, doing: str) -> T:
    """Run ``action``, again after a growing pause where its error may pass (500, 503, timeouts, dropped connections).

    Args:
        action: Must be safe to run twice.
        url: Named in the error.
        doing: What the action does, for the error: ``"read"``, ``"write"``, ``"list"``.

    Raises:
        MissingFileError: At once, for 404 and missing local files.
        AccessDeniedError: At once, for 401, 403, missing, wrong or expired credentials.
        StorageUnavailableError: For 5xx, 429 and trouble with the connection, after the last attempt.
        StorageError: For any other storage failure.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except Exception as error:  # every client library has its own classes; what is no storage error goes on
            failure = explain(error, url, doing)
            if failure is None:
                raise
            if attempt == ATTEMPTS or not is_transient(error, url):
                raise failure from error
            pause_s = FIRST_PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
            logger.warning("%s; attempt %d of %d, next in %.1f s", failure, attempt, ATTEMPTS, pause_s)
            _pause(pause_s)
    raise AssertionError("unreachable")


@contextlib.contextmanager
def watched_pauses(is_alive: Callable[[], None]) -> Iterator[None]:
    """Call ``is_alive`` before every second of the pauses that :func:`with_retries` makes inside the block."""
    token = _watcher.set(is_alive)
    try:
        yield
    finally:
        _watcher.reset(token)


def _pause(seconds: float) -> None:
    is_alive = _watcher.get()
    while is_alive is not None and seconds > 1:
        is_alive()
        time.sleep(1)
        seconds -= 1
    time.sleep(seconds)
