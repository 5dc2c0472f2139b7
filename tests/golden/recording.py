"""What the golden files hold of pictures and image tokens, family by family; each README says what is sampled."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline.model.families.base import ImageTokens, Pictures
from pipeline.model.grounder import Grounder


@dataclass(frozen=True)
class Sampling:
    """Elements of large arrays that are kept: steps over InternVL's tiles, SAM 2's input and a memory map."""

    tile: int
    frame: slice
    memory: tuple[slice, slice, slice]


FULL_SIZE = Sampling(7, slice(8, None, 16), (slice(None, None, 8), slice(4, None, 8), slice(4, None, 8)))
SMALL = Sampling(14, slice(4, None, 8), (slice(None, None, 2), slice(1, None, 2), slice(1, None, 2)))
SMALL_VARIANTS = ("qwen3_vl", "qwen2_5_vl", "internvl3")


def sampling_of(variant: str) -> Sampling:
    return SMALL if variant in SMALL_VARIANTS else FULL_SIZE


def stats(values: torch.Tensor) -> np.ndarray:
    """``[sum, sum of squares]`` of each item, in float64."""
    flat = values.double().flatten(1)
    return torch.stack([flat.sum(1), flat.square().sum(1)], dim=1).cpu().numpy()


def record_pictures(grounder: Grounder, pictures: Pictures, images: ImageTokens, step: int) -> dict[str, np.ndarray]:
    """Pixels and image tokens: of tiles, or (where pictures have grids) of frames of any shape."""
    tower: Any = grounder.tower
    device = next(tower.parameters()).device
    pixels = tower.normalise(pictures.pixels.to(device))
    if pictures.grids is None:
        tokens = images.embeds.unflatten(0, (len(pictures.pixels), -1))
        return {
            "pixel_values_sample": pixels[:, :, ::step, ::step].cpu().numpy(),
            "pixel_values_stats": stats(pixels),
            "vit_first": tokens[0].float().cpu().numpy(),
            "vit_stats": stats(tokens),
        }
    merge = tower.merge
    grid = [(1, rows * merge, columns * merge) for rows, columns in pictures.grids]
    arrays = {"image_grid_thw": np.array(grid)}
    arrays |= _of_frames("pixel_values", pixels, [count * merge**2 for count in pictures.tokens], (58, 14))
    arrays |= _of_frames("vit", images.embeds, list(pictures.tokens), (11, 1))
    for level, features in enumerate(images.deepstack):
        arrays |= _of_frames(f"deepstack{level}", features, list(pictures.tokens), (23, 1))
    return arrays


def _of_frames(name: str, rows: torch.Tensor, counts: list[int], steps: tuple[int, int]) -> dict[str, np.ndarray]:
    frames = [stats(part.flatten()[None]) for part in rows.split(counts)]
    sample = rows[:: steps[0], :: steps[1]].float().cpu().numpy()
    return {f"{name}_sample": sample, f"{name}_stats": np.concatenate(frames)}
