"""One JSON file of an object with long arrays, written record by record: memory does not grow with the dataset."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from pipeline.export.sinks import finished_file


class JsonArrays:
    """Arrays under construction, each in its own temporary file."""

    def __init__(self, spools: Mapping[str, IO[str]]) -> None:
        self._spools = spools
        self.counts = dict.fromkeys(spools, 0)

    def add(self, array: str, record: dict[str, Any]) -> None:
        """Append one record to an array."""
        spool = self._spools[array]
        if self.counts[array]:
            spool.write(",\n")
        spool.write(json.dumps(record, ensure_ascii=False, allow_nan=False))
        self.counts[array] += 1


@contextmanager
def json_arrays(output: str, arrays: tuple[str, ...], head: dict[str, Any] | None) -> Iterator[JsonArrays]:
    """Write ``output`` as an object of ``head`` and ``arrays``; with ``head`` None, as the one array alone.

    The file appears under its name when the block ends well. Raises StorageError.
    """
    with finished_file(output) as path, ExitStack() as stack:
        # Beside the output, where there is room for it; the system's temporary folder may be small.
        spools = {
            name: stack.enter_context(tempfile.TemporaryFile("w+", dir=path.parent, encoding="utf-8", errors="replace"))
            for name in arrays
        }
        yield JsonArrays(spools)
        with path.open("w", encoding="utf-8", errors="replace") as file:
            if head is None:
                _copy(spools[arrays[0]], file)
                return
            file.write("{")
            for key, value in head.items():
                file.write(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)},\n")
            for index, (name, spool) in enumerate(spools.items()):
                file.write((",\n" if index else "") + f"{json.dumps(name)}: ")
                _copy(spool, file)
            file.write("}\n")


def _copy(spool: IO[str], file: IO[str]) -> None:
    spool.seek(0)
    file.write("[")
    shutil.copyfileobj(spool, file)
    file.write("]")
