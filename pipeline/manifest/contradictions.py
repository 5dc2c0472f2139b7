"""Rows of one manifest that contradict each other: a doubled id, or two locations, frames or licences of a video."""

from collections.abc import Iterable

from pipeline.manifest.rows import TERMS, ManifestRow, shown


def first_contradiction(rows: Iterable[ManifestRow]) -> tuple[int, str] | None:
    """The first row that contradicts one before it, and how.

    Args:
        rows: In the manifest's order; of some videos, with all their rows. Their numbers are returned as they are.
    """
    videos: dict[str, tuple[str, tuple[str, ...] | None]] = {}
    seen: set[tuple[str, str]] = set()
    terms: dict[tuple[str, str], str] = {}
    for number, video_id, video, expression_id, _, frames, license_text, video_source in rows:
        before, frames_before = videos.setdefault(video_id, (video, frames))
        if before != video:
            return number, (
                f"column 'video': video_id {shown(video_id)} is {shown(video)} here "
                f"and {shown(before)} before; one video_id names one video"
            )
        if frames_before != frames:
            return number, (
                f"column 'frames': video_id {shown(video_id)} has another list of frames before; "
                "give every row of a video the same list"
            )
        for column, value in zip(TERMS, (license_text, video_source), strict=True):
            stated = terms.setdefault((video_id, column), value) if value is not None else None
            if stated != value:
                return number, (
                    f"column {column!r}: video_id {shown(video_id)} has {shown(value or '')} here and "
                    f"{shown(stated or '')} before; a video has one"
                )
        if (video_id, expression_id) in seen:
            return number, (
                f"video_id {shown(video_id)} has expression_id {shown(expression_id)} twice; "
                "ids must be unique within a video"
            )
        seen.add((video_id, expression_id))
    return None
