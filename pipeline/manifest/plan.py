"""What is to be done, as rows in a database that spills to disk: grouped by video and part, in bounded memory.

Ten rows and ten million go the same way: rows are added as Arrow tables, grouped and checked, arranged by part, and
compared with what the dataset holds; tasks are then read a window of videos at a time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.manifest.contradictions import first_contradiction
from pipeline.manifest.database import Database
from pipeline.manifest.rows import ManifestRow, checked, rows_of_tasks, tables_of
from pipeline.schema import Expression, VideoTask
from pipeline.storage import resolve

_NUMBER_BITS = 40
_NAMED_VIDEOS = 1000
"""Contradicting videos of which the first row that contradicts is looked for."""
_DIGEST = "('0x' || left(sha256(video_id), 16))::UBIGINT"
"""The number that :func:`pipeline.dataset.layout.part_of` takes modulo the number of parts."""
_OF_A_VIDEO = (
    "any_value(video) AS video, any_value(frames) AS frames, any_value(license) AS license, "
    "any_value(video_source) AS video_source"
)
_COLUMNS = (
    "part INTEGER, first BIGINT, position BIGINT, video_id VARCHAR, video VARCHAR, expression_id VARCHAR, "
    "expression VARCHAR, frames VARCHAR[], license VARCHAR, video_source VARCHAR"
)


@dataclass(frozen=True)
class Size:
    """Numbers of videos and of their expressions."""

    videos: int
    expressions: int


@dataclass(frozen=True)
class Window:
    """Successive videos in the order of work: from one (part, first row) up to another, which is not in it."""

    start: tuple[int, int]
    end: tuple[int, int]
    videos: int


class Plan:
    """The videos of a manifest with their expressions; of a comparison with a dataset, those still to do.

    A context manager: leaving it removes the database.

    Args:
        manifest: Its name, for messages.
        base: Folder that relative videos are taken from; None where locations are taken as they are.
    """

    def __init__(self, manifest: str, base: str | None) -> None:
        self.manifest = manifest
        self.base = base
        self.parts = 0
        """Number of parts that the rows are arranged by; 0 before :meth:`arrange`."""
        self.total = Size(0, 0)
        """Of the manifest, after ``limit``."""
        self.rows = 0
        self._files: list[tuple[str, str]] = []
        self._source = "work"
        self._database = Database(f"the plan of {manifest}")
        with self._database.use() as database:
            database.execute(
                "CREATE TABLE rows (position BIGINT, video_id VARCHAR, video VARCHAR, expression_id VARCHAR, "
                "expression VARCHAR, frames VARCHAR[], license VARCHAR, video_source VARCHAR)"
            )

    @classmethod
    def of_rows(cls, rows: Iterable[ManifestRow], *, manifest: str, base: str | None, unit: str) -> "Plan":
        """A plan of rows from one file, not yet grouped."""
        plan = cls(manifest, base)
        number = plan.add_file("", unit)
        for table in tables_of(rows):
            plan.add(number, checked(table, manifest=manifest, unit=unit))
        return plan

    @classmethod
    def of_tasks(cls, tasks: Iterable[VideoTask], *, manifest: str = "the tasks") -> "Plan":
        """A plan of tasks that were made otherwise."""
        plan = cls.of_rows(rows_of_tasks(tasks), manifest=manifest, base=None, unit="row")
        plan.group()
        return plan

    def add_file(self, file: str, unit: str) -> int:
        """A file of the manifest; returns its number.

        Args:
            file: What places in messages begin with; empty where the manifest is this one file.
            unit: What the rows' numbers count, for messages.
        """
        self._files.append((file, unit))
        return len(self._files) - 1

    def add(self, file: int, table: pa.Table) -> None:
        """Add rows of a file, in any order: :data:`pipeline.manifest.rows.ROW_SCHEMA`, as ``checked`` leaves them."""
        self.rows += len(table)
        with self._database.use() as database:
            database.register("incoming", table)
            database.execute(
                f"INSERT INTO rows SELECT number + {file << _NUMBER_BITS}, video_id, video, expression_id, expression, "
                "frames, license, video_source FROM incoming"
            )
            database.unregister("incoming")

    def group(self, *, limit: int | None = None, excluded: Iterable[str] = ()) -> None:
        """Group the rows by video and refuse contradictions.

        Args:
            limit: Keep the first so many videos.
            excluded: Ids of videos to leave out.

        Raises:
            UsageError: Two rows contradict each other; the message names both the place and the video.
        """
        self._check()
        with self._database.use() as database:
            database.execute(
                f"CREATE TABLE videos AS SELECT video_id, min(position) AS first, count(*) AS expressions, "
                f"{_DIGEST} AS digest, max(license) AS license, max(video_source) AS video_source "
                "FROM rows GROUP BY video_id"
            )
            names = list(excluded)
            if names:
                database.register("excluded", pa.table({"video_id": names}))
                database.execute("DELETE FROM videos WHERE video_id IN (SELECT video_id FROM excluded)")
            if limit is not None:
                kept = f"(SELECT max(first) FROM (SELECT first FROM videos ORDER BY first LIMIT {int(limit)}))"
                database.execute(f"DELETE FROM videos WHERE first > {kept}")
            self.total = self._size("SELECT count(*), coalesce(sum(expressions), 0) FROM videos")

    def arrange(self, parts: int) -> None:
        """Put the rows in the order of work: by part, within it as the manifest has them. Only once."""
        if self.parts:
            raise ValueError(f"the plan is arranged by {self.parts} parts")
        self.parts = parts
        with self._database.use() as database:
            database.execute(f"CREATE TABLE work ({_COLUMNS})")
            database.execute(
                f"INSERT INTO work SELECT (digest % {int(parts)})::INTEGER AS part, first, position, video_id, video, "
                "expression_id, expression, frames, videos.license, videos.video_source "
                "FROM rows JOIN videos USING (video_id) ORDER BY part, first, position"
            )
            database.execute("DROP TABLE rows")
            database.execute("DROP TABLE videos")

    def begin_comparison(self) -> None:
        """From now on the plan's tasks are those that :meth:`keep_missing` finds."""
        self._source = "missing"
        with self._database.use() as database:
            database.execute(f"CREATE OR REPLACE TABLE missing ({_COLUMNS})")

    def all_missing(self) -> None:
        """The dataset holds nothing: everything is to do."""
        self._source = "work"

    def keep_missing(self, first: int, end: int, done: pa.Table) -> None:
        """Keep the expressions of the videos of parts ``first`` up to ``end`` that are not in ``done``.

        Args:
            first: A part.
            end: The part after the last one.
            done: Columns ``video_id``, ``expression_id``, ``expression``.
        """
        with self._database.use() as database:
            database.register("done", done)
            database.execute(
                "INSERT INTO missing SELECT work.* FROM work "
                "ANTI JOIN done USING (video_id, expression_id, expression) "
                f"WHERE part >= {int(first)} AND part < {int(end)} ORDER BY part, first, position"
            )
            database.unregister("done")

    def size(self) -> Size:
        """What is to do."""
        return self._size(f"SELECT count(DISTINCT first), count(*) FROM {self._source}")

    def videos_by_part(self) -> dict[int, int]:
        """Number of videos to do of each part that has any."""
        with self._database.use() as database:
            return dict(
                database.execute(f"SELECT part, count(DISTINCT first) FROM {self._source} GROUP BY part").fetchall()
            )

    def windows(self, videos: int) -> list[Window]:
        """The work in pieces of so many videos, of which the last one has what is left."""
        with self._database.use() as database:
            starts = database.execute(
                f"SELECT part, first, n FROM (SELECT part, first, row_number() OVER (ORDER BY part, first) - 1 AS n "
                f"FROM (SELECT DISTINCT part, first FROM {self._source})) WHERE n % {int(videos)} = 0 ORDER BY n"
            ).fetchall()
        ends = [(part, first) for part, first, _ in starts[1:]] + [(self.parts, 0)]
        total = self.size().videos
        return [
            Window((part, first), end, min(videos, total - before))
            for (part, first, before), end in zip(starts, ends, strict=True)
        ]

    def tasks(self, window: Window) -> list[VideoTask]:
        """The tasks of a window, in the manifest's order within each part."""
        (part, first), (end_part, end_first) = window.start, window.end
        return self._tasks(
            f"part BETWEEN {part} AND {end_part} AND (part > {part} OR first >= {first}) "
            f"AND (part < {end_part} OR first < {end_first})",
            "part, first",
        )

    def videos_of_parts(self, first: int, end: int) -> list[VideoTask]:
        """The videos of parts ``first`` up to ``end``, done or not, without their expressions."""
        with self._database.use() as database:
            table = database.sql(
                f"SELECT video_id, {_OF_A_VIDEO} FROM work "
                f"WHERE part >= {int(first)} AND part < {int(end)} GROUP BY video_id"
            ).to_arrow_table()
        columns = (column.to_pylist() for column in table.columns)
        return [
            self._task(video_id, video, frames, license_text, source, (), ())
            for video_id, video, frames, license_text, source in zip(*columns, strict=True)
        ]

    def all_tasks(self) -> list[VideoTask]:
        """All tasks in the manifest's order, for manifests of moderate size."""
        if not self.parts:
            self.arrange(1)
        return self._tasks("true", "first")

    def sample(self, videos: int) -> list[VideoTask]:
        """Tasks drawn at random, always the same ones; all of them where there are no more."""
        drawn = (
            f"(SELECT part, first FROM (SELECT DISTINCT part, first FROM {self._source}) "
            f"ORDER BY hash(part, first) LIMIT {int(videos)})"
        )
        return self._tasks(f"(part, first) IN {drawn}", "part, first")

    def close(self) -> None:
        """Remove the database; harmless when repeated."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _tasks(self, condition: str, order: str) -> list[VideoTask]:
        with self._database.use() as database:
            table = database.sql(
                f"SELECT video_id, {_OF_A_VIDEO}, "
                "list(expression_id ORDER BY position) AS ids, list(expression ORDER BY position) AS texts "
                f"FROM {self._source} WHERE {condition} GROUP BY part, first, video_id ORDER BY {order}"
            ).to_arrow_table()
        columns = (column.to_pylist() for column in table.columns)
        return [self._task(*values) for values in zip(*columns, strict=True)]

    def _task(
        self,
        video_id: str,
        video: str,
        frames: Sequence[str] | None,
        license_text: str | None,
        video_source: str | None,
        ids: Sequence[str],
        texts: Sequence[str],
    ) -> VideoTask:
        return VideoTask(
            video_id=video_id,
            video=video if self.base is None else resolve(video, self.base),
            expressions=tuple(Expression(expression_id=i, text=t) for i, t in zip(ids, texts, strict=True)),
            frames=None if frames is None else tuple(frames),
            license=license_text,
            video_source=video_source,
        )

    def _check(self) -> None:
        """Refuse contradictions: candidates are found by hashes, and looked at row by row."""
        with self._database.use() as database:
            suspects = database.sql(
                "SELECT video_id FROM (SELECT video_id, min(position) AS first FROM rows WHERE video_id IN ("
                " SELECT video_id FROM (SELECT video_id, hash(video, frames) AS h, license, video_source FROM rows)"
                " GROUP BY video_id HAVING min(h) <> max(h) OR min(license) <> max(license)"
                " OR min(video_source) <> max(video_source)"
                " UNION ALL SELECT video_id FROM rows WHERE hash(video_id, expression_id) IN ("
                "  SELECT h FROM (SELECT hash(video_id, expression_id) AS h FROM rows) GROUP BY h HAVING count(*) > 1)"
                f") GROUP BY video_id ORDER BY first LIMIT {_NAMED_VIDEOS})"
            ).to_arrow_table()
            if not len(suspects):
                return
            database.register("suspects", suspects)
            columns = database.sql("SELECT * FROM rows SEMI JOIN suspects USING (video_id) ORDER BY position")
            rows = zip(*(column.to_pylist() for column in columns.to_arrow_table().columns), strict=True)
            database.unregister("suspects")
        found = first_contradiction(
            ManifestRow._make((*values[:5], None if values[5] is None else tuple(values[5]), *values[6:]))
            for values in rows
        )
        if found is not None:
            raise UsageError(f"{self.manifest}: {self._place(found[0])}: {found[1]}")

    def _place(self, position: int) -> str:
        file, unit = self._files[position >> _NUMBER_BITS]
        place = f"{unit} {position & ((1 << _NUMBER_BITS) - 1)}"
        return f"{file}, {place}" if file else place

    def _size(self, query: str) -> Size:
        with self._database.use() as database:
            videos, expressions = database.execute(query).fetchall()[0]
        return Size(int(videos), int(expressions))
