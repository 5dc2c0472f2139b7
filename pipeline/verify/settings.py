"""Who judges, what is asked, and how: the settings of ``verify``."""

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pipeline.errors import UsageError
from pipeline.model.prompt import PLACEHOLDER
from pipeline.settings import POSITIVE, CheckedSettings, Option, Rule, at_least, between
from pipeline.storage import scrub

OUTLINED_QUESTION = (
    "These pictures are frames of one video, in order. One thing is outlined in red wherever it is visible. Somebody "
    'described something in this video as: "{expression}". Is the outlined thing what is described, or one of several '
    "things that are described? Answer with yes or no only."
)
PRESENCE_QUESTION = (
    "These pictures are frames of one video, in order. Somebody described something in this video as: "
    '"{expression}". Is what is described in the video? Answer with yes or no only.'
)
_HAS_PLACEHOLDER = Rule(lambda text: text.count(PLACEHOLDER) == 1, f"a text with {PLACEHOLDER} in it once")


@dataclass(frozen=True, kw_only=True)
class JudgeSettings(CheckedSettings):
    """Judges."""

    endpoint: Annotated[list[str], Option("URL")]
    """Where an OpenAI-compatible server is, for example http://localhost:8000/v1; may be repeated: one each judge."""
    verifier: Annotated[list[str], Option("MODEL")]
    """What that server calls the model; may be repeated, and each is a judge with a vote."""
    agreement: Literal["majority", "unanimity"] = "majority"
    """How several judges agree: the verdict is the median of their votes, or the lowest."""
    api_key_env: Annotated[list[str] | None, Option("NAME")] = None
    """Environment variable that holds the key for the endpoint; with several endpoints one each, empty for none.
    Without this option no key is sent."""


@dataclass(frozen=True, kw_only=True)
class QuestionSettings(CheckedSettings):
    """Questions (verdicts of a dataset are bound to these and to the judges; see --replace)."""

    frames: Annotated[int, at_least(1), Option("N")] = 4
    """Frames to show of each video, at most; keyframes first."""
    picture_side: Annotated[int, between(32, 8192), Option("PX")] = 768
    """Longest side of a picture as it is sent; larger frames are scaled down."""
    plain: bool = False
    """Outline nothing, and ask of every expression whether what it names is there."""
    prompt: Annotated[str, _HAS_PLACEHOLDER, Option("TEXT")] = OUTLINED_QUESTION
    """What is asked of an outlined object; must contain {expression} and be answered by yes or no (default: see
    below)."""
    presence_prompt: Annotated[str, _HAS_PLACEHOLDER, Option("TEXT")] = PRESENCE_QUESTION
    """What is asked where there is no mask (default: see below)."""
    max_tokens: Annotated[int, at_least(1), Option("N")] = 16
    """Longest reply; models that think aloud need more."""
    request: Annotated[str | None, Option("JSON")] = None
    """More of the request's body, for example '{"max_completion_tokens": 99, "max_tokens": null}'; null takes out."""


@dataclass(frozen=True, kw_only=True)
class WorkSettings(CheckedSettings):
    """Work."""

    concurrency: Annotated[int, at_least(1), Option("N")] = 8
    """Rows that are judged at the same time."""
    attempts: Annotated[int, at_least(1), Option("N")] = 6
    """Times to ask before a row is left without a verdict; pauses grow from half a second."""
    timeout_s: Annotated[float, POSITIVE, Option("S")] = 120.0
    """Longest wait for one reply."""
    limit: Annotated[int, at_least(1), Option("N")] | None = None
    """Judge at most this many rows."""
    replace: bool = False
    """Judge anew what was judged by other models or with other questions."""


@dataclass(frozen=True, kw_only=True)
class VerifySettings(JudgeSettings, QuestionSettings, WorkSettings):
    """Everything that says how to verify."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.endpoint) not in (1, len(self.verifier)):
            raise UsageError(
                f"{len(self.endpoint)} --endpoint for {len(self.verifier)} --verifier; give one, or as many"
            )
        if self.api_key_env and len(self.api_key_env) != len(self.endpoint):
            raise UsageError(f"{len(self.api_key_env)} --api-key-env for {len(self.endpoint)} --endpoint; give as many")
        for endpoint in self.endpoint:
            _check_endpoint(endpoint)
        self.extra_request()

    def extra_request(self) -> dict[str, Any]:
        """What ``request`` holds. Raises UsageError if it is no JSON object."""
        try:
            extra = json.loads(self.request) if self.request else {}
        except ValueError as error:
            raise UsageError(f"--request is not JSON: {error}") from None
        if not isinstance(extra, dict):
            raise UsageError("--request must be a JSON object")
        return extra

    def deciding(self) -> dict[str, Any]:
        """What decides verdicts, as JSON values: who is asked what. A server's address does not."""
        names = ("verifier", "agreement", "frames", "picture_side", "plain", "prompt", "presence_prompt", "request")
        return {name: getattr(self, name) for name in names}

    def digest(self) -> str:
        """16 hexadecimal digits that stand for :meth:`deciding`."""
        return hashlib.sha256(json.dumps(self.deciding(), sort_keys=True).encode()).hexdigest()[:16]

    def noted(self) -> dict[str, Any]:
        """:meth:`deciding` and the servers' addresses without secrets, to be noted beside the verdicts."""
        return {**self.deciding(), "endpoint": [scrub(endpoint) for endpoint in self.endpoint]}


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        parts.port  # noqa: B018 - raises ValueError for one that is none
    except ValueError as error:
        raise UsageError(f"--endpoint {scrub(endpoint)!r}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--endpoint is {scrub(endpoint)!r}; it must be a URL as http://localhost:8000/v1")
    if parts.username or parts.password:
        raise UsageError(f"--endpoint {scrub(endpoint)!r}: has a password in it; name its variable with --api-key-env")
