"""The model of large clusters: exact where the answer is known, and sensible where it is not."""

import json

import pytest

from pipeline.workshop.simulate.load import Clip, Costs, long_tailed, longest_first, mevis_like, split_long
from pipeline.workshop.simulate.model import Overheads, predict
from pipeline.workshop.simulate.planning import measure_planning
from pipeline.workshop.simulate.report import simulate
from tests.conftest import run_workshop

FREE = Overheads(dispatch_s=0.0, worker_s=0.0, hop_s=0.0)
COSTS = Costs(ground_video_s=1.0, ground_expression_s=0.0, encode_frame_s=1.0, propagate_object_s=0.0)


@pytest.mark.parametrize(
    ("frames", "grounders", "segmenters", "seconds"),
    [
        ([3], 1, 1, 4.0),  # ground 1, segment 3
        ([3, 3], 1, 1, 7.0),  # the second is grounded while the first is segmented
        ([3, 3], 1, 2, 5.0),
        ([3, 3], 2, 2, 4.0),
        ([1, 1, 1, 1], 1, 1, 5.0),  # grounding is as slow
        ([1, 9, 1], 3, 2, 10.0),  # one long video
    ],
)
def test_small_runs_take_what_one_works_out_by_hand(frames, grounders, segmenters, seconds):
    clips = [Clip(frames=count, expressions=1) for count in frames]
    made = predict(clips, COSTS, grounders=grounders, segmenters=segmenters, overheads=FREE)
    assert made.seconds == pytest.approx(seconds)


def test_efficiency_and_tail_of_a_known_run():
    clips = [Clip(frames=count, expressions=1) for count in (1, 9)]
    made = predict(clips, COSTS, grounders=2, segmenters=2, overheads=FREE)
    assert made.efficiency == pytest.approx(5 / 10)  # ten frames on two workers, in ten seconds
    assert made.tail_seconds == pytest.approx(8.0)


def test_a_slow_driver_bounds_every_cluster():
    clips = [Clip(frames=1, expressions=1)] * 100
    slow = Overheads(dispatch_s=1.0, hop_s=0.0)
    assert predict(clips, COSTS, grounders=100, segmenters=100, overheads=slow).seconds >= 200


def test_no_expression_is_lost_or_doubled_by_splitting():
    clips = long_tailed(500)
    parts = split_long(clips, 8)
    assert sum(part.expressions for part in parts) == sum(clip.expressions for clip in clips)
    assert len(parts) > len(clips)
    assert min(part.expressions for part in parts) >= 1


def test_ordinary_loads_are_not_split():
    clips = mevis_like(500)
    assert split_long(clips, 4) == clips


def test_splitting_and_long_videos_first_shrink_the_tail():
    clips, costs = long_tailed(3200), Costs()
    before = predict(clips, costs, grounders=16, segmenters=16)
    after = predict(longest_first(split_long(clips, 16), costs), costs, grounders=16, segmenters=16)
    assert after.tail_seconds < before.tail_seconds / 5
    assert after.seconds < before.seconds


def test_mevis_like_loads_keep_a_thousand_gpus_busy():
    line = next(simulate([1000], videos_per_gpu=50))
    assert line.load == "mevis"
    assert line.model.efficiency > 0.9


def test_loads_are_the_same_every_time_and_look_like_their_names():
    assert mevis_like(50) == mevis_like(50)
    clips = mevis_like(2000)
    assert 75 < sum(c.frames for c in clips) / 2000 < 85
    assert 15 < sum(c.expressions for c in clips) / 2000 < 17
    frames = sorted(c.frames for c in long_tailed(2000))
    assert frames[-1] > 20 * frames[1000]


def test_planning_a_manifest_stays_within_bounds(tmp_path):
    cost = measure_planning(tmp_path, 20_000)
    assert (cost.rows, cost.videos) == (20_000, 1250)
    # a million rows within 60 s and 2 GiB, were it quiet; a fiftieth of that with a margin for start-up
    assert cost.cpu_seconds < 60 / 50 * 3
    assert cost.memory_bytes < 2 * 2**30 / 50 * 3


def test_splitting_does_not_cost_more_than_it_gains():
    for line in simulate([16, 64], videos_per_gpu=50):
        if line.load == "long-tailed":
            assert line.model.seconds < line.plain.seconds / 1.5
            assert line.model.tail_seconds < line.plain.tail_seconds / 50


def test_a_video_that_waits_for_a_worker_stays_with_it():
    # four videos are handed out at once; the short one behind the long one waits although the other worker is idle
    clips = [Clip(frames=count, expressions=1) for count in (9, 1, 1, 1)]
    made = predict(clips, COSTS, grounders=4, segmenters=2, overheads=FREE)
    assert made.seconds == pytest.approx(1 + 9 + 1)


def test_as_a_user_calls_it(tmp_path):
    report = tmp_path / "report.json"
    done = run_workshop("bench", "--simulate", "--gpus", "2,64", "--videos-per-gpu", "10", "--json", report)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
    assert [line["gpus"] for line in json.loads(report.read_text())["lines"]] == [2, 64, 2, 64]
    assert run_workshop("bench", "--simulate", "--gpus", "0").returncode == 2
    assert run_workshop("bench", "--simulate", "--scale", "0").returncode == 2


@pytest.mark.slow
def test_the_real_graph_agrees_with_the_model():
    # sleeping stages: what is measured is Ray's part, which on busy cores is mostly waiting for them
    done = run_workshop("bench", "--simulate", "--gpus", "2", "--graph-up-to", "2", "--plan", "16000", timeout_s=500)
    assert done.returncode == 0, done.stderr
    calibrated, _, mevis, *_, planning = done.stdout.splitlines()
    assert calibrated.startswith("calibrated: ")
    assert abs(float(mevis.split()[5].rstrip("%"))) < 15
    assert planning.startswith("planning 16000 rows, 1000 videos")
