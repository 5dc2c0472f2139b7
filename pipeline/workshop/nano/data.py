"""From rendered clips to what the two image branches eat, as inference prepares it."""

import torch
from torch import Tensor

from pipeline.model.families.internvl_vision import IMAGENET_MEAN, IMAGENET_STD
from pipeline.model.sam2.segmenter import PIXEL_MEAN, PIXEL_STD, Segmenter


def _normalise(frames: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    shape = (3, 1, 1)
    return (frames - torch.tensor(mean, device=frames.device).view(shape)) / torch.tensor(
        std, device=frames.device
    ).view(shape)


def sam_pixels(frames: Tensor) -> Tensor:
    """RGB 0..1 [N, 3, S, S] to SAM 2's input."""
    return _normalise(frames, PIXEL_MEAN, PIXEL_STD)


def vision_pixels(frames: Tensor) -> Tensor:
    """RGB 0..1 [N, 3, S, S] to the vision tower's input."""
    return _normalise(frames, IMAGENET_MEAN, IMAGENET_STD)


@torch.no_grad()
def sam_features(segmenter: Segmenter, frames: Tensor) -> list[Tensor]:
    """The frozen image encoder's feature levels of RGB 0..1 [N, 3, S, S]."""
    return list(segmenter.sam2.image_encoder(sam_pixels(frames))["backbone_fpn"])
