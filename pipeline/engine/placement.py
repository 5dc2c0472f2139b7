"""How many workers each stage gets, and on which nodes; decided and checked before anything starts."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.config import RunConfig, worker_bounds
from pipeline.engine.fits import NoRoomError, check_fits
from pipeline.engine.pools import ACCELERATOR, EPSILON, Node, Pool, requests, resources_of
from pipeline.engine.sharing import gpus_of_workers, shared_counts
from pipeline.engine.stage import PoolSpec
from pipeline.errors import UsageError

POLL_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The pools of a run.

    Attributes:
        pools: By stage, in the order of the stages.
        threads: CPU threads of one worker; ``None`` for PyTorch's default.
    """

    pools: Mapping[str, Pool]
    threads: int | None

    def __str__(self) -> str:
        return ", ".join(map(str, self.pools.values()))

    @property
    def stages_on_cpu(self) -> frozenset[str]:
        """Names of the stages whose workers have no GPU."""
        return frozenset(stage for stage, pool in self.pools.items() if not pool.gpus)

    @property
    def only_gpus(self) -> bool:
        """Whether every worker has a GPU."""
        return all(pool.gpus for pool in self.pools.values())


def place_within(
    timeout_s: float,
    config: RunConfig,
    specs: Mapping[str, PoolSpec],
    nodes: Callable[[], Sequence[Node]],
    *,
    request: Callable[[list[dict[str, float]]], None],
    report: Callable[[str], None],
) -> Placement:
    """As :func:`place`, but give nodes of a growing cluster ``timeout_s`` seconds to appear.

    Args:
        timeout_s: 0 decides at once.
        config: The run.
        specs: How each stage's pool is sized, by stage.
        nodes: The resources of every living node, now.
        request: Asks the cluster's autoscaler for room; called with an empty list when that is settled.
        report: Gets one line when there is something to wait for.

    Raises:
        UsageError: The pools do not fit, and the time is over.
    """
    deadline = time.monotonic() + timeout_s
    asked = False
    try:
        while True:
            try:
                return place(config, specs, nodes())
            except NoRoomError as error:
                remaining_s = deadline - time.monotonic()
                if remaining_s <= 0:
                    hint = f" (waited {timeout_s:g} s; --placement-timeout-s waits longer)" if timeout_s else ""
                    raise UsageError(f"{error}{hint}") from error
                if not asked:
                    asked = True
                    report(f"waiting up to {timeout_s:g} s for nodes: {error}")
                    request(requests(error.pools))
                time.sleep(min(POLL_S, remaining_s))
    finally:
        if asked:
            request([])


def place(config: RunConfig, specs: Mapping[str, PoolSpec], nodes: Sequence[Node]) -> Placement:
    """Size the pools from the options and, where they are silent, from what the cluster has.

    No GPU: one worker a stage, on the CPU. One GPU: the stages share it. Several of one kind: a segmenter on each, and
    a grounder beside every fourth, since propagation costs more (see :mod:`pipeline.engine.sharing`). Whole GPUs, by
    the same shares, where a stage's workers are too large for that or an option says how many GPUs one takes; the
    stage with the largest share takes what is left over. Kinds that are told apart by ``ground_on`` and
    ``segment_on``: all of them.

    Args:
        config: The run.
        specs: How each stage's pool is sized, by stage.
        nodes: The resources of every node.

    Raises:
        UsageError: The pools cannot fit these nodes.
    """
    wishes = {stage: _Wish(config, stage, spec, nodes) for stage, spec in specs.items()}
    with_gpu = {stage: wish for stage, wish in wishes.items() if wish.gpu_share}
    pools = _on_shared_gpus(specs, wishes) if _can_share(with_gpu) else _on_gpus_of_their_own(specs, wishes, nodes)
    check_fits(tuple(pools.values()), nodes)
    return Placement(pools=pools, threads=_threads(tuple(pools.values()), nodes))


def _can_share(with_gpu: Mapping[str, "_Wish"]) -> bool:
    """Whether all stages that use GPUs may use the same ones, and there are several."""
    kinds = {frozenset(wish.nodes) for wish in with_gpu.values()}
    return (
        len(with_gpu) > 1 and len(kinds) == 1 and all(wish.shares_gpus and wish.total > 1 for wish in with_gpu.values())
    )


def _on_shared_gpus(specs: Mapping[str, PoolSpec], wishes: Mapping[str, "_Wish"]) -> dict[str, Pool]:
    """Pools whose workers stand beside each other on every GPU there is."""
    with_gpu = {stage: wish for stage, wish in wishes.items() if wish.gpu_share}
    largest = max(with_gpu, key=lambda stage: with_gpu[stage].gpu_share)
    counts = shared_counts({stage: wish.gpu_share for stage, wish in with_gpu.items()}, with_gpu[largest].total)
    sizes = {stage: wish.bounds or (counts.get(stage, 1), counts.get(stage, 1)) for stage, wish in wishes.items()}
    gpus = gpus_of_workers({stage: sizes[stage][1] for stage in with_gpu}, largest, len(with_gpu[largest].nodes))
    return {stage: _pool(specs[stage], sizes[stage], gpus.get(stage, 0.0), wish) for stage, wish in wishes.items()}


def _on_gpus_of_their_own(
    specs: Mapping[str, PoolSpec], wishes: Mapping[str, "_Wish"], nodes: Sequence[Node]
) -> dict[str, Pool]:
    """Pools whose workers have the GPUs that options say, by default whole ones; or the only GPU of all, together."""
    with_gpu = {stage: wish for stage, wish in wishes.items() if wish.gpu_share}
    common = set.intersection(*(wish.nodes for wish in with_gpu.values())) if with_gpu else set()
    shared = sum(nodes[i].get("GPU", 0.0) for i in common)
    alone = len(with_gpu) if shared == 1 and all(wish.total == 1 for wish in with_gpu.values()) else 0
    largest = max(with_gpu, key=lambda stage: with_gpu[stage].gpu_share, default=None)
    all_shares = sum(wish.gpu_share for wish in with_gpu.values())
    sizes: dict[str, tuple[int, int]] = {}
    taken = 0.0
    for stage in sorted(wishes, key=lambda stage: stage == largest):  # the largest share last: it takes the rest
        wish, gpus = wishes[stage], wishes[stage].gpus_of_one(sharing=alone)
        exclusive = wish.total - shared
        size = wish.bounds
        if size is None and stage == largest:
            size = _fixed(wish.total - taken, gpus) if wish.total > 1 else (1, 1)
        elif size is None:
            # its share where it wants the same GPUs as the largest stage, else what that stage cannot use
            same = largest is not None and wish.nodes == wishes[largest].nodes
            wanted = wish.total * wish.gpu_share // all_shares if same else exclusive or wish.total
            size = _fixed(wanted, gpus) if wish.total > 1 and wish.gpu_share else (1, 1)
        sizes[stage] = size
        taken += max(0.0, size[0] * gpus - exclusive)
    return {
        stage: _pool(specs[stage], sizes[stage], wish.gpus_of_one(sharing=alone), wish)
        for stage, wish in wishes.items()
    }


def _pool(spec: PoolSpec, size: tuple[int, int], gpus: float, wish: "_Wish") -> Pool:
    return Pool(name=spec.worker, least=size[0], most=size[1], gpus=gpus, resources=wish.resources)


class _Wish:
    """What the options say of one stage's workers, and where these could be."""

    def __init__(self, config: RunConfig, stage: str, spec: PoolSpec, nodes: Sequence[Node]) -> None:
        on: str | None = getattr(config, f"{stage}_on", None)
        self.resources = resources_of(on, nodes)
        self.gpu_share = spec.gpu_share
        self.bounds = worker_bounds(f"{spec.worker}s", getattr(config, f"{spec.worker}s", None))
        self._gpus: float | None = getattr(config, f"gpus_per_{spec.worker}", None)
        self._named = on is not None
        fitting = [i for i, node in enumerate(nodes) if all(name in node for name in self.resources)]
        self.nodes = {i for i in fitting if nodes[i].get("GPU", 0.0) > 0}
        self.total = int(sum(nodes[i].get("GPU", 0.0) for i in self.nodes))
        self.shares_gpus = spec.shares_gpus and self._gpus is None
        self._kind_is_here = bool(fitting)

    def gpus_of_one(self, *, sharing: int) -> float:
        """GPUs of one worker; ``sharing``: so many stages share the only GPU there is, or 0."""
        if self._gpus is not None:
            return self._gpus
        if not self.gpu_share:
            return 0.0
        if self.total == 0:
            # a kind of node that has yet to come is asked for by its accelerator, so it has one
            coming = self._named and not self._kind_is_here
            return 1.0 if coming and any(name.startswith(ACCELERATOR) for name in self.resources) else 0.0
        return 1 / sharing if sharing else 1.0


def _fixed(gpus: float, gpus_of_one: float) -> tuple[int, int]:
    count = max(1, int((gpus + EPSILON) / gpus_of_one)) if gpus_of_one else 1
    return count, count


def _threads(pools: Sequence[Pool], nodes: Sequence[Node]) -> int | None:
    """CPU workers of one stage split a node's cores between them; stages are rarely busy at the same time."""
    on_cpu = max((pool.most for pool in pools if not pool.gpus), default=0)
    if not on_cpu:
        return None
    count = max(1, len(nodes))
    cpus = sum(node.get("CPU", 0.0) for node in nodes)
    cores = cpus / count if cpus else float(os.cpu_count() or 1)
    return max(1, int(cores // max(1, -(-on_cpu // count))))
