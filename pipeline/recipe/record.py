"""Results of a recipe's steps, kept in files so that a step is repeated only when its input has changed."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from pipeline.storage import MissingFileError, atomic_write, join, make_directory, read_bytes

Result = dict[str, Any]


class StepRecord:
    """Results of steps as files of a folder.

    Args:
        folder: Where; path or URL.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def result_of(
        self,
        step: str,
        depends_on: Any,  # noqa: ANN401 - any JSON
        work: Callable[[], Result],
        *,
        is_there: Callable[[Result], bool] = lambda _: True,
    ) -> Result:
        """What ``work`` returns, or returned when it was last called with the same ``depends_on``.

        Args:
            step: Names the file.
            depends_on: Everything that decides the result.
            work: Does the step; returns what is to be kept, as JSON values.
            is_there: Whether what the step made is still there.
        """
        key = hashlib.sha256(json.dumps(depends_on, sort_keys=True, default=str).encode()).hexdigest()
        file = join(self._folder, f"{step}.json")
        try:
            kept = json.loads(read_bytes(file))
            if kept["key"] == key and is_there(kept["result"]):
                return dict(kept["result"])
        except (MissingFileError, ValueError, KeyError, TypeError):
            pass  # never done, or cut off while it was written
        result = work()
        make_directory(self._folder)
        atomic_write(file, json.dumps({"key": key, "result": result}, indent=1).encode())
        return dict(json.loads(json.dumps(result)))
