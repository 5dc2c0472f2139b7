"""The cluster that a run starts for itself: where its sockets lie, and who may look."""

import stat
import tempfile
from pathlib import Path

import pytest

from pipeline.engine import cluster


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


def test_a_folder_that_was_named_is_respected(monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/scratch/ray")
    assert cluster._private_folder() is None
