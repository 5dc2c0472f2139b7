"""Which objects of a video have the same first masks, so that one track serves them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.model.sam2.segmenter import masks_at

_PIXELS_AT_ONCE = 2**22
"""Of all masks that are worked on together. Counts up to here are exact in float32."""


def shared_tracks(
    logits: Sequence[Tensor], size: tuple[int, int], *, exact_logits: bool, merge_iou: float | None
) -> list[int]:
    """For each of O objects the first object whose track it may have; its own number if there is none before it.

    Args:
        logits: First masks' logits ``[O, s, s]`` of every keyframe.
        size: Height and width of the video.
        exact_logits: Objects are the same only where their logits are, not already where their masks are.
        merge_iou: Objects may also share whose masks have at least this IoU on every keyframe (two empty ones: 1).
    """
    count = len(logits[0])
    if count == 1:
        return [0]
    worst = torch.stack([mask_ious(masks_at(one, *size)) for one in logits]).amin(0)
    same = _same_rows(logits) if exact_logits else worst == 1
    if merge_iou is not None:
        same = same | (worst >= merge_iou)
    agrees = same.tolist()
    owner: list[int] = []
    for number in range(count):
        owner.append(next(o for o in [*owner, number] if o == number or (owner[o] == o and agrees[number][o])))
    return owner


def mask_ious(masks: Tensor) -> Tensor:
    """IoU of each of O masks bool ``[O, H, W]`` with each, float64 ``[O, O]``; exactly 1 only between equal masks."""
    common = torch.zeros(len(masks), len(masks), dtype=torch.float64, device=masks.device)
    for part in masks.flatten(1).split(max(1, _PIXELS_AT_ONCE // len(masks)), dim=1):
        pixels = part.float()
        common += pixels @ pixels.T
    areas = common.diagonal()
    union = areas[:, None] + areas - common
    return torch.where(union > 0, common / union, torch.ones_like(union))


def _same_rows(logits: Sequence[Tensor]) -> Tensor:
    rows = torch.cat([one.flatten(1) for one in logits], dim=1)
    return torch.stack([(rows == row).all(1) for row in rows])
