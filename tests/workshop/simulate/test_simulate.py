"""Measuring how a run scales: loads, the real graph with stages that sleep, planning."""

import json

import pytest

from pipeline.workshop.simulate.graph import bottleneck_s
from pipeline.workshop.simulate.load import Clip, Costs, long_tailed, longest_first, mevis_like, split_long
from pipeline.workshop.simulate.planning import measure_planning
from tests.conftest import run_workshop


def test_no_expression_is_lost_or_doubled_by_splitting():
    clips = long_tailed(500)
    parts = split_long(clips, 8)
    assert sum(part.expressions for part in parts) == sum(clip.expressions for clip in clips)
    assert len(parts) > len(clips)
    assert min(part.expressions for part in parts) >= 1


def test_ordinary_loads_are_not_split():
    clips = mevis_like(500)
    assert split_long(clips, 4) == clips


def test_loads_are_the_same_every_time_and_look_like_their_names():
    assert mevis_like(50) == mevis_like(50)
    clips = mevis_like(2000)
    assert 75 < sum(c.frames for c in clips) / 2000 < 85
    assert 15 < sum(c.expressions for c in clips) / 2000 < 17
    frames = sorted(c.frames for c in long_tailed(2000))
    assert frames[-1] > 20 * frames[1000]


def test_the_fuller_pool_bounds_the_time():
    costs = Costs(ground_video_s=1.0, ground_expression_s=0.5, encode_frame_s=1.0, propagate_object_s=0.0)
    clips = [Clip(frames=1, expressions=1), Clip(frames=9, expressions=2)]
    assert bottleneck_s(clips, costs, pairs=2) == pytest.approx(5.0)
    assert [clip.frames for clip in longest_first(clips, costs)] == [9, 1]


def test_planning_a_manifest_stays_within_bounds(tmp_path):
    cost = measure_planning(tmp_path, 20_000)
    assert (cost.rows, cost.videos) == (20_000, 1250)
    # a million rows within 60 s and 2 GiB, were it quiet; a fiftieth of that with a margin for start-up
    assert cost.cpu_seconds < 60 / 50 * 3
    assert cost.memory_bytes < 2 * 2**30 / 50 * 3


@pytest.mark.parametrize("arguments", [["--gpus", "0"], ["--gpus", "1,x"], ["--scale", "0"], ["--plan", ""]])
def test_wrong_options_end_with_one_line(arguments):
    result = run_workshop("simulate", *arguments)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_the_real_graph_with_sleeping_stages_is_efficient(tmp_path):
    report = tmp_path / "report.json"
    arguments = ["--gpus", "2", "--videos-per-gpu", "10", "--plan", "16000", "--json", report]
    done = run_workshop("simulate", *arguments, timeout_s=500)
    assert done.returncode == 0, done.stderr
    mevis, _, planning = done.stdout.splitlines()
    assert mevis.startswith("mevis")
    assert planning.startswith("planning 16000 rows, 1000 videos")
    numbers = json.loads(report.read_text())["lines"]
    assert [(line["load"], line["gpus"], line["videos"]) for line in numbers] == [
        ("mevis", 2, 20),
        ("long-tailed", 2, 20),
    ]
    assert 0.5 < numbers[0]["efficiency"] <= 1  # what is missing is Ray's part, on cores that others use too
