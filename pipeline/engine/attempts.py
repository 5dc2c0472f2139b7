"""Counting how often a video was begun, so that one that kills its worker is given up instead of tried for ever.

Ray restarts a dead worker and hands it the same input without bound. The count lives in an actor of its own, outside
the workers that die.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import ray
from ray.actor import ActorHandle

Key = tuple[str, str, str]
"""Stage, video, and the first expression, since parts of one video are tried at the same time."""


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class AttemptLedger:
    """On which nodes each (stage, task) was begun in this run without coming to an end."""

    def __init__(self) -> None:
        self._begun: defaultdict[Key, list[str]] = defaultdict(list)

    def begin(self, key: Key, node_id: str, limit: int) -> int:
        """Note one more attempt and return its number, from 1.

        Attempts on nodes that were lost since do not count: a spot machine that is taken back is no video's fault.
        """
        nodes = self._begun[key]
        if len(nodes) >= limit:
            lost = {node["NodeID"] for node in ray.nodes() if not node["Alive"]}
            nodes[:] = [node for node in nodes if node not in lost]
        nodes.append(node_id)
        return len(nodes)

    def end(self, key: Key) -> None:
        """The attempt came to an end, good or bad, and the worker lives."""
        self._begun.pop(key, None)


class Attempts:
    """A stage's view of the ledger."""

    def __init__(self, ledger: ActorHandle, stage: str, limit: int) -> None:
        self._ledger = ledger
        self._stage = stage
        self._limit = limit

    def begin(self, row: Mapping[str, Any]) -> str | None:
        """Note an attempt; the message to fail the video with if it has had too many."""
        here = ray.get_runtime_context().get_node_id()
        number: int = ray.get(  # type: ignore[assignment]
            self._ledger.begin.remote(self._key(row), here, self._limit)
        )
        if number <= self._limit:
            return None
        return (
            f"WorkerDied: the {self._stage} worker died {number - 1} times over this video (or took longer than "
            "--video-timeout-s); it was given up"
        )

    def end(self, row: Mapping[str, Any]) -> None:
        """Note that the worker survived."""
        self._ledger.end.remote(self._key(row))

    def _key(self, row: Mapping[str, Any]) -> Key:
        return self._stage, row["video_id"], row["expression_ids"][0]
