"""What an output already holds, read from the dataset itself: there is no second record that could disagree."""

from dataclasses import dataclass, replace

from pipeline.dataset.files import mask_files, read_columns_of_all
from pipeline.schema import Expression, Status, VideoTask

_COLUMNS = ["video_id", "expression_id", "expression", "status"]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How much a dataset holds. Expressions are counted once, whatever their number of rows."""

    videos: int
    expressions: int
    rows: int
    ok: int
    no_object: int
    failed: int


class DatasetState:
    """A snapshot of which (video, expression) a dataset holds, and what became of each.

    Args:
        url: The dataset's directory; one that does not exist holds nothing.
    """

    def __init__(self, url: str) -> None:
        self._expressions: dict[str, dict[str, tuple[str, str]]] = {}
        self._rows = 0
        self.broken_files: list[str] = []
        for file, table in read_columns_of_all(mask_files(url), _COLUMNS):
            if table is None:
                self.broken_files.append(file.url)
                continue
            self._rows += table.num_rows
            columns = (table.column(name).to_pylist() for name in _COLUMNS)
            for video_id, expression_id, text, status in zip(*columns, strict=True):
                self._expressions.setdefault(video_id, {})[expression_id] = (status, text)

    def statuses(self) -> dict[str, dict[str, str]]:
        """``video_id -> {expression_id: status}``."""
        return {
            video_id: {key: status for key, (status, _) in expressions.items()}
            for video_id, expressions in self._expressions.items()
        }

    def counts(self) -> Counts:
        """How much there is, by status."""
        statuses = [status for expressions in self._expressions.values() for status, _ in expressions.values()]
        return Counts(
            videos=len(self._expressions),
            expressions=len(statuses),
            rows=self._rows,
            ok=statuses.count(Status.OK),
            no_object=statuses.count(Status.NO_OBJECT),
            failed=statuses.count(Status.FAILED),
        )

    def remaining(self, tasks: list[VideoTask], *, retry_failed: bool) -> list[VideoTask]:
        """``tasks`` without the expressions that are here; one whose text has changed since counts as not here."""
        remaining = []
        for task in tasks:
            held = self._expressions.get(task.video_id)
            if held is None:
                remaining.append(task)
                continue
            missing = tuple(item for item in task.expressions if not _is_done(item, held, retry_failed=retry_failed))
            if missing:
                remaining.append(replace(task, expressions=missing))
        return remaining


def _is_done(expression: Expression, held: dict[str, tuple[str, str]], *, retry_failed: bool) -> bool:
    status, text = held.get(expression.expression_id, (None, None))
    return text == expression.text and not (retry_failed and status == Status.FAILED)
