"""Make an output of any size and its manifest without a model: small masks that mean nothing, in the layout of a run.

For measuring how long status, a second start and readers take. A start of annotate with the same manifest and the small
model finds nothing to do.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.cli.program import run_command
from pipeline.config import RunConfig
from pipeline.dataset.layout import number_of_parts, part_file, part_of
from pipeline.dataset.notes import VideoNote, notes_to_metadata
from pipeline.dataset.output import OutputDirectory
from pipeline.dataset.sources import Source
from pipeline.dataset.tables import row_table, to_parquet
from pipeline.masks import areas_and_bboxes, encode_masks
from pipeline.model.checkpoint.fingerprint import fingerprint
from pipeline.model.checkpoint.locate import fetch_model, pin_model
from pipeline.schema import MANIFEST_SCHEMA, MASKS_SCHEMA, MaskRow, Status
from pipeline.settings import CheckedSettings, Option, at_least
from pipeline.storage import PendingFile, absolute, atomic_write, join, make_directory, parent

PROGRAM = "python -m pipeline.workshop.synthetic_output"
EPILOG = "exit codes: 0 done; 2 bad usage; 3 could not run\n"
_FRAMES, _HEIGHT, _WIDTH = 3, 48, 64
_VIDEOS_AT_ONCE = 25_000


@dataclass(frozen=True, kw_only=True)
class Options(CheckedSettings):
    """Options."""

    videos: Annotated[int, at_least(1), Option("N")]
    """Videos of the output."""
    expressions: Annotated[int, at_least(1), Option("E")] = 4
    """Expressions of each video."""
    output: Annotated[str, Option("DIR")]
    """Dataset directory to write; path or URL."""
    manifest: Annotated[str, Option("FILE")]
    """Manifest to write, .parquet; path or URL."""


def run(options: Options) -> int:
    """Write both."""
    started = time.monotonic()
    config = RunConfig(manifest=absolute(options.manifest), model="nano", output=options.output)
    model = pin_model(config.model)
    identity = config.identity(fingerprint(fetch_model(model)))
    description = {"configuration": config.as_dict(), "model": model.describe()}
    parts = number_of_parts(options.videos)
    with OutputDirectory(options.output) as output:
        output.begin(identity=identity, description=description, parts=parts)
        rows = _template(options.expressions)
        for part, numbers in enumerate(_videos_of_parts(options.videos, parts)):
            if len(numbers):
                content = _part(rows, numbers, options.expressions)
                atomic_write(join(output.url, part_file(part, parts)), content)
        counts = output.finish({})
    _write_manifest(options)
    print(f"{counts.videos} videos, {counts.rows} rows, {parts} parts in {time.monotonic() - started:.0f} s")
    return 0


def video_id(number: int) -> str:
    """The id of a video, from its number."""
    return f"video{number:09d}"


def _location(number: int) -> str:
    return f"s3://bucket/videos/{number % 1000:03d}/{video_id(number)}.mp4"


def _videos_of_parts(videos: int, parts: int) -> list[np.ndarray]:
    """Numbers of the videos of each part, sorted."""
    part = np.fromiter((part_of(video_id(number), parts) for number in range(videos)), np.int32, videos)
    order = np.argsort(part, kind="stable")
    return np.split(order, np.searchsorted(part[order], np.arange(1, parts)))


def _template(expressions: int) -> pa.Table:
    """The rows of one video."""
    rows = []
    for number in range(expressions):
        masks = np.zeros((_FRAMES, _HEIGHT, _WIDTH), bool)
        masks[1:, 5 : 30 + number % 10, 8:40] = True
        encoded = encode_masks(masks)
        areas, bboxes = areas_and_bboxes(encoded)
        rows.append(
            MaskRow(
                video_id="",
                expression_id=f"{number:03d}",
                expression=_expression(number),
                status=Status.OK,
                answer="Sure, it is [SEG].",
                height=_HEIGHT,
                width=_WIDTH,
                frames=[f"{index:05d}" for index in range(_FRAMES)],
                keyframes=[0, 1, 2],
                masks=encoded,
                areas=areas,
                bboxes=bboxes,
                scores=[0.9] * _FRAMES,
                score=0.7,
            )
        )
    return pa.concat_tables(map(row_table, rows)).combine_chunks()


def _expression(number: int) -> str:
    return f"the animal number {number} that turns left"


def _part(rows: pa.Table, numbers: np.ndarray, expressions: int) -> bytes:
    """The file of a part with these videos, as a merge leaves it."""
    ids = [video_id(number) for number in numbers.tolist()]
    table = rows.take(np.tile(np.arange(expressions), len(ids)))
    column = pa.array(np.repeat(np.array(ids, object), expressions), pa.string())
    table = table.set_column(0, MASKS_SCHEMA.field("video_id"), column)
    notes = {
        name: VideoNote(source=Source(location=_location(number)), committed_at=int(time.time()))
        for name, number in zip(ids, numbers.tolist(), strict=True)
    }
    return to_parquet([table], notes_to_metadata(notes))


def _write_manifest(options: Options) -> None:
    make_directory(parent(options.manifest))
    with PendingFile(options.manifest) as pending:
        with pq.ParquetWriter(pending.file, MANIFEST_SCHEMA) as writer:
            for table in _manifest_tables(options.videos, options.expressions):
                writer.write_table(table)
        pending.publish()


def _manifest_tables(videos: int, expressions: int) -> Iterator[pa.Table]:
    for first in range(0, videos, _VIDEOS_AT_ONCE):
        numbers = [number for number in range(first, min(videos, first + _VIDEOS_AT_ONCE)) for _ in range(expressions)]
        columns = {
            "video_id": [video_id(number) for number in numbers],
            "video": [_location(number) for number in numbers],
            "expression_id": [f"{index % expressions:03d}" for index in range(len(numbers))],
            "expression": [_expression(index % expressions) for index in range(len(numbers))],
            **{
                name: pa.nulls(len(numbers), MANIFEST_SCHEMA.field(name).type)
                for name in ("frames", "license", "video_source")
            },
        }
        yield pa.table(columns, schema=MANIFEST_SCHEMA)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program; returns the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    return run_command(PROGRAM, Options, run, given, description=__doc__, epilog=EPILOG)


if __name__ == "__main__":
    sys.exit(main())
