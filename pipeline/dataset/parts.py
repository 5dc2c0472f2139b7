"""Rows of a video that is annotated in parts, kept beside the dataset until all are there and are committed as one.

The parts are plain files under ``_state/parts``: what one run leaves, the next one finds.
"""

import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.tables import check_rows, row_table, to_parquet
from pipeline.dataset.versions import current_columns
from pipeline.dataset.writer import DatasetWriter, file_name
from pipeline.schema import MASKS_SCHEMA, MaskRow, Status, VideoTask
from pipeline.storage import (
    MissingFileError,
    atomic_write,
    join,
    list_files,
    list_names,
    make_directory,
    open_filesystem,
    read_bytes,
    scrub,
    with_retries,
)

log = logging.getLogger(__name__)

PARTS_FOLDER = "_state/parts"


class PartStore:
    """Parts of videos of one output; holds no connection, so it can be made anywhere.

    Args:
        writer: Commits what is complete.
    """

    def __init__(self, writer: DatasetWriter) -> None:
        self._writer = writer
        self._url = join(writer.url, PARTS_FOLDER)

    def add(self, rows: Sequence[MaskRow], whole: Sequence[str]) -> bool:
        """Keep the rows of one part; commit the video if it is now complete.

        Safe to repeat, and for several parts at the same time: whoever comes last sees all of them, and if two do, they
        write the same file.

        Args:
            rows: Of one part of one video.
            whole: Ids of the expressions that are to be committed together.

        Returns:
            Whether the video was committed.

        Raises:
            StorageError: The storage failed for good.
        """
        check_rows(rows)
        folder = self._folder(rows[0].video_id)
        make_directory(folder)
        ids = "\0".join(sorted({row.expression_id for row in rows}))
        name = hashlib.sha256(ids.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        atomic_write(join(folder, f"{name}.parquet"), to_parquet(map(row_table, rows), {}))
        return self.commit_if_complete(rows[0].video_id, whole)

    def commit_if_complete(self, video_id: str, whole: Sequence[str]) -> bool:
        """Commit a video whose parts are all here; returns whether they are. Raises StorageError."""
        held = self.held(video_id)
        if not held.keys() >= set(whole):
            return False
        self._writer.commit([row for expression_id in whole for row in held[expression_id]])
        self.drop(video_id)
        return True

    def finish(self, remaining: Sequence[VideoTask], whole: Mapping[str, Sequence[str]]) -> list[str]:
        """Commit what is complete when a run ends, though its writers did not see it; returns the videos that are not.

        Writers on two nodes may each miss the other's part, where listing a folder shows files late.

        Args:
            remaining: What the dataset lacks.
            whole: Of videos in parts: the expressions that are committed together.
        """
        in_parts = [task.video_id for task in remaining if task.video_id in whole]
        return [video_id for video_id in in_parts if not self.commit_if_complete(video_id, whole[video_id])]

    def held(self, video_id: str) -> dict[str, list[MaskRow]]:
        """Rows of a video's parts by expression; files that do not read back are left out."""
        rows: dict[str, list[MaskRow]] = {}
        for file in list_files(self._folder(video_id), ".parquet"):
            try:
                table = pq.read_table(io.BytesIO(read_bytes(file.url)), page_checksum_verification=True)
                found = [MaskRow(**row) for row in current_columns(table, MASKS_SCHEMA.names).to_pylist()]
            except MissingFileError:
                continue  # another part completed the video at this moment, and cleared up
            except (pa.ArrowException, OSError, ValueError, KeyError) as error:
                log.warning("%s: does not read back (%s); the part is done again", scrub(file.url), error)
                continue
            by_expression: dict[str, list[MaskRow]] = {}
            for row in found:
                by_expression.setdefault(row.expression_id, []).append(row)
            rows |= by_expression
        return rows

    def resume(self, tasks: Sequence[VideoTask]) -> tuple[list[VideoTask], dict[str, tuple[str, ...]]]:
        """Take up the parts that a run left which was cut off; videos that they complete are committed at once.

        Parts that failed, or whose text has changed since, are forgotten.

        Args:
            tasks: What the dataset lacks.

        Returns:
            ``tasks`` without the expressions that are here, and for every video with such expressions the ids of all
            that are to be committed together.
        """
        folders = self._folders()
        remaining: list[VideoTask] = []
        whole: dict[str, tuple[str, ...]] = {}
        for task in tasks:
            held = self._usable(task) if _name(task.video_id) in folders else set()
            left = tuple(item for item in task.expressions if item.expression_id not in held)
            ids = tuple(item.expression_id for item in task.expressions)
            if not left and self.commit_if_complete(task.video_id, ids):
                continue
            if held:
                whole[task.video_id] = ids
            remaining.append(replace(task, expressions=left) if left else task)
        return remaining, whole

    def _usable(self, task: VideoTask) -> set[str]:
        """Expressions of a video that are here; either all are of use or all are dropped."""
        wanted = {item.expression_id: item.text for item in task.expressions}
        rows = [row for part in self.held(task.video_id).values() for row in part]
        if all(wanted.get(row.expression_id) == row.expression and row.status != Status.FAILED for row in rows):
            return {row.expression_id for row in rows}
        self.drop(task.video_id)
        return set()

    def _folders(self) -> set[str]:
        try:
            return set(list_names(self._url))
        except MissingFileError:
            return set()

    def drop(self, video_id: str) -> None:
        """Forget a video's parts."""
        self._remove(self._folder(video_id))

    def clear(self) -> None:
        """Forget all parts."""
        self._remove(self._url)

    def _folder(self, video_id: str) -> str:
        return join(self._url, _name(video_id))

    def _remove(self, folder: str) -> None:
        fs, path = open_filesystem(folder)

        def remove() -> None:
            try:
                fs.rm(path, recursive=True)
            except FileNotFoundError:
                return

        with_retries(remove, folder, "delete")


def _name(video_id: str) -> str:
    return file_name(video_id).removesuffix(".parquet")
