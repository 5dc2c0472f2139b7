"""Reading a mask dataset: one row at a time for training code, or in bounded batches for everything else."""

import logging
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.files import PARALLEL_READS, BrokenFileError, mask_files, may_hold, read_row_group, with_parquet
from pipeline.dataset.layout import video_digest
from pipeline.dataset.run_file import read_run
from pipeline.dataset.verification import DamagedDatasetError, DamagedFile, damaged_file, row_groups_of
from pipeline.errors import UsageError
from pipeline.masks import decode_masks
from pipeline.schema import MASKS_SCHEMA, MaskRow
from pipeline.storage import FileInfo, absolute, exists, join, scrub

if TYPE_CHECKING:
    from pipeline.dataset.video_frames import VideoFrames

logger = logging.getLogger(__name__)

Filter = tuple[str, str, Any]
"""``(column, operator, value)`` with ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in`` or ``not in``."""

_INDEX_COLUMNS = ("video_id", "expression_id", "object_id")


@dataclass(frozen=True)
class MaskRecord:
    """One row of a mask dataset, its masks still encoded."""

    row: MaskRow
    videos: "VideoFrames | None" = None
    """Where its frames are read from, in a dataset that was opened with them."""

    def decode(self, frames: Sequence[int | str] | None = None) -> np.ndarray:
        """The masks as bool ``[T, height, width]``.

        Args:
            frames: Indices (negative ones count from the end) or names of the frames wanted; by default all.

        Raises:
            ValueError: The row has no masks (it ``failed``), or one of them is not a valid encoding.
            KeyError: A frame of that name is not in the row.
            IndexError: A frame index is out of range.
        """
        row = self.row
        if row.height is None or row.width is None:
            raise ValueError(
                f"video {row.video_id!r}, expression {row.expression_id!r} has no masks: {row.error or row.status}"
            )
        if frames is None:
            return decode_masks(row.masks, row.height, row.width)
        return decode_masks([row.masks[index] for index in self._indices(frames)], row.height, row.width)

    def read_frames(self, frames: Sequence[int | str] | None = None) -> np.ndarray:
        """The video's frames, uint8 RGB ``[T, height, width, 3]``, each beside the mask of the same index.

        Args:
            frames: As for :meth:`decode`; only these are decoded.

        Raises:
            ValueError: The dataset was opened without frames, or the row has no masks.
            VideoError: The video is not found, cannot be read, or is of another size than its masks.
        """
        row = self.row
        if self.videos is None:
            raise ValueError("open the dataset with with_frames=True to read frames")
        if row.height is None or row.width is None:
            raise ValueError(f"video {row.video_id!r}, expression {row.expression_id!r} has no frames: {row.error}")
        names = row.frames if frames is None else [row.frames[index] for index in self._indices(frames)]
        distinct = sorted(set(names), key=row.frames.index)
        read = dict(zip(distinct, self.videos.read(row.video_id, distinct, (row.height, row.width)), strict=True))
        found = [read[name] for name in names]
        return np.stack(found) if found else np.zeros((0, row.height, row.width, 3), np.uint8)

    def _indices(self, frames: Sequence[int | str]) -> list[int]:
        names = {name: index for index, name in enumerate(self.row.frames)}
        return [names[frame] if isinstance(frame, str) else frame for frame in frames]


class MaskDataset:
    """A mask dataset as a sequence of records; fits a PyTorch ``DataLoader`` with any number of workers.

    Nothing is read before it is needed: the length and the first access read an index (a few small columns), an
    access then one row group. Copies sent to worker processes open the files anew.

    Args:
        url: The dataset's directory, local or any fsspec URL.
        filters: Keep only rows for which all of these hold; row groups without such a row are not read further.
        video_ids: Keep only these videos; files of other videos are not opened.
        skip_damaged: Leave out rows that do not read back, and note them in ``damaged``, instead of raising.
        with_frames: Records can read their video's frames too. Videos are found by ``manifest``, else by the manifest
            of the run that made the dataset.
        manifest: Names the videos.
        videos: Folder that relative paths of videos start from.

    Attributes:
        damaged: With ``skip_damaged``, what did not read back so far.

    Raises:
        DamagedDatasetError: From every access to rows that do not read back.

    Example:
        >>> dataset = MaskDataset("out", filters=[("status", "==", "ok"), ("score", ">=", 0.8)])
        >>> len(dataset)
        128
        >>> dataset[0].decode(frames=["00000", "00005"]).shape
        (2, 480, 854)
    """

    def __init__(
        self,
        url: str,
        *,
        filters: Sequence[Filter] | None = None,
        video_ids: Sequence[str] | None = None,
        skip_damaged: bool = False,
        with_frames: bool = False,
        manifest: str | None = None,
        videos: str | None = None,
    ) -> None:
        self._with_frames = with_frames
        self._manifest, self._videos = manifest, videos
        self._video_frames: VideoFrames | None = None
        self.url = absolute(url)
        self.damaged: dict[tuple[str, int | None], DamagedFile] = {}
        self._skip_damaged = skip_damaged
        self._filters = list(filters or [])
        self._video_ids = set(video_ids) if video_ids is not None else None
        self._video_digests = {video_digest(video_id) for video_id in video_ids or ()}
        if self._video_ids is not None:
            self._filters.append(("video_id", "in", sorted(self._video_ids)))
        for column, *_ in self._filters:
            _check_column(column)
        self._index: pa.Table | None = None
        self._index_files: list[FileInfo] = []
        self._cached: tuple[tuple[int, int], pa.Table] | None = None

    def __len__(self) -> int:
        return int(self._rows().num_rows)

    def __getitem__(self, index: int) -> MaskRecord:
        rows = self._rows()
        if not -rows.num_rows <= index < rows.num_rows:
            raise IndexError(f"row {index} of a dataset with {rows.num_rows} rows")
        place = rows.slice(index % rows.num_rows, 1).to_pylist()[0]
        table = self._row_group(place["file"], place["row_group"])
        return MaskRecord(mask_row(table.slice(place["row"], 1).to_pylist()[0]), self._frames_of_videos())

    def _frames_of_videos(self) -> "VideoFrames | None":
        if self._with_frames and self._video_frames is None:
            from pipeline.dataset.video_frames import find_video_frames

            self._video_frames = find_video_frames(read_run(self.url), self._manifest, self._videos)
        return self._video_frames

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cached": None, "_video_frames": None}

    def iter_rows(self, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
        """Rows as dictionaries, file by file, with only ``columns`` (default: all); memory is bounded."""
        for batch in self.iter_row_batches(columns):
            for index in range(batch.num_rows):  # one by one: a whole batch as Python objects is many times its size
                yield batch.slice(index, 1).to_pylist()[0]

    def iter_row_batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Rows as Arrow tables of one row group each (about 32 MiB at most as this program writes them).

        A video's rows come together, one file after the other.

        Raises:
            UsageError: There is no dataset, or no such column.
            DamagedDatasetError: A file does not read back, unless ``skip_damaged`` leaves its rows out.
            StorageError: The storage failed for good.
        """
        wanted = list(columns) if columns is not None else list(MASKS_SCHEMA.names)
        for column in wanted:
            _check_column(column)
        for file in self._files():
            group, groups = 0, 1
            while group < groups:
                try:
                    groups, table = self._read_group(file, group, wanted)
                except BrokenFileError as error:
                    groups = row_groups_of(file)
                    self._skip(file, error, group if groups else None)
                    group += 1
                    continue
                group += 1
                if table.num_rows:
                    yield table

    def _files(self) -> list[FileInfo]:
        files = mask_files(self.url)
        if not files and not exists(join(self.url, "run.json")):
            raise UsageError(f"{scrub(self.url)}: not a mask dataset: no masks/*.parquet in it")
        if self._video_ids is not None:
            return [file for file in files if may_hold(file, self._video_digests)]
        return files

    def _read_group(self, file: FileInfo, group: int, columns: list[str]) -> tuple[int, pa.Table]:
        """The number of row groups of ``file``, and the rows of one of them that pass the filters."""

        def read(parquet: pq.ParquetFile) -> tuple[int, pa.Table]:
            groups = parquet.num_row_groups
            if group >= groups:
                return groups, MASKS_SCHEMA.empty_table().select(columns)
            keep = self._passing(parquet, group)
            if keep is not None and not len(keep):
                return groups, MASKS_SCHEMA.empty_table().select(columns)
            table = read_row_group(parquet, group, columns)
            return groups, table if keep is None else table.take(keep)

        return with_parquet(file, read)

    def _passing(self, parquet: pq.ParquetFile, group: int) -> pa.Array | None:
        """Which rows of a row group pass the filters, from the filtered columns alone; None without filters."""
        if not self._filters:
            return None
        if self._video_ids is not None and not _may_hold_any(parquet, group, self._video_ids):
            return pa.array([], pa.int64())
        columns = list(dict.fromkeys(column for column, *_ in self._filters))
        table = read_row_group(parquet, group, columns)
        numbered = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
        return numbered.filter(pq.filters_to_expression(self._filters)).column("row").combine_chunks()

    def _rows(self) -> pa.Table:
        """The index: ids, and the file, row group and row where each record stands."""
        if self._index is None:
            files = self._files()
            with ThreadPoolExecutor(max_workers=PARALLEL_READS) as pool:
                parts = list(pool.map(self._index_of, range(len(files)), files))
            self._index = pa.concat_tables([_EMPTY_INDEX, *(part for part in parts if part is not None)])
            self._index_files = files
        return self._index

    def _index_of(self, number: int, file: FileInfo) -> pa.Table | None:
        def read(parquet: pq.ParquetFile) -> pa.Table:
            parts = [_EMPTY_INDEX]
            for group in range(parquet.num_row_groups):
                keep = self._passing(parquet, group)
                if keep is not None and not len(keep):
                    continue
                table = read_row_group(parquet, group, _INDEX_COLUMNS)
                keep = pa.array(range(table.num_rows), pa.int64()) if keep is None else keep
                places = [[number] * len(keep), [group] * len(keep), keep]
                columns = [*table.take(keep).columns, *places]
                parts.append(pa.table(columns, names=_EMPTY_INDEX.column_names).cast(_EMPTY_INDEX.schema))
            return pa.concat_tables(parts)

        try:
            return with_parquet(file, read)
        except BrokenFileError as error:
            self._skip(file, error, None)
            return None

    def _skip(self, file: FileInfo, error: BrokenFileError, group: int | None) -> None:
        """Note that rows are left out. Raises DamagedDatasetError where that is not allowed."""
        if (file.url, group) in self.damaged:
            return
        damaged = damaged_file(file, error, group)
        if not self._skip_damaged:
            raise DamagedDatasetError([damaged]) from error
        logger.warning("%s; its rows are left out", damaged)
        self.damaged[file.url, group] = damaged

    def _row_group(self, file: int, group: int) -> pa.Table:
        if self._cached is None or self._cached[0] != (file, group):
            info = self._index_files[file]
            try:
                table = with_parquet(info, lambda parquet: read_row_group(parquet, group, MASKS_SCHEMA.names))
            except BrokenFileError as error:
                raise DamagedDatasetError([damaged_file(info, error, group)]) from error
            self._cached = ((file, group), table)
        return self._cached[1]


_EMPTY_INDEX = pa.schema(
    [
        *((name, MASKS_SCHEMA.field(name).type) for name in _INDEX_COLUMNS),
        ("file", pa.int32()),
        ("row_group", pa.int32()),
        ("row", pa.int64()),
    ]
).empty_table()


def _may_hold_any(parquet: pq.ParquetFile, group: int, video_ids: Collection[str]) -> bool:
    """Whether, by its statistics, a row group may hold rows of one of the videos."""
    row_group = parquet.metadata.row_group(group)
    columns = (row_group.column(index) for index in range(row_group.num_columns))
    statistics = next((column.statistics for column in columns if column.path_in_schema == "video_id"), None)
    if statistics is None or not statistics.has_min_max:
        return True
    return any(statistics.min <= video_id <= statistics.max for video_id in video_ids)


def _check_column(column: str) -> None:
    if column not in MASKS_SCHEMA.names:
        raise UsageError(f"no column {column!r} in a mask dataset; there are {', '.join(MASKS_SCHEMA.names)}")


def mask_row(values: dict[str, Any]) -> MaskRow:
    """A row as read; lists that another writer left null become empty."""
    lists = ("frames", "keyframes", "masks", "areas", "bboxes", "scores")
    return MaskRow(**{**values, **{name: values[name] or [] for name in lists}})
