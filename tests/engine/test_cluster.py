"""The cluster that a run starts for itself: where its sockets lie, and who may look."""

import stat
import tempfile
from pathlib import Path

import pytest
import ray

from pipeline.engine import cluster
from pipeline.engine.start_errors import explain
from pipeline.errors import PipelineError


@pytest.fixture(autouse=True)
def nobody_named_a_folder(monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)


def test_nobody_else_may_enter_its_folder():
    folder = Path(cluster._private_folder())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.parent == Path(tempfile.gettempdir())


def test_a_long_temporary_folder_is_not_used_for_sockets(monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/tmp/user/slurm_jobdir/1355700/tmp.node0016/project")
    assert len(cluster._private_folder()) < 30


def test_sockets_fit_under_the_longest_folder_that_is_used(monkeypatch, tmp_path: Path):
    longest = "/tmp/" + "x" * (cluster.LONGEST_BASE - 5)
    made: list[str] = []

    def mkdtemp(**where: str) -> str:
        made.append(f"{where['dir']}/{where['prefix']}12345678")
        return str(tmp_path)

    monkeypatch.setattr(tempfile, "gettempdir", lambda: longest)
    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    cluster._private_folder()
    assert made[0].startswith(longest)
    # Ray's names, with the largest process id of Linux
    assert len(f"{made[0]}/session_2026-11-25_08-37-37_123456_4194304/sockets/plasma_store.1") <= 107


@pytest.mark.parametrize(
    ("message", "cure"),
    [
        ("validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /scratch/x", "shorter folder"),
        ("[Errno 28] No space left on device: '/tmp/sa2va-i-x'", "free space for temporary files"),
        ("[Errno 13] Permission denied: '/tmp/sa2va-i-x'", "set RAY_TMPDIR"),
        ("[Errno 24] Too many open files", "ulimit -n"),
        ("can't start new thread", "ulimit -u"),
        ("The current node timed out during startup", "may be short of processor time"),
    ],
)
def test_an_error_at_the_start_says_what_helps(message, cure):
    line = explain(OSError(message), None)
    assert cure in line
    assert "\n" not in line


def test_logs_of_a_failed_start_are_kept_and_named(monkeypatch):
    def fail(_temp_dir: str, **_: object) -> None:
        (Path(_temp_dir) / "session_latest" / "logs").mkdir(parents=True)
        raise RuntimeError("The current node\ntimed out during startup")

    kept: list[object] = []
    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setattr(cluster.atexit, "unregister", kept.append)
    with pytest.raises(PipelineError) as raised:
        cluster._start_private()
    logs = Path(str(raised.value).split("the logs in ")[1].removesuffix(" say more"))
    assert logs.is_dir()
    assert kept == [cluster._remove]


def test_a_folder_that_was_named_is_respected(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/scratch/ray")
    assert cluster._private_folder() is None
