"""The judges at work: threads that draw pictures, ask every judge, and hand back what came of each row."""

import os
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2
import numpy as np

from pipeline.errors import UsageError
from pipeline.model.prompt import PLACEHOLDER
from pipeline.verify.items import Item
from pipeline.verify.judge import Judge, NoVoteError
from pipeline.verify.pictures import data_urls
from pipeline.verify.settings import VerifySettings
from pipeline.verify.votes import verdict_of


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one row."""

    item: Item
    verdict: dict[str, Any] | None
    """A row of :data:`pipeline.schema.VERDICTS_SCHEMA` without ``settings_digest``; None without one."""
    why: str = ""
    """Why there is none."""


class Panel:
    """All judges, and threads that ask them; about twice as many rows are held as are judged at once.

    Threads do not keep the program from ending: a reply that is still to come is given up then.

    Raises:
        UsageError: A variable that should hold a key is not set.
    """

    def __init__(self, settings: VerifySettings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._client = httpx2.Client(limits=httpx2.Limits(max_connections=None))
        self._judges = _judges(settings, self._client, self._stop)
        self._work: queue.SimpleQueue[tuple[Item, Sequence[np.ndarray]]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        self.waiting = 0
        """Rows given and not collected."""
        for number in range(settings.concurrency):
            threading.Thread(target=self._follow, name=f"judge-{number}", daemon=True).start()

    @property
    def is_full(self) -> bool:
        """Whether to collect before giving more."""
        return self.waiting >= 2 * self._settings.concurrency

    def give(self, item: Item, frames: Sequence[np.ndarray]) -> None:
        """Have a row judged by its scaled frames (uint8 RGB ``[h, w, 3]`` each)."""
        self.waiting += 1
        self._work.put((item, frames))

    def collect(self, *, wait_s: float) -> Outcome | None:
        """What came of a row; None if nothing did within ``wait_s``.

        Raises:
            EndpointError: A server answers nothing at all.
        """
        try:
            outcome = self._done.get(timeout=wait_s) if wait_s > 0 else self._done.get_nowait()
        except queue.Empty:
            return None
        self.waiting -= 1
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def stop(self) -> None:
        """Begin no more attempts; replies that come within the next moments can still be collected."""
        self._stop.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._client.close()

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                item, frames = self._work.get(timeout=0.5)
            except queue.Empty:
                continue
            try:
                self._done.put(self._judge(item, frames))
            except BaseException as error:  # noqa: BLE001 - raised by collect()
                self._done.put(error)

    def _judge(self, item: Item, frames: Sequence[np.ndarray]) -> Outcome:
        settings = self._settings
        prompt = settings.prompt if item.is_outlined else settings.presence_prompt
        text = prompt.replace(PLACEHOLDER, item.expression)
        try:
            pictures = data_urls(frames, item.masks)
            votes = [judge.ask(text, pictures) for judge in self._judges]
        except (NoVoteError, ValueError) as error:  # ValueError: a mask that does not decode
            return Outcome(item=item, verdict=None, why=str(error))
        verdict = {
            "video_id": item.video_id,
            "expression_id": item.expression_id,
            "object_id": item.object_id,
            "expression": item.expression,
            "verdict": verdict_of(votes, settings.agreement),
            "outlined": item.is_outlined,
            "frames": list(item.names),
            "votes": [vars(vote) for vote in votes],
            "agreement": settings.agreement,
            "prompt": text,
            "row_digest": item.row_digest,
        }
        return Outcome(item=item, verdict=verdict)


def _judges(settings: VerifySettings, client: httpx2.Client, stop: threading.Event) -> list[Judge]:
    body = {"max_tokens": settings.max_tokens, "temperature": 0, **settings.extra_request()}
    keys = [_key(name) for name in settings.api_key_env or [""] * len(settings.endpoint)]
    servers = list(zip(settings.endpoint, keys, strict=True))
    if len(servers) == 1:
        servers *= len(settings.verifier)
    return [
        Judge(
            client,
            endpoint,
            model,
            key,
            attempts=settings.attempts,
            timeout_s=settings.timeout_s,
            body=body,
            stop=stop,
        )
        for model, (endpoint, key) in zip(settings.verifier, servers, strict=True)
    ]


def _key(name: str) -> str:
    if not name:
        return ""
    key = os.environ.get(name, "").strip()
    if not key:
        raise UsageError(f"--api-key-env {name}: this environment variable is not set")
    if not key.isascii() or not key.isprintable():
        raise UsageError(f"--api-key-env {name}: what this environment variable holds cannot be a key")
    return key
