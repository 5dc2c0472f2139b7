"""Mask losses shared by both mask decoders' training."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

LOSS_SIDE_SHARE = 2
"""Masks are compared at 1 / this of the image's side."""


def low_resolution_targets(masks: Tensor, side: int) -> Tensor:
    """Bool [N, H, W] to the share of each cell that is covered: float [N, side, side]."""
    return F.adaptive_avg_pool2d(masks[:, None].float(), side)[:, 0]


def mask_losses(
    logits: Tensor,
    ious: Tensor,
    score: Tensor,
    share: Tensor,
    *,
    empty_too: float = 0.0,
    favour_best: bool = False,
) -> tuple[Tensor, Tensor]:
    """Loss per row, and the IoU of the mask that the decoder itself would choose.

    Args:
        logits: [N, M, s, s]; the choice between the candidates is by predicted IoU.
        ious: [N, M], predicted.
        score: [N], logit of "the object is there".
        share: [N, S, S] covered share per cell; empty where the object is absent.
        empty_too: Weight of an absent object's mask, which must then be empty; at 0 the object score alone speaks
            for it.
        favour_best: Whether the best candidate counts most, as SAM trains; else every candidate must fit.

    Returns:
        loss [N]; IoU [N], detached, NaN where the object is absent.
    """
    target = (share >= 0.5).float()[:, None]
    present = (share.amax((1, 2)) >= 0.5).float()
    full = F.interpolate(logits.float(), size=share.shape[-2:], mode="bilinear", align_corners=False)
    chance = full.sigmoid()
    bce = F.binary_cross_entropy_with_logits(full, target.expand_as(full), reduction="none")
    right = chance * target + (1 - chance) * (1 - target)
    focal = (0.5 * bce * (1 - right) ** 2).mean((2, 3))
    overlap, total = (chance * target).sum((2, 3)), chance.sum((2, 3)) + target.sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    with torch.no_grad():
        hard = (full > 0).float()
        both = (hard * target).sum((2, 3))
        union = hard.sum((2, 3)) + target.sum((2, 3)) - both
        iou = torch.where(union > 0, both / union.clamp(min=1), torch.ones_like(union))
        chosen = iou.gather(1, ious.argmax(1, keepdim=True))[:, 0]
    fit = 20 * focal + dice
    per_row = fit.amin(1) + 0.1 * fit.mean(1) if favour_best else fit.mean(1)
    per_row = per_row + (ious.float() - iou).abs().mean(1)
    object_loss = F.binary_cross_entropy_with_logits(score.float(), present, reduction="none")
    loss = (present + empty_too * (1 - present)) * per_row + 0.5 * object_loss
    return loss, torch.where(present > 0, chosen, torch.nan)
