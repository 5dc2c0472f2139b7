"""The nouns: what a row of the manifest, of the mask dataset and of its verdicts is, and their Arrow schemas.

All are contracts: other programs read these files. Change :data:`SCHEMA_VERSION` when a column changes meaning.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypedDict

import pyarrow as pa

SCHEMA_VERSION = "2"
"""Version 1 had fixed-size lists in ``masks`` and ``bboxes`` and no ``presence``;
:func:`pipeline.dataset.versions.current_columns` reads it."""

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("video", pa.string(), nullable=False),
        pa.field("expression_id", pa.string(), nullable=False),
        pa.field("expression", pa.string(), nullable=False),
        pa.field("frames", pa.list_(pa.string())),
        pa.field("license", pa.string()),
        pa.field("video_source", pa.string()),
    ]
)

# no fixed-size list below a level that may be null: Arrow before 26 cannot read that back from Parquet
RLE_TYPE = pa.struct([pa.field("size", pa.list_(pa.int32())), pa.field("counts", pa.string())])

MASKS_SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("expression_id", pa.string(), nullable=False),
        pa.field("expression", pa.string(), nullable=False),
        pa.field("object_id", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("frames", pa.list_(pa.string())),
        pa.field("keyframes", pa.list_(pa.int32())),
        pa.field("masks", pa.list_(RLE_TYPE)),
        pa.field("areas", pa.list_(pa.int32())),
        pa.field("bboxes", pa.list_(pa.list_(pa.float32()))),
        pa.field("scores", pa.list_(pa.float32())),
        pa.field("score", pa.float32()),
        pa.field("presence", pa.float32()),
        pa.field("source", pa.string()),
        pa.field("parent", pa.string()),
        pa.field("license", pa.string()),
        pa.field("video_source", pa.string()),
    ],
    metadata={"sa2va_i_pipeline.schema_version": SCHEMA_VERSION},
)

VERDICTS_SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("expression_id", pa.string(), nullable=False),
        pa.field("object_id", pa.int32(), nullable=False),
        pa.field("expression", pa.string(), nullable=False),
        pa.field("verdict", pa.float32(), nullable=False),
        pa.field("outlined", pa.bool_(), nullable=False),
        pa.field("frames", pa.list_(pa.string()), nullable=False),
        pa.field(
            "votes",
            pa.list_(
                pa.struct(
                    [
                        pa.field("model", pa.string()),
                        pa.field("vote", pa.float32()),
                        pa.field("from_logprobs", pa.bool_()),
                        pa.field("answer", pa.string()),
                    ]
                )
            ),
            nullable=False,
        ),
        pa.field("agreement", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("row_digest", pa.string(), nullable=False),
        pa.field("settings_digest", pa.string(), nullable=False),
    ],
    metadata={"sa2va_i_pipeline.verdicts_version": "1"},
)
"""One row for each row of ``masks`` that a second model judged.

``verdict`` is the probability, 0..1, that the outlined object is what the expression says; where ``outlined`` is false,
that what the expression names is in the video. ``frames`` names the frames that were shown, ``votes`` is what each
judge said, ``prompt`` what was asked. ``row_digest`` stands for the row of ``masks`` (see
:func:`pipeline.dataset.verdicts.row_digest`), ``settings_digest`` for how it was judged.
"""


NOTE = "Note: "
"""How the ``error`` column of a row begins that is good and has something to tell."""


class Rle(TypedDict):
    """COCO compressed run-length encoding of one mask: column-major runs, ``size`` = [height, width]."""

    size: list[int]
    counts: str


class RowSource(StrEnum):
    """Where a row's masks come from, where it is no tool that has a name of its own."""

    MODEL = "model"
    ACCEPTED = "accepted"
    """The model's, looked at and accepted by a person."""
    PERSON = "person"


class Status(StrEnum):
    """What became of one (video, expression)."""

    OK = "ok"
    NO_OBJECT = "no_object"
    """The answer has no ``[SEG]``: one row, every mask null."""
    FAILED = "failed"
    """One row; ``error`` says why."""


@dataclass(frozen=True, kw_only=True)
class Expression:
    """One referring expression of a video."""

    expression_id: str
    text: str


@dataclass(frozen=True, kw_only=True)
class VideoTask:
    """The unit of work: one video with all its expressions that are still to be done."""

    video_id: str
    video: str
    """Absolute URL or path of a video file, an image file, a folder of frame images, or an archive of them."""
    expressions: tuple[Expression, ...]
    frames: tuple[str, ...] | None = None
    """Frame names without extension, in order; ``None`` takes every frame."""
    license: str | None = None
    """Of the video; ``None`` where the manifest does not say."""
    video_source: str | None = None
    """Where the video is from, likewise."""


@dataclass(kw_only=True)
class MaskRow:
    """One row of the mask dataset: one object of one expression of one video.

    The per-frame lists have the length of ``frames``; an absent object is ``None`` in ``masks`` and ``bboxes`` and 0
    in ``areas``.
    """

    video_id: str
    expression_id: str
    expression: str
    object_id: int = 0
    status: str
    error: str | None = None
    answer: str | None = None
    height: int | None = None
    width: int | None = None
    frames: list[str] = field(default_factory=list)
    keyframes: list[int] = field(default_factory=list)
    """Indices into ``frames``."""
    masks: list[Rle | None] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    """Pixels per frame."""
    bboxes: list[list[float] | None] = field(default_factory=list)
    """COCO ``[x, y, width, height]`` in pixels per frame."""
    scores: list[float] = field(default_factory=list)
    """SAM 2's presence confidence per frame, 0..1."""
    score: float | None = None
    """Expected quality of the track, 0..1."""
    presence: float | None = None
    """Probability that what the expression names is in the video at all, 0..1; ``None`` until it is computed."""
    source: str | None = None
    """A :class:`RowSource`, or the name of a tool; ``None`` is the model of the run."""
    parent: str | None = None
    """Version of the dataset that the row was taken over from; ``None`` where a run made it."""
    license: str | None = None
    """Of the video, as the manifest or the run's configuration has it."""
    video_source: str | None = None
    """Where the video is from, likewise."""


def failed_rows(task: VideoTask, error: str) -> list[MaskRow]:
    """One ``failed`` row for every expression of ``task``, carrying the same message."""
    return [
        MaskRow(
            video_id=task.video_id,
            expression_id=expression.expression_id,
            expression=expression.text,
            status=Status.FAILED,
            error=error,
            license=task.license,
            video_source=task.video_source,
        )
        for expression in task.expressions
    ]


def joined_notes(notes: Sequence[str | None]) -> str | None:
    """Several notes as one text that begins with ``Note: ``; ``None`` if there are none.

    Example:
        >>> joined_notes(["Note: frames were scaled", None, "two objects were dropped"])
        'Note: frames were scaled; two objects were dropped'
    """
    texts = [note.removeprefix(NOTE) for note in notes if note]
    return NOTE + "; ".join(texts) if texts else None
