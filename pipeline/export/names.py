"""Names in a submission: which ids and frame names can be files there, and how others are written where that is free.

A benchmark's server looks for its own ids, so there a name that cannot be a file costs its own expressions. A format of
our own writes such characters as ``%3A``, as URLs do.
"""

from collections.abc import Sequence
from enum import StrEnum

from pipeline.errors import PipelineError
from pipeline.manifest.rows import shown
from pipeline.schema import VideoTask

MAX_NAME_BYTES = 255 - len(".png")
"""File systems refuse longer names."""
_REFUSED = '/\\:*?"<>|'
"""Characters that one or another file system or zip program refuses in a name."""


class NameStyle(StrEnum):
    """What a format makes of ids and frame names."""

    FREE = "free"
    """They only stand as text inside a file."""
    FOLDERS = "folders"
    """Each is one folder or file name, and has to be the benchmark's own."""
    NESTED = "nested"
    """As ``FOLDERS``, but a video id may be a path of several folders."""
    ESCAPED = "escaped"
    """As ``NESTED``; characters that cannot be in a name are escaped by :func:`escaped`."""


class UnsafePathError(PipelineError):
    """A path of an export would leave the export's own folder."""


def name_problem(name: str) -> str | None:
    """Why ``name`` cannot be one file or folder name; None if it can."""
    if name in ("", ".", ".."):
        return f"{shown(name)} cannot be a file or folder name in a submission"
    bad = [character for character in name if character in _REFUSED or not character.isprintable()]
    if bad:
        return f"{shown(name)} cannot be a file or folder name in a submission: it holds {shown(bad[0])}"
    if len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        return (
            f"{shown(name)} cannot be a file or folder name in a submission: it is longer than {MAX_NAME_BYTES} bytes"
        )
    return None


def escaped(name: str) -> str:
    """``name`` as one file name: what cannot be in it becomes ``%`` and two hex digits for each byte in UTF-8.

    Example:
        >>> escaped("clip:7"), escaped(".."), escaped("100%")
        ('clip%3A7', '%2E%2E', '100%25')
    """
    if name in (".", ".."):
        return name.replace(".", "%2E")
    return "".join(
        character if character not in _REFUSED + "%" and character.isprintable() else _percent(character)
        for character in name
    )


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "replace"))


def written_video(video_id: str, style: NameStyle) -> str:
    """A video id as a format of this style writes it into paths."""
    return "/".join(map(escaped, video_id.split("/"))) if style is NameStyle.ESCAPED else video_id


def written_name(name: str, style: NameStyle) -> str:
    """An expression id or frame name as a format of this style writes it into paths."""
    return escaped(name) if style is NameStyle.ESCAPED else name


def unusable_names(task: VideoTask, frames: Sequence[str], style: NameStyle) -> dict[str, str]:
    """Expressions of a video that cannot be written in a format, because of a name.

    Args:
        task: The video; where its own id or a frame name is the trouble, all of its expressions are named.
        frames: Names of its frames.
        style: What the format makes of names.

    Returns:
        By expression id: why.
    """
    if style is NameStyle.FREE:
        return {}
    parts = [task.video_id] if style is NameStyle.FOLDERS else task.video_id.split("/")
    for name in (*parts, *frames):
        problem = name_problem(written_name(name, style))
        if problem is not None:
            return {expression.expression_id: problem for expression in task.expressions}
    problems = {item.expression_id: name_problem(written_name(item.expression_id, style)) for item in task.expressions}
    return {key: problem for key, problem in problems.items() if problem is not None}


def safe_path(path: str) -> str:
    """``path`` itself, if it stays below the folder it is relative to.

    Raises:
        UnsafePathError: It is absolute, climbs out, or holds a backslash or a NUL.
    """
    parts = path.split("/")
    if not path or "\\" in path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise UnsafePathError(f"{shown(path)}: refused: it is not a path inside the export")
    if len(parts[0]) > 1 and parts[0][1] == ":":
        raise UnsafePathError(f"{shown(path)}: refused: it is not a path inside the export")
    return path
