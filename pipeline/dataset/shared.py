"""Which rows of a video were given another row's track: a note in the metadata of the video's Parquet file.

Only runs with ``merge_tracks`` leave it, since only there two rows have one track whose first masks differ.
"""

import json
from collections.abc import Mapping
from typing import Any

SHARED_TRACKS = "sa2va_i_pipeline.shared_tracks"
"""Key of the note: a JSON list of ``{expression_id, object_id, track_of: {expression_id, object_id}}``."""

RowKey = tuple[str, int]
"""Expression and object of one row of a video."""


def shared_to_metadata(shared: Mapping[RowKey, RowKey]) -> dict[str, str]:
    """The note on rows that have the track of another one; empty where there are none."""
    if not shared:
        return {}
    note = [{**_as_json(row), "track_of": _as_json(owner)} for row, owner in sorted(shared.items())]
    return {SHARED_TRACKS: json.dumps(note)}


def shared_from_metadata(metadata: Mapping[bytes, bytes] | None) -> dict[RowKey, RowKey]:
    """The inverse of :func:`shared_to_metadata`, from the metadata of an Arrow schema.

    Example:
        >>> shared_from_metadata(pq.read_schema("out/masks/dog-3f2a.parquet").metadata)
        {('1', 0): ('0', 0)}
    """
    note = (metadata or {}).get(SHARED_TRACKS.encode(), b"[]")
    return {_as_key(entry): _as_key(entry["track_of"]) for entry in json.loads(note)}


def _as_json(key: RowKey) -> dict[str, Any]:
    return {"expression_id": key[0], "object_id": key[1]}


def _as_key(entry: Mapping[str, Any]) -> RowKey:
    return entry["expression_id"], entry["object_id"]
