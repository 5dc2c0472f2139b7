"""A bounded thread behind the producer: order, waiting, errors on either side."""

import threading
import time

import pytest

from pipeline.model.background import Background


def test_everything_is_done_in_order_before_the_context_is_left() -> None:
    done: list[int] = []
    with Background[int](
        lambda item: (time.sleep(0.001), done.append(item))[1], size_of=lambda _: 1, limit=2
    ) as worker:
        for item in range(20):
            worker.put(item)
    assert done == list(range(20))


def test_the_producer_waits_when_it_is_too_far_ahead() -> None:
    gate, put = threading.Event(), []

    def produce() -> None:
        with Background[int](lambda _: gate.wait(5), size_of=lambda _: 1, limit=2) as worker:
            for item in range(6):
                worker.put(item)
                put.append(item)

    producer = threading.Thread(target=produce)
    producer.start()
    time.sleep(0.2)
    assert len(put) <= 3
    gate.set()
    producer.join(5)
    assert len(put) == 6


def test_an_error_of_the_work_reaches_the_producer() -> None:
    def work(item: int) -> None:
        raise ValueError(f"item {item}")

    def produce() -> None:
        with Background[int](work, size_of=lambda _: 1, limit=1) as worker:
            for item in range(50):
                worker.put(item)

    with pytest.raises(ValueError, match="item 0"):
        produce()


def test_an_error_of_the_producer_drops_what_waits() -> None:
    done: list[int] = []
    before = threading.active_count()

    def produce() -> None:
        with Background[int](
            lambda item: (time.sleep(0.05), done.append(item))[1], size_of=lambda _: 1, limit=5
        ) as worker:
            for item in range(5):
                worker.put(item)
            raise KeyError("no more")

    with pytest.raises(KeyError):
        produce()
    assert len(done) < 5
    assert threading.active_count() == before


def test_what_waits_is_bounded_by_size_and_a_larger_item_goes_alone() -> None:
    gate, put = threading.Event(), []

    def produce() -> None:
        with Background[int](lambda _: gate.wait(5), size_of=lambda item: item, limit=10) as worker:
            for item in (30, 1, 4, 5, 1, 30):
                worker.put(item)
                put.append(item)

    producer = threading.Thread(target=produce)
    producer.start()
    time.sleep(0.2)
    assert put == [30], "nothing waits beside an item that is above the limit by itself"
    gate.set()
    producer.join(5)
    assert put == [30, 1, 4, 5, 1, 30]
