"""How videos enter the graph: each as a block of its own, so that a video is the unit of work."""

import pyarrow as pa
import ray
from ray.data import Dataset

HANDED_ONE_BY_ONE = 2_000
"""Up to so many videos the driver makes the blocks itself: a second or two, and the first worker starts at once."""
HANDED_TOGETHER = 250
"""Videos in one object of a larger manifest."""


def one_block_each(rows: pa.Table) -> Dataset:
    """A dataset in which every row of ``rows`` is a block, in about this order.

    An object costs the driver more than a millisecond, so of a large manifest it makes few, and tasks on the cluster
    split them while the run goes on. (``ray.data.from_arrow`` would start a task for each block just to look at it.)
    """
    together = 1 if len(rows) <= HANDED_ONE_BY_ONE else HANDED_TOGETHER
    videos: Dataset = ray.data.from_blocks([rows.slice(first, together) for first in range(0, len(rows), together)])
    return videos if together == 1 else videos.repartition(target_num_rows_per_block=1)
