"""From rendered clips to what the two image branches eat, as inference prepares it."""

import torch
from torch import Tensor

from pipeline.model.segmenter import Segmenter

# SAM 2's branch normalises with constants rounded to bfloat16, as the published code does.
_SAM_MEAN, _SAM_STD = (0.484375, 0.455078125, 0.40625), (0.228515625, 0.2236328125, 0.224609375)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _normalise(frames: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    shape = (3, 1, 1)
    return (frames - torch.tensor(mean, device=frames.device).view(shape)) / torch.tensor(
        std, device=frames.device
    ).view(shape)


def sam_pixels(frames: Tensor) -> Tensor:
    """RGB 0..1 [N, 3, S, S] to SAM 2's input."""
    return _normalise(frames, _SAM_MEAN, _SAM_STD)


def vision_pixels(frames: Tensor) -> Tensor:
    """RGB 0..1 [N, 3, S, S] to the vision tower's input."""
    return _normalise(frames, _MEAN, _STD)


@torch.no_grad()
def sam_features(segmenter: Segmenter, frames: Tensor) -> list[Tensor]:
    """The frozen image encoder's feature levels of RGB 0..1 [N, 3, S, S]."""
    return list(segmenter.sam2.image_encoder(sam_pixels(frames))["backbone_fpn"])
