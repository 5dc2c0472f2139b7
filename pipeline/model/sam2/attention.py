"""Attention whose keys come in pieces and whose values may be narrower than its keys."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.model.sam2.fast_linear import applies_to, product

FEWEST_KEYS = 1024
"""Fewer keys per piece than this are not worth blocks of their own."""
_ROWS_PER_THREAD = 256  # scores of so many queries against one piece of keys stay in the processor's caches


def blocks_apply_to(queries: Tensor, keys_per_piece: int) -> bool:
    """Whether :func:`blocked_attention` is the fast way: float32 on a CPU and long pieces of keys."""
    return keys_per_piece >= FEWEST_KEYS and applies_to(queries)


def blocked_attention(queries: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
    """Softmax attention of one object, block by block, through oneDNN.

    PyTorch's fused CPU kernel wants values as wide as keys and computes through MKL; this one takes narrow values and
    about half the time on CPUs where MKL is slow. The same result up to rounding: the running maximum is exact.

    Args:
        queries: float32 ``[N, C]``.
        keys: Pieces, float32 ``[n, C]`` each.
        values: Pieces, float32 ``[n, V]`` each.

    Returns:
        float32 ``[N, V]``.
    """
    transposed = [piece.T.contiguous() for piece in values]
    scaled = queries * queries.shape[-1] ** -0.5
    results = []
    for rows in scaled.split(_ROWS_PER_THREAD * torch.get_num_threads()):
        total, weight, top = None, None, None
        for piece, value in zip(keys, transposed, strict=True):
            scores = product(rows, piece)
            highest = scores.amax(-1, keepdim=True)
            weights = scores.sub_(highest).exp_()
            part, part_weight = product(weights, value), weights.sum(-1, keepdim=True)
            if total is None or weight is None or top is None:
                total, weight, top = part, part_weight, highest
            else:
                new_top = torch.maximum(top, highest)
                before, now = (top - new_top).exp_(), (highest - new_top).exp_()
                total = total.mul_(before).add_(part.mul_(now))
                weight = weight.mul_(before).add_(part_weight.mul_(now))
                top = new_top
        assert total is not None
        assert weight is not None
        results.append(total.div_(weight))
    return torch.cat(results)


def fused_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """PyTorch's fused attention, one head: ``[O, N, C]``, ``[O, M, C]``, ``[O, M, V]`` to ``[O, N, V]``."""
    return functional.scaled_dot_product_attention(queries[:, None], keys[:, None], values[:, None])[:, 0]
