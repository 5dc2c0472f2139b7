"""Attempts of a video, counted by an actor; those on machines that were taken back do not count."""

import pytest

from pipeline.engine import attempts
from pipeline.engine.attempts import AttemptLedger

KEY = ("segment", "v", "0")


@pytest.fixture
def ledger(monkeypatch):
    alive = {"a": True, "b": True}
    nodes = lambda: [{"NodeID": name, "Alive": is_alive} for name, is_alive in alive.items()]  # noqa: E731
    monkeypatch.setattr(attempts.ray, "nodes", nodes)
    return AttemptLedger.__ray_metadata__.modified_class(), alive


def test_attempts_on_living_machines_count(ledger):
    counted, _ = ledger
    assert [counted.begin(KEY, "a", 3) for _ in range(4)] == [1, 2, 3, 4]
    counted.end(KEY)
    assert counted.begin(KEY, "a", 3) == 1


def test_a_spot_machine_that_is_taken_back_is_no_videos_fault(ledger):
    counted, alive = ledger
    for _ in range(3):
        counted.begin(KEY, "b", 3)
    alive["b"] = False
    assert counted.begin(KEY, "a", 3) == 1
