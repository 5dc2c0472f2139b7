"""A judge's reply as a vote, and votes as a verdict."""

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_ANSWER = re.compile(r"\b(yes|no)\b", re.IGNORECASE)
_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_AROUND_WORDS = " \t\n\r\"'`*_.,:;!?()[]{}\u2581\u0120"
"""Blanks, quotes and marks, and what vocabularies write for a blank."""
_KEPT_CHARACTERS = 200


class UnusableReplyError(Exception):
    """A reply is no answer to the question; the message says what it is instead."""


@dataclass(frozen=True, kw_only=True)
class Vote:
    """What one judge said."""

    model: str
    vote: float
    """Probability of yes, 0..1; 1 or 0 where the server gives no probabilities."""
    from_logprobs: bool
    answer: str
    """The reply's beginning."""


def vote_of(payload: object, model: str) -> Vote:
    """The vote in the body of a chat completion.

    The probability of yes against no is taken from the token that decides, where the server tells probabilities;
    else from the first yes or no of the text. Thoughts between ``<think>`` and ``</think>`` do not count.

    Raises:
        UnusableReplyError: It holds neither yes nor no, or is no chat completion.
    """
    choice, text = _choice(payload)
    said = _ANSWER.search(_THOUGHT.sub("", text))
    if said is None:
        cut = ", cut off at --max-tokens" if choice.get("finish_reason") == "length" else ""
        raise UnusableReplyError(f"the reply is neither yes nor no{cut}: {_short(text)!r}")
    probability = _probability_of_yes(choice.get("logprobs"), said[1].casefold())
    if probability is None:
        vote, from_logprobs = float(said[1].casefold() == "yes"), False
    else:
        vote, from_logprobs = probability, True
    return Vote(model=model, vote=vote, from_logprobs=from_logprobs, answer=_short(text))


def verdict_of(votes: Sequence[Vote], agreement: str) -> float:
    """One number, 0..1, from the votes of all judges.

    ``majority`` takes the median: above 0.5 if most say yes, the mean of the two in the middle of an even number;
    ``unanimity`` the lowest: above 0.5 if all do.
    """
    values = [vote.vote for vote in votes]
    return min(values) if agreement == "unanimity" else statistics.median(values)


def _choice(payload: object) -> tuple[dict[str, Any], str]:
    try:
        choice = payload["choices"][0]  # type: ignore[index]
        content = choice["message"]["content"]
    except (TypeError, KeyError, IndexError):
        raise UnusableReplyError(f"the reply is no chat completion: {_short(str(payload))!r}") from None
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if not isinstance(content, str):
        raise UnusableReplyError("the reply holds no text")
    return choice, content


def _probability_of_yes(logprobs: object, said: str) -> float | None:
    """From the first token after the thoughts that is ``said`` alone; None where the server does not tell."""
    entries = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(entries, list):
        return None
    entries = [entry for entry in entries if isinstance(entry, dict)]
    thought = max((i for i, entry in enumerate(entries) if "</think>" in str(entry.get("token"))), default=-1)
    deciding = next((entry for entry in entries[thought + 1 :] if _word(entry) == said), None)
    if deciding is None:
        return None
    listed = deciding.get("top_logprobs")
    if not isinstance(listed, list) or not listed:
        chance = _chance(deciding)
        return None if chance is None else chance if said == "yes" else 1 - chance
    chances = {"yes": 0.0, "no": 0.0}
    for entry in listed:
        if isinstance(entry, dict) and _word(entry) in chances:
            chances[_word(entry)] += _chance(entry) or 0.0
    total = sum(chances.values())
    return chances["yes"] / total if total > 0 else None


def _chance(entry: dict[str, Any]) -> float | None:
    value = entry.get("logprob")
    if not isinstance(value, int | float) or math.isnan(value):
        return None
    return math.exp(min(0.0, value))


def _word(entry: dict[str, Any]) -> str:
    return str(entry.get("token", "")).strip(_AROUND_WORDS).casefold()


def _short(text: str) -> str:
    joined = " ".join(text.split())
    return joined if len(joined) <= _KEPT_CHARACTERS else joined[: _KEPT_CHARACTERS - 3] + "..."
