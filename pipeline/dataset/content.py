"""The state a dataset is in: whether its files are still the same, its ``run.json``, and the version that names it."""

import hashlib
import json
import posixpath

from pipeline.dataset.files import mask_files
from pipeline.dataset.run_file import read_run
from pipeline.dataset.verdicts import verdict_files


def content_hash(url: str, *, with_verdicts: bool = False) -> str:
    """Tells whether a dataset, and what a second model said of it, is still the same: names and sizes of files."""
    listing = [[posixpath.basename(file.url), file.size_bytes] for file in mask_files(url)]
    if with_verdicts:
        listing += [["verdicts", posixpath.basename(file.url), file.size_bytes] for file in verdict_files(url)]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def version_of(url: str) -> str:
    """Twelve hexadecimal digits that name the state a dataset is in: its files, and what decided their masks."""
    identity = read_run(url).get("identity_hash", "")
    return hashlib.sha256(f"{identity}\n{content_hash(url)}".encode()).hexdigest()[:12]
