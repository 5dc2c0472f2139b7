"""The edit file: JSON Lines, each of which does one thing to one row, or to all rows of an expression."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipeline.errors import AccessDeniedError, UsageError
from pipeline.masks import compressed
from pipeline.schema import Rle, RowSource
from pipeline.storage import MissingFileError, absolute, read_bytes, scrub

RowId = tuple[str, str, int]
"""``(video_id, expression_id, object_id)``."""


class Action(StrEnum):
    """What an edit does."""

    UNDECIDED = "undecided"
    """Nothing."""
    KEEP = "keep"
    """A person has accepted the row; only its ``source`` changes."""
    DROP = "drop"
    """The row is left out."""
    ABSENT = "absent"
    """What the expression names is not in the video: its rows become one without an object."""
    RENAME = "rename"
    """The expression gets the text in ``expression``."""
    FRAMES = "frames"
    """The object is there only from the first to the last of the two frames in ``frames``."""
    MASKS = "masks"
    """``masks`` maps frame names to the masks that replace what is there; null removes."""
    SPLIT = "split"
    """From the frame in ``at`` on, the track becomes another object of the expression."""
    MERGE = "merge"
    """The objects in ``with`` are united with this one and vanish."""
    ADD = "add"
    """Another object of the expression, with ``masks``; of a new expression if ``expression`` has its text."""


_OF_ONE_OBJECT = frozenset({Action.FRAMES, Action.MASKS, Action.SPLIT, Action.MERGE})
_OF_AN_EXPRESSION = frozenset({Action.ABSENT, Action.RENAME, Action.ADD})
_NEEDS = {
    Action.RENAME: "expression",
    Action.FRAMES: "frames",
    Action.MASKS: "masks",
    Action.SPLIT: "at",
    Action.MERGE: "with",
    Action.ADD: "masks",
}
_KNOWN = frozenset({"video_id", "expression_id", "object_id", "action", "source", "comment", *_NEEDS.values()})
_REMARKS = frozenset({"reason", "score", "presence", "expression"})
"""What a line of ``review.jsonl`` or of the report says beside; ignored."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One line.

    Attributes:
        video_id, expression_id: Which rows.
        object_id: Which one of the expression's; None is all of them.
        action: What to do.
        expression: New text, for ``rename`` and ``add``.
        frames: First and last frame, for ``frames``.
        masks: By frame, for ``masks`` and ``add``.
        at: Frame, for ``split``.
        others: Objects, for ``merge``.
        source: Who says so, for the column ``source``.
        comment: Of a person; kept in the new version's ``edits.jsonl``.
        where: The line, for messages.
    """

    video_id: str
    expression_id: str
    object_id: int | None
    action: Action
    expression: str | None = None
    frames: tuple[str, str] | None = None
    masks: Mapping[str, Rle | None] = field(default_factory=dict)
    at: str | None = None
    others: tuple[int, ...] = ()
    source: str = RowSource.PERSON
    comment: str | None = None
    where: str = ""

    def as_json(self) -> dict[str, Any]:
        """The line as an object; what is not set is left out."""
        values: dict[str, Any] = {
            "video_id": self.video_id,
            "expression_id": self.expression_id,
            "object_id": self.object_id,
            "action": self.action.value,
            "expression": self.expression,
            "frames": list(self.frames) if self.frames else None,
            "masks": dict(self.masks) if self.action in (Action.MASKS, Action.ADD) else None,
            "at": self.at,
            "with": list(self.others) or None,
            "source": self.source,
            "comment": self.comment,
        }
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class EditFile:
    """Edits in their order.

    Attributes:
        edits: Without lines that neither decide nor remark anything.
        undecided: Lines that decide nothing yet.
    """

    edits: list[Edit]
    undecided: int = 0

    @property
    def digest(self) -> str:
        """Stands for all that the edits do."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """As an edit file again."""
        lines = [json.dumps(edit.as_json(), ensure_ascii=False, sort_keys=True) + "\n" for edit in self.edits]
        return "".join(lines).encode("utf-8", "replace")

    def by_video(self) -> dict[str, list[Edit]]:
        """The edits of each video."""
        found: dict[str, list[Edit]] = {}
        for edit in self.edits:
            found.setdefault(edit.video_id, []).append(edit)
        return found


def read_edits(url: str) -> EditFile:
    """Read an edit file.

    Raises:
        UsageError: There is none, or a line is not an edit; the message names the line.
    """
    try:
        text = read_bytes(absolute(url)).decode("utf-8-sig")
    except (MissingFileError, AccessDeniedError) as error:
        raise UsageError(str(error)) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{scrub(url)}: is not UTF-8 text ({error})") from error
    return parse_edits(text.split("\n"), name=scrub(url))


def parse_edits(lines: Iterable[str], *, name: str) -> EditFile:
    """Read the lines of an edit file called ``name``. Raises UsageError."""
    edits: list[Edit] = []
    undecided = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{name}:{number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{where}: is not a JSON object on one line ({error})") from error
        try:
            edit = _edit(values, where)
        except ValueError as error:
            raise UsageError(f"{where}: {error}") from error
        if edit.action is Action.UNDECIDED:
            undecided += 1
        if edit.action is not Action.UNDECIDED or edit.comment:
            edits.append(edit)
    return EditFile(edits, undecided)


def _edit(values: Any, where: str) -> Edit:  # noqa: ANN401 - whatever stood in a file
    if not isinstance(values, dict):
        raise ValueError("is not a JSON object")
    unknown = sorted(set(values) - _KNOWN - _REMARKS)
    if unknown:
        raise ValueError(f"does not know {', '.join(unknown)}; known are {', '.join(sorted(_KNOWN))}")
    action = _action(values.get("action"))
    needed = _NEEDS.get(action)
    if needed is not None and values.get(needed) is None:
        raise ValueError(f"action {action} needs {needed}")
    object_id = values.get("object_id")
    if object_id is not None and not _is_whole(object_id):
        raise ValueError(f"object_id is {object_id!r}; it must be a whole number of at least 0")
    if action in _OF_ONE_OBJECT and object_id is None:
        raise ValueError(f"action {action} needs object_id")
    if action in _OF_AN_EXPRESSION:
        object_id = None
    return Edit(
        video_id=_text(values, "video_id"),
        expression_id=_text(values, "expression_id"),
        object_id=object_id,
        action=action,
        expression=_optional_text(values, "expression") if action in (Action.RENAME, Action.ADD) else None,
        frames=_frames(values["frames"]) if action is Action.FRAMES else None,
        masks=_masks(values["masks"]) if action in (Action.MASKS, Action.ADD) else {},
        at=_text(values, "at") if action is Action.SPLIT else None,
        others=_objects(values["with"], object_id) if action is Action.MERGE else (),
        source=_optional_text(values, "source") or RowSource.PERSON,
        comment=_optional_text(values, "comment"),
        where=where,
    )


def _action(name: object) -> Action:
    try:
        return Action(str(name))
    except ValueError as error:
        raise ValueError(f"action is {name!r}; it must be one of {', '.join(Action)}") from error


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}; it must be text")
    return value


def _optional_text(values: Mapping[str, Any], name: str) -> str | None:
    return None if values.get(name) is None else _text(values, name)


def _frames(value: object) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(name, str) for name in value):
        raise ValueError("frames must be the names of the first and the last frame")
    return value[0], value[1]


def _masks(value: object) -> dict[str, Rle | None]:
    if not isinstance(value, dict) or not value:
        raise ValueError("masks must map frame names to run-length masks or null")
    found: dict[str, Rle | None] = {}
    for frame, rle in value.items():
        try:
            found[frame] = None if rle is None else compressed(rle)
        except ValueError as error:
            raise ValueError(f"mask of frame {frame!r}: {error}") from error
    return found


def _objects(value: object, object_id: int | None) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or not all(_is_whole(number) for number in value):
        raise ValueError("with must list object ids")
    if object_id in value or len(set(value)) != len(value):
        raise ValueError(f"with must list other objects than {object_id}, each once")
    return tuple(value)


def _is_whole(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31


def row_text(row: RowId | Sequence[Any]) -> str:
    """A row's id for messages."""
    return f"video {row[0]!r}, expression {row[1]!r}, object {row[2]}"
