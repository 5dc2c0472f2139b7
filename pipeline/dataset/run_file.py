"""What ``run.json`` says, whoever wrote it."""

import json
import logging
from typing import Any

from pipeline.dataset.layout import RUN_FILE
from pipeline.storage import MissingFileError, join, read_bytes

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
