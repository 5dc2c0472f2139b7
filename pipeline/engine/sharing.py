"""Workers of several stages on the same GPU: how many of each, and the share that each one asks Ray for.

Grounding a video takes a fraction of the time that propagation takes. A GPU given to grounders alone would mostly wait,
so every GPU gets a worker of the largest stage, and a few of these GPUs a worker of another stage beside it.

Ray books shares, not memory or time. The shares below are chosen so that whatever order Ray places the workers in, each
one finds room: two workers of the largest stage never fit one GPU, and all of a node's other workers fit beside one.
"""

import math
from collections.abc import Mapping

LARGEST_SHARE = 0.6
"""What a worker of the largest stage asks for: more than half, so that no GPU gets two."""
_SMALLEST = 1e-4
"""Ray counts in ten-thousandths."""


def shared_counts(shares: Mapping[str, int], gpus: int) -> dict[str, int]:
    """Workers of each stage on ``gpus`` shared GPUs.

    Args:
        shares: Each stage's share of the work, as in :class:`~pipeline.engine.stage.PoolSpec`.
        gpus: How many there are.

    Returns:
        ``gpus`` workers for the stage with the largest share, and for the others their share of ``gpus``, rounded up.
    """
    largest = max(shares, key=lambda stage: shares[stage])
    everything = sum(shares.values())
    return {
        stage: gpus if stage == largest else math.ceil(gpus * share / everything) for stage, share in shares.items()
    }


def gpus_of_workers(most: Mapping[str, int], largest: str, nodes: int) -> dict[str, float]:
    """The share of a GPU that one worker of each stage asks for.

    Args:
        most: Workers that each stage may grow to.
        largest: The stage with a worker on every GPU.
        nodes: Over which Ray spreads the workers, about evenly.
    """
    others = [stage for stage in most if stage != largest]
    # Ray puts small shares of one node on the same GPU; twice the expected number may meet there
    per_node = sum(math.ceil(most[stage] / max(1, nodes)) for stage in others)
    each = max(_SMALLEST, math.floor((1 - LARGEST_SHARE) / max(1, 2 * per_node) / _SMALLEST) * _SMALLEST)
    return {stage: LARGEST_SHARE if stage == largest else round(each, 4) for stage in most}
