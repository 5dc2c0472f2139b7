"""Manifests: what is to be annotated, read from our own formats or a benchmark's, as one task per video."""

import csv
import logging
import posixpath
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from pipeline.errors import AccessDeniedError, UsageError
from pipeline.manifest.benchmarks import image_root, read_meta_expressions, rows_of
from pipeline.manifest.canonical import READERS, json_array, rows_of_array
from pipeline.manifest.checks import MAX_EXPRESSION_CHARACTERS, expression_problem
from pipeline.manifest.files import kind_of, manifest_files, open_manifest
from pipeline.manifest.grouping import ManifestRow, group_rows
from pipeline.manifest.one_video import task_of_video
from pipeline.manifest.saco import read_saco, saco_tasks
from pipeline.manifest.votsr import read_sequences, sequences_folder
from pipeline.schema import VideoTask
from pipeline.storage import MissingFileError, absolute, is_folder, parent, scrub

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
        manifest: Path or fsspec URL of a ``.parquet``, ``.jsonl`` (``.ndjson``), ``.csv`` or ``.tsv`` file with one row
            per (video, expression), of a folder of such files or a glob for them, of a ``.json`` file with an array of
            rows, or of a benchmark's ``meta_expressions.json``.
        videos: Folder that relative videos are taken from; by default the one that the manifest lies in. For a
            benchmark: its ``JPEGImages``.
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
    name = scrub(manifest)
    suffix = kind_of(manifest)
    if suffix == ".json" and not is_folder(manifest):
        tasks = _read_json(manifest, videos)
    elif suffix not in READERS and sequences_folder(manifest) is not None:
        tasks = read_sequences(manifest)
    else:
        found = manifest_files(manifest)
        if found is None:
            raise UsageError(
                f"{name}: unknown kind of manifest {suffix!r}; expected .parquet, .jsonl, .csv, .tsv (also a folder or "
                "glob of them), or a benchmark's .json"
            )
        files, folder = found
        tasks = group_rows(_rows(files), manifest=name, base=videos or folder)
    if not tasks:
        raise UsageError(f"{name}: the manifest has no rows")
    return tasks


def _rows(files: list[str]) -> Iterator[ManifestRow]:
    """The rows of all files; of several, each row's place begins with its file."""
    for url in files:
        kind, name = kind_of(url), scrub(url)
        try:
            with open_manifest(url) as file:
                for row in READERS[kind](file, name):
                    yield row if len(files) == 1 else row._replace(place=f"{posixpath.basename(name)}, {row.place}")
        except (pa.ArrowException, csv.Error, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
            reason = " ".join(scrub(str(error)).split())  # some of Arrow's have several lines
            raise UsageError(f"{name}: not a readable {kind[1:]} file: {reason}") from error


def _read_json(manifest: str, videos: str | None) -> list[VideoTask]:
    with open_manifest(manifest) as file:
        rows = json_array(file)
    if rows is not None:
        name = scrub(manifest)
        return group_rows(rows_of_array(rows, name), manifest=name, base=videos or parent(manifest))
    try:
        content = read_meta_expressions(manifest)
    except UsageError as error:
        try:
            pairs = read_saco(manifest)
        except UsageError:
            raise error from None
        return saco_tasks(pairs, videos or parent(manifest))
    return group_rows(rows_of(content), manifest=scrub(manifest), base=image_root(manifest, content, videos))
