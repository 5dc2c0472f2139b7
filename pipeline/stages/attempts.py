"""Counting how often a video was begun, so that one that kills its worker is given up instead of tried for ever.

Ray restarts a dead worker and hands it the same input without bound. The count lives in an actor of its own, outside
the workers that die.
"""

from collections import Counter

import ray
from ray.actor import ActorHandle


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class AttemptLedger:
    """How many times each (stage, video) was begun in this run."""

    def __init__(self) -> None:
        self._begun: Counter[tuple[str, str]] = Counter()

    def begin(self, stage: str, video_id: str) -> int:
        """Note one more attempt and return its number, from 1."""
        self._begun[stage, video_id] += 1
        return self._begun[stage, video_id]

    def end(self, stage: str, video_id: str) -> None:
        """The attempt came to an end, good or bad, and the worker lives."""
        self._begun.pop((stage, video_id), None)


class Attempts:
    """A stage's view of the ledger."""

    def __init__(self, ledger: ActorHandle, stage: str, limit: int) -> None:
        self._ledger = ledger
        self._stage = stage
        self._limit = limit

    def begin(self, video_id: str) -> str | None:
        """Note an attempt; the message to fail the video with if it has had too many."""
        number: int = ray.get(self._ledger.begin.remote(self._stage, video_id))  # type: ignore[assignment]
        if number <= self._limit:
            return None
        return f"WorkerDied: the {self._stage} worker died {number - 1} times over this video; it was given up"

    def end(self, video_id: str) -> None:
        """Note that the worker survived."""
        self._ledger.end.remote(self._stage, video_id)
