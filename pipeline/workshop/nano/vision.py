"""Stage 0, vision tower: patch tokens learn to name what they show, before any language model reads them.

A transformer on raw pixels learns shapes slowly, because flat colour makes up nearly all of a patch's variance and
outlines hardly any. The patch embedding therefore starts as a whitening of the patches of this world: outlines come
in as loud as colours do, and shape is learnt several times sooner.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from transformers import PreTrainedModel

from pipeline.model.families.internvl_vision import InternVLTower
from pipeline.model.grounder import Grounder
from pipeline.workshop.nano.data import vision_pixels
from pipeline.workshop.nano.encoder import cell_naming, cover, draw_frames
from pipeline.workshop.shapes import RenderedClips, Scenes, render, sample_scenes
from pipeline.workshop.shapes.vocabulary import COLOUR_NAMES, SHAPES, SIZE_NAMES, Split

LOOKS = {"colour": len(COLOUR_NAMES), "shape": len(SHAPES), "size": len(SIZE_NAMES)}
NAMES_WIDTH = sum(LOOKS.values()) + len(LOOKS)
_FLAT = 0.01
"""Variance under which a patch is bare background and says nothing about outlines."""


def tower_of(grounder: Grounder) -> InternVLTower:
    """The vision tower of a nano grounder, which is of the InternVL family."""
    assert isinstance(grounder.tower, InternVLTower)
    return grounder.tower


class PatchNaming(nn.Module):
    """The vision tower's transformer with a linear head that names colour, shape and size under each patch."""

    def __init__(self, vision: PreTrainedModel) -> None:
        super().__init__()
        self.vision = vision
        self.head = nn.Linear(vision.config.hidden_size, NAMES_WIDTH)

    def see(self, frames: Tensor) -> Tensor:
        """Patch tokens [N, P, C] of RGB frames 0..1 [N, 3, S, S], without the class token."""
        tokens: Tensor = self.vision(pixel_values=vision_pixels(frames)).last_hidden_state
        return tokens[:, 1:]


def naming_loss(
    head: nn.Linear, patches: Tensor, rendered: RenderedClips, scenes: Scenes
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of the three names over all patches, and the accuracies over patches with an object.

    Args:
        head: Patch token to one logit per name, each list headed by "background".
        patches: [B * T, P, C].
        rendered: What the patches show.
        scenes: The clips.
    """
    side = round(patches.shape[1] ** 0.5)
    share = cover(rendered, side)
    output = head(patches).transpose(1, 2).unflatten(-1, (side, side))
    values = {name: getattr(scenes, name).repeat_interleave(rendered.frames.shape[1], 0) for name in LOOKS}
    loss, numbers = cell_naming(output, share, values, LOOKS)
    return loss, {f"patch_{name}": value for name, value in numbers.items()}


@torch.no_grad()
def whiten_patches(vision: PreTrainedModel, size: int, *, clips: int = 200, seed: int = 0) -> None:
    """Set the patch embedding to the leading principal directions of patches, each scaled to unit variance."""
    projection = vision.get_submodule("embeddings.patch_embeddings.projection")
    assert isinstance(projection, nn.Conv2d)
    scenes = sample_scenes(clips, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    frames = render(scenes, torch.rand(clips, 2, generator=generator), size, size).frames.flatten(0, 1)
    patches = F.unfold(vision_pixels(frames), projection.kernel_size[0], stride=projection.stride[0])
    patches = patches.transpose(1, 2).flatten(0, 1)
    patches = patches[patches.var(1) > _FLAT]
    mean = patches.mean(0)
    variances, directions = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    width = projection.out_channels
    kept, scale = directions[:, -width:], variances[-width:].clamp(min=1e-6).rsqrt()
    # A random rotation spreads the directions over all channels, whose scale the layers behind take as equal.
    rotation = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
    weight = rotation @ (kept * scale).T
    projection.weight.copy_(weight.view_as(projection.weight))
    assert projection.bias is not None
    projection.bias.copy_(-weight @ mean)


def vision_step(
    naming: PatchNaming, seed: int, clips: int, size: int, split: Split = "train"
) -> tuple[Tensor, Mapping[str, float]]:
    """Loss and accuracies on one fresh batch of two frames a clip."""
    scenes, rendered = draw_frames(seed, clips, size, split, naming.head.weight.device)
    return naming_loss(naming.head, naming.see(rendered.frames.flatten(0, 1)), rendered, scenes)
