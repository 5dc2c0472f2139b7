"""Counting how often a video was begun and how often a node failed, so that neither is tried for ever.

Ray restarts a dead worker and hands it the same input without bound. The counts live in an actor of its own, outside
the workers that die.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle

Key = tuple[str, str, str]
"""Stage, video, and the first expression, since parts of one video are tried at the same time."""
NODE_LIMIT = 3
"""Videos in a row that a node may fail for reasons of its own before it is not used any more."""


@dataclass(frozen=True, kw_only=True)
class NodeReport:
    """What is known about the nodes of this round.

    Attributes:
        unusable: Nodes that failed everything lately, by id, and what was last said.
        is_stuck: Whether some stage has workers on such nodes only, so that nothing more will be done.
    """

    unusable: Mapping[str, str]
    is_stuck: bool


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class AttemptLedger:
    """Where and when each (stage, task) was begun in this run without coming to an end, and which nodes fail."""

    def __init__(self) -> None:
        self._begun: defaultdict[Key, list[tuple[str, float]]] = defaultdict(list)
        self.begin_round()

    def begin_round(self) -> None:
        """Forget the nodes: other workers start now."""
        self._nodes: defaultdict[str, set[str]] = defaultdict(set)
        self._troubles: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._messages: dict[str, str] = {}

    def begin(self, key: Key, node_id: str, limit: int) -> list[float]:
        """Note one more attempt and return how long each earlier one lasted, in seconds.

        Attempts on nodes that were lost since do not count: a spot machine that is taken back is no video's fault.
        """
        now = time.monotonic()
        self._nodes[key[0]].add(node_id)
        attempts = self._begun[key]
        if len(attempts) >= limit:
            alive = _alive_nodes()
            attempts[:] = [(node, begun) for node, begun in attempts if node in alive]
        ends = [*(begun for _, begun in attempts[1:]), now]
        lasted = [end - begun for (_, begun), end in zip(attempts, ends, strict=False)]
        attempts.append((node_id, now))
        return lasted

    def end(self, key: Key, node_id: str, trouble: str | None = None) -> None:
        """The attempt came to an end, good or bad, and the worker lives.

        Args:
            key: The stage and task.
            node_id: Where.
            trouble: What the node itself failed with, if it did.
        """
        self._begun.pop(key, None)
        if trouble is None:
            self._troubles.pop((key[0], node_id), None)
        else:
            self._troubles[key[0], node_id] += 1
            self._messages[node_id] = trouble

    def broken(self, stage: str, node_id: str, trouble: str) -> None:
        """A worker of the stage could not even start on that node."""
        self._nodes[stage].add(node_id)
        self._troubles[stage, node_id] = NODE_LIMIT
        self._messages[node_id] = trouble

    def report(self) -> NodeReport:
        """Which nodes are of no use now."""
        alive = _alive_nodes()
        failing = {node for (_, node), count in self._troubles.items() if count >= NODE_LIMIT and node in alive}
        living = [nodes & alive for nodes in self._nodes.values()]
        return NodeReport(
            unusable={node: self._messages[node] for node in failing},
            is_stuck=any(nodes and nodes <= failing for nodes in living),
        )


def _alive_nodes() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


class Attempts:
    """A worker's view of the ledger.

    Args:
        ledger: Of the run.
        stage: The worker's.
        limit: Attempts that a video has.
        timeout_s: Longest time of one attempt; ``None`` where there is no limit.
    """

    def __init__(self, ledger: ActorHandle, stage: str, limit: int, timeout_s: float | None = None) -> None:
        self._ledger = ledger
        self._stage = stage
        self._limit = limit
        self._timeout_s = timeout_s
        self._node_id = ray.get_runtime_context().get_node_id()

    def begin(self, row: Mapping[str, Any]) -> str | None:
        """Note an attempt; the message to fail the video with if it has had too many."""
        lasted: list[float] = ray.get(self._ledger.begin.remote(self._key(row), self._node_id, self._limit))
        if len(lasted) < self._limit:
            return None
        if self._timeout_s is not None and min(lasted) >= self._timeout_s:
            return (
                f"VideoTimeoutError: {self._stage} took longer than {self._timeout_s:g} s (--video-timeout-s) "
                f"{len(lasted)} times over this video; it was given up"
            )
        return f"WorkerDied: the {self._stage} worker died {len(lasted)} times over this video; it was given up"

    def end(self, row: Mapping[str, Any], trouble: str | None = None) -> None:
        """Note that the worker survived; ``trouble``: what its node failed with, if it did."""
        self._ledger.end.remote(self._key(row), self._node_id, trouble)

    def broken(self, trouble: str) -> None:
        """Note that a worker cannot start on this node."""
        self._ledger.broken.remote(self._stage, self._node_id, trouble)

    def _key(self, row: Mapping[str, Any]) -> Key:
        return self._stage, row["video_id"], row["expression_ids"][0]
