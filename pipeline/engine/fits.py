"""Whether pools of workers fit the nodes of a cluster, and why not."""

from collections.abc import Sequence

from pipeline.engine.pools import ACCELERATOR, EPSILON, WRITE_CPUS, Node, Pool
from pipeline.errors import UsageError


class NoRoomError(UsageError):
    """The pools do not fit the nodes there are; more nodes might come."""

    def __init__(self, message: str, pools: Sequence[Pool]) -> None:
        super().__init__(message)
        self.pools = pools


def check_fits(pools: Sequence[Pool], nodes: Sequence[Node]) -> None:
    """Raise NoRoomError unless the smallest pools find room together.

    They are tried in both orders, since this is not a search for every packing.
    """
    problems = [_misfit(order, nodes) for order in (pools, pools[::-1])]
    if all(problems):
        raise NoRoomError(str(problems[0]), pools)
    if sum(node.get("CPU", 0.0) for node in nodes) + EPSILON < WRITE_CPUS:
        raise NoRoomError("no node of the cluster offers a CPU to write masks with", pools)


def _misfit(pools: Sequence[Pool], nodes: Sequence[Node]) -> str | None:
    """Why the pools do not fit, placed one worker after the other; ``None`` if they do."""
    free = [_Free(node) for node in nodes]
    for pool in pools:
        others = [other for other in pools if other is not pool]
        # leave to other pools the nodes that they depend on
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
