"""What differs between two datasets: rows added, dropped and renamed, and masks changed, with how much they overlap.

Rows are compared by hashes of 64 bits first, so that of large datasets only what differs is held.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pycocotools import mask as coco

from pipeline.dataset.layout import part_of
from pipeline.dataset.reader import MaskDataset
from pipeline.dataset.run_file import read_run
from pipeline.schema import Rle
from pipeline.versions.edits import RowId

_ID_COLUMNS = ("video_id", "expression_id", "object_id")
_COLUMNS = (*_ID_COLUMNS, "expression", "status", "height", "width", "frames", "masks")
_VIDEOS_AT_ONCE = 100


@dataclass(frozen=True, kw_only=True)
class ChangedRow:
    """A row whose masks, frames or status are not the same in both.

    Attributes:
        row: Its id.
        iou: Mean over the frames that show the object in either; 1 if none does. 0 where the videos' sizes differ.
        frames: Number of frames whose masks differ.
        status: In the first and in the second.
    """

    row: RowId
    iou: float
    frames: int
    status: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Everything that differs, each list in the order of ids.

    Attributes:
        added, dropped: Rows that only the second, or only the first has.
        renamed: Rows with another expression, and the expressions of both.
        changed: Rows with other masks; such a row may be renamed as well.
        same: Number of rows that are equal in all this.
    """

    added: list[RowId]
    dropped: list[RowId]
    renamed: list[tuple[RowId, str, str]]
    changed: list[ChangedRow]
    same: int

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        return {
            "same": self.same,
            "added": [_named(row) for row in self.added],
            "dropped": [_named(row) for row in self.dropped],
            "renamed": [{**_named(row), "from": old, "to": new} for row, old, new in self.renamed],
            "changed": [
                {**_named(item.row), "iou": round(item.iou, 6), "frames": item.frames, "status": list(item.status)}
                for item in self.changed
            ],
        }


def diff(first: str, second: str) -> Difference:
    """Compare two datasets by (video, expression, object).

    Raises:
        UsageError: One of them is no mask dataset.
        DamagedDatasetError: Rows do not read back.
    """
    a, b = _Digests.of(MaskDataset(first)), _Digests.of(MaskDataset(second))
    only_a, only_b = a.keys_not_in(b), b.keys_not_in(a)
    common, index_a, index_b = np.intersect1d(a.keys, b.keys, assume_unique=True, return_indices=True)
    renamed = common[a.texts[index_a] != b.texts[index_b]]
    changed = common[a.masks[index_a] != b.masks[index_b]]
    names_a = _names(first, np.concatenate([only_a, renamed, changed]))
    names_b = _names(second, np.concatenate([only_b, renamed]))
    return Difference(
        added=sorted(names_b[key][0] for key in only_b.tolist()),
        dropped=sorted(names_a[key][0] for key in only_a.tolist()),
        renamed=sorted((*names_a[key], names_b[key][1]) for key in renamed.tolist()),
        changed=_changed(first, second, sorted(names_a[key][0] for key in changed.tolist())),
        same=len(common) - len(np.union1d(renamed, changed)),
    )


@dataclass(frozen=True)
class _Digests:
    """One entry a row, sorted by key: hashes of its id, of its expression, and of its masks, frames and status."""

    keys: np.ndarray
    texts: np.ndarray
    masks: np.ndarray

    @classmethod
    def of(cls, dataset: MaskDataset) -> "_Digests":
        parts = [np.zeros((0, 3), np.int64)]
        for batch in dataset.iter_row_batches(_COLUMNS):
            texts = map(hash, batch["expression"].to_pylist())
            parts.append(np.column_stack([_keys(batch), np.fromiter(texts, np.int64), _mask_hashes(batch)]))
        table = np.concatenate(parts)
        table = table[np.argsort(table[:, 0], kind="stable")]
        return cls(table[:, 0], table[:, 1], table[:, 2])

    def keys_not_in(self, other: "_Digests") -> np.ndarray:
        return np.setdiff1d(self.keys, other.keys, assume_unique=True)


def _keys(batch: pa.Table) -> np.ndarray:
    ids = zip(*(batch[name].to_pylist() for name in _ID_COLUMNS), strict=True)
    return np.fromiter(map(hash, ids), np.int64)


def _mask_hashes(batch: pa.Table) -> np.ndarray:
    facts = batch.select(["status", "height", "width", "frames"]).to_pylist()
    masks = batch["masks"].combine_chunks()
    hashes = [
        hash((tuple(_counts(masks[index])), *(tuple(v) if isinstance(v, list) else v for v in row.values())))
        for index, row in enumerate(facts)
    ]
    return np.array(hashes, np.int64)


def _counts(masks: pa.ListScalar) -> list[str | None]:
    return [] if masks.values is None else pc.struct_field(masks.values, "counts").to_pylist()


def _names(url: str, keys: np.ndarray) -> dict[int, tuple[RowId, str]]:
    """Id and expression of the rows that the hashes stand for."""
    if not len(keys):
        return {}
    wanted = set(keys.tolist())
    found = {}
    for batch in MaskDataset(url).iter_row_batches((*_ID_COLUMNS, "expression")):
        for key, row in zip(_keys(batch).tolist(), batch.to_pylist(), strict=True):
            if key in wanted:
                found[key] = (_row_id(row), row["expression"])
    return found


def _changed(first: str, second: str, rows: Sequence[RowId]) -> list[ChangedRow]:
    """Compare the masks of some rows, of a hundred videos of one part of the first dataset at a time."""
    found = []
    parts = read_run(MaskDataset(first).url).get("parts") or 1
    of_video: dict[str, list[RowId]] = {}
    for row in rows:
        of_video.setdefault(row[0], []).append(row)
    videos = sorted(of_video, key=lambda video_id: (part_of(video_id, parts), video_id))
    for start in range(0, len(videos), _VIDEOS_AT_ONCE):
        some = videos[start : start + _VIDEOS_AT_ONCE]
        wanted = {row for video_id in some for row in of_video[video_id]}
        before = dict(_rows(first, some, wanted))
        found += [_compare(row_id, before[row_id], values) for row_id, values in _rows(second, some, wanted)]
    return sorted(found, key=lambda item: item.row)


def _rows(url: str, videos: Sequence[str], wanted: Collection[RowId]) -> Iterator[tuple[RowId, dict[str, Any]]]:
    for batch in MaskDataset(url, video_ids=videos).iter_row_batches(_COLUMNS):
        ids = batch.select(_ID_COLUMNS).to_pylist()
        for index, values in enumerate(ids):
            if _row_id(values) in wanted:
                yield _row_id(values), batch.slice(index, 1).to_pylist()[0]


def _compare(row_id: RowId, before: dict[str, Any], after: dict[str, Any]) -> ChangedRow:
    status = (before["status"], after["status"])
    old = dict(zip(before["frames"] or (), before["masks"] or (), strict=False))
    new = dict(zip(after["frames"] or (), after["masks"] or (), strict=False))
    frames = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ChangedRow(row=row_id, iou=_mean_iou(old, new), frames=len(frames), status=status)


def _mean_iou(old: dict[str, Rle | None], new: dict[str, Rle | None]) -> float:
    shown = [name for name in {**old, **new} if old.get(name) or new.get(name)]
    if not shown:
        return 1.0
    return sum(mask_iou(old.get(name), new.get(name)) for name in shown) / len(shown)


def mask_iou(one: Rle | None, other: Rle | None) -> float:
    """IoU of two masks of a frame; 1 where both are empty, 0 where their sizes differ."""
    if one is None or other is None or list(one["size"]) != list(other["size"]):
        return float(one is None and other is None)
    pair = [{"size": list(rle["size"]), "counts": rle["counts"].encode("ascii")} for rle in (one, other)]
    union = int(coco.area(coco.merge(pair)))
    return int(coco.area(coco.merge(pair, intersect=True))) / union if union else 1.0


def _row_id(row: dict[str, Any]) -> RowId:
    return row["video_id"], row["expression_id"], row["object_id"]


def _named(row: RowId) -> dict[str, Any]:
    return dict(zip(_ID_COLUMNS, row, strict=True))
