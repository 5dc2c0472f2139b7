"""Stage 0, vision: SAM 2's image encoder alone learns what colour and which shape is where.

The published encoder starts from MAE. Ours would otherwise never learn shapes: following objects does not need them,
and stage 2 keeps the encoder frozen.
"""

from collections.abc import Mapping

import torch
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pipeline.workshop.nano.data import sam_pixels
from pipeline.workshop.shapes import RenderedClips, Scenes, render, sample_scenes
from pipeline.workshop.shapes.vocabulary import COLOUR_NAMES, SHAPES, SIZE_NAMES, Split


class EncoderProbe(nn.Module):
    """An image encoder with linear heads that name what each cell shows."""

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        classes = {"colour": len(COLOUR_NAMES) + 1, "shape": len(SHAPES) + 1, "size": len(SIZE_NAMES) + 1}
        self.classes = classes
        self.coarse = nn.Conv2d(width, sum(classes.values()) + 2, 1)
        """Per stride-16 cell: what, and where its centre is."""
        self.middle = nn.Conv2d(width, classes["colour"] + classes["shape"], 1)
        self.fine = nn.Conv2d(width, classes["colour"] + 1, 1)
        """Per stride-4 cell: colour, and whether an outline runs here."""

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps at strides 4, 8, 16 of normalised pixels [N, 3, S, S]."""
        return list(self.encoder(pixels)["backbone_fpn"])


def cover(rendered: RenderedClips, size: int) -> Tensor:
    """Share of each cell of a square grid that each object (first: background) covers: [B*T, O+1, size, size]."""
    owner = rendered.owner.flatten(0, 1)
    one_hot = torch.stack([owner == k for k in range(rendered.num_objects + 1)], 1).float()
    return F.adaptive_avg_pool2d(one_hot, size)


def cell_labels(share: Tensor, values: Tensor, count: int) -> Tensor:
    """Class of each cell [N, s, s]: 0 background, else 1 + the value of the object that covers most of it.

    An object that covers a quarter of a cell names it; ``values`` [N, O].
    """
    best, index = share[:, 1:].max(1)
    label = 1 + torch.gather(values[:, :, None].expand(-1, -1, index[0].numel()), 1, index.flatten(1)[:, None])[:, 0]
    label = torch.where(best.flatten(1) > 0.25, label, torch.zeros_like(label))
    return label.view_as(index).clamp(max=count)


def cell_naming(
    output: Tensor, share: Tensor, values: Mapping[str, Tensor], counts: Mapping[str, int]
) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of what stands in each cell, and the accuracy of each name over cells with an object on them.

    Args:
        output: [N, sum of (count + 1), s, s] logits, each list headed by "background".
        share: [N, O + 1, s, s] from ``cover``.
        values: Name to the objects' values [N, O].
        counts: Name to its number of values.
    """
    numbers: dict[str, float] = {}
    loss, start = output.new_zeros(()), 0
    for name, count in counts.items():
        labels = cell_labels(share, values[name], count)
        logits = output[:, start : start + count + 1]
        start += count + 1
        # Colour and size come by themselves; shape is the slow one.
        importance = 2.0 if name == "shape" else 1.0
        loss = loss + importance * F.cross_entropy(logits, labels, weight=_class_weights(count + 1, output.device))
        held = labels > 0
        numbers[name] = float((logits.argmax(1) == labels)[held].float().mean())
    return loss, numbers


def probe_loss(
    probe: EncoderProbe, maps: list[Tensor], scenes: Scenes, rendered: RenderedClips
) -> tuple[Tensor, dict[str, float]]:
    """Cell classification at three strides; accuracies over cells with an object on them, colour and shape apart."""
    frames = rendered.owner.shape[1]
    values = {name: getattr(scenes, name).repeat_interleave(frames, 0) for name in probe.classes}
    shares = {level: cover(rendered, maps[level].shape[-1]) for level in range(3)}
    output = probe.coarse(maps[2])
    counts = {name: count - 1 for name, count in probe.classes.items()}
    named = sum(probe.classes.values())
    naming, numbers = cell_naming(output[:, :named], shares[2], values, counts)
    loss = naming + 0.5 * _offset_loss(output[:, named:], shares[2])

    output = probe.middle(maps[1])
    colours, shapes = probe.classes["colour"], probe.classes["shape"]
    colour8 = cell_labels(shares[1], values["colour"], colours - 1)
    shape8 = cell_labels(shares[1], values["shape"], shapes - 1)
    loss = loss + 0.4 * F.cross_entropy(output[:, :colours], colour8, weight=_class_weights(colours, output.device))
    loss = loss + 0.4 * F.cross_entropy(output[:, colours:], shape8, weight=_class_weights(shapes, output.device))

    output = probe.fine(maps[0])
    colour4 = cell_labels(shares[0], values["colour"], colours - 1)
    edge = (shares[0].amax(1) < 0.85).float()
    loss = loss + 0.4 * F.cross_entropy(output[:, :colours], colour4, weight=_class_weights(colours, output.device))
    loss = loss + 0.4 * F.binary_cross_entropy_with_logits(output[:, colours], edge)
    return loss, numbers


def _class_weights(count: int, device: torch.device) -> Tensor:
    weights = torch.ones(count, device=device)
    weights[0] = 0.3  # most cells are background
    return weights


def _offset_loss(output: Tensor, share: Tensor) -> Tensor:
    """From each covered cell to the middle of the object's visible part, in cells."""
    size = share.shape[-1]
    axis = torch.arange(size, device=share.device, dtype=share.dtype)
    area = share.sum((2, 3)).clamp(min=1e-3)
    middle_x, middle_y = (share * axis).sum((2, 3)) / area, (share * axis[:, None]).sum((2, 3)) / area  # [N, O+1]
    best, index = share[:, 1:].max(1)
    flat = index.flatten(1) + 1
    target_x = torch.gather(middle_x, 1, flat).view_as(best) - axis
    target_y = torch.gather(middle_y, 1, flat).view_as(best) - axis[:, None]
    held = best > 0.25
    return (F.l1_loss(output[:, 0][held], target_x[held]) + F.l1_loss(output[:, 1][held], target_y[held])) / 2


def draw_frames(seed: int, clips: int, size: int, split: Split, device: torch.device) -> tuple[Scenes, RenderedClips]:
    """Fresh clips, and two frames of each at random times."""
    scenes = sample_scenes(clips, seed=seed, split=split).to(device)
    times = torch.rand(clips, 2, generator=torch.Generator().manual_seed(seed)).to(device)
    return scenes, render(scenes, times, size, size)


def encoder_step(
    probe: EncoderProbe, seed: int, clips: int, size: int, split: Split = "train"
) -> tuple[Tensor, Mapping[str, float]]:
    """Loss and accuracies on one fresh batch of single frames."""
    scenes, rendered = draw_frames(seed, clips, size, split, probe.coarse.weight.device)
    maps = probe(sam_pixels(rendered.frames.flatten(0, 1)))
    return probe_loss(probe, maps, scenes, rendered)


def initialise_sam2(sam2: SAM2Base) -> None:
    """Make a freshly built SAM 2 trainable from scratch: what is harmless in a pretrained model stops learning here."""
    trunk = sam2.image_encoder.trunk
    for embedding in (trunk.pos_embed, trunk.pos_embed_window):
        nn.init.trunc_normal_(embedding, std=0.02)  # zeros, as built
    last = sam2.sam_mask_decoder.pred_obj_score_head.layers[-1]
    nn.init.constant_(last.bias, 4.0)  # "absent" would blank every mask, and with it every gradient
    for block in sam2.memory_encoder.fuser.layers:
        nn.init.constant_(block.gamma, 0.1)  # 1e-6, as built
