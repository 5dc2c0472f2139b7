"""The job on several Ray nodes of two kinds, of which one joins and one is lost while it runs."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from cluster_files import ROOT

from pipeline.dataset.state import statuses
from pipeline.engine.metrics import METRICS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

VIDEOS = 24
PATIENCE_S = 700
"""Half a minute on a quiet machine, far more where other work has the cores."""


@pytest.fixture
def manifest(tmp_path) -> Path:
    from pipeline.workshop.shapes.demo import write_demo

    return write_demo(tmp_path / "clips", num_videos=VIDEOS, num_frames=20, expressions_per_video=2)


@pytest.fixture
def cluster():
    """A head without GPU, a node with an "A100" and a node with an "L4"; their GPUs exist for the scheduler only."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    # a starved node answers late, a dead one refuses at once: on busy cores only the second must count as lost
    patient = {"health_check_timeout_ms": 60_000, "metrics_report_interval_ms": 1000}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "_system_config": patient})
    yield cluster
    cluster.shutdown()


def add_gpu_node(cluster, kind: str):
    for attempt in range(5):
        try:
            return cluster.add_node(
                num_cpus=1, num_gpus=1, resources={f"accelerator_type:{kind}": 1}, object_store_memory=100 * 2**20
            )
        except Exception as error:  # Ray raises no other type for it: the node took longer than 30 s, on busy cores
            if "timed out during startup" not in str(error) or attempt == 4:
                raise
    raise AssertionError("unreachable")


def start(manifest: Path, model: Path, output: Path, address: str, *options: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "jobs" / "annotate.py"), "--manifest", str(manifest), "--model", str(model)]
    command += ["--output", str(output), "--address", address, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")


def wait_for(condition, job: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if job.poll() is not None or time.monotonic() > deadline:
            ended = job.poll()
            job.kill()
            pytest.fail(f"the run did not come that far (exit code {ended}):\n{job.communicate()[0]}")
        time.sleep(0.2)


def test_a_run_that_gains_and_loses_a_node_ends_complete(cluster, manifest, untrained, tmp_path):
    output = tmp_path / "out"
    add_gpu_node(cluster, "A100")
    doomed = add_gpu_node(cluster, "L4")
    job = start(manifest, untrained, output, cluster.address, "--ground-on", "A100", "--segment-on", "L4")
    try:
        wait_for(lambda: len(statuses(str(output))) >= 2, job)
        # the only node that segmenters may use goes, another one has come: only there can the run go on
        add_gpu_node(cluster, "L4")
        cluster.remove_node(doomed, allow_graceful=False)
        done_before = len(statuses(str(output)))
        seen = scrape(cluster, job)
        text = job.communicate(timeout=PATIENCE_S)[0]
    finally:
        job.kill()
    assert job.returncode == 0, text
    assert done_before < VIDEOS, "the node was lost too late to matter"
    assert "1 grounder(s) on 1 GPU each of a node with A100" in text
    assert "1 segmenter(s) on 1 GPU each of a node with L4" in text
    counts = json.loads((output / "run.json").read_text())["counts"]
    assert (counts["videos"], counts["expressions"], counts["failed"]) == (VIDEOS, 2 * VIDEOS, 0)
    assert {name for name in METRICS if name != "sa2va_failures"} <= seen.keys()
    assert seen["sa2va_stage_seconds"] == {"_bucket", "_sum", "_count"}
    assert "_total" in seen["sa2va_videos"]


def scrape(cluster, job: subprocess.Popen) -> dict[str, set[str]]:
    """Our metrics that Prometheus finds on the nodes while the job runs: name -> endings."""
    found: dict[str, set[str]] = {}
    while job.poll() is None and len(found) < len(METRICS) - 1:  # nothing fails here
        for node in cluster.list_all_nodes():
            try:
                with urllib.request.urlopen(
                    f"http://{node.node_ip_address}:{node.metrics_export_port}/metrics"
                ) as page:
                    text = page.read().decode()
            except OSError:
                continue
            for name in METRICS:
                for ending in re.findall(rf"^ray_{name}(_total|_bucket|_sum|_count|)[{{ ]", text, re.MULTILINE):
                    found.setdefault(name, set()).add(ending)
        time.sleep(0.5)
    return found


def test_a_kind_of_node_that_never_comes_is_named_in_time(cluster, manifest, untrained, tmp_path):
    add_gpu_node(cluster, "L4")
    options = ("--ground-on", "H100", "--segment-on", "L4", "--placement-timeout-s", "3")
    job = start(manifest, untrained, tmp_path / "out", cluster.address, *options)
    text = job.communicate(timeout=PATIENCE_S)[0]
    assert job.returncode == 2, text
    assert "no node offers H100 for the grounders; the cluster has L4 (waited 3 s" in text.splitlines()[-1]
