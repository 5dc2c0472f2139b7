"""On a cluster every node fetches the model for itself, before workers start and also when it joins later."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.model.checkpoint.fingerprint import fingerprint
from pipeline.model.checkpoint.locate import fetch_model, pin_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def nodes(tmp_path, monkeypatch) -> Iterator["Cluster"]:  # noqa: F821
    """Two nodes on this machine, each with a cache of its own; this process is on the first one."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("SA2VA_I_CACHE", str(tmp_path / "cache-0"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1, env_vars={"SA2VA_I_CACHE": str(tmp_path / "cache-1")}, resources={"second": 1})
    ray.init(address=cluster.address, log_to_driver=False)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_every_node_has_the_model_before_workers_start(nodes, untrained, tmp_path):
    import ray

    from pipeline.engine.model_files import fetch_on_nodes, model_on_this_node

    source = tmp_path / "source"
    shutil.copytree(untrained, source)
    model = pin_model(f"local://{source}")
    expected = fingerprint(fetch_model(model))
    said: list[str] = []
    fetch_on_nodes(model, expected, only_gpus=True, report_line=said.append)
    assert not said  # no node has a GPU
    assert not (tmp_path / "cache-1").exists()
    fetch_on_nodes(model, expected, only_gpus=False, report_line=said.append)
    assert len(said) == 1
    (copy,) = (tmp_path / "cache-1" / "models").glob("*/model.safetensors")
    assert fingerprint(copy.parent) == expected

    # a worker there needs no source any more, and one on a node that lost its copy gets it again
    on_second = ray.remote(num_cpus=0, resources={"second": 0.1})(lambda: model_on_this_node(model))
    shutil.move(source, tmp_path / "away")
    assert Path(ray.get(on_second.remote())) == copy.parent
    shutil.move(tmp_path / "away", source)
    shutil.rmtree(tmp_path / "cache-1")
    assert Path(ray.get(on_second.remote())) == copy.parent

    with pytest.raises(PipelineError, match="holds another model"):
        fetch_on_nodes(model, "another", only_gpus=False, report_line=said.append)
    shutil.rmtree(tmp_path / "cache-1")
    shutil.rmtree(source)
    with pytest.raises(PipelineError, match=r"on node .*no such file"):
        fetch_on_nodes(model, expected, only_gpus=False, report_line=said.append)
