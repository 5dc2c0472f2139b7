"""Attempts of a video, counted by an actor; those on machines that were taken back do not count."""

import types

import pytest

from pipeline.engine import attempts
from pipeline.engine.attempts import AttemptLedger, Attempts

KEY = ("segment", "v", "0")


@pytest.fixture
def ledger(monkeypatch):
    alive = {"a": True, "b": True}
    nodes = lambda: [{"NodeID": name, "Alive": is_alive} for name, is_alive in alive.items()]  # noqa: E731
    monkeypatch.setattr(attempts.ray, "nodes", nodes)
    return AttemptLedger.__ray_metadata__.modified_class(), alive


def test_attempts_on_living_machines_count(ledger):
    counted, _ = ledger
    assert [len(counted.begin(KEY, "a", 3)) for _ in range(4)] == [0, 1, 2, 3]
    counted.end(KEY, "a")
    assert counted.begin(KEY, "a", 3) == []


def test_a_spot_machine_that_is_taken_back_is_no_videos_fault(ledger):
    counted, alive = ledger
    for _ in range(3):
        counted.begin(KEY, "b", 3)
    alive["b"] = False
    assert counted.begin(KEY, "a", 3) == []


def test_how_long_each_attempt_lasted_is_known(ledger, monkeypatch):
    counted, _ = ledger
    times = iter([0.0, 10.0, 25.0])
    monkeypatch.setattr(attempts.time, "monotonic", lambda: next(times))
    counted.begin(KEY, "a", 3)
    counted.begin(KEY, "a", 3)
    assert counted.begin(KEY, "a", 3) == [10.0, 15.0]


def test_a_node_that_fails_everything_is_unusable_until_it_does_something(ledger):
    counted, _ = ledger
    for number in range(3):
        key = ("ground", f"v{number}", "0")
        counted.begin(key, "a", 3)
        assert not counted.report().unusable
        counted.end(key, "a", "NodeError: node h: disk full")
    assert counted.report().unusable == {"a": "NodeError: node h: disk full"}
    assert counted.report().is_stuck
    counted.begin(("ground", "w", "0"), "b", 3)
    assert not counted.report().is_stuck, "another node of the stage may still work"
    counted.end(("ground", "w", "0"), "a")
    assert not counted.report().unusable


def test_a_stage_whose_only_living_node_fails_is_stuck(ledger):
    counted, alive = ledger
    counted.begin(KEY, "b", 3)
    counted.broken("segment", "a", "NodeError: node h: no GPU")
    assert not counted.report().is_stuck
    alive["b"] = False
    assert counted.report().is_stuck
    counted.begin_round()
    assert not counted.report().unusable


@pytest.mark.parametrize(
    ("timeout_s", "message"),
    [
        (None, "WorkerDied: the segment worker died 3 times over this video; it was given up"),
        (60.0, "WorkerDied: the segment worker died 3 times over this video; it was given up"),
        (9.0, "VideoTimeoutError: segment took longer than 9 s (--video-timeout-s) 3 times over this video"),
    ],
)
def test_a_video_that_is_given_up_says_why(monkeypatch, timeout_s, message):
    context = types.SimpleNamespace(get_node_id=lambda: "a")
    monkeypatch.setattr(attempts.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(attempts.ray, "get", lambda value: value)
    begun = types.SimpleNamespace(remote=lambda *_: [9.1, 30.0, 12.0])
    worker = Attempts(types.SimpleNamespace(begin=begun), "segment", 3, timeout_s=timeout_s)
    assert worker.begin({"video_id": "v", "expression_ids": ["0"]}).startswith(message)
