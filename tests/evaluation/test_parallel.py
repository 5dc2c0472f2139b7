"""Scoring in several processes of this machine: results, errors, dying workers, and no cluster whatever is set."""

import os
import time

import pytest

from pipeline.errors import NodeError, UsageError
from pipeline.evaluation.parallel import map_tasks


def work(number):
    if number == 3:
        raise UsageError("three")
    if number == 4:
        os._exit(1)
    return number, os.getpid()


def test_items_are_drawn_as_they_are_worked_off_in_other_processes(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "203.0.113.1:6379")  # a cluster that is gone: nobody asks it
    drawn = []

    def items():
        for number in range(10, 22):
            drawn.append(number)
            yield (number,)

    results = map_tasks(work, items(), 2)
    began = time.monotonic()
    first = next(results)
    assert len(drawn) <= 5
    found = [first, *results]
    assert time.monotonic() - began < 60
    assert sorted(number for number, _ in found) == list(range(10, 22))
    assert os.getpid() not in {process for _, process in found}


def test_an_error_is_raised_as_in_this_process_and_a_dead_worker_is_told():
    for workers in (1, 2):
        with pytest.raises(UsageError, match="three"):
            list(map_tasks(work, ((number,) for number in (1, 2, 3)), workers))
    with pytest.raises(NodeError, match="--workers"):
        list(map_tasks(work, ((number,) for number in (4, 1)), 2))
