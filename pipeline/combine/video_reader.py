"""All rows of one video of a dataset after the other, whatever files they lie in, a few row groups in memory."""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.files import BrokenFileError, mask_files, may_hold, read_group, read_row_group, with_parquet
from pipeline.dataset.layout import video_digest
from pipeline.dataset.verification import DamagedDatasetError, damaged_file
from pipeline.schema import MASKS_SCHEMA
from pipeline.storage import FileInfo

_HELD_GROUPS = 2
"""Row groups in memory. Files are sorted by video, so that one after the other is read once as a rule."""


@dataclass(frozen=True, slots=True)
class _Where:
    """Some rows of a video."""

    file: FileInfo
    group: int
    first: int
    count: int


class VideoReader:
    """Reads videos of a dataset by their ids; best in their order.

    Args:
        url: The dataset.
        video_ids: Those that will be asked for.
        skip_damaged: Leave out rows that do not read back, instead of raising.

    Raises:
        DamagedDatasetError: Also from :meth:`rows`: rows do not read back, and ``skip_damaged`` is off.
    """

    def __init__(self, url: str, video_ids: Collection[str], *, skip_damaged: bool) -> None:
        self._skip_damaged = skip_damaged
        self._groups: OrderedDict[tuple[str, int], pa.Table] = OrderedDict()
        self._where: dict[str, list[_Where]] = {video_id: [] for video_id in video_ids}
        digests = {video_digest(video_id) for video_id in video_ids}
        for file in mask_files(url):
            if may_hold(file, digests):
                self._index(file)

    def answers(self, video_id: str) -> dict[str, list[pa.Table]]:
        """The video's rows by expression, a table of one row each; empty where the dataset does not hold it."""
        found: dict[str, list[pa.Table]] = {}
        for where in self._where[video_id]:
            table = self._group(where.file, where.group)
            if table is not None:
                rows = table.slice(where.first, where.count)
                for index, expression_id in enumerate(rows["expression_id"].to_pylist()):
                    found.setdefault(expression_id, []).append(rows.slice(index, 1))
        return found

    def _index(self, file: FileInfo) -> None:
        def read(parquet: pq.ParquetFile) -> list[tuple[str, _Where]]:
            found = []
            for group in range(parquet.num_row_groups):
                first = 0
                ids = read_row_group(parquet, group, ["video_id"])["video_id"].to_pylist()
                for video_id, same in groupby(ids):
                    count = len(list(same))
                    if video_id in self._where:
                        found.append((video_id, _Where(file, group, first, count)))
                    first += count
            return found

        try:
            for video_id, where in with_parquet(file, read):
                self._where[video_id].append(where)
        except BrokenFileError as error:
            self._damaged(file, error, None)

    def _group(self, file: FileInfo, group: int) -> pa.Table | None:
        key = (file.url, group)
        if key in self._groups:
            self._groups.move_to_end(key)
            return self._groups[key]
        while len(self._groups) >= _HELD_GROUPS:
            self._groups.popitem(last=False)
        try:
            self._groups[key] = read_group(file, group, MASKS_SCHEMA.names)
        except BrokenFileError as error:
            self._damaged(file, error, group)
            return None
        return self._groups[key]

    def _damaged(self, file: FileInfo, error: BrokenFileError, group: int | None) -> None:
        if not self._skip_damaged:
            raise DamagedDatasetError([damaged_file(file, error, group)]) from error
