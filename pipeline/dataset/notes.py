"""Notes on videos in the metadata of the files that hold their rows: what a reader of masks need not know.

Two kinds: what a video's rows were made from and when they were committed, and, in runs with ``merge_tracks``, which
rows were given another row's track.
"""

import base64
import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.dataset.sources import Source

SHARED_TRACKS = "sa2va_i_pipeline.shared_tracks"
"""A JSON list of ``{video_id, expression_id, object_id, track_of: {expression_id, object_id}}``."""
SOURCES = "sa2va_i_pipeline.sources"
"""JSON, deflated and in base 64: ``{video_id: {fields of Source..., committed_at}}``."""

_MOST_BYTES = 256 * 2**20

RowKey = tuple[str, int]
"""Expression and object of one row of a video."""


@dataclass(frozen=True, kw_only=True)
class VideoNote:
    """What is noted on one video.

    Attributes:
        source: What its rows were made from.
        committed_at: When, in seconds since 1970.
        shared: Rows that have the track of another one.
    """

    source: Source | None = None
    committed_at: int | None = None
    shared: Mapping[RowKey, RowKey] = field(default_factory=dict)

    def updated(self, newer: "VideoNote", replaced: Collection[str]) -> "VideoNote":
        """This note after a later commit that replaced all rows of some expressions."""
        kept = {row: of for row, of in self.shared.items() if row[0] not in replaced}
        return VideoNote(
            source=newer.source or self.source,
            committed_at=newer.committed_at or self.committed_at,
            shared={**kept, **newer.shared},
        )


def notes_to_metadata(notes: Mapping[str, VideoNote]) -> dict[str, str]:
    """Notes by video as metadata; no key where there is nothing to note."""
    shared = [
        {"video_id": video_id, **_as_json(row), "track_of": _as_json(owner)}
        for video_id, note in sorted(notes.items())
        for row, owner in sorted(note.shared.items())
    ]
    sources = {video_id: _source_json(note) for video_id, note in sorted(notes.items()) if _source_json(note)}
    metadata = {SHARED_TRACKS: json.dumps(shared)} if shared else {}
    if sources:
        metadata[SOURCES] = base64.b64encode(zlib.compress(json.dumps(sources).encode())).decode()
    return metadata


def notes_from_metadata(metadata: Mapping[bytes, bytes] | None, *, video_id: str = "") -> dict[str, VideoNote]:
    """The inverse of :func:`notes_to_metadata`, from the metadata of an Arrow schema.

    Args:
        metadata: Of the schema.
        video_id: Of a file of one video, for notes of schema version 1, which do not name it.
    """
    metadata = metadata or {}
    shared: dict[str, dict[RowKey, RowKey]] = {}
    for entry in json.loads(metadata.get(SHARED_TRACKS.encode(), b"[]")):
        rows = shared.setdefault(entry.get("video_id", video_id), {})
        rows[_as_key(entry)] = _as_key(entry["track_of"])
    packed = metadata.get(SOURCES.encode())
    sources: dict[str, dict[str, Any]] = json.loads(_inflated(packed)) if packed else {}
    return {
        name: VideoNote(
            source=_source_of(sources.get(name, {})),
            committed_at=sources.get(name, {}).get("committed_at"),
            shared=shared.get(name, {}),
        )
        for name in {*shared, *sources}
    }


def _inflated(packed: bytes) -> bytes:
    """Bounded, since a dataset may come from a stranger."""
    return zlib.decompressobj().decompress(base64.b64decode(packed), _MOST_BYTES)


def _source_json(note: VideoNote) -> dict[str, Any]:
    values = {**(asdict(note.source) if note.source else {}), "committed_at": note.committed_at}
    return {name: value for name, value in values.items() if value is not None}


def _source_of(values: Mapping[str, Any]) -> Source | None:
    known = {name: value for name, value in values.items() if name in Source.__dataclass_fields__}
    return Source(**known) if known else None


def _as_json(key: RowKey) -> dict[str, Any]:
    return {"expression_id": key[0], "object_id": key[1]}


def _as_key(entry: Mapping[str, Any]) -> RowKey:
    return entry["expression_id"], entry["object_id"]
