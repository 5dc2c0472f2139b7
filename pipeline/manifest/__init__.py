"""Manifests: what is to be annotated, read from our own formats or a benchmark's, as one task per video."""

import csv
import logging
import posixpath
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.manifest.benchmarks import image_root, read_meta_expressions, rows_of
from pipeline.manifest.canonical import READERS
from pipeline.manifest.checks import MAX_EXPRESSION_CHARACTERS, expression_problem
from pipeline.manifest.grouping import group_rows
from pipeline.manifest.one_video import task_of_video
from pipeline.manifest.saco import read_saco, saco_tasks
from pipeline.manifest.votsr import read_sequences, sequences_folder
from pipeline.schema import VideoTask
from pipeline.storage import AccessDeniedError, MissingFileError, absolute, open_input, parent, scrub

__all__ = ["MAX_EXPRESSION_CHARACTERS", "expression_problem", "read_manifest", "read_tasks"]

logger = logging.getLogger(__name__)


def read_tasks(configuration: Mapping[str, Any], *, videos: str | None = None) -> list[VideoTask]:
    """The tasks that a run's configuration names: those of its manifest, or its one video.

    Args:
        configuration: Fields of :class:`pipeline.config.RunConfig`, also as ``run.json`` holds them.
        videos: Instead of the configuration's own ``videos``.

    Raises:
        UsageError: As :func:`read_manifest`; also when it names neither a manifest nor a video.
    """
    videos = videos or configuration.get("videos")
    manifest, video, expressions = (configuration.get(name) for name in ("manifest", "video", "expression"))
    if isinstance(manifest, str):
        return read_manifest(manifest, videos=videos, limit=configuration.get("limit"))
    if isinstance(video, str) and isinstance(expressions, list):
        return [task_of_video(video, expressions, videos=videos)]
    raise UsageError("no manifest says what the videos are")


def read_manifest(
    manifest: str, *, videos: str | None = None, exclude_meta: str | None = None, limit: int | None = None
) -> list[VideoTask]:
    """Read a manifest into one task per video, in the manifest's order.

    Args:
        manifest: Path or fsspec URL of a ``.parquet``, ``.jsonl`` or ``.csv`` file with one row per (video,
            expression), or of a benchmark's ``meta_expressions.json``.
        videos: Folder that relative videos are taken from; by default the manifest's own. For a benchmark: its
            ``JPEGImages``.
        exclude_meta: Another ``meta_expressions.json``, whose videos are left out (Ref-YouTube-VOS: its test meta).
        limit: Keep the first so many videos.

    Returns:
        Tasks with absolute video locations. Expressions are kept as written, also ones that
        :func:`expression_problem` objects to: those cost their own row, later.

    Raises:
        UsageError: The manifest cannot be used; the message names file, place and column.
        StorageError: The storage does not answer.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    try:
        tasks = _read(absolute(manifest), absolute(videos) if videos is not None else None)
        if exclude_meta is not None:
            excluded = read_meta_expressions(absolute(exclude_meta))
            kept = [task for task in tasks if task.video_id not in excluded]
            logger.info("%s leaves out %d of %d videos", scrub(exclude_meta), len(tasks) - len(kept), len(tasks))
            if not kept:
                raise UsageError(f"{scrub(exclude_meta)} excludes every video of {scrub(manifest)}")
            tasks = kept
    except (MissingFileError, AccessDeniedError) as error:
        raise UsageError(str(error)) from error
    return tasks[:limit]


def _read(manifest: str, videos: str | None) -> list[VideoTask]:
    suffix = posixpath.splitext(manifest)[1].lower()
    name = scrub(manifest)
    if suffix == ".json":
        tasks = _read_json(manifest, videos)
    elif suffix not in READERS and sequences_folder(manifest) is not None:
        tasks = read_sequences(manifest)
    elif suffix in READERS:
        with open_input(manifest) as file:
            try:
                tasks = group_rows(READERS[suffix](file, name), manifest=name, base=videos or parent(manifest))
            except (pa.ArrowException, csv.Error, UnicodeDecodeError, OSError) as error:
                reason = " ".join(scrub(str(error)).split())  # some of Arrow's have several lines
                raise UsageError(f"{name}: not a readable {suffix[1:]} file: {reason}") from error
    else:
        raise UsageError(
            f"{name}: unknown kind of manifest {suffix!r}; expected .parquet, .jsonl, .csv or a benchmark's .json"
        )
    if not tasks:
        raise UsageError(f"{name}: the manifest has no rows")
    return tasks


def _read_json(manifest: str, videos: str | None) -> list[VideoTask]:
    try:
        content = read_meta_expressions(manifest)
    except UsageError as error:
        try:
            pairs = read_saco(manifest)
        except UsageError:
            raise error from None
        return saco_tasks(pairs, videos or parent(manifest))
    return group_rows(rows_of(content), manifest=scrub(manifest), base=image_root(manifest, content, videos))
