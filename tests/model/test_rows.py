"""From the library's result to the dataset: rows that say what was answered, tracked and noted."""

from pathlib import Path

import pytest
import torch

from pipeline.dataset import DatasetWriter, MaskDataset
from pipeline.model.rows import mask_rows
from pipeline.model.sa2va import Sa2VA, VideoMasks
from pipeline.model.segment import Track
from pipeline.schema import MaskRow, joined_notes


@pytest.fixture(scope="module")
def result(untrained: Path, frames: Path) -> VideoMasks:
    torch.set_num_threads(1)
    return Sa2VA.from_checkpoint(untrained).segment(frames, ["the yellow square", "the ball"], num_keyframes=2)


def test_a_result_is_written_as_a_dataset_and_read_back(result: VideoMasks, tmp_path: Path) -> None:
    rows = result.rows(video_id="clip", expression_ids=["square", "ball"])
    (tmp_path / "out" / "masks").mkdir(parents=True)
    DatasetWriter(str(tmp_path / "out")).commit(rows)
    written = sorted((record.row for record in MaskDataset(str(tmp_path / "out"))), key=lambda row: row.expression_id)
    assert [(row.expression_id, row.expression, row.object_id, row.status) for row in written] == [
        ("ball", "the ball", 0, "ok"),
        ("square", "the yellow square", 0, "ok"),
    ]
    (track,) = result[0].tracks
    assert written[1].masks == track.masks
    assert written[1].areas == track.areas
    assert written[1].answer == result[0].answer
    assert written[1].frames == [f"{i:05d}" for i in range(6)]
    assert written[1].keyframes == [0, 5]
    assert (written[1].height, written[1].width) == (64, 96)
    assert written[1].score == pytest.approx(track.score)


def test_expressions_are_numbered_unless_they_have_ids(result: VideoMasks) -> None:
    assert [row.expression_id for row in result.rows(video_id="clip")] == ["0", "1"]
    with pytest.raises(ValueError, match="shorter"):
        result.rows(video_id="clip", expression_ids=["only one"])


def rows_of(tracks: list[Track], *notes: str | None, error: str | None = None) -> list[MaskRow]:
    return mask_rows(
        video_id="v",
        expression_id="e",
        expression="the dog",
        answer="Sure.",
        tracks=tracks,
        frame_names=("0", "1"),
        keyframes=[0],
        height=4,
        width=6,
        notes=notes,
        error=error,
    )


def test_an_answer_without_objects_is_one_row_without_masks() -> None:
    (row,) = rows_of([], None, "capped")
    assert (row.status, row.object_id, row.error) == ("no_object", 0, "Note: capped")
    assert (row.masks, row.areas, row.bboxes, row.scores, row.score) == ([None] * 2, [0] * 2, [None] * 2, [0.0] * 2, 0)
    assert row.answer == "Sure."


def test_every_object_has_a_row_of_its_own() -> None:
    tracks = [Track([None, None], [0, 0], [None, None], [0.5, 0.25], score) for score in (0.1, 0.9)]
    rows = rows_of(tracks)
    assert [(row.object_id, row.status, row.score, row.error) for row in rows] == [
        (0, "ok", 0.1, None),
        (1, "ok", 0.9, None),
    ]


def test_an_expression_without_an_answer_is_a_failed_row() -> None:
    (row,) = rows_of([], error="ExpressionError: too long")
    assert (row.status, row.error, row.frames, row.masks) == ("failed", "ExpressionError: too long", [], [])


@pytest.mark.parametrize(
    ("notes", "text"),
    [
        ([], None),
        ([None, ""], None),
        (["Note: scaled", None, "capped"], "Note: scaled; capped"),
    ],
)
def test_notes_are_joined_into_one(notes: list[str | None], text: str | None) -> None:
    assert joined_notes(notes) == text


def test_what_a_user_should_know_reaches_the_rows(untrained: Path, frames: Path) -> None:
    model = Sa2VA.from_checkpoint(untrained)
    model.grounder.max_objects = 0
    (row,) = model.segment(frames, ["the yellow square"]).rows(video_id="clip")
    assert row.status == "no_object"
    assert row.error is not None
    assert row.error.startswith("Note: the answer names more than 0 objects")
