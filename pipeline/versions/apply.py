"""Edits applied to the rows of one video."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.dataset.tables import row_table
from pipeline.masks import areas_and_bboxes, decode_masks, encode_masks
from pipeline.schema import MASKS_SCHEMA, MaskRow, Rle, RowSource, Status
from pipeline.versions.edits import Action, Edit, row_text

Rows = dict[tuple[str, int], MaskRow]
"""A video's rows by expression and object."""
_LISTS = ("frames", "keyframes", "masks", "areas", "bboxes", "scores")


class EditError(ValueError):
    """An edit does not fit the dataset; the message names its line and says why."""


def edited_rows(rows: pa.Table, edits: Sequence[Edit], parent: str) -> pa.Table | None:
    """A video's rows in the new version.

    Args:
        rows: All rows of the video in the parent, in :data:`pipeline.schema.MASKS_SCHEMA`.
        edits: Those of this video, in the order in which they apply.
        parent: Version of the parent, for the column of that name.

    Returns:
        The rows, those that no edit names with the masks' very bytes; None if none is left.

    Raises:
        EditError: An edit names what is not there, or contradicts another.
    """
    ids = list(zip(rows["expression_id"].to_pylist(), rows["object_id"].to_pylist(), strict=True))
    touched_expressions = {edit.expression_id for edit in edits}
    places = [index for index, (expression_id, _) in enumerate(ids) if expression_id in touched_expressions]
    before: Rows = {ids[index]: _as_row(rows.slice(index, 1)) for index in places}
    frames = next((list(names) for names in rows["frames"].to_pylist() if names), []) if edits else []
    terms = rows.select(["license", "video_source"]).slice(0, 1).to_pylist()[0]
    after = _Video(dict(before), frames, _size(rows), terms).apply(edits)
    pieces = [rows.slice(index, 1) for index in range(len(ids)) if index not in set(places)]
    for key, row in after.items():
        unchanged = before.get(key) is row
        pieces.append(rows.slice(ids.index(key), 1) if unchanged else row_table(row))
    if not pieces:
        return None
    table = pa.concat_tables(piece.replace_schema_metadata(MASKS_SCHEMA.metadata) for piece in pieces)
    return with_lineage(table, parent)


def with_lineage(rows: pa.Table, parent: str) -> pa.Table:
    """Rows that say which version they were in before; those without a source are the model's."""
    sources = [source or RowSource.MODEL.value for source in rows["source"].to_pylist()]
    rows = rows.set_column(rows.schema.get_field_index("source"), MASKS_SCHEMA.field("source"), [sources])
    parents = [[parent] * rows.num_rows]
    return rows.set_column(rows.schema.get_field_index("parent"), MASKS_SCHEMA.field("parent"), parents)


class _Video:
    """The rows of the expressions that are edited, as they change; a row that is not changed stays the same object."""

    def __init__(self, rows: Rows, frames: list[str], size: tuple[int, int] | None, terms: dict[str, Any]) -> None:
        self._rows = rows
        self._terms = terms
        self._frames = frames
        self._size = size
        self._closed: dict[tuple[str, int], str] = {}
        """Rows that were dropped, merged or emptied, and the line that did it."""

    def apply(self, edits: Sequence[Edit]) -> Rows:
        actions: dict[Action, Callable[[Edit, MaskRow], None]] = {
            Action.KEEP: self._keep,
            Action.DROP: self._drop,
            Action.RENAME: self._rename,
            Action.FRAMES: self._cut,
            Action.MASKS: self._replace,
            Action.SPLIT: self._split,
            Action.MERGE: self._merge,
        }
        for edit in edits:
            if edit.action is Action.UNDECIDED:
                self._named(edit)
            elif edit.action is Action.ADD:
                self._add(edit)
            elif edit.action is Action.ABSENT:
                self._empty(edit)
            else:
                for row in self._named(edit):
                    actions[edit.action](edit, row)
        return self._rows

    def _named(self, edit: Edit) -> list[MaskRow]:
        """The rows that an edit names; at least one."""
        found = [
            row
            for (expression_id, object_id), row in self._rows.items()
            if expression_id == edit.expression_id and edit.object_id in (None, object_id)
        ]
        if found:
            return found
        closed = [
            line
            for (expression_id, object_id), line in self._closed.items()
            if expression_id == edit.expression_id and edit.object_id in (None, object_id)
        ]
        if closed:
            raise EditError(f"{edit.where}: contradicts {closed[0]}, after which the row is not there any more")
        raise EditError(f"{edit.where}: there is no {_named_text(edit)}")

    def _put(self, row: MaskRow, edit: Edit, **changes: Any) -> MaskRow:  # noqa: ANN401 - fields of a row
        changed = MaskRow(**{**_values(row), "source": edit.source, **changes})
        self._rows[changed.expression_id, changed.object_id] = changed
        return changed

    def _keep(self, edit: Edit, row: MaskRow) -> None:
        if row.source in (None, RowSource.MODEL):
            self._put(row, edit, source=RowSource.ACCEPTED.value)

    def _drop(self, edit: Edit, row: MaskRow) -> None:
        self._close(edit, row)

    def _close(self, edit: Edit, row: MaskRow) -> None:
        del self._rows[row.expression_id, row.object_id]
        self._closed[row.expression_id, row.object_id] = edit.where

    def _rename(self, edit: Edit, row: MaskRow) -> None:
        self._put(row, edit, expression=edit.expression)

    def _empty(self, edit: Edit) -> None:
        rows = self._named(edit)
        for row in rows:
            self._close(edit, row)
        count = len(self._frames)
        self._put(
            rows[0],
            edit,
            object_id=0,
            status=Status.NO_OBJECT.value,
            error=None,
            **self._space(),
            **_per_frame([None] * count, [0.0] * count),
            score=0.0,
        )
        self._closed = {key: line for key, line in self._closed.items() if key != (edit.expression_id, 0)}

    def _cut(self, edit: Edit, row: MaskRow) -> None:
        assert edit.frames is not None
        first, last = (self._frame(edit, name) for name in edit.frames)
        if first > last:
            raise EditError(f"{edit.where}: frame {edit.frames[0]!r} comes after frame {edit.frames[1]!r}")
        outside = {name: None for index, name in enumerate(row.frames) if not first <= index <= last}
        self._put_masks(edit, row, outside)

    def _replace(self, edit: Edit, row: MaskRow) -> None:
        self._put_masks(edit, row, dict(edit.masks))

    def _put_masks(self, edit: Edit, row: MaskRow, new: Mapping[str, Rle | None]) -> None:
        """Replace the masks of some frames; where a frame's mask changes, a person's word stands for the confidence."""
        row = self._with_frames(edit, row)
        masks, scores = list(row.masks), list(row.scores)
        for name, rle in new.items():
            index = self._frame(edit, name)
            if rle is not None and list(rle["size"]) != [row.height, row.width]:
                raise EditError(
                    f"{edit.where}: mask of frame {name!r} is of size {list(rle['size'])}, the video of "
                    f"[{row.height}, {row.width}]"
                )
            if masks[index] != rle or edit.action is Action.MASKS:  # a mask that was confirmed counts as well
                masks[index] = rle if rle is not None and any(areas_and_bboxes([rle])[0]) else None
                scores[index] = 0.0 if masks[index] is None else 1.0
        status = Status.OK.value if any(masks) else row.status
        self._put(row, edit, status=status, **_per_frame(masks, scores))

    def _split(self, edit: Edit, row: MaskRow) -> None:
        at = self._frame(edit, edit.at or "")
        row = self._with_frames(edit, row)
        new_id = self._next_object(edit.expression_id)
        empty: list[Rle | None] = [None] * len(row.masks)
        zeros = [0.0] * len(row.masks)
        self._put(row, edit, **_per_frame(row.masks[:at] + empty[at:], row.scores[:at] + zeros[at:]))
        later = _per_frame(empty[:at] + row.masks[at:], zeros[:at] + row.scores[at:])
        self._put(row, edit, object_id=new_id, **later)

    def _merge(self, edit: Edit, row: MaskRow) -> None:
        row = self._with_frames(edit, row)
        assert row.height is not None
        assert row.width is not None
        masks, scores = list(row.masks), list(row.scores)
        for object_id in edit.others:
            other = self._rows.get((edit.expression_id, object_id))
            if other is None:
                raise EditError(
                    f"{edit.where}: there is no {row_text((edit.video_id, edit.expression_id, object_id))} to merge"
                )
            for index, rle in enumerate(other.masks):
                if rle is None:
                    continue
                pair = [rle] if masks[index] is None else [masks[index], rle]
                union = np.logical_or.reduce(decode_masks(pair, row.height, row.width), axis=0, keepdims=True)
                masks[index] = encode_masks(union)[0]
                scores[index] = max(scores[index], other.scores[index])
            self._close(edit, other)
        self._put(row, edit, **_per_frame(masks, scores))

    def _add(self, edit: Edit) -> None:
        rows = [row for (expression_id, _), row in self._rows.items() if expression_id == edit.expression_id]
        if not rows and edit.expression is None:
            raise EditError(f"{edit.where}: there is no {_named_text(edit)}; a new one needs its text in expression")
        without = next((row for row in rows if row.status != Status.OK), None)
        text = rows[0].expression if rows else str(edit.expression)
        blank = without or MaskRow(
            video_id=edit.video_id,
            expression_id=edit.expression_id,
            expression=text,
            object_id=self._next_object(edit.expression_id),
            status=Status.NO_OBJECT.value,
            **self._terms,
        )
        self._put_masks(edit, blank, dict(edit.masks))

    def _with_frames(self, edit: Edit, row: MaskRow) -> MaskRow:
        """A row with masks for every frame, maybe none; a failed one has no frames of its own."""
        count = len(self._frames)
        if row.frames:
            filled = {"masks": row.masks or [None] * count, "scores": row.scores or [0.0] * count}
            return MaskRow(**{**_values(row), **filled})
        if not self._frames or self._size is None:
            raise EditError(f"{edit.where}: no row of video {edit.video_id!r} says which frames it has")
        status = Status.NO_OBJECT.value
        empty = _per_frame([None] * count, [0.0] * count)
        return MaskRow(**{**_values(row), "status": status, "error": None, **self._space(), **empty})

    def _space(self) -> dict[str, Any]:
        height, width = self._size or (None, None)
        return {"frames": list(self._frames), "height": height, "width": width}

    def _frame(self, edit: Edit, name: str) -> int:
        try:
            return self._frames.index(name)
        except ValueError as error:
            raise EditError(f"{edit.where}: video {edit.video_id!r} has no frame {name!r}") from error

    def _next_object(self, expression_id: str) -> int:
        taken = [key[1] for key in (*self._rows, *self._closed) if key[0] == expression_id]
        return max(taken, default=-1) + 1


def _per_frame(masks: list[Rle | None], scores: list[float]) -> dict[str, Any]:
    areas, boxes = areas_and_bboxes(masks)
    return {"masks": masks, "areas": areas, "bboxes": boxes, "scores": scores}


def _values(row: MaskRow) -> dict[str, Any]:
    return {item.name: getattr(row, item.name) for item in fields(MaskRow)}


def _as_row(table: pa.Table) -> MaskRow:
    values = table.to_pylist()[0]
    return MaskRow(**{**values, **{name: values[name] or [] for name in _LISTS}})


def _size(rows: pa.Table) -> tuple[int, int] | None:
    sizes = zip(rows["height"].to_pylist(), rows["width"].to_pylist(), strict=True)
    return next(((height, width) for height, width in sizes if height and width), None)


def _named_text(edit: Edit) -> str:
    if edit.object_id is not None:
        return row_text((edit.video_id, edit.expression_id, edit.object_id))
    return f"video {edit.video_id!r}, expression {edit.expression_id!r}"
