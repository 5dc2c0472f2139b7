"""Pools on what is left of a cluster when some of its nodes are not used any more."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.config import RunConfig
from pipeline.engine.fits import NoRoomError
from pipeline.engine.placement import Placement, place
from pipeline.engine.pools import Node
from pipeline.engine.stage import PoolSpec
from pipeline.errors import NodeError


def place_on_fewer(
    config: RunConfig,
    specs: Mapping[str, PoolSpec],
    nodes: Sequence[Node],
    *,
    before: Placement,
    given_up: Mapping[str, str],
) -> Placement:
    """The pools on ``nodes``; with fewer workers than the options ask for, where these do not fit any more.

    Args:
        config: The run.
        specs: How each stage's pool is sized, by stage.
        nodes: The resources of the nodes that are left.
        before: The pools so far. A stage that had GPUs is not moved to CPUs.
        given_up: Why each of the others is not used any more, by node.

    Raises:
        NodeError: The stages cannot run on these nodes.
    """
    fewer: dict[str, Any] = {f"{spec.worker}s": [1, before.pools[stage].most] for stage, spec in specs.items()}
    known = {name: bounds for name, bounds in fewer.items() if getattr(config, name, None) is not None}
    for tried in (config, replace(config, **known)):
        try:
            placement = place(tried, specs, nodes)
        except NoRoomError:
            continue
        if placement.stages_on_cpu == before.stages_on_cpu:
            return placement
    reasons = "; ".join(sorted(set(given_up.values())))
    raise NodeError(f"no node is left that can work: {reasons}")
