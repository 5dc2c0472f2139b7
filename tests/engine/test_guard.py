"""Whose fault a failure is: the video's, this machine's, a storage's, or the GPU's."""

import errno
import socket
import subprocess
import sys

import pytest
import torch

from pipeline.engine import guard
from pipeline.engine.guard import attempt, is_withheld, node_trouble
from pipeline.errors import AccessDeniedError, NodeError, StorageUnavailableError, VideoError


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(guard.time, "sleep", slept.append)
    return slept


class Work:
    """Raises each of the given errors once, then gives a result."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def run(*errors: Exception) -> tuple[str, Work]:
    work = Work(*errors)
    return attempt("v", work, lambda message: f"failed: {message}"), work


def test_a_videos_own_fault_is_its_failure_at_once(pauses):
    result, work = run(VideoError("v.mp4: cut short"))
    assert result == "failed: VideoError: v.mp4: cut short"
    assert (work.calls, pauses) == (1, [])


def test_a_full_disk_that_is_emptied_costs_no_video(pauses):
    result, _ = run(NodeError("disk full"), NodeError("disk full"))
    assert result == "done"
    assert pauses == [5.0, 20.0]


def test_a_machine_that_stays_broken_is_no_videos_failure():
    result, _ = run(*[NodeError("disk full")] * 3)
    assert result == f"failed: NodeError: node {socket.gethostname()}: disk full"
    assert is_withheld(result.removeprefix("failed: "))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError()])
def test_errors_of_the_machine_are_told_from_others(error):
    with pytest.raises(NodeError), node_trouble():
        raise error
    with pytest.raises(FileNotFoundError), node_trouble():
        raise FileNotFoundError("v.mp4")


def test_a_storage_that_comes_back_costs_no_video(pauses):
    result, _ = run(*[StorageUnavailableError("503")] * 5)
    assert result == "done"
    assert sum(pauses) > 120


def test_a_storage_that_stays_away_is_withheld():
    result, _ = run(*[StorageUnavailableError("503")] * 6)
    assert is_withheld(result.removeprefix("failed: "))
    denied, work = run(AccessDeniedError("expired"))
    assert is_withheld(denied.removeprefix("failed: "))
    assert work.calls == 1
    assert not is_withheld("VideoError: v.mp4: cut short")
    assert not is_withheld(None)


def test_gpu_memory_gets_a_second_try():
    result, work = run(torch.OutOfMemoryError("CUDA out of memory"))
    assert (result, work.calls) == ("done", 2)
    again, _ = run(*[torch.OutOfMemoryError("CUDA out of memory")] * 2)
    assert again.startswith("failed: OutOfMemoryError")


def test_a_library_error_is_the_videos_only_if_the_gpu_still_answers(monkeypatch):
    asked, ended = [], []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: asked.append(1))
    monkeypatch.setattr(guard.os, "_exit", ended.append)
    error = RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED")
    assert run(error)[0] == "failed: RuntimeError: CUBLAS_STATUS_EXECUTION_FAILED"
    assert (asked, ended) == ([1], [])

    def poisoned() -> None:
        raise RuntimeError("CUDA error: an illegal memory access")

    monkeypatch.setattr(torch.cuda, "synchronize", poisoned)
    run(error)
    assert ended == [70]


def test_a_deadline_ends_a_process_that_holds_the_interpreter():
    code = "from pipeline.engine.guard import deadline\nwith deadline(0.5):\n    (lambda: 10 ** (10 ** 9))()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Timeout" in done.stderr
