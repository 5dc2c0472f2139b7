"""An expression's answer and tracks as rows of the mask dataset."""

from collections.abc import Sequence

from pipeline.model.segment import Track
from pipeline.schema import MaskRow, Status, joined_notes


def mask_rows(
    *,
    video_id: str,
    expression_id: str,
    expression: str,
    answer: str | None,
    tracks: Sequence[Track],
    frame_names: Sequence[str],
    keyframes: Sequence[int],
    height: int,
    width: int,
    notes: Sequence[str | None] = (),
    presence: float | None = None,
    error: str | None = None,
) -> list[MaskRow]:
    """The rows of one expression: one per track, one ``no_object`` row if there is no track, or one ``failed`` row.

    Args:
        video_id: Unique per video.
        expression_id: Unique within the video.
        expression: As asked.
        answer: The language model's reply.
        tracks: One per ``[SEG]`` of the answer.
        frame_names: One per entry of the tracks' lists.
        keyframes: Indices into ``frame_names``.
        height: Of the masks, pixels.
        width: Of the masks, pixels.
        notes: What a reader of the rows should know about how they were made; goes into ``error``.
        presence: Probability that what the expression names is in the video.
        error: Why there is no answer; makes the row a failed one.
    """
    if error is not None:
        return [
            MaskRow(
                video_id=video_id,
                expression_id=expression_id,
                expression=expression,
                status=Status.FAILED,
                error=error,
            )
        ]
    absent = len(frame_names)
    nothing = Track(masks=[None] * absent, areas=[0] * absent, bboxes=[None] * absent, scores=[0.0] * absent)
    return [
        MaskRow(
            video_id=video_id,
            expression_id=expression_id,
            expression=expression,
            object_id=object_id,
            status=Status.OK if tracks else Status.NO_OBJECT,
            error=joined_notes(notes),
            answer=answer,
            height=height,
            width=width,
            frames=list(frame_names),
            keyframes=list(keyframes),
            masks=track.masks,
            areas=track.areas,
            bboxes=track.bboxes,
            scores=track.scores,
            score=track.score,
            presence=presence,
        )
        for object_id, track in enumerate(tracks or [nothing])
    ]
