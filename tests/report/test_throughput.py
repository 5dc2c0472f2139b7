"""Frames per second, as far as a dataset tells."""

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from report_datasets import track_row, write_dataset

from pipeline.report.throughput import BINS, rate_over_time, rate_sentence

START = datetime(2026, 1, 1, tzinfo=UTC)
RUN = {"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:04:00Z"}


def dataset_written(folder, seconds_after_start):
    masks = np.ones((6, 4, 4), bool)
    videos = [f"v{number}" for number in range(len(seconds_after_start))]
    url = write_dataset(folder, [[track_row(video, "0", "x", masks)] for video in videos])
    files = sorted(Path(url, "masks").iterdir())
    for file, seconds in zip(files, seconds_after_start, strict=True):
        moment = START.timestamp() + seconds
        os.utime(file, (moment, moment))
    return url, dict.fromkeys(videos, 6)


def test_frames_are_counted_where_their_files_were_written(tmp_path):
    url, frames = dataset_written(tmp_path / "d", [10, 11, 240])
    rate = rate_over_time(url, RUN, frames)
    assert rate.seconds == pytest.approx(240)
    assert rate.frames_per_second == pytest.approx([0, 12 / 10, *[0] * (BINS - 3), 6 / 10])


def test_a_copied_dataset_has_no_rate(tmp_path):
    url, frames = dataset_written(tmp_path / "d", [90_000, 90_001, 90_002])
    assert rate_over_time(url, RUN, frames) is None
    assert rate_over_time("memory://nothing/d", RUN, frames) is None
    assert rate_over_time(url, {}, frames) is None


def test_a_sentence_says_what_run_json_says():
    run = {"this_run": {"frames": 64, "videos": 4}, "timings": {"wall_seconds": 80}}
    assert rate_sentence(run) == "64 frames of 4 videos in 80 s: 0.8 frames/s (the last run, start-up included)"
    assert rate_sentence({"this_run": None}) is None
    assert rate_sentence({"this_run": {"frames": "many"}, "timings": {}}) is None
