"""Whatever the size of the manifest, a video is the unit of work."""

from collections import Counter

import pyarrow as pa
import pytest


@pytest.mark.parametrize("count", [40, 300])
def test_every_video_is_a_block_exactly_once_and_in_about_the_order_given(shared_ray, monkeypatch, count):
    from pipeline.engine import feed

    monkeypatch.setattr(feed, "HANDED_ONE_BY_ONE", 50)
    monkeypatch.setattr(feed, "HANDED_TOGETHER", 30)
    videos = feed.one_block_each(pa.table({"video_id": [str(i) for i in range(count)]}))
    units = videos.map_batches(lambda batch: {"ids": [",".join(batch["video_id"])]}, batch_size=None).take_all()
    ids = [row["ids"] for row in units]
    assert Counter(ids) == {str(i): 1 for i in range(count)}
    # the longest videos come first: none of them may end up behind the bulk
    assert max(ids.index(str(i)) for i in range(20)) < max(50, count // 4)
