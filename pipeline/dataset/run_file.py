"""What ``run.json`` says, whoever wrote it."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.dataset.files import mask_files
from pipeline.dataset.layout import CARD_FILE, RUN_FILE, TEMPLATE_FOLDER
from pipeline.errors import UsageError
from pipeline.storage import MissingFileError, atomic_write, exists, is_local, join, read_bytes, scrub

log = logging.getLogger(__name__)


def read_run(dataset: str) -> dict[str, Any]:
    """The content of ``run.json``; empty where there is none or it is of another kind."""
    try:
        run = json.loads(read_bytes(join(dataset, RUN_FILE)))
    except (MissingFileError, ValueError, RecursionError) as error:
        log.info("no run.json: %s", error)
        return {}
    return run if isinstance(run, dict) else {}


def annotation_of(run: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the run that made the masks; of a curated or corrected dataset, that of its source's run."""
    seen: set[str] = set()
    while isinstance(source := run.get("source"), str) and source not in seen:
        seen.add(source)
        run = read_run(source)
    configuration = run.get("configuration")
    return configuration if isinstance(configuration, dict) else {}


def check_place(url: str) -> None:
    """Refuse to mix into, or overwrite, what is not a run's output. Raises UsageError."""
    if is_local(url) and Path(url).exists() and not Path(url).is_dir():
        raise UsageError(f"{url}: --output must name a folder, this is a file")
    if exists(join(url, RUN_FILE)):
        return
    first = join(url, TEMPLATE_FOLDER.format(number=1))
    if exists(join(first, RUN_FILE)):
        raise UsageError(
            f"{scrub(url)}: holds the datasets of several prompt templates; name one of them, as {scrub(first)}, or a "
            "new --output"
        )
    if exists(join(url, CARD_FILE)) or mask_files(url):
        raise UsageError(
            f"{scrub(url)}: holds files but no {RUN_FILE}, so it is not the output of a run; name a new folder"
        )


def stored_run(url: str) -> dict[str, Any]:
    """``run.json`` of an output that a run wants to go on with; empty for a new one.

    Raises:
        UsageError: It is damaged, or another program's.
    """
    file = join(url, RUN_FILE)
    try:
        stored = json.loads(read_bytes(file))
    except MissingFileError:
        return {}
    except ValueError as error:
        raise UsageError(f"{scrub(file)}: not readable as JSON ({error}); name a new --output") from error
    if not isinstance(stored, dict) or not isinstance(stored.get("identity"), dict):
        raise UsageError(f"{scrub(file)}: not written by this program; name a new --output")
    return stored


def write_run(url: str, run: Mapping[str, Any]) -> None:
    """Write ``run.json`` in one step."""
    text = json.dumps(run, indent=2, ensure_ascii=False, default=str)
    atomic_write(join(url, RUN_FILE), text.encode("utf-8", "replace"))
