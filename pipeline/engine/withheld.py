"""Failures that a machine or a storage may be to blame for, held back until it is clear who is."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pipeline.engine.guard import kind_of
from pipeline.engine.stage import Row
from pipeline.errors import (
    AccessDeniedError,
    PipelineError,
    StorageUnavailableError,
    UnreachableVideoError,
)
from pipeline.schema import VideoTask
from pipeline.video.locations import find

UNAVAILABLE, DENIED, UNREACHABLE = (
    kind.__name__ for kind in (StorageUnavailableError, AccessDeniedError, UnreachableVideoError)
)
LIMITS = {UNAVAILABLE: 3, DENIED: 10, UNREACHABLE: 20}
"""Videos of one storage in a row, with none served in between, that end the run. Each of the first kind stands for
minutes of repeated reads, each of the last for a host of its own."""
WEB = "the web"
"""Hosts of ``http(s)://`` URLs, taken together."""


def storage_of(url: str) -> str:
    """What serves ``url``: a bucket, the web, or this machine's file system."""
    if "://" not in url:
        return "file://"
    parts = urlsplit(url)
    return WEB if parts.scheme in ("http", "https") else f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@dataclass
class _Storage:
    """What one storage did lately.

    Attributes:
        in_a_row: Videos that it refused since it served one, by kind of failure.
        served: A video that it served.
    """

    in_a_row: dict[str, int] = field(default_factory=dict)
    served: str | None = None


class Withheld:
    """The failures of one round through the stages that are not committed."""

    def __init__(self) -> None:
        self._storages: dict[str, _Storage] = {}
        self._rows: dict[str, list[tuple[VideoTask, Row]]] = {}

    def add(self, task: VideoTask, row: Row) -> None:
        """Hold back one failure.

        Raises:
            StorageUnavailableError: Its storage serves nobody any more.
        """
        kind = kind_of(row["error"])
        self._rows.setdefault(kind, []).append((task, row))
        if kind not in LIMITS:
            return
        storage = self._storage(task)
        storage.in_a_row[kind] = storage.in_a_row.get(kind, 0) + 1
        if storage.in_a_row[kind] >= LIMITS[kind]:
            if kind == DENIED and self.is_serving(task):
                storage.in_a_row.clear()
            else:
                self.give_up(task, row)

    def served(self, task: VideoTask) -> None:
        """Note that a video was read and is done."""
        storage = self._storage(task)
        storage.in_a_row.clear()
        storage.served = task.video

    def of_kind(self, kind: str) -> list[tuple[VideoTask, Row]]:
        """What was held back because of errors of this class."""
        return self._rows.get(kind, [])

    def __iter__(self) -> Iterator[tuple[VideoTask, Row]]:
        for rows in self._rows.values():
            yield from rows

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def is_serving(self, task: VideoTask) -> bool:
        """Whether the storage of a video still gives out another one that it served before.

        Then the run's credentials are good, and what it refuses is refused for reasons of its own.
        """
        storage = self._storage(task)
        if storage.served is None:
            return False
        try:
            find(storage.served)
        except PipelineError:
            return False
        return True

    def give_up(self, task: VideoTask, row: Row) -> None:
        """Raise StorageUnavailableError, with one failure as the example."""
        raise StorageUnavailableError(
            f"{storage_of(task.video)} does not serve videos any more ({len(self)} tried, none marked as failed; "
            f"last: {row['error']}); when it is back, start the same command again"
        )

    def _storage(self, task: VideoTask) -> _Storage:
        return self._storages.setdefault(storage_of(task.video), _Storage())
