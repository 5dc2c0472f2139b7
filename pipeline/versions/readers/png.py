"""Pictures of masks in the layout of ``export --format png``: ``VIDEO/EXPRESSION/FRAME.png``, a folder or a zip file.

With ``--objects all`` there is a folder more, ``VIDEO/EXPRESSION/object_0/FRAME.png``. A picture has one value beside
black; one that is missing changes nothing. MeViS and the benchmarks whose submissions look the same are read as well.
"""

import posixpath
import re
from collections.abc import Sequence
from urllib.parse import unquote

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.pictures import PictureError, open_picture
from pipeline.export.submission import Submission
from pipeline.masks import encode_masks
from pipeline.storage import absolute, scrub
from pipeline.versions.annotations import Annotations, VideoAnnotation

_OBJECT = re.compile(r"object_(\d{1,9})")
_LEFT_BY_SYSTEMS = frozenset({"Thumbs.db", "desktop.ini", "__MACOSX"})


def read(location: str) -> Annotations:
    """Read a folder or a zip file. Raises UsageError."""
    submission = Submission(absolute(location))
    if submission.faults:
        raise UsageError(f"{scrub(location)}: {submission.faults[0]}")
    annotations: Annotations = {}
    for name in sorted(submission.names):
        parts = name.split("/")
        if _LEFT_BY_SYSTEMS & set(parts) or any(part.startswith(".") for part in parts):
            continue
        where = f"{scrub(location)}: {name}"
        video_id, expression_id, object_id, frame = _place(parts, where)
        try:
            mask = _mask(submission.read(name), where)
        except PictureError as error:
            raise UsageError(f"{scrub(location)}: {error}") from error
        video = annotations.setdefault(video_id, VideoAnnotation())
        track = video.union(expression_id) if object_id is None else video.track(expression_id, object_id)
        track.frames = (track.frames or set()) | {frame}
        rle = encode_masks(mask[None])[0]
        if rle is not None:
            track.add(frame, rle)
    if not annotations:
        raise UsageError(f"{scrub(location)}: holds no pictures")
    return annotations


def _place(parts: Sequence[str], where: str) -> tuple[str, str, int | None, str]:
    """Video, expression, object (None for all of the expression) and frame of a picture."""
    stem, suffix = posixpath.splitext(parts[-1])
    if suffix.lower() != ".png":
        raise UsageError(f"{where}: is no PNG file; other formats do not keep a mask's values")
    *folders, last = parts[:-1]
    found = _OBJECT.fullmatch(last) if len(folders) >= 2 else None
    object_id = None if found is None else int(found[1])
    if found is not None:
        *folders, last = folders
    if not folders:
        raise UsageError(f"{where}: must be called VIDEO/EXPRESSION/FRAME.png, as the export names it")
    return "/".join(map(unquote, folders)), unquote(last), object_id, unquote(stem)


def _mask(data: bytes, where: str) -> np.ndarray:
    """A picture as a mask, bool ``[H, W]``. Raises PictureError and UsageError."""
    picture = open_picture(data, where)
    try:
        if picture.has_transparency_data and np.asarray(picture.convert("RGBA"))[..., 3].min() < 255:
            raise UsageError(f"{where}: is transparent in places; save it without transparency")
        coloured = picture.mode in ("P", "RGB", "RGBA", "LA", "PA")  # programs that edit a palette may renumber it
        values = np.asarray(picture.convert("RGB")).max(axis=2) if coloured else np.asarray(picture)
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise PictureError(f"{where} is damaged: {error}") from error
    if len(np.unique(values[values != 0])) > 1:
        raise UsageError(f"{where}: has several values beside black; a mask has one (draw without smooth edges)")
    return np.asarray(values != 0)
