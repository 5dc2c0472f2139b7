"""The state a dataset is in: whether its files are still the same, its ``run.json``, and the version that names it."""

import hashlib
import json
import logging
import posixpath
from typing import Any

from pipeline.dataset.files import mask_files
from pipeline.dataset.layout import RUN_FILE
from pipeline.dataset.verdicts import verdict_files
from pipeline.storage import MissingFileError, join, read_bytes, scrub

log = logging.getLogger(__name__)


def content_hash(url: str, *, with_verdicts: bool = False) -> str:
    """Tells whether a dataset, and what a second model said of it, is still the same: names and sizes of files."""
    listing = [[posixpath.basename(file.url), file.size_bytes] for file in mask_files(url)]
    if with_verdicts:
        listing += [["verdicts", posixpath.basename(file.url), file.size_bytes] for file in verdict_files(url)]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def version_of(url: str) -> str:
    """Twelve hexadecimal digits that name the state a dataset is in: its files, and what decided their masks."""
    identity = run_of(url).get("identity_hash", "")
    return hashlib.sha256(f"{identity}\n{content_hash(url)}".encode()).hexdigest()[:12]


def run_of(url: str) -> dict[str, Any]:
    """A dataset's ``run.json``; empty where it has none that can be read, which is logged."""
    file = join(url, RUN_FILE)
    try:
        run = json.loads(read_bytes(file))
    except (MissingFileError, ValueError) as error:
        log.warning("%s: not readable (%s); nothing is known of how the masks were made", scrub(file), error)
        return {}
    return run if isinstance(run, dict) else {}
