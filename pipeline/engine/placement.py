"""How many workers of each kind, on which nodes; decided and checked before anything starts."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.config import RunConfig, worker_bounds
from pipeline.errors import UsageError

EPSILON = 1e-6
ACCELERATOR = "accelerator_type:"
"""Ray gives every node with an A100 one unit of the resource ``accelerator_type:A100``."""
TOKEN_AMOUNT = 0.001
"""What a worker takes of a resource that only says what kind of node it is."""
WRITE_CPUS = 0.25
"""CPUs of one writing task: committing waits for storage, and must find room beside CPU workers."""
POLL_S = 2.0

Node = Mapping[str, float]
"""The resources of one node, as Ray reports them."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """One kind of worker.

    Attributes:
        name: For messages.
        least: Workers the run starts with and never goes below.
        most: Workers it may grow to.
        gpus: GPUs of one worker, possibly a fraction; 0 means it runs on the CPU.
        resources: What else of a node one worker takes: an accelerator type or a custom resource.
    """

    name: str
    least: int
    most: int
    gpus: float
    resources: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        count = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
        where = "".join(f" of a node with {name.removeprefix(ACCELERATOR)}" for name in self.resources)
        return f"{count} {self.name}(s) on {f'{self.gpus:g} GPU each' if self.gpus else 'CPU'}{where}"

    def may_use(self, node: Node) -> bool:
        """Whether the node is of the kind asked for, however full."""
        return all(node.get(name, 0.0) + EPSILON >= amount for name, amount in self.resources.items())


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The two pools of a run, and the CPU threads of one worker (none: torch's default)."""

    ground: Pool
    segment: Pool
    threads: int | None

    def __str__(self) -> str:
        return f"{self.ground}, {self.segment}"

    @property
    def stages_on_cpu(self) -> frozenset[str]:
        """Names of the stages whose workers have no GPU."""
        pools = {"ground": self.ground, "segment": self.segment}
        return frozenset(stage for stage, pool in pools.items() if not pool.gpus)

    def requests(self) -> list[dict[str, float]]:
        """What the workers that the run starts with need, one entry each, as an autoscaler is asked for it."""
        return requests((self.ground, self.segment))


class _NoRoomError(UsageError):
    """The pools do not fit the nodes there are; more nodes might come."""

    def __init__(self, message: str, pools: Sequence[Pool]) -> None:
        super().__init__(message)
        self.pools = pools


def place_within(
    timeout_s: float,
    config: RunConfig,
    nodes: Callable[[], Sequence[Node]],
    *,
    request: Callable[[list[dict[str, float]]], None],
    say: Callable[[str], None],
) -> Placement:
    """As :func:`place`, but give nodes of a growing cluster ``timeout_s`` seconds to appear.

    Args:
        timeout_s: 0 decides at once.
        config: The run.
        nodes: The resources of every living node, now.
        request: Asks the cluster's autoscaler for room; called with an empty list when that is settled.
        say: Gets one line when there is something to wait for.

    Raises:
        UsageError: The pools do not fit, and the time is over.
    """
    deadline = time.monotonic() + timeout_s
    asked = False
    try:
        while True:
            try:
                return place(config, nodes())
            except _NoRoomError as error:
                left = deadline - time.monotonic()
                if left <= 0:
                    hint = f" (waited {timeout_s:g} s; --placement-timeout-s waits longer)" if timeout_s else ""
                    raise UsageError(f"{error}{hint}") from error
                if not asked:
                    asked = True
                    say(f"waiting up to {timeout_s:g} s for nodes: {error}")
                    request(requests(error.pools))
                time.sleep(min(POLL_S, left))
    finally:
        if asked:
            request([])


def requests(pools: Sequence[Pool]) -> list[dict[str, float]]:
    """Resources of each worker of ``pools`` at their smallest, and of the writing task."""
    each = [
        {**({"GPU": pool.gpus} if pool.gpus else {}), **pool.resources} for pool in pools for _ in range(pool.least)
    ]
    return [one for one in each if one] + [{"CPU": WRITE_CPUS}]


def place(config: RunConfig, nodes: Sequence[Node]) -> Placement:
    """Size the pools from the options and, where they are silent, from what the cluster has.

    No GPU: one worker of each kind on the CPU. One GPU: both kinds share it. Several of one kind: whole GPUs, one in
    four for grounding, since propagation costs more. Kinds that are told apart by ``ground_on`` and ``segment_on``: all
    of them.

    Args:
        config: The run.
        nodes: The resources of every node.

    Raises:
        UsageError: The pools cannot fit these nodes.
    """
    ground = _Wish(config.ground_on, config.gpus_per_grounder, nodes)
    segment = _Wish(config.segment_on, config.gpus_per_segmenter, nodes)
    shared = sum(nodes[i].get("GPU", 0.0) for i in ground.nodes & segment.nodes)
    alone = ground.total == segment.total == shared == 1
    ground_gpus = ground.gpus_of_one(alone=alone)
    segment_gpus = segment.gpus_of_one(alone=alone)
    grounders = worker_bounds("grounders", config.grounders)
    if grounders is None:
        only_ground = ground.total - shared
        # a quarter where both kinds want the same GPUs, else what the segmenters cannot use
        wanted = ground.total // 4 if ground.nodes == segment.nodes else only_ground or ground.total
        grounders = _fixed(wanted, ground_gpus) if ground.total > 1 else (1, 1)
    segmenters = worker_bounds("segmenters", config.segmenters)
    if segmenters is None:
        taken = max(0.0, grounders[0] * ground_gpus - (ground.total - shared))
        segmenters = _fixed(segment.total - taken, segment_gpus) if segment.total > 1 else (1, 1)
    pools = (
        Pool(name="grounder", least=grounders[0], most=grounders[1], gpus=ground_gpus, resources=ground.resources),
        Pool(name="segmenter", least=segmenters[0], most=segmenters[1], gpus=segment_gpus, resources=segment.resources),
    )
    _check_fits(pools, nodes)
    return Placement(ground=pools[0], segment=pools[1], threads=_threads(pools, nodes))


class _Wish:
    """Where one kind of worker wants to be, and what is there."""

    def __init__(self, on: str | None, gpus: float | None, nodes: Sequence[Node]) -> None:
        self.resources = resources_of(on, nodes)
        self._gpus = gpus
        self._named = on is not None
        fitting = [i for i, node in enumerate(nodes) if all(name in node for name in self.resources)]
        self.nodes = {i for i in fitting if nodes[i].get("GPU", 0.0) > 0}
        self.total = int(sum(nodes[i].get("GPU", 0.0) for i in self.nodes))
        self._kind_is_here = bool(fitting)

    def gpus_of_one(self, *, alone: bool) -> float:
        """GPUs of one worker; ``alone``: there is one GPU, and both kinds want it."""
        if self._gpus is not None:
            return self._gpus
        if self.total == 0:
            # a kind of node that has yet to come is asked for by its accelerator, so it has one
            coming = self._named and not self._kind_is_here
            return 1.0 if coming and any(name.startswith(ACCELERATOR) for name in self.resources) else 0.0
        return 0.5 if alone else 1.0


def resources_of(on: str | None, nodes: Sequence[Node]) -> dict[str, float]:
    """What ``--ground-on`` and ``--segment-on`` mean on these nodes.

    ``A100`` is an accelerator type if a node has it or Ray knows it by that name, else a custom resource;
    ``big=0.5`` takes half a unit of the custom resource ``big`` for each worker.
    """
    if on is None:
        return {}
    name, _, amount = on.partition("=")
    if amount:
        return {name: float(amount)}
    here = any(name in node for node in nodes)
    accelerator = f"{ACCELERATOR}{name}"
    if any(accelerator in node for node in nodes) or (not here and name in _known_accelerators()):
        return {accelerator: TOKEN_AMOUNT}
    return {name: TOKEN_AMOUNT}


def _known_accelerators() -> set[str]:
    from ray.util import accelerators

    return {value for value in vars(accelerators).values() if isinstance(value, str)}


def _fixed(gpus: float, gpus_of_one: float) -> tuple[int, int]:
    count = max(1, int((gpus + EPSILON) / gpus_of_one)) if gpus_of_one else 1
    return count, count


def _check_fits(pools: Sequence[Pool], nodes: Sequence[Node]) -> None:
    """Whether the smallest pools find room together; in either order, since what is tried is not every packing."""
    problems = [_misfit(order, nodes) for order in (pools, pools[::-1])]
    if all(problems):
        raise _NoRoomError(str(problems[0]), pools)
    if sum(node.get("CPU", 0.0) for node in nodes) + EPSILON < WRITE_CPUS:
        raise _NoRoomError("no node of the cluster offers a CPU to write masks with", pools)


def _misfit(pools: Sequence[Pool], nodes: Sequence[Node]) -> str | None:
    """Why the pools do not fit, one worker after the other; none if they do."""
    free = [_Free(node) for node in nodes]
    for pool in pools:
        others = [other for other in pools if other is not pool]
        # leave to the other pool what only it cannot do without
        mine = sorted(
            (node for node in free if pool.may_use(node.node)), key=lambda n: sum(o.may_use(n.node) for o in others)
        )
        for number in range(pool.least):
            if not any(node.take(pool) for node in mine):
                return _explain(pool, number, nodes)
    return None


class _Free:
    """What is left of a node. A fraction comes out of one GPU; several GPUs are whole ones."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._gpus = [1.0] * int(node.get("GPU", 0.0))
        self._other = dict(node)

    def take(self, pool: Pool) -> bool:
        if any(self._other.get(name, 0.0) + EPSILON < amount for name, amount in pool.resources.items()):
            return False
        if pool.gpus and not self._take_gpus(pool.gpus):
            return False
        for name, amount in pool.resources.items():
            self._other[name] -= amount
        return True

    def _take_gpus(self, gpus: float) -> bool:
        each = min(gpus, 1.0)
        # the fullest first, so that whole GPUs stay whole
        chosen = sorted((left, i) for i, left in enumerate(self._gpus) if left + EPSILON >= each)[: max(1, int(gpus))]
        if len(chosen) < max(1, int(gpus)):
            return False
        for _, i in chosen:
            self._gpus[i] -= each
        return True


def _explain(pool: Pool, number: int, nodes: Sequence[Node]) -> str:
    kinds = [name.removeprefix(ACCELERATOR) for name in pool.resources]
    fitting = [node for node in nodes if pool.may_use(node)]
    if kinds and not fitting:
        offered = sorted({n.removeprefix(ACCELERATOR) for node in nodes for n in node if _is_kind(n)})
        return (
            f"no node offers {kinds[0]} for the {pool.name}s; the cluster has {', '.join(offered) or 'no such kinds'}"
        )
    gpus = ", ".join(f"{node.get('GPU', 0.0):g}" for node in fitting)
    return (
        f"{pool.least} {pool.name}(s) with {pool.gpus:g} GPU each do not fit the cluster: only {number} can be placed "
        f"on nodes with {gpus or 'no'} GPU(s){f' and {kinds[0]}' if kinds else ''} beside the other workers; ask for "
        f"fewer, or for a smaller share with --gpus-per-{pool.name}"
    )


def _is_kind(resource: str) -> bool:
    ordinary = ("CPU", "GPU", "memory", "object_store_memory")
    return resource not in ordinary and not resource.startswith("node:")


def _threads(pools: Sequence[Pool], nodes: Sequence[Node]) -> int | None:
    """CPU workers of one kind split a node's cores between them; the two kinds are rarely busy at the same time."""
    on_cpu = max((pool.most for pool in pools if not pool.gpus), default=0)
    if not on_cpu:
        return None
    count = max(1, len(nodes))
    cpus = sum(node.get("CPU", 0.0) for node in nodes)
    cores = cpus / count if cpus else float(os.cpu_count() or 1)
    return max(1, int(cores // max(1, -(-on_cpu // count))))
