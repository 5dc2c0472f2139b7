"""When each video was committed, for rates."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipeline.dataset.files import PARALLEL_READS, BrokenFileError, mask_files, read_metadata
from pipeline.dataset.layout import MASKS_FOLDER, digest_of_file, video_digest
from pipeline.dataset.notes import notes_from_metadata
from pipeline.dataset.owner import read_owner
from pipeline.dataset.staging import staged_since
from pipeline.storage import FileInfo, MissingFileError, join, list_details

_TIMES = ("mtime", "LastModified", "last_modified", "updated")
"""The key's name differs from one kind of storage to the next."""


def commit_times(url: str) -> dict[str, float]:
    """Seconds since 1970 of each video's last commit, by :func:`pipeline.dataset.layout.video_digest`.

    From the notes that runs leave in their files; of a single video's file without one, when it was written.
    """
    owner = read_owner(url)
    staged = [item.file for item in staged_since(url, owner.since)] if owner else []
    written = {digest: moment for digest, moment in _written(url) if digest is not None}
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        noted = list(pool.map(_noted, [*mask_files(url), *staged]))
    return {**written, **{digest: moment for times in noted for digest, moment in times.items()}}


def _noted(file: FileInfo) -> dict[str, float]:
    try:
        notes = notes_from_metadata(read_metadata(file)[0])
    except (BrokenFileError, MissingFileError):
        return {}
    return {video_digest(video): float(note.committed_at) for video, note in notes.items() if note.committed_at}


def _written(url: str) -> list[tuple[str | None, float]]:
    found = []
    for entry in list_details(join(url, MASKS_FOLDER)):
        moment = _seconds(next((entry[key] for key in _TIMES if entry.get(key)), None))
        if moment is not None:
            found.append((digest_of_file(str(entry["name"])), moment))
    return found


def _seconds(moment: Any) -> float | None:  # noqa: ANN401 - each storage has its own type
    if isinstance(moment, int | float):
        return float(moment)
    if isinstance(moment, str):
        try:
            moment = dt.datetime.fromisoformat(moment)
        except ValueError:
            return None
    return moment.timestamp() if isinstance(moment, dt.datetime) else None
