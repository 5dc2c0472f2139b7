"""Settings from dataclass fields: what is accepted, what the message says, where the help text comes from."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.settings import CheckedSettings, Option, Rule, at_least, help_texts, settings_of


@dataclass(frozen=True, kw_only=True)
class First(CheckedSettings):
    """How much."""

    count: Annotated[int, at_least(1), Option("N")] = 5
    """How many; ``None`` is not allowed,
    on two lines."""
    share: Annotated[float, Rule(lambda share: share < 1, "a number below 1")] | None = None
    kind: Literal["round", "square"] = "round"
    """Its shape."""


@dataclass(frozen=True, kw_only=True)
class Both(First):
    """Where to."""

    names: list[str] | None = None
    """Several."""
    size: int | str | list[int] = 1
    wide: bool = False
    title: str = "t"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"count": 7}, 7),
        ({"count": np.int64(7)}, 7),
        ({"share": 0}, 0.0),
        ({"share": None}, None),
        ({"names": ("a", "b")}, ["a", "b"]),
        ({"size": "1:8"}, "1:8"),
        ({"size": [1, 8]}, [1, 8]),
        ({"wide": True}, True),
    ],
)
def test_values_that_fit_take_the_type_of_the_field(given, kept) -> None:
    (name,) = given
    value = getattr(Both(**given), name)
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"count": 5.0}, "count is 5.0; it must be a whole number of at least 1"),
        ({"count": True}, "count is True; it must be a whole number of at least 1"),
        ({"count": "5"}, "count is '5'; it must be a whole number of at least 1"),
        ({"count": None}, "count is None; it must be a whole number of at least 1"),
        ({"count": 0}, "count is 0; it must be a whole number of at least 1"),
        ({"share": float("nan")}, "share is nan; it must be a number below 1"),
        ({"share": float("-inf")}, "share is -inf; it must be a number below 1"),
        ({"share": 10**400}, "it must be a number below 1"),
        ({"kind": "oval"}, "kind is 'oval'; it must be one of round, square"),
        ({"kind": 1}, "kind is 1; it must be one of round, square"),
        ({"names": "a"}, "names is 'a'; it must be a list; each item text"),
        ({"names": [1]}, "names is [1]; it must be a list; each item text"),
        ({"size": [True]}, "size is [True]; it must be a whole number or text or a list"),
        ({"wide": "no"}, "wide is 'no'; it must be true or false"),
        ({"wide": 1}, "wide is 1; it must be true or false"),
        ({"title": 5}, "title is 5; it must be text"),
    ],
)
def test_values_that_do_not_fit_are_named(given, says) -> None:
    with pytest.raises(UsageError) as caught:
        Both(**given)
    assert says in str(caught.value)


def test_help_comes_from_the_docstrings_and_headings_from_the_classes() -> None:
    texts = help_texts(Both)
    assert texts == {"count": "How many; None is not allowed, on two lines.", "kind": "Its shape.", "names": "Several."}
    assert [(s.name, s.group) for s in settings_of(Both)][:4] == [
        ("count", "How much"),
        ("share", "How much"),
        ("kind", "How much"),
        ("names", "Where to"),
    ]
