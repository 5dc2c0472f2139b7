"""Rows of (video, expression), wherever they come from, become one task per video; contradictions are refused."""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from pipeline.errors import UsageError
from pipeline.schema import Expression, VideoTask
from pipeline.storage import resolve
from pipeline.video.images import IMAGE_SUFFIXES


class ManifestRow(NamedTuple):
    """One row as read: types are checked, nothing else."""

    place: str
    """Where in the file, for messages: ``line 7``, ``row 7``."""
    video_id: str
    video: str
    expression_id: str
    expression: str
    frames: tuple[str, ...] | None


@dataclass
class _Group:
    video: str
    frames: tuple[str, ...] | None
    expressions: dict[str, str] = field(default_factory=dict)


def group_rows(rows: Iterable[ManifestRow], *, manifest: str, base: str) -> list[VideoTask]:
    """One task per video, in order of first appearance; relative videos are taken from the folder ``base``.

    Raises:
        UsageError: An empty id or location, a (video_id, expression_id) given twice, or a video_id with two different
            locations or frame lists.
    """
    groups: dict[str, _Group] = {}
    for place, video_id, video, expression_id, expression, written_frames in rows:
        frames = None if written_frames is None else tuple(_frame_name(name) for name in written_frames)
        group = groups.get(video_id)
        if group is None:
            _check_new_video(manifest, place, video_id, video, frames)
            group = groups[video_id] = _Group(video, frames)
        elif group.video != video:
            raise UsageError(
                f"{manifest}: {place}: column 'video': video_id {shown(video_id)} is {shown(video)} here "
                f"and {shown(group.video)} before; one video_id names one video"
            )
        elif group.frames != frames:
            raise UsageError(
                f"{manifest}: {place}: column 'frames': video_id {shown(video_id)} has another list of frames before; "
                "give every row of a video the same list"
            )
        if not expression_id:
            raise UsageError(f"{manifest}: {place}: column 'expression_id' is empty")
        if expression_id in group.expressions:
            raise UsageError(
                f"{manifest}: {place}: video_id {shown(video_id)} has expression_id {shown(expression_id)} twice; "
                "ids must be unique within a video"
            )
        group.expressions[expression_id] = expression
    return [
        VideoTask(
            video_id=video_id,
            video=resolve(group.video, base),
            expressions=tuple(Expression(expression_id=key, text=text) for key, text in group.expressions.items()),
            frames=group.frames,
        )
        for video_id, group in groups.items()
    ]


def shown(text: str) -> str:
    """``text`` quoted for a message: one line, control characters escaped, cut where long."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _frame_name(written: str) -> str:
    """The frame's name: as written, or without the extension of an image file (``00000.jpg``)."""
    stem, suffix = posixpath.splitext(written)
    return stem if suffix.lower() in IMAGE_SUFFIXES else written


def _check_new_video(manifest: str, place: str, video_id: str, video: str, frames: tuple[str, ...] | None) -> None:
    if not video_id:
        raise UsageError(f"{manifest}: {place}: column 'video_id' is empty")
    if not video:
        raise UsageError(f"{manifest}: {place}: column 'video' is empty")
    if frames is None:
        return
    if not frames:
        raise UsageError(f"{manifest}: {place}: column 'frames' is an empty list; leave it out to take every frame")
    if len(set(frames)) != len(frames):
        twice = next(name for index, name in enumerate(frames) if name in frames[:index])
        raise UsageError(f"{manifest}: {place}: column 'frames' names {shown(twice)} twice")
