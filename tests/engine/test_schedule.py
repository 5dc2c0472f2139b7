"""Which videos start first, and which of them are done in parts."""

import pytest

from pipeline.config import RunConfig
from pipeline.engine.schedule import make_schedule, number_of_parts, work_of
from pipeline.errors import UsageError
from pipeline.schema import Expression, VideoTask


def video(name: str, expressions: int) -> VideoTask:
    items = tuple(Expression(expression_id=str(i), text=f"thing {i}") for i in range(expressions))
    return VideoTask(video_id=name, video=f"/{name}.mp4", expressions=items)


def expressions_of(tasks: list[VideoTask], name: str) -> list[str]:
    return [item.expression_id for task in tasks if task.video_id == name for item in task.expressions]


def test_what_takes_longest_starts_first():
    tasks = [video("short", 9), video("long", 2), video("longest", 9)]
    made = make_schedule(tasks, [10, 300, 300], segmenters=2, split="off")
    assert [task.video_id for task in made.tasks] == ["longest", "long", "short"]
    assert made.split == frozenset()


def test_unknown_lengths_are_ordered_by_expressions():
    tasks = [video("few", 1), video("many", 20), video("some", 5)]
    made = make_schedule(tasks, [None, None, None], segmenters=2, split="auto")
    assert [task.video_id for task in made.tasks] == ["many", "some", "few"]


def test_a_video_that_would_keep_one_worker_busy_at_the_end_is_split():
    tasks = [video("giant", 40), *(video(f"v{i}", 4) for i in range(30))]
    made = make_schedule(tasks, [5000, *[100] * 30], segmenters=8, split="auto")
    assert made.split == {"giant"}
    assert expressions_of(made.tasks, "giant") == [str(i) for i in range(40)]
    parts = [len(task.expressions) for task in made.tasks if task.video_id == "giant"]
    assert len(parts) > 4
    assert max(parts) - min(parts) <= 1
    assert min(parts) >= 3  # else the encoder would be most of it


def test_small_runs_and_even_loads_are_never_split():
    assert make_schedule([video("a", 10)], [80], segmenters=8, split="auto").split == frozenset()
    tasks = [video(f"v{i}", 16) for i in range(200)]
    assert make_schedule(tasks, [80] * 200, segmenters=8, split="auto").split == frozenset()


def test_unknown_lengths_are_not_split_by_guess():
    tasks = [video("unknown", 100), *(video(f"v{i}", 1) for i in range(9))]
    assert make_schedule(tasks, [None, *[5000] * 9], segmenters=8, split="auto").split == frozenset()


def test_a_bound_holds_for_every_video():
    made = make_schedule([video("a", 7), video("b", 3)], [None, None], segmenters=1, split=3)
    assert sorted(len(task.expressions) for task in made.tasks) == [2, 2, 3, 3]
    assert made.split == {"a"}


@pytest.mark.parametrize(("average", "parts"), [(1e9, 1), (62_500 * 4, 1), (62_500 * 2, 2), (1, 3), (0, 1)])
def test_number_of_parts(average, parts):
    assert work_of(5000, 10) == 62_500
    assert number_of_parts(5000, 10, average) == parts


@pytest.mark.parametrize("value", ["sometimes", 0, "-1", "1.5"])
def test_nonsense_is_a_usage_error(value):
    with pytest.raises(UsageError, match="split_expressions"):
        RunConfig(manifest="m", model="nano", output="o", split_expressions=value)


def test_parts_and_merged_tracks_exclude_each_other():
    with pytest.raises(UsageError, match="exclude each other"):
        RunConfig(manifest="m", model="nano", output="o", split_expressions=2, merge_tracks=0.9)
