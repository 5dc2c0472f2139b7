"""Pools of workers and the nodes they may run on: the nouns of placement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

EPSILON = 1e-6
ACCELERATOR = "accelerator_type:"
"""Ray gives every node with an A100 one unit of the resource ``accelerator_type:A100``."""
TOKEN_AMOUNT = 0.001
"""What a worker takes of a resource that only says what kind of node it is."""
WRITE_CPUS = 0.25
"""CPUs of one writing task: committing waits for storage, and must find room beside CPU workers."""

Node = Mapping[str, float]
"""The resources of one node, as Ray reports them."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """One kind of worker.

    Attributes:
        name: What one worker is called.
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


def requests(pools: Sequence[Pool]) -> list[dict[str, float]]:
    """Resources of each worker of ``pools`` at their smallest, and of the writing task."""
    each = [
        {**({"GPU": pool.gpus} if pool.gpus else {}), **pool.resources} for pool in pools for _ in range(pool.least)
    ]
    return [one for one in each if one] + [{"CPU": WRITE_CPUS}]


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
