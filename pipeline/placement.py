"""How many workers of each kind, on which share of the cluster; decided and checked before anything starts."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config import RunConfig
from pipeline.errors import UsageError

EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True)
class Pool:
    """One kind of worker.

    Attributes:
        name: For messages.
        workers: How many.
        gpus: GPUs of one worker, possibly a fraction; 0 means it runs on the CPU.
    """

    name: str
    workers: int
    gpus: float


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The two pools of a run, and the CPU threads of one worker (none: torch's default)."""

    ground: Pool
    segment: Pool
    threads: int | None

    def __str__(self) -> str:
        def one(pool: Pool) -> str:
            return f"{pool.workers} {pool.name}(s) on {f'{pool.gpus:g} GPU each' if pool.gpus else 'CPU'}"

        return f"{one(self.ground)}, {one(self.segment)}"


def place(config: RunConfig, gpus_of_nodes: Sequence[float], cpus: float) -> Placement:
    """Size the pools from the options and, where they are silent, from what the cluster has.

    No GPU: one worker of each kind on the CPU. One GPU: both kinds share it. Several: whole GPUs, one in four for
    grounding, since propagation costs more.

    Args:
        config: The run.
        gpus_of_nodes: GPUs of every node.
        cpus: Of the whole cluster.

    Raises:
        UsageError: The pools can never fit the cluster.
    """
    total = int(sum(gpus_of_nodes))
    share = 0.0 if total == 0 else 0.5 if total == 1 else 1.0
    ground_gpus = share if config.gpus_per_grounder is None else config.gpus_per_grounder
    segment_gpus = share if config.gpus_per_segmenter is None else config.gpus_per_segmenter
    grounders = config.grounders or (max(1, total // 4) if total > 1 and ground_gpus else 1)
    segmenters = config.segmenters
    if segmenters is None:
        left = total - grounders * ground_gpus
        segmenters = max(1, int((left + EPSILON) / segment_gpus)) if total > 1 and segment_gpus else 1
    ground = Pool(name="grounder", workers=grounders, gpus=ground_gpus)
    segment = Pool(name="segmenter", workers=segmenters, gpus=segment_gpus)
    _check_fits((ground, segment), gpus_of_nodes)
    return Placement(ground=ground, segment=segment, threads=_threads((ground, segment), len(gpus_of_nodes), cpus))


def _check_fits(pools: Sequence[Pool], gpus_of_nodes: Sequence[float]) -> None:
    """Put the largest workers first on the emptiest nodes; what is left over can never be placed."""
    free = list(gpus_of_nodes)
    for pool in sorted(pools, key=lambda pool: -pool.gpus):
        for number in range(pool.workers if pool.gpus else 0):
            node = max(range(len(free)), key=lambda i: free[i], default=None)
            if node is None or free[node] + EPSILON < pool.gpus:
                raise UsageError(
                    f"{pool.workers} {pool.name}(s) with {pool.gpus:g} GPU each do not fit the cluster: only {number} "
                    f"can be placed on nodes with {', '.join(f'{g:g}' for g in gpus_of_nodes) or 'no'} GPU(s) beside "
                    f"the other workers; ask for fewer, or for a smaller share with --gpus-per-{pool.name}"
                )
            free[node] -= pool.gpus


def _threads(pools: Sequence[Pool], nodes: int, cpus: float) -> int | None:
    """CPU workers split a node's cores between them: threads that wait for each other cost many times their work."""
    on_cpu = sum(pool.workers for pool in pools if not pool.gpus)
    if not on_cpu:
        return None
    cores = cpus / max(1, nodes) if cpus else float(os.cpu_count() or 1)
    return max(1, int(cores // max(1, -(-on_cpu // max(1, nodes)))))
