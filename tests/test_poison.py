"""A video that kills its worker is tried a fixed number of times and given up; no other video notices."""

import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from ray import cloudpickle

import pipeline.run
from pipeline.config import RunConfig
from pipeline.dataset.reader import MaskDataset
from pipeline.schema import VideoTask
from pipeline.stages.ground import Ground
from pipeline.stages.rows import GroundedVideo

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


class FragileGround(Ground):
    """Dies, as by the out-of-memory killer, over one video; notes every attempt in a file."""

    def _ground(self, task: VideoTask) -> GroundedVideo:
        with (Path(self.settings.config.output).parent / "attempts").open("a") as file:
            file.write(task.video_id + "\n")
        if task.video_id == "clip1":
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._ground(task)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_poison_is_tried_three_times_then_failed(
    shared_ray, clips: Path, untrained: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(pipeline.run, "PIPELINE", (FragileGround, *pipeline.run.PIPELINE[1:]))
    output = tmp_path / "out"
    config = RunConfig(manifest=str(clips / "manifest.jsonl"), model=str(untrained), output=str(output))
    summary = pipeline.run.annotate(config)
    assert Counter((tmp_path / "attempts").read_text().split()) == {"clip0": 1, "clip1": 3, "clip2": 1}
    rows = list(MaskDataset(str(output)).iter_rows())
    status = {row["video_id"]: row["status"] for row in rows}
    assert status == {"clip0": "ok", "clip1": "failed", "clip2": "ok"}
    assert "died 3 times over this video" in next(row["error"] for row in rows if row["status"] == "failed")
    assert summary.counts.failed == 2
