"""Committing one video's rows: one file per video under a name that only the video's id decides."""

import hashlib
import io
import logging
import re
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.files import MASKS_FOLDER
from pipeline.dataset.shared import RowKey, shared_from_metadata, shared_to_metadata
from pipeline.dataset.tables import check_rows, row_table, to_parquet
from pipeline.dataset.versions import current_columns
from pipeline.schema import MASKS_SCHEMA, MaskRow
from pipeline.storage import MissingFileError, atomic_write, join, read_bytes, scrub

logger = logging.getLogger(__name__)


def file_name(video_id: str) -> str:
    """The name of the file that holds a video's rows: readable, then a hash that tells equal slugs apart.

    Example:
        >>> file_name("../../etc/passwd")
        'etc-passwd-3c3d0c6ffb3c2a1d.parquet'
    """
    slug = re.sub(r"[^A-Za-z0-9_]+", "-", video_id).strip("-")[:40] or "video"
    digest = hashlib.sha256(video_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{slug}-{digest}.parquet"


class DatasetWriter:
    """Commits rows from any process; holds no lock and no connection, so it travels between processes.

    Args:
        url: The dataset's directory.
        metadata: Strings stored in every file beside the schema's version.
    """

    def __init__(self, url: str, metadata: Mapping[str, str] | None = None) -> None:
        self.url = url
        self._metadata = dict(metadata or {})

    def commit(self, rows: Sequence[MaskRow], shared: Mapping[RowKey, RowKey] | None = None) -> None:
        """Add all rows of one video, in one step: a reader sees none of them or all.

        Rows that the video already has are kept, except those of expressions in ``rows``, which are replaced. Running
        the same commit again leaves the same file.

        Args:
            rows: Of one video.
            shared: Of these rows, those that have the track of another one; noted in the file's metadata.

        Raises:
            ValueError: Rows of several videos, a doubled key, or lists of differing length.
            StorageError: The storage failed for good, a full disk for instance; nothing is half written.
        """
        check_rows(rows)
        target = join(self.url, MASKS_FOLDER, file_name(rows[0].video_id))
        replaced = {row.expression_id for row in rows}
        before = self._existing(target)
        pieces = [before.slice(index, 1) for index in range(before.num_rows)]
        pieces = [piece for piece in pieces if piece["expression_id"][0].as_py() not in replaced]
        pieces += [row_table(row) for row in rows]
        # One order for one content, whatever was committed first.
        pieces.sort(key=lambda piece: (piece["expression_id"][0].as_py(), piece["object_id"][0].as_py()))
        still = {row: of for row, of in shared_from_metadata(before.schema.metadata).items() if row[0] not in replaced}
        note = shared_to_metadata({**still, **(shared or {})})
        atomic_write(target, to_parquet(pieces, {**self._metadata, **note}))

    def _existing(self, target: str) -> pa.Table:
        try:
            content = io.BytesIO(read_bytes(target))
            table = pq.read_table(content, page_checksum_verification=True)
            return current_columns(table, MASKS_SCHEMA.names)
        except MissingFileError:
            return MASKS_SCHEMA.empty_table()
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            logger.warning("%s: does not read back (%s); writing it anew", scrub(target), error)
            return MASKS_SCHEMA.empty_table()
