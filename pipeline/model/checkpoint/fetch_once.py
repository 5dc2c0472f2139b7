"""Files of a model on this machine: fetched by one process at a time, and marked as done once they are complete."""

import fcntl
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import CheckpointError
from pipeline.storage import scrub

log = logging.getLogger(__name__)

CACHE_VARIABLE = "SA2VA_I_CACHE"
MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
"""What is fetched of a model: configuration, weights, tokenizer, chat template. Never code, never pickles."""


def cache_directory() -> Path:
    """Where this machine keeps fetched models: ``$SA2VA_I_CACHE`` or ``~/.cache/sa2va-i-pipeline``."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "sa2va-i-pipeline"


def find_fetched(source: str, revision: str) -> Path | None:
    """The directory of a model that this machine has fetched completely, else none."""
    return _marked(_marker(source, revision))


def fetch_once(source: str, revision: str, fetch: Callable[[Path], Path]) -> Path:
    """The complete directory of a model; runs ``fetch`` if this machine does not have it.

    Args:
        source: Names the model.
        revision: Names its exact content.
        fetch: Gets a folder to fetch into, which may hold the remains of an interrupted attempt, and returns the
            directory the model is in (that folder or another one).

    Raises:
        CheckpointError: what was fetched is not a complete checkpoint, or the cache cannot be written.
    """
    marker = _marker(source, revision)
    folder = marker.with_suffix("")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(marker.with_suffix(".lock"), source):
            return _marked(marker) or _fetch(folder, marker, fetch)
    except OSError as error:
        raise CheckpointError(
            f"{scrub(source)}: cannot be kept in {folder} ({error}); set {CACHE_VARIABLE} to a folder with room"
        ) from error


def _marker(source: str, revision: str) -> Path:
    """The file whose presence says that a fetch was completed."""
    readable = re.sub(r"[^\w-]+", "-", scrub(source).rstrip("/").rsplit("://", 1)[-1])[-60:].strip("-")
    key = hashlib.sha256(f"{source}@{revision}".encode()).hexdigest()[:16]
    return cache_directory() / "models" / f"{readable}-{key}.done"


def _fetch(folder: Path, marker: Path, fetch: Callable[[Path], Path]) -> Path:
    # These bring torch along, which only a fetch needs.
    from pipeline.model.checkpoint.weights import CheckpointFiles
    from pipeline.model.families import read_config

    directory = fetch(folder)
    read_config(directory)
    CheckpointFiles(directory)  # every shard that the index names is there and whole
    sizes = {path.name: path.stat().st_size for path in directory.iterdir() if path.is_file()}
    temporary = marker.with_suffix(".tmp")
    temporary.write_text(json.dumps({"directory": str(directory), "size_bytes": sizes}), encoding="utf-8")
    temporary.replace(marker)
    return directory


def _marked(marker: Path) -> Path | None:
    """The directory a marker vouches for, if all its files are still there in full."""
    try:
        noted = json.loads(marker.read_text(encoding="utf-8"))
        directory = Path(noted["directory"])
        whole = all((directory / name).stat().st_size == size for name, size in noted["size_bytes"].items())
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    if not whole:
        log.warning("%s: changed since it was fetched; fetching it again", directory)
    return directory if whole else None


@contextmanager
def _locked(path: Path, source: str) -> Iterator[None]:
    """Hold a lock that the operating system lets go of when this process ends, however it ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: another process is fetching it; waiting", source)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
