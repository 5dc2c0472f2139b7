"""File names of the pictures that were annotated, for formats that refer to pictures (COCO, YouTube-VIS)."""

import logging
import posixpath
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import PipelineError, UsageError
from pipeline.storage import absolute, is_local, list_names, scrub
from pipeline.video.archive import ARCHIVE_SUFFIXES, open_archive
from pipeline.video.frames import DEFAULT_LIMITS
from pipeline.video.images import IMAGE_SUFFIXES
from pipeline.video.locations import find

logger = logging.getLogger(__name__)

DEFAULT_SUFFIX = ".jpg"
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".gif"})
_FIELDS = ("{video_id}", "{video}", "{frame}")


class FileNames:
    """Names the picture of every frame of a video.

    A folder's frames keep their place and extension, a single image is itself, a frame of an archive is
    ``ARCHIVE/MEMBER``. A video file has no pictures: its frames are called ``VIDEO/FRAME.jpg``, where VIDEO is its
    path without extension, as programs that extract frames name them. Places are relative to the folder that the
    manifest's videos are relative to, and absolute outside it.

    Args:
        base: That folder.
        pattern: Instead of all this, a text with ``{video_id}``, ``{video}`` (the place without extension) and
            ``{frame}``.

    Raises:
        UsageError: The pattern does not hold ``{frame}``, or holds another field.
    """

    def __init__(self, base: str, pattern: str | None = None) -> None:
        self._base = absolute(base)
        self._pattern = pattern
        if pattern is not None:
            plain = pattern
            for name in _FIELDS:
                plain = plain.replace(name, "")
            if "{frame}" not in pattern or "{" in plain or "}" in plain:
                raise UsageError(f"--file-names {pattern!r}: needs {{frame}} and may hold {{video_id}} and {{video}}")

    @property
    def has_pattern(self) -> bool:
        """Whether names were asked for, and are not the pictures' own."""
        return self._pattern is not None

    def of(self, video_id: str, video: str, frames: Sequence[str]) -> list[str]:
        """The picture of every frame.

        Args:
            video_id: Id of the video.
            video: Its absolute location.
            frames: Names of its frames, without extension.
        """
        place = self._relative(video)
        stem = _stem(place)
        if self._pattern is not None:
            return [self._filled(video_id, stem, frame) for frame in frames]
        suffix = _suffix(video)
        if suffix in IMAGE_SUFFIXES and len(frames) == 1:
            return [place]
        if _without_query(video).lower().endswith(ARCHIVE_SUFFIXES):
            members = _members(video)
        elif suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES or (is_local(video) and Path(video).is_file()):
            return [f"{stem}/{frame}{DEFAULT_SUFFIX}" for frame in frames]
        else:
            members = _pictures(video)
        return [f"{place}/{members.get(frame, frame + DEFAULT_SUFFIX)}" for frame in frames]

    def _filled(self, video_id: str, stem: str, frame: str) -> str:
        # one pass each, longest first; a value may itself hold braces, so it is put in last
        parts = str(self._pattern).replace("{video_id}", "\0i").replace("{video}", "\0v").replace("{frame}", "\0f")
        pieces = parts.split("\0")
        values = {"i": video_id, "v": stem, "f": frame}
        return pieces[0] + "".join(values[piece[0]] + piece[1:] for piece in pieces[1:])

    def _relative(self, video: str) -> str:
        inside = self._base.rstrip("/") + "/"
        return scrub(_without_query(video.removeprefix(inside) if video.startswith(inside) else video))


def _suffix(location: str) -> str:
    return posixpath.splitext(posixpath.basename(_without_query(location)))[1].lower()


def _without_query(location: str) -> str:
    return location if is_local(location) else location.split("?")[0]


def _stem(place: str) -> str:
    lower = place.lower()
    for suffix in ARCHIVE_SUFFIXES:
        if lower.endswith(suffix):
            return place[: -len(suffix)]
    root, suffix = posixpath.splitext(place)
    return root if suffix else place


def _pictures(folder: str) -> dict[str, str]:
    """Frame name -> file name of a folder's images; empty where the folder is not at hand."""
    try:
        names = list_names(folder)
    except PipelineError as error:
        logger.warning("%s; its pictures are assumed to be %s files", error, DEFAULT_SUFFIX)
        return {}
    return {posixpath.splitext(name)[0]: name for name in names if _suffix(name) in IMAGE_SUFFIXES}


def _members(archive: str) -> dict[str, str]:
    """Frame name -> path in the archive; empty where it is not at hand."""
    try:
        store = open_archive(find(archive), DEFAULT_LIMITS)
        try:
            paths = list(store.sizes())
        finally:
            store.close()
    except PipelineError as error:
        logger.warning("%s; its pictures are assumed to be %s files", error, DEFAULT_SUFFIX)
        return {}
    return {posixpath.splitext(posixpath.basename(path))[0]: path for path in paths}
