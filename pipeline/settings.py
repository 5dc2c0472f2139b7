"""Settings as dataclass fields: one place for a setting's name, type, default, help text and check.

A field is declared once, with its help text as the docstring under it::

    @dataclass(frozen=True, kw_only=True)
    class Limits:
        max_frames: Annotated[int, at_least(1)] | None = None
        '''Annotate at most this many frames of a video.'''

and :func:`check_settings` (called from ``__post_init__``), a YAML file and the command line
(:mod:`pipeline.cli.options`) all follow from it. Annotations may be ``int``, ``float``, ``bool``, ``str``,
``list[...]``, ``Literal[...]``, unions of these with ``None``, and ``Annotated`` with a :class:`Rule`, :class:`OneOf`
or :class:`Option`.
"""

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pipeline.errors import UsageError


@dataclass(frozen=True)
class Rule:
    """A condition on a setting's value.

    Attributes:
        fits: Whether a value of the right type is allowed.
        must_be: Completes "it must be ..." in the error message.
    """

    fits: Callable[[Any], bool]
    must_be: str


@dataclass(frozen=True)
class Option:
    """How a setting looks on the command line.

    Attributes:
        metavar: Placeholder of the value in the help text.
        positional: Given without a name.
        several: Of a list of texts: the name may be followed by several of them, and may itself be repeated.
    """

    metavar: str | None = None
    positional: bool = False
    several: bool = False


@dataclass(frozen=True)
class OneOf:
    """The allowed values of a text, where they come from a table; a ``Literal`` says the same of written-out ones."""

    names: tuple[str, ...]


def at_least(least: int) -> Rule:
    """A whole number that is not below ``least``."""
    return Rule(lambda value: value >= least, f"a whole number of at least {least}")


def between(lowest: float, highest: float) -> Rule:
    """A number within ``[lowest, highest]``."""
    return Rule(lambda value: lowest <= value <= highest, f"a number from {lowest:g} to {highest:g}")


POSITIVE = Rule(lambda value: value > 0, "a finite number above 0")
NOT_NEGATIVE = Rule(lambda value: value >= 0, "a finite number of at least 0")

_TYPE_NAMES = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text", list: "a list"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a dataclass field says about one setting.

    Attributes:
        name: Name of the field; the option is ``--name`` with dashes.
        types: Allowed types, among ``int``, ``float``, ``bool``, ``str`` and ``list``.
        optional: Whether ``None`` is allowed.
        choices: Allowed values; empty if there is no such list.
        items: For a list, the type of its items; else ``None``.
        rules: Conditions beyond the type.
        default: Value when it is not given; ``dataclasses.MISSING`` if it has to be given.
        group: First line of the docstring of the class that declares the field.
        option: How it looks on the command line.
    """

    name: str
    types: tuple[type, ...]
    optional: bool
    choices: tuple[str, ...]
    items: type | None
    rules: tuple[Rule, ...]
    default: Any
    group: str
    option: Option

    @property
    def must_be(self) -> str:
        """What a value must be, for messages."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.rules:
            return self.rules[-1].must_be
        if self.items is not None and self.types == (list,):
            return f"a list; each item {_TYPE_NAMES[self.items]}"
        return " or ".join(_TYPE_NAMES[kind] for kind in self.types)

    def parsed(self, text: str) -> Any:  # noqa: ANN401 - a setting has any type
        """Text from the command line in a type of the field; the text itself where it is none of them."""
        if self.types == (list,) and self.items is int:
            try:
                return [int(part) for part in text.split(",")]
            except ValueError:
                return text
        for kind in (int, float):
            if kind in self.types and str not in self.types:
                try:
                    return kind(text)
                except ValueError:
                    continue
        return text

    def checked(self, value: Any, called: str | None = None) -> Any:  # noqa: ANN401
        """``value`` in the field's own type (``2`` becomes ``2.0`` for a float).

        Args:
            value: What was given, of any type.
            called: What the error message calls the setting (default: its name).

        Raises:
            UsageError: It has another type, is not finite, is not among the choices, or breaks a rule.
        """
        if value is None and self.optional:
            return None
        plain = self._as_own_type(value)
        fits = plain is not None and (not self.choices or plain in self.choices)
        if not fits or not all(rule.fits(plain) for rule in self.rules):
            shown = repr(value) if not isinstance(value, str) or len(value) <= 80 else repr(value[:77] + "...")
            raise UsageError(f"{called or self.name} is {shown}; it must be {self.must_be}")
        return plain

    def _as_own_type(self, value: Any) -> Any:  # noqa: ANN401
        """``value`` converted without loss; ``None`` if its type does not fit."""
        if isinstance(value, bool):
            return value if bool in self.types else None
        if isinstance(value, Integral) and int in self.types:
            return int(value)
        if isinstance(value, Real) and float in self.types:
            return float(value) if _is_finite(value) else None
        if isinstance(value, str):
            return str(value) if str in self.types else None
        if isinstance(value, list | tuple) and list in self.types:
            return list(value) if all(_is_item(item, self.items) for item in value) else None
        return None


def _is_item(item: object, kind: type | None) -> bool:
    return kind is not None and isinstance(item, kind) and (kind is bool or not isinstance(item, bool))


def _is_finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False


def settings_of(cls: type) -> tuple[Setting, ...]:
    """The settings that a dataclass declares, base classes in the order in which ``cls`` names them."""
    owners = list(dict.fromkeys(_bases_first(cls)))
    owner_of = {name: owner for owner in owners for name in vars(owner).get("__annotations__", {})}
    made = []
    for field in fields(cls):
        owner = owner_of[field.name]
        kind = _Annotation(field.type)
        setting = Setting(
            name=field.name,
            types=tuple(dict.fromkeys(kind.types)),
            optional=kind.optional,
            choices=tuple(kind.choices),
            items=kind.items,
            rules=tuple(kind.rules),
            default=field.default if field.default_factory is MISSING else field.default_factory(),
            group=(inspect.getdoc(owner) or "options").splitlines()[0].rstrip("."),
            option=kind.option,
        )
        made.append((owners.index(owner), setting))
    return tuple(setting for _, setting in sorted(made, key=lambda pair: pair[0]))


def _bases_first(cls: type) -> Iterator[type]:
    """The classes that ``cls`` is made of, in reading order: its bases from left to right, then itself."""
    for base in cls.__bases__:
        yield from _bases_first(base)
    yield cls


def check_settings(config: Any) -> None:  # noqa: ANN401 - any dataclass
    """Check every field of a dataclass, for its ``__post_init__``; values take the fields' own types.

    Raises:
        UsageError: A value does not fit; the message names the setting.
    """
    for setting in settings_of(type(config)):
        object.__setattr__(config, setting.name, setting.checked(getattr(config, setting.name)))


class CheckedSettings:
    """Base of dataclasses whose fields are checked when an instance is made."""

    def __post_init__(self) -> None:
        check_settings(self)


class _Annotation:
    """A field's annotation, taken apart."""

    def __init__(self, annotation: Any) -> None:  # noqa: ANN401 - annotations have no common type
        self.types: list[type] = []
        self.choices: list[str] = []
        self.rules: list[Rule] = []
        self.option = Option()
        self.optional = False
        self.items: type | None = None
        self._add(annotation)

    def _add(self, annotation: Any) -> None:  # noqa: ANN401
        origin = get_origin(annotation)
        if origin is Annotated:
            inner, *extras = get_args(annotation)
            self._add(inner)
            self.rules += [extra for extra in extras if isinstance(extra, Rule)]
            self.choices += [name for extra in extras if isinstance(extra, OneOf) for name in extra.names]
            self.option = next((extra for extra in extras if isinstance(extra, Option)), self.option)
        elif origin in (Union, UnionType):
            for member in get_args(annotation):
                self._add(member)
        elif origin is Literal:
            self.types.append(str)
            self.choices += get_args(annotation)
        elif origin is list:
            self.types.append(list)
            (self.items,) = get_args(annotation)
        elif annotation is NoneType:
            self.optional = True
        elif annotation in _TYPE_NAMES:
            self.types.append(annotation)
        else:
            raise TypeError(f"{annotation} cannot be a setting's type")


def help_texts(cls: type) -> dict[str, str]:
    """Field name -> the docstring under the field, on one line; empty where the source is not available."""
    texts: dict[str, str] = {}
    for owner in _bases_first(cls):
        texts |= _docstrings(owner)
    return texts


def _docstrings(cls: type) -> dict[str, str]:
    try:
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError):
        return {}
    return dict(_documented(body)) if isinstance(body, ast.ClassDef) else {}


def _documented(body: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in zip(body.body, body.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield field.target.id, " ".join(str(text.value.value).split()).replace("``", "")


def missing_settings(cls: type, given: dict[str, Any]) -> list[str]:
    """Names of the settings of ``cls`` that have no default and are not in ``given``."""
    return [s.name for s in settings_of(cls) if s.default is MISSING and s.name not in given]
