"""What decides the masks of an output: its hash, what differs between two, and secrets kept out of ``run.json``."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import UsageError
from pipeline.storage import scrub

_SECRET_KEY = re.compile(
    r"(^|_)(secret|password|passwd|token|access_key|api_key|credentials?|auth)($|_)", re.IGNORECASE
)
NOT_SET = "(not set)"
_DECIDE_NO_MASK = ("schema_version", "max_side")
"""Keys that outputs of earlier versions count as part of their identity, though no mask depends on them."""


def without_secrets(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """``value`` as plain JSON types, with credentials in URLs and values of secret-looking keys replaced by ``***``."""
    if isinstance(value, Mapping):
        return {
            str(key): "***" if _SECRET_KEY.search(str(key)) and item is not None else without_secrets(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [without_secrets(item) for item in items]
    if value is None or isinstance(value, bool | int | float):
        return value
    return scrub(str(value))


def identity_hash(identity: Mapping[str, Any]) -> str:
    """A hash of what decides masks in ``identity``; the order of its keys does not matter."""
    text = json.dumps(_deciding(identity), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """``key: old -> new`` for every key that decides masks and in which the two differ, sorted; without secrets."""
    old, new = without_secrets(_deciding(old)), without_secrets(_deciding(new))
    return [
        f"{key}: {old.get(key, NOT_SET)} -> {new.get(key, NOT_SET)}"
        for key in sorted({*old, *new})
        if old.get(key, NOT_SET) != new.get(key, NOT_SET)
    ]


def check_identity(
    url: str,
    stored: Mapping[str, Any],
    identity: Mapping[str, Any],
    earlier: Callable[[], Mapping[str, Any]] | None = None,
) -> None:
    """Check that an output may go on with a configuration.

    Args:
        url: Of the output, for the message.
        stored: Its ``run.json``; empty for a new one.
        identity: Everything that decides masks.
        earlier: Makes what an earlier version of this program called the same configuration.

    Raises:
        UsageError: The output was made with another one; the message lists every difference.
    """
    if not stored or stored.get("identity_hash") == identity_hash(identity):
        return
    by_version_1 = stored.get("schema_version") == "1"  # whose hash was made in another way
    changes = differences(stored["identity"], identity)
    if by_version_1 and (not changes or (earlier and not differences(stored["identity"], earlier()))):
        return
    said = "; ".join(changes) or "they differ in a part that is kept secret, the password of a URL for example"
    raise UsageError(
        f"{scrub(url)}: made with another configuration, and masks of two must not mix: {said}; "
        "use the old configuration or name a new --output"
    )


def _deciding(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if key not in _DECIDE_NO_MASK}
