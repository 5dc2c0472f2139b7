"""Manifests: what is to be annotated, read from our own formats or a benchmark's, as a plan or as tasks."""

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
from pipeline.manifest.one_video import task_of_video
from pipeline.manifest.parallel import read_files
from pipeline.manifest.plan import Plan
from pipeline.manifest.rows import ManifestRow, checked, rows_of_tasks
from pipeline.manifest.saco import read_saco, saco_tasks
from pipeline.manifest.votsr import read_sequences, sequences_folder
from pipeline.schema import VideoTask
from pipeline.storage import MissingFileError, absolute, is_folder, parent, scrub

__all__ = [
    "MAX_EXPRESSION_CHARACTERS",
    "Plan",
    "expression_problem",
    "plan_manifest",
    "plan_of",
    "read_manifest",
    "read_tasks",
]

logger = logging.getLogger(__name__)


def plan_of(configuration: Mapping[str, Any], *, videos: str | None = None) -> Plan:
    """A plan of what a run's configuration names: its manifest, or its one video. To be closed.

    Args:
        configuration: Fields of :class:`pipeline.config.RunConfig`, also as ``run.json`` holds them.
        videos: Instead of the configuration's own ``videos``.

    Raises:
        UsageError: As :func:`plan_manifest`; also when it names neither a manifest nor a video.
    """
    videos = videos or configuration.get("videos")
    manifest, video, expressions = (configuration.get(name) for name in ("manifest", "video", "expression"))
    if isinstance(manifest, str):
        return plan_manifest(manifest, videos=videos, limit=configuration.get("limit"))
    if isinstance(video, str) and isinstance(expressions, list):
        return Plan.of_tasks([task_of_video(video, expressions, videos=videos)], manifest=scrub(video))
    raise UsageError("no manifest says what the videos are")


def read_tasks(configuration: Mapping[str, Any], *, videos: str | None = None) -> list[VideoTask]:
    """:func:`plan_of` as a list of tasks, for manifests of moderate size."""
    with plan_of(configuration, videos=videos) as plan:
        return plan.all_tasks()


def read_manifest(
    manifest: str, *, videos: str | None = None, exclude_meta: str | None = None, limit: int | None = None
) -> list[VideoTask]:
    """:func:`plan_manifest` as a list of tasks in the manifest's order, for manifests of moderate size."""
    with plan_manifest(manifest, videos=videos, exclude_meta=exclude_meta, limit=limit) as plan:
        return plan.all_tasks()


def plan_manifest(
    manifest: str, *, videos: str | None = None, exclude_meta: str | None = None, limit: int | None = None
) -> Plan:
    """Read a manifest of any size, group it by video and check it. To be closed.

    Args:
        manifest: Path or fsspec URL of a ``.parquet``, ``.jsonl`` (``.ndjson``), ``.csv`` or ``.tsv`` file with one row
            per (video, expression), of a folder of such files or a glob for them, of a ``.json`` file with an array of
            rows, or of a benchmark's ``meta_expressions.json``.
        videos: Folder that relative videos are taken from; by default the one that the manifest lies in. For a
            benchmark: its ``JPEGImages``.
        exclude_meta: Another ``meta_expressions.json``, whose videos are left out (Ref-YouTube-VOS: its test meta).
        limit: Keep the first so many videos.

    Returns:
        A plan of tasks with absolute video locations. Expressions are kept as written, also ones that
        :func:`expression_problem` objects to: those cost their own row, later.

    Raises:
        UsageError: The manifest cannot be used; the message names file, place and column.
        StorageError: The storage does not answer, or this machine's disk is full.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"--limit must be at least 1, not {limit}")
    try:
        plan = _read(absolute(manifest), absolute(videos) if videos is not None else None)
        excluded = [] if exclude_meta is None else read_meta_expressions(absolute(exclude_meta))
    except (MissingFileError, AccessDeniedError) as error:
        raise UsageError(str(error)) from error
    if not plan.rows:
        raise UsageError(f"{plan.manifest}: the manifest has no rows")
    plan.group(limit=limit, excluded=excluded)
    if not plan.total.videos:
        raise UsageError(f"{scrub(exclude_meta or '')} excludes every video of {plan.manifest}")
    return plan


def _read(manifest: str, videos: str | None) -> Plan:
    """A plan with all rows of a manifest, not yet grouped."""
    name = scrub(manifest)
    suffix = kind_of(manifest)
    if suffix == ".json" and not is_folder(manifest):
        rows, base, unit = _rows_of_json(manifest, videos)
        return Plan.of_rows(rows, manifest=name, base=base, unit=unit)
    if suffix not in READERS and sequences_folder(manifest) is not None:
        return Plan.of_rows(rows_of_tasks(read_sequences(manifest)), manifest=name, base=None, unit="row")
    found = manifest_files(manifest)
    if found is None:
        raise UsageError(
            f"{name}: unknown kind of manifest {suffix!r}; expected .parquet, .jsonl, .csv, .tsv (also a folder or "
            "glob of them), or a benchmark's .json"
        )
    files, folder = found
    plan = Plan(name, videos or folder)
    for url in files:
        plan.add_file(posixpath.basename(scrub(url)) if len(files) > 1 else "", READERS[kind_of(url)].unit)
    for number, table in read_files(files, _tables):
        plan.add(number, table)
    return plan


def _tables(url: str) -> Iterator[pa.Table]:
    kind, name = kind_of(url), scrub(url)
    reader = READERS[kind]
    try:
        with open_manifest(url) as file:
            for table in reader.read(file, name):
                yield checked(table, manifest=name, unit=reader.unit)
    except (pa.ArrowException, csv.Error, UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        reason = " ".join(scrub(str(error)).split())  # some of Arrow's have several lines
        raise UsageError(f"{name}: not a readable {kind[1:]} file: {reason}") from error


def _rows_of_json(manifest: str, videos: str | None) -> tuple[Iterator[ManifestRow], str | None, str]:
    """Rows of a JSON file, the folder of its relative videos, if any are, and what the rows' numbers count."""
    with open_manifest(manifest) as file:
        array = json_array(file)
    if array is not None:
        return rows_of_array(array, scrub(manifest)), videos or parent(manifest), "row"
    try:
        content = read_meta_expressions(manifest)
    except UsageError as error:
        try:
            pairs = read_saco(manifest)
        except UsageError:
            raise error from None
        return rows_of_tasks(saco_tasks(pairs, videos or parent(manifest))), None, "row"
    return rows_of(content), image_root(manifest, content, videos), "expression"
