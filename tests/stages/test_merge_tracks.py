"""--merge-tracks: similar objects share a track, the video's file says so, and the output is bound to it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.config import RunConfig
from pipeline.dataset import DatasetWriter
from pipeline.dataset.layout import video_file
from pipeline.dataset.notes import notes_from_metadata
from pipeline.engine.settings import WorkerSettings
from pipeline.errors import UsageError
from pipeline.model.checkpoint.locate import pin_model
from pipeline.schema import Expression, VideoTask
from pipeline.stages.rows import GroundedVideo, grounded_row
from pipeline.stages.segment import Segment
from pipeline.stages.write import Write
from pipeline.workshop.nano.untrained import write_untrained
from tests.conftest import run_job


def config(**settings: object) -> RunConfig:
    return RunConfig(**{"manifest": "m", "model": "nano", "output": "o", **settings})


def segment(clips: Path, output: Path, merge_tracks: float | None) -> Path:
    """Three expressions, the second one's prompt nearly that of the first, through Segment and Write."""
    torch.set_num_threads(1)
    untrained = write_untrained(output / "model", seed=3)  # whose random masks differ enough
    settings = WorkerSettings(
        config=config(model=str(untrained), merge_tracks=merge_tracks, num_keyframes=3), model=pin_model(str(untrained))
    )
    stage = Segment(settings)
    width = stage.segmenter.config.d_model
    prompts = np.random.default_rng(0).normal(size=(4, 1, width)).astype(np.float32)[[2, 2, 1]]
    prompts[1] *= 1.02
    expressions = tuple(Expression(expression_id=f"e{i}", text=f"the thing {i}") for i in range(3))
    video = GroundedVideo(
        task=VideoTask(video_id="clip", video=str(clips / "JPEGImages/clip0"), expressions=expressions),
        expression_errors=[None] * 3,
        answers=["Sure, [SEG]."] * 3,
        prompts=list(prompts),
        seg_probabilities=[[0.9]] * 3,
        yes_probabilities=[0.8, None, 0.1],
        notes=[None] * 3,
    )
    try:
        segmented = stage.process(grounded_row(video))
    finally:
        stage.close()
    (output / "masks").mkdir(parents=True)
    rows = pa.scalar(segmented["rows"], pa.large_binary())
    written = Write(replace(settings, writer=DatasetWriter(str(output)))).process({**segmented, "rows": rows})
    assert written.get("fatal") is None
    return output / video_file("clip")


def test_the_file_says_which_rows_share_a_track(clips: Path, tmp_path: Path) -> None:
    merged = segment(clips, tmp_path / "merged", 0.5)
    assert notes_from_metadata(pq.read_schema(merged).metadata)["clip"].shared["e1", 0] == ("e0", 0)
    masks: pa.ChunkedArray = pq.read_table(merged).column("masks")
    assert masks[0] == masks[1]
    assert any(masks[0].as_py())
    apart = segment(clips, tmp_path / "apart", None)
    assert notes_from_metadata(pq.read_schema(apart).metadata)["clip"].shared == {}
    alone = pq.read_table(apart).column("masks")
    assert alone[0] == masks[0], "the first of those that share keeps its own masks"


def test_it_is_part_of_what_an_output_is_bound_to_only_where_it_is_on() -> None:
    assert config(merge_tracks=0.9).identity("f") != config(merge_tracks=0.8).identity("f") != config().identity("f")
    assert config(merge_tracks=1).identity("f") == config(merge_tracks=1.0).identity("f")
    assert "merge_tracks" not in config().identity("f")


@pytest.mark.parametrize("iou", [0.0, -1, 1.5, float("nan")])
def test_an_iou_is_above_0_and_at_most_1(iou: float) -> None:
    with pytest.raises(UsageError, match="merge_tracks"):
        config(merge_tracks=iou)


def test_the_command_refuses_it_too() -> None:
    result = run_job("annotate", "--manifest", "m", "--model", "m", "--output", "o", "--merge-tracks", "2")
    assert result.returncode == 2
    assert result.stderr.strip() == "sa2va-i annotate: merge_tracks is 2.0; it must be an IoU above 0 and at most 1"
