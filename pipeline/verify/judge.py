"""Asking one judge: an OpenAI-compatible server, its faults, and pauses between attempts."""

import datetime as dt
import json
import logging
import math
import random
import threading
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import httpx2

from pipeline.errors import PipelineError
from pipeline.storage import scrub
from pipeline.verify.votes import UnusableReplyError, Vote, vote_of

log = logging.getLogger(__name__)
logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would log every URL

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
_LARGEST_REPLY_BYTES = 2**22
_TOP_LOGPROBS = 10
_PASSING = frozenset({408, 409, 425, 429})
"""Refusals that pass, besides all of 500 and above."""
_FINAL = frozenset({401, 402, 403, 404, 405, 410})
"""Refusals that every other question would meet too."""


class EndpointError(PipelineError):
    """A server answers no question at all; the message says why and what to do."""


class NoVoteError(Exception):
    """A question got no usable answer; the message says why. Other questions may."""


class _PassingFaultError(Exception):
    """Worth another attempt, after ``pause_s`` at least."""

    def __init__(self, message: str, pause_s: float = 0.0) -> None:
        super().__init__(message)
        self.pause_s = pause_s


class _RefusedError(Exception):
    """The server refuses this request, and will again."""


class Judge:
    """One model on one server. May be asked by several threads at once.

    Args:
        client: Shared by all judges.
        endpoint: URL of the server's API, with or without ``/chat/completions``.
        model: What the server calls the model.
        key: Sent as a bearer token; empty sends none. In no message, log or vote.
        attempts: Times to ask.
        timeout_s: Longest wait for a reply.
        body: What the request holds beside the model and the messages.
        stop: When set, pauses and attempts end.
    """

    def __init__(
        self,
        client: httpx2.Client,
        endpoint: str,
        model: str,
        key: str,
        *,
        attempts: int,
        timeout_s: float,
        body: Mapping[str, Any],
        stop: threading.Event,
    ) -> None:
        self.model = model
        self._client = client
        url = httpx2.URL(endpoint)
        path = url.path.rstrip("/").removesuffix("/chat/completions")
        self._url = url.copy_with(path=f"{path}/chat/completions")
        self._key = key
        self._attempts = attempts
        self._timeout_s = timeout_s
        self._body = dict(body)
        self._stop = stop
        self._wants_logprobs = "logprobs" not in body

    def ask(self, text: str, pictures: Sequence[str]) -> Vote:
        """Ask a question about pictures.

        Args:
            text: The question.
            pictures: Data URLs.

        Raises:
            NoVoteError: No attempt gave a usable reply, or the server refuses this request.
            EndpointError: The server refuses every request: wrong key, no such model.
        """
        content: list[dict[str, Any]] = [{"type": "text", "text": text}]
        content += [{"type": "image_url", "image_url": {"url": picture}} for picture in pictures]
        for attempt in range(1, self._attempts + 1):
            try:
                vote = vote_of(self._reply(content), self.model)
                return Vote(**{**vars(vote), "answer": self._without_key(vote.answer)})
            except _RefusedError as error:
                raise NoVoteError(str(error)) from None
            except (_PassingFaultError, UnusableReplyError) as error:
                message = self._without_key(str(error))
                if attempt == self._attempts or self._stop.is_set():
                    raise NoVoteError(f"{message} (attempt {attempt} of {self._attempts})") from None
                least_s = error.pause_s if isinstance(error, _PassingFaultError) else 0.0
                pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (attempt - 1)) * random.uniform(0.5, 1.5)
                log.info("%s: %s; attempt %d of %d", self.model, message, attempt, self._attempts)
                self._stop.wait(max(least_s, pause_s))
        raise AssertionError("unreachable")

    def _reply(self, content: Sequence[Mapping[str, Any]]) -> object:
        """The body of the reply, as JSON; asks once more without log-probabilities where the server refuses them."""
        if not self._wants_logprobs:
            return self._post(content, {})
        try:
            return self._post(content, {"logprobs": True, "top_logprobs": _TOP_LOGPROBS})
        except _RefusedError:
            reply = self._post(content, {})
            log.warning("%s: this server gives no log-probabilities; its answers count as 0 or 1", self.model)
            self._wants_logprobs = False
            return reply

    def _post(self, content: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> object:
        body = {"model": self.model, "messages": [{"role": "user", "content": content}], **more, **self._body}
        body = {name: value for name, value in body.items() if value is not None}
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            status, answer_headers, data = self._send(body, headers)
        except httpx2.TransportError as error:
            raise _PassingFaultError(f"{self._where}: {type(error).__name__}: {scrub(str(error))}") from None
        if status != 200:
            self._refuse(status, answer_headers, data)
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise _PassingFaultError(f"{self._where}: the reply is no JSON: {_beginning(data)!r}") from None

    def _send(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer, within the time and size that one may have."""
        until = time.monotonic() + self._timeout_s
        with self._client.stream(
            "POST", self._url, json=body, headers=dict(headers), timeout=self._timeout_s, follow_redirects=False
        ) as response:
            data = bytearray()
            for chunk in response.iter_bytes():
                data += chunk
                if time.monotonic() > until:
                    raise _PassingFaultError(f"{self._where}: no complete reply within {self._timeout_s:g} s")
                if len(data) > _LARGEST_REPLY_BYTES:
                    raise _PassingFaultError(f"{self._where}: a reply of more than {_LARGEST_REPLY_BYTES} bytes")
            return response.status_code, response.headers, bytes(data)

    def _refuse(self, status: int, headers: Mapping[str, str], data: bytes) -> NoReturn:
        message = self._without_key(f"{self._where}: HTTP {status}: {_beginning(data)}")
        if status >= 500 or status in _PASSING:
            raise _PassingFaultError(message, _retry_after_s(headers.get("retry-after", "")))
        if status in (401, 403):
            raise EndpointError(f"{message}; --api-key-env names the variable that holds the key")
        if status in _FINAL or status < 400:
            raise EndpointError(f"{message}; check --endpoint and --verifier {self.model}")
        raise _RefusedError(message)

    @property
    def _where(self) -> str:
        return scrub(str(self._url))

    def _without_key(self, text: str) -> str:
        """A server may repeat the key it was sent."""
        return text.replace(self._key, "***") if self._key else text


def _beginning(data: bytes) -> str:
    text = " ".join(data[:1000].decode("utf-8", "replace").split())
    return scrub(text if len(text) <= 300 else text[:297] + "...")


def _retry_after_s(value: str) -> float:
    """Seconds of a ``Retry-After`` header, which may be a number or a date; at most five minutes."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - dt.datetime.now(dt.UTC)).total_seconds()
        except (TypeError, ValueError):
            return 0.0
    return 0.0 if math.isnan(seconds) else min(max(seconds, 0.0), 300.0)
