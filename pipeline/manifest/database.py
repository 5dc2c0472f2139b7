"""A database in this process that spills to a folder of this machine's disk, and leaves nothing behind."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from pipeline.errors import StorageError

MEMORY = "640MB"
"""Of the database; what needs more goes to disk."""
THREADS = 2
PREFIX = "sa2va-i-plan-"
_LOCK = "lock"


class Database:
    """DuckDB in memory, with a folder under ``TMPDIR`` for what does not fit.

    Args:
        of: What it holds, for messages: ``the plan of clips.parquet``.
    """

    def __init__(self, of: str) -> None:
        self._of = of
        remove_abandoned(Path(tempfile.gettempdir()))
        self._folder = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
        self._lock = os.open(Path(self._folder.name) / _LOCK, os.O_CREAT | os.O_RDWR)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        # in memory: small manifests wait for no disk
        self._connection = duckdb.connect(":memory:")
        with self.use() as connection:
            connection.execute(f"SET temp_directory='{self._folder.name}'")
            connection.execute(f"SET memory_limit='{MEMORY}'")
            connection.execute(f"SET threads={THREADS}")
            connection.execute("SET preserve_insertion_order=false")

    @contextmanager
    def use(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The connection; its failures are those of this machine's disk or memory.

        Raises:
            StorageError: There is no room, or the folder cannot be used.
        """
        try:
            yield self._connection
        except RuntimeError as error:
            if "interrupted" in str(error).lower():  # what DuckDB makes of Ctrl-C and SIGTERM
                raise KeyboardInterrupt from error
            raise
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise StorageError(
                f"{self._of} cannot be kept in {self._folder.name}: {reason} "
                "(TMPDIR names another folder, with more space)"
            ) from error

    def close(self) -> None:
        """Remove everything; harmless when repeated."""
        self._connection.close()
        self._folder.cleanup()
        with contextlib.suppress(OSError):
            os.close(self._lock)


def remove_abandoned(parent: Path) -> None:
    """Remove folders of processes that were killed: nobody holds their lock any more."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:
            continue  # of another user, or a process that has just made it and has yet to lock it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(lock)
