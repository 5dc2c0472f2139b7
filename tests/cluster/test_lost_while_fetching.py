"""A node that is lost while the model is being brought to all nodes costs itself, not the run."""

import fcntl
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.model.checkpoint.fingerprint import fingerprint
from pipeline.model.checkpoint.locate import fetch_model, pin_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_the_run_goes_on_without_it(untrained, tmp_path, monkeypatch):
    import ray
    from ray.cluster_utils import Cluster

    from pipeline.engine.model_files import fetch_on_nodes

    monkeypatch.setenv("SA2VA_I_CACHE", str(tmp_path / "cache-0"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    doomed = cluster.add_node(num_cpus=1, env_vars={"SA2VA_I_CACHE": str(tmp_path / "cache-1")})
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        cluster.wait_for_nodes()
        shutil.copytree(untrained, tmp_path / "source")
        model = pin_model(f"local://{tmp_path / 'source'}")
        expected = fingerprint(fetch_model(model))
        said: list[str] = []
        fetch_on_nodes(model, expected, only_gpus=False, report_line=said.append)
        # once more from the start, and held up by another process that seems to be fetching
        for folder in (tmp_path / "cache-1" / "models").glob("*/"):
            shutil.rmtree(folder)
        for marker in (tmp_path / "cache-1" / "models").glob("*.done"):
            marker.unlink()
        (lock,) = (tmp_path / "cache-1" / "models").glob("*.lock")
        with lock.open("a") as held, ThreadPoolExecutor(max_workers=1) as other:
            fcntl.flock(held, fcntl.LOCK_EX)
            fetching = other.submit(fetch_on_nodes, model, expected, only_gpus=False, report_line=said.append)
            time.sleep(15)
            assert not fetching.done()
            cluster.remove_node(doomed, allow_graceful=False)
            fetching.result(timeout=300)
        assert "was lost while it fetched the model" in said[-1]
    finally:
        ray.shutdown()
        cluster.shutdown()
