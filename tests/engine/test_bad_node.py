"""A machine that fails everything costs no video: its work moves to another, and without one the run ends with 3."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import ray
from ray import cloudpickle

from pipeline import run
from pipeline.config import RunConfig
from pipeline.engine.guard import Patience
from pipeline.errors import NodeError
from pipeline.schema import VideoTask
from pipeline.stages.ground import Ground
from pipeline.stages.rows import GroundedVideo

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import tests


class UnluckyGround(Ground):
    """Finds no disk space on some nodes: the first one it comes to, or all of them."""

    def _ground(self, task: VideoTask) -> GroundedVideo:
        folder = Path(self.settings.config.output).parent
        here = ray.get_runtime_context().get_node_id()
        (folder / "first").touch()
        first = (folder / "first").read_text() or here
        (folder / "first").write_text(first)
        if here == first or (folder / "all").exists():
            raise NodeError("no space left on device")
        return super()._ground(task)


@pytest.fixture
def two_nodes() -> Iterator[None]:
    """This process is connected to a cluster of two nodes, each with room for one grounder."""
    from ray.cluster_utils import Cluster

    room = {"num_cpus": 1, "resources": {"room": 1}, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**room, "include_dashboard": False})
    cluster.add_node(**room)
    ray.init(address=cluster.address, logging_level="WARNING", log_to_driver=False)
    yield
    ray.shutdown()
    cluster.shutdown()


def test_work_moves_to_another_node_or_ends_the_run(two_nodes, clips, untrained, tmp_path: Path, monkeypatch):
    os.environ.pop("RAY_ADDRESS", None)
    monkeypatch.setattr(run, "PIPELINE", (UnluckyGround, *run.PIPELINE[1:]))
    quick = Patience(node_s=(0.1,), rest_s=0.1, longest_rest_s=0.5)
    monkeypatch.setattr(run, "WorkerSettings", partial(run.WorkerSettings, patience=quick))
    config = {"manifest": str(clips / "manifest.jsonl"), "model": str(untrained), "ground_on": "room=1", "grounders": 1}
    lines: list[str] = []
    output = tmp_path / "one" / "out"
    output.parent.mkdir()
    summary = run.annotate(RunConfig(output=str(output), **config), report_line=lines.append)
    assert (summary.counts.failed, summary.counts.videos) == (0, 3)
    assert set(pq.read_table(output / "masks", columns=["status"])["status"].to_pylist()) == {"ok"}
    assert [line for line in lines if "not used any more: NodeError: node" in line], lines

    output = tmp_path / "two" / "out"
    output.parent.mkdir()
    (output.parent / "all").touch()
    with pytest.raises(NodeError, match=r"no node is left that can work: .*no space left on device"):
        run.annotate(RunConfig(output=str(output), **config), report_line=lines.append)
    assert not list((output / "masks").glob("*.parquet"))
