"""Fixtures shared by all rooms: the small model, drawn clips, and running the programs as a user would."""

import atexit
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# before anything imports Ray: a private cluster per test run, and one thread per process, since tests share the cores
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
if "RAY_TMPDIR" not in os.environ or "PYTEST_XDIST_WORKER" in os.environ:
    # Short, for Unix sockets. Each process that runs tests has its own: no other cluster of this machine is joined.
    os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    atexit.register(shutil.rmtree, os.environ["RAY_TMPDIR"], ignore_errors=True)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_raylet_start_wait_time_s", "180")  # 60 are too few where other work has the cores
os.environ.setdefault("RAY_worker_niceness", "0")  # beside other work on two cores, nicer workers would starve

import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
LONG_FILES = {"test_fake_cuda.py", "test_review_in_browser.py", "test_parts.py", "test_verify.py"}
"""Take most of a minute although they run no whole job."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with whole jobs first: the processes that share the files then end at about the same time."""
    long = {item.path for item in items if "ray_address" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in long and item.path.name not in LONG_FILES)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint with random weights: every code path is real, its masks mean nothing."""
    from pipeline.workshop.nano.untrained import write_untrained

    return write_untrained(tmp_path_factory.mktemp("untrained"))


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with drawn clips (one of them an .mp4), ``manifest.jsonl`` and MeViS-style ground truth."""
    from pipeline.workshop.shapes.demo import write_demo

    return write_demo(tmp_path_factory.mktemp("clips"), num_videos=3, num_frames=8, expressions_per_video=2).parent


@pytest.fixture(scope="session")
def ray_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of one Ray of two CPUs for all tests that can share it; jobs join it by ``RAY_ADDRESS``."""
    # a temporary folder of its own, so that jobs that start their own cluster do not find this one
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    command = ["start", "--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
    command += ["--include-dashboard=false", "--object-store-memory=200000000", f"--temp-dir={folder}"]
    environment = {**os.environ, "RAY_TMPDIR": folder, "PYTHONPATH": str(ROOT)}
    ray = Path(sys.executable).with_name("ray")
    cluster = subprocess.Popen([ray, *command], env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while subprocess.run([ray, "status", "--address", address], env=environment, capture_output=True).returncode:
            assert cluster.poll() is None, "Ray did not start"
            assert time.monotonic() < deadline, "Ray did not start in time"
            time.sleep(0.5)
        yield address
    finally:
        for process in [*psutil.Process(cluster.pid).children(recursive=True), cluster]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        cluster.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shared_ray(ray_address: str) -> None:
    """This process is connected to the shared Ray until the test ends."""
    import ray

    ray.init(address=ray_address, logging_level="WARNING", log_to_driver=False)


def run_job(name: str, *arguments: str, timeout_s: float = 300, **environment: str) -> subprocess.CompletedProcess:
    """Run ``jobs/NAME.py`` as a user does, in a process of its own."""
    command = [sys.executable, str(ROOT / "jobs" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, cwd="/", env={**os.environ, **environment}
    )


def run_workshop(name: str, *arguments: object, timeout_s: float = 300) -> subprocess.CompletedProcess:
    """Run ``python -m pipeline.workshop.NAME`` from the checkout, in a process of its own."""
    command = [sys.executable, "-m", f"pipeline.workshop.{name}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, cwd=ROOT)


@pytest.fixture(autouse=True)
def disconnected_from_ray() -> Iterator[None]:
    """A verb that ran in this process may have connected it to a Ray: the next test may need another one."""
    yield
    if "ray" in sys.modules:
        import ray

        ray.shutdown()


@pytest.fixture
def job_here(capsys: pytest.CaptureFixture[str]) -> Callable[[str], Callable[..., Any]]:
    """A verb in this process: its name -> arguments -> exit code, standard output, standard error."""
    from pipeline.cli.program import main

    def load(name: str) -> Callable[..., tuple[int, str, str]]:
        def run(*arguments: object) -> tuple[int, str, str]:
            try:
                code = main([name, *map(str, arguments)])
            except SystemExit as stop:
                code = stop.code
            return code, *capsys.readouterr()

        return run

    return load
