"""Whatever the size of the manifest, a video is the unit of work, and few of them are held."""

import threading
from collections import Counter

import pyarrow as pa
import pytest

from pipeline.engine.feed import Feed
from pipeline.schema import Expression, VideoTask


def task(name: str) -> VideoTask:
    return VideoTask(video_id=name, video=name, expressions=(Expression(expression_id="0", text="x"),))


def row(name: str) -> dict:
    return {"video_id": name, "expression_ids": ["0"]}


def test_windows_are_loaded_as_work_goes_on_and_forgotten_when_it_is_done():
    loaded, handed = [], []

    def load(window: int) -> list[VideoTask]:
        loaded.append(window)
        return [task(f"{window}-{video}") for video in range(3)]

    feed = Feed([lambda window=window: load(window) for window in range(4)], ahead=4)
    assert feed.begin_round() == 4
    put = lambda number, tasks: handed.append((number, [one.video_id for one in tasks]))  # noqa: E731
    feed.fill(put)
    assert loaded == [0, 1]
    for video in ("0-0", "1-1"):
        feed.finish(feed.came_back(row(video))[0])
    feed.fill(put)
    assert loaded == [0, 1]
    assert feed.came_back(row("0-1")) == (task("0-1"), None)  # withheld: without a result yet
    feed.fill(put)
    assert loaded == [0, 1, 2]
    assert feed.came_back(row("0-2")) == (task("0-2"), 0)
    feed.finish(task("0-2"))
    # a round that ends early: what has no result comes again, first of all, and nothing else twice
    assert feed.begin_round() == 2
    handed.clear()
    feed.fill(put)
    assert handed == [(0, ["0-1", "1-0", "1-2", "2-0", "2-1", "2-2"])]
    assert not feed.is_done


def test_every_video_is_a_block_exactly_once_and_in_about_the_order_given(shared_ray):
    from pipeline.engine.feed import Windows

    windows = Windows(3)
    for number in range(2):
        windows.put(number, pa.table({"video_id": [f"{number}-{i}" for i in range(30)]}))
    late = threading.Timer(1.0, windows.put, (2, pa.table({"video_id": ["2-0"]})))
    late.start()
    try:
        units = windows.rows().map_batches(lambda batch: {"ids": [",".join(batch["video_id"])]}, batch_size=None)
        ids = [unit["ids"] for unit in units.iter_rows()]
    finally:
        windows.close()
    assert Counter(ids) == {**{f"{number}-{i}": 1 for number in range(2) for i in range(30)}, "2-0": 1}
    # the longest videos of a window come first: none of them may end up behind the bulk
    assert max(ids.index(f"0-{i}") for i in range(5)) < 40


@pytest.mark.timeout(60)
def test_what_waits_for_a_window_ends_with_the_round(shared_ray):
    from contextlib import closing

    from pipeline.engine.feed import Windows

    windows = Windows(2)
    windows.put(0, pa.table({"video_id": list("abcde")}))  # Ray Data keeps a row back until there is another

    def read():
        yield from windows.rows().iter_rows()

    with closing(read()) as rows, closing(windows):
        assert next(rows)["video_id"] == "a"
