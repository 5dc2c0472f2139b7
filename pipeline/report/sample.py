"""Which items are shown: the worst, the best, some at random, failures of every kind.

One dataset gives one choice, always the same. Items come one by one and memory holds only those that may still be
chosen.
"""

import hashlib
import heapq
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest

from pipeline.engine.metrics import cause_of
from pipeline.report.collect import Item, Key
from pipeline.schema import Status

GROUPS = ("worst", "best", "random", "failed", "no object")


@dataclass(frozen=True, kw_only=True)
class ShownItem:
    """One item that is shown, and why."""

    item: Item
    group: str
    """One of :data:`GROUPS`."""


class Sampler:
    """Chooses from a stream of items.

    Args:
        size: Items to choose.
        quality: What worst and best go by; None for an item that has no such number.
    """

    def __init__(self, size: int, quality: Callable[[Item], float | None]) -> None:
        self._size = size
        self._quality = quality
        self._worst, self._best, self._random, self._without = (_Top(size) for _ in range(4))
        self._failed: dict[str, _Top] = {}

    def add(self, item: Item) -> None:
        """Consider one item."""
        lot = _lot(item)
        if item.status == Status.FAILED:
            self._failed.setdefault(cause_of(item.error), _Top(self._size)).add(lot, item)
            return
        self._random.add(lot, item)
        if item.status != Status.OK:
            self._without.add(lot, item)
            return
        quality = self._quality(item)
        if quality is not None:
            self._worst.add(-quality, item)
            self._best.add(quality, item)

    def chosen(self) -> list[ShownItem]:
        """At most ``size`` items, each once, group by group.

        Worst and best get a quarter each, failures a sixth, answers without an object a twelfth; what is left, and
        what a group cannot fill, is drawn at random.
        """
        groups = {
            "worst": self._worst.items(),
            "best": self._best.items(),
            "random": self._random.items(),
            "failed": self._failures(),
            "no object": self._without.items(),
        }
        size = self._size
        shares = {"worst": -(-size // 4), "best": size // 4, "failed": size // 6, "no object": size // 12}
        taken: dict[Key, ShownItem] = {}
        for group, share in [*shares.items(), ("random", size), ("failed", size)]:
            fresh = [item for item in groups[group] if item.key not in taken][: min(share, size - len(taken))]
            taken |= {item.key: ShownItem(item=item, group=group) for item in fresh}
        return sorted(taken.values(), key=lambda sampled: GROUPS.index(sampled.group))

    def _failures(self) -> list[Item]:
        """One of each cause, then a second of each, and so on."""
        by_cause = [self._failed[cause].items() for cause in sorted(self._failed)]
        return [item for turn in zip_longest(*by_cause) for item in turn if item is not None]


class _Top:
    """The ``limit`` items of highest rank among all that were added."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._heap: list[tuple[float, float, int, Item]] = []
        self._count = 0

    def add(self, rank: float, item: Item) -> None:
        self._count += 1  # makes entries comparable where everything else is equal
        heapq.heappush(self._heap, (rank, _lot(item), self._count, item))
        if len(self._heap) > self._limit:
            heapq.heappop(self._heap)

    def items(self) -> list[Item]:
        """Highest rank first."""
        return [item for *_, item in sorted(self._heap, key=lambda entry: entry[:3], reverse=True)]


def _lot(item: Item) -> float:
    """A number in 0..1 that is random over items and always the same for one."""
    digest = hashlib.blake2b(f"{item.video_id}\0{item.expression_id}".encode("utf-8", "surrogatepass"), digest_size=7)
    return int.from_bytes(digest.digest(), "big") / 2**56


def spread(count: int, wanted: int) -> list[int]:
    """At most ``wanted`` positions of ``count``, evenly spread, first and last among them.

    Example:
        >>> spread(9, 3)
        [0, 4, 8]
    """
    if count <= wanted:
        return list(range(count))
    return [round(index * (count - 1) / (wanted - 1)) for index in range(wanted)] if wanted > 1 else [0]
