"""What a tool's file says of a dataset's tracks, and the edits that make the dataset say the same."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.videos import count_rows, iter_videos
from pipeline.errors import UsageError
from pipeline.masks import decode_masks, encode_masks
from pipeline.schema import Rle
from pipeline.versions.diff import mask_iou
from pipeline.versions.edits import Action, Edit, EditFile

_COLUMNS = ("video_id", "expression_id", "object_id", "expression", "frames", "masks")
_MANY = 5


@dataclass(kw_only=True)
class TrackAnnotation:
    """One object in a tool's file.

    Attributes:
        expression: Its text, as the tool has it; None where the file does not say.
        masks: By frame; a frame that the file covers and that is not in here shows nothing.
        frames: Frames that the file covers of this object alone; None where it covers those of all objects.
    """

    expression: str | None = None
    masks: dict[str, Rle] = field(default_factory=dict)
    frames: set[str] | None = None

    def call(self, expression: str | None, where: str) -> None:
        """Take over the expression that one of the track's masks has, if it has one.

        Raises:
            UsageError: Another of its masks has another one; the message begins with ``where``.
        """
        if not expression:
            return
        if self.expression not in (None, expression):
            raise UsageError(
                f"{where}: one object has two expressions, {self.expression!r} and {expression!r}; make them the same"
            )
        self.expression = expression

    def add(self, frame: str, rle: Rle) -> None:
        """Add a mask; several of one frame are united."""
        before = self.masks.get(frame)
        if before is not None:
            height, width = rle["size"]
            union = np.logical_or.reduce(decode_masks([before, rle], height, width), axis=0)
            rle = encode_masks(union[None])[0] or rle
        self.masks[frame] = rle


@dataclass(kw_only=True)
class VideoAnnotation:
    """One video in a tool's file.

    Attributes:
        frames: Frames that the file covers, of every expression.
        frames_of: Frames that it covers of single expressions.
        tracks: By expression and object; an object id of None is one that was drawn anew.
        unions: By expression: the union of its objects, from files that do not tell objects apart.
    """

    frames: set[str] = field(default_factory=set)
    frames_of: dict[str, set[str]] = field(default_factory=dict)
    tracks: dict[tuple[str, int | None], TrackAnnotation] = field(default_factory=dict)
    unions: dict[str, TrackAnnotation] = field(default_factory=dict)

    def track(self, expression_id: str, object_id: int | None) -> TrackAnnotation:
        """A track, made where it is not there yet."""
        return self.tracks.setdefault((expression_id, object_id), TrackAnnotation())

    def union(self, expression_id: str) -> TrackAnnotation:
        """The union of an expression's objects, made where it is not there yet."""
        return self.unions.setdefault(expression_id, TrackAnnotation())

    def covered(self, expression_id: str, track: TrackAnnotation | None = None) -> set[str]:
        """Frames of which the file says where the objects of an expression are, or one of them."""
        if track is not None and track.frames is not None:
            return track.frames
        return self.frames | self.frames_of.get(expression_id, set())


Annotations = dict[str, VideoAnnotation]
"""By video id."""


def edits_of(dataset: str, annotations: Annotations, *, tool: str, keep_missing: bool = False) -> EditFile:
    """The edits that bring a dataset to what a tool's file says.

    Frames that the file does not cover stay as they are. A track that the file holds nothing of any more is dropped.

    Args:
        dataset: The dataset that was exported to the tool.
        annotations: What the tool wrote.
        tool: Its name, for the column ``source``.
        keep_missing: Leave tracks alone that are not in the file, for files of a part of what was exported.

    Raises:
        UsageError: The file speaks of videos or frames that the dataset does not hold, or of masks of another size.
    """
    source = MaskDataset(dataset, video_ids=sorted(annotations))
    rows_of = count_rows(source)
    unknown = [f"no video {video_id!r}" for video_id in annotations if video_id not in rows_of]
    edits: list[Edit] = []
    for video_id, rows in iter_videos(source, rows_of, _COLUMNS):
        found = _VideoEdits(video_id, annotations[video_id], tool, keep_missing)
        edits += found.of(rows.to_pylist())
        unknown += found.unknown
    if unknown:
        more = f" (and {len(unknown) - _MANY} more)" if len(unknown) > _MANY else ""
        raise UsageError(f"the annotations do not fit this dataset: {'; '.join(unknown[:_MANY])}{more}")
    return EditFile(edits)


class _VideoEdits:
    """Compares one video."""

    def __init__(self, video_id: str, annotation: VideoAnnotation, tool: str, keep_missing: bool) -> None:
        self._video_id = video_id
        self._annotation = annotation
        self._tool = tool
        self._keeps_missing = keep_missing
        self.unknown: list[str] = []

    def of(self, rows: list[dict[str, Any]]) -> list[Edit]:
        frames = {name for row in rows for name in row["frames"] or ()}
        annotation = self._annotation
        tracks = (*annotation.tracks.values(), *annotation.unions.values())
        of_tracks = (frames for track in tracks for frames in (track.masks, track.frames or ()))
        named = annotation.frames.union(*annotation.frames_of.values(), *of_tracks)
        if named - frames:
            self.unknown.append(f"video {self._video_id!r} has no frame {min(named - frames)!r}")
            return []
        left = dict(annotation.tracks)
        edits = self._union_edits(rows)
        for row in rows:
            if row["expression_id"] in annotation.unions:
                continue
            track = left.pop((row["expression_id"], row["object_id"]), None)
            edits += self._row_edits(row, track)
        texts = {row["expression_id"]: row["expression"] for row in rows}
        edits += self._renames(texts)
        for (expression_id, _), track in left.items():
            if track.masks:
                edits.append(self._added(expression_id, track, texts))
        return edits

    def _row_edits(self, row: dict[str, Any], track: TrackAnnotation | None) -> Iterator[Edit]:
        before = dict(zip(row["frames"] or (), row["masks"] or (), strict=False))
        shown = {name for name, rle in before.items() if rle is not None}
        covered = self._annotation.covered(row["expression_id"], track)
        if track is None:
            if self._keeps_missing or not covered & shown:
                return
            track = TrackAnnotation()
        if shown and shown <= covered and not track.masks:
            yield self._edit(Action.DROP, row["expression_id"], row["object_id"])
            return
        changes = {
            name: track.masks.get(name)
            for name in sorted(covered)
            if not _is_same(before.get(name), track.masks.get(name))
        }
        if changes:
            yield self._edit(Action.MASKS, row["expression_id"], row["object_id"], masks=changes)

    def _union_edits(self, rows: list[dict[str, Any]]) -> list[Edit]:
        """Edits of expressions of which the file has the union; only of a single object can it say what changed."""
        edits: list[Edit] = []
        for expression_id, track in self._annotation.unions.items():
            own = [row for row in rows if row["expression_id"] == expression_id]
            covered = self._annotation.covered(expression_id, track)
            where = f"video {self._video_id!r}, expression {expression_id!r}"
            if not own:
                self.unknown.append(f"{where} is not in the dataset")
            elif any(key[0] == expression_id for key in self._annotation.tracks):
                self.unknown.append(f"{where} has pictures of single objects and of all of them")
            elif len(own) == 1:
                found = list(self._row_edits(own[0], track))
                edits += [
                    self._edit(Action.ABSENT, expression_id, None) if e.action is Action.DROP else e for e in found
                ]
            elif not _shows_the_same(track, own, covered):
                self.unknown.append(
                    f"{where} has {len(own)} objects, and its pictures do not tell them apart; export it with "
                    "--objects all"
                )
        return edits

    def _renames(self, texts: Mapping[str, str]) -> Iterator[Edit]:
        """Expressions whose text was changed, on any of their masks."""
        told: dict[str, set[str]] = {}
        for (expression_id, object_id), track in self._annotation.tracks.items():
            if track.expression is not None and object_id is not None:
                told.setdefault(expression_id, set()).add(track.expression)
        for expression_id, names in told.items():
            if expression_id not in texts:
                continue
            new = sorted(names - {texts[expression_id]})
            if len(new) > 1:
                self.unknown.append(
                    f"video {self._video_id!r}, expression {expression_id!r} has several new texts: {new}"
                )
            elif new:
                yield self._edit(Action.RENAME, expression_id, None, expression=new[0])

    def _added(self, expression_id: str, track: TrackAnnotation, texts: Mapping[str, str]) -> Edit:
        text = None if expression_id in texts else track.expression or expression_id
        return self._edit(Action.ADD, expression_id, None, expression=text, masks=dict(track.masks))

    def _edit(self, action: Action, expression_id: str, object_id: int | None, **more: Any) -> Edit:  # noqa: ANN401
        where = f"video {self._video_id!r}, expression {expression_id!r}"
        return Edit(
            video_id=self._video_id,
            expression_id=expression_id,
            object_id=object_id,
            action=action,
            source=self._tool,
            where=where,
            **more,
        )


def _shows_the_same(track: TrackAnnotation, rows: list[dict[str, Any]], covered: set[str]) -> bool:
    """Whether a union is still that of some rows, or, as exports have it as well, the first of them."""
    before = [dict(zip(row["frames"] or (), row["masks"] or (), strict=False)) for row in rows]
    first, union = dict(before[0]), TrackAnnotation()
    for masks in before:
        for name, rle in masks.items():
            if rle is not None:
                union.add(name, rle)
    return any(
        all(_is_same(masks.get(name), track.masks.get(name)) for name in covered) for masks in (first, union.masks)
    )


def _is_same(one: Rle | None, other: Rle | None) -> bool:
    if one is None or other is None or one["counts"] == other["counts"]:
        return (one is None) == (other is None) and (one is None or other is None or one["size"] == other["size"])
    return mask_iou(one, other) == 1.0
