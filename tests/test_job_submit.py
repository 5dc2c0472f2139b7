"""`ray job submit --working-dir . -- python jobs/annotate.py ...` against a cluster made with `ray start --head`."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT

RAY = Path(sys.executable).parent / "ray"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@pytest.fixture
def cluster():
    """A head node with two logical GPUs; yields the environment that reaches it."""
    folder = tempfile.mkdtemp(prefix="r-", dir="/tmp")  # short, for Unix sockets
    # the agent that takes jobs has one port for all Rays of a machine, and tests have several
    port, dashboard, client, agent, agent_grpc = _free_ports(5)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "RAY_TMPDIR": str(folder),
        "RAY_ADDRESS": f"http://127.0.0.1:{dashboard}",
    }
    head = {**environment}
    del head["RAY_ADDRESS"]
    start = [RAY, "start", "--head", "--num-gpus=2", "--num-cpus=4", f"--port={port}", f"--dashboard-port={dashboard}"]
    start += [f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}"]
    start += [f"--ray-client-server-port={client}", "--dashboard-host=127.0.0.1", f"--temp-dir={folder}", "--block"]
    process = subprocess.Popen(list(map(str, start)), env=head, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield environment
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def _submit(environment: dict[str, str], *entrypoint: str) -> subprocess.CompletedProcess:
    command = [str(RAY), "job", "submit", "--working-dir", str(ROOT), "--", *entrypoint]
    for _ in range(40):  # the head takes a while until it accepts jobs
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=420, cwd=ROOT)
        said = result.stdout + result.stderr
        if not any(text in said for text in ("Failed to connect", "No available agent", "Connection refused")):
            return result
        time.sleep(3)
    return result


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_submitted_job_runs_on_the_clusters_gpus(cluster, clips: Path, untrained: Path, tmp_path: Path) -> None:
    # logical GPUs: the workers are pinned to them, the arithmetic finds no CUDA device and runs on the CPU
    arguments = [
        "--manifest",
        str(clips / "manifest.jsonl"),
        "--model",
        str(untrained),
        "--output",
        str(tmp_path / "out"),
    ]
    result = _submit(cluster, "python", "jobs/annotate.py", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 grounder(s) on 0.2 GPU each, 2 segmenter(s) on 0.6 GPU each" in result.stdout
    assert set(pq.read_table(tmp_path / "out" / "masks")["status"].to_pylist()) == {"ok"}

    again = _submit(cluster, "jobs/annotate.py", *arguments)  # the file itself is a program too
    assert again.returncode == 0, again.stdout + again.stderr
    assert "3 of them already done" in again.stdout
