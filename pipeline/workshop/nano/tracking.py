"""Stage 1: SAM 2 alone learns to segment from masks and points and to follow objects: the "original SAM 2 weights".

The image encoder is the frozen one of stage 0. Conditioning frames lie in the past and in the future of the frames
that are tracked, as in Sa2VA-i's propagation. Short stretches of video teach it to follow at all; long ones fill every
place of the memory, as whole videos do, and are compared at full resolution, so that rims become sharp.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pipeline.model.sam2.frame import FrameFeatures
from pipeline.model.sam2.memory import MemoryBank, MemoryEntry, attend
from pipeline.model.sam2.segmenter import NO_OBJECT_LOGIT, Segmenter
from pipeline.workshop.nano.data import sam_features
from pipeline.workshop.nano.losses import LOSS_SIDE_SHARE, low_resolution_targets, mask_losses
from pipeline.workshop.shapes import render, sample_scenes


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """The pieces of video that a stage trains on.

    Attributes:
        frames: Length of a piece.
        layouts: Which of them, in time order, are conditioning frames; the others are tracked. Taken in turn.
        loss_side_share: Masks are compared at 1 / this of the image's side.
        unions: Share of the tracks that follow two objects as one mask, as expressions of several targets want.
    """

    frames: int
    layouts: tuple[tuple[int, ...], ...]
    loss_side_share: int
    unions: float = 0.0


SHORT = Stretch(frames=6, layouts=((0,), (0,), (0, 5), (0, 3), (0, 2, 5)), loss_side_share=LOSS_SIDE_SHARE)
LONG = Stretch(frames=12, layouts=((0,), (0,), (0,), (0, 11), (0, 3, 6, 9)), loss_side_share=1, unions=0.3)


class TrackingTraining(nn.Module):
    """A segmenter whose encoder is frozen, with the loss of following objects."""

    def __init__(self, segmenter: Segmenter, stretch: Stretch = SHORT) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.stretch = stretch
        sam2 = segmenter.sam2
        # Inference caches what depends on the first two, and both decoders read the third: constants serve as well.
        constant = (sam2.sam_prompt_encoder.no_mask_embed, sam2.sam_prompt_encoder.not_a_point_embed)
        for module in (sam2.image_encoder, *constant):
            module.requires_grad_(requires_grad=False)
        sam2.no_mem_embed.requires_grad_(requires_grad=False)
        segmenter.finish(segmenter.device)

    def forward(self, seed: int, clips: int, objects: int, forcing: float) -> tuple[Tensor, Mapping[str, float]]:
        """Loss on one fresh batch of ``clips`` x ``objects`` tracks.

        Args:
            seed: Decides everything that is drawn at random.
            clips: Number of clips.
            objects: Objects followed per clip, the encoder's work being shared.
            forcing: Share of tracked frames whose memory is made from the true mask instead of the predicted one.
        """
        random = torch.Generator().manual_seed(seed)
        layout, frames = self.stretch.layouts[seed % len(self.stretch.layouts)], self.stretch.frames
        size = self.segmenter.config.image_size
        scenes = sample_scenes(clips, seed=seed)
        device = self.segmenter.device
        rendered = render(scenes.to(device), _times(clips, layout, frames, random).to(device), size, size)
        levels = sam_features(self.segmenter, rendered.frames.flatten(0, 1))
        chosen = _choose_objects(scenes.exists.to(device), rendered.masks(), objects, random)
        masks = torch.gather(rendered.masks(), 1, chosen[:, :, None, None, None].expand(-1, -1, frames, size, size))
        joined = torch.rand(clips, objects, generator=random).to(device) < self.stretch.unions
        masks = (masks | masks.roll(1, 1) & joined[:, :, None, None, None]).flatten(0, 1)  # [N, T, S, S]
        rows = torch.arange(clips, device=device).repeat_interleave(objects)
        features = [FrameFeatures(tuple(_frame(level, clips, t)[rows] for level in levels)) for t in range(frames)]  # type: ignore[arg-type]
        return self._follow(features, masks, joined.flatten(), layout, forcing, random)

    def _follow(
        self,
        features: list[FrameFeatures],
        masks: Tensor,
        joined: Tensor,
        layout: tuple[int, ...],
        forcing: float,
        random: torch.Generator,
    ) -> tuple[Tensor, Mapping[str, float]]:
        count, frames = masks.shape[:2]
        side = masks.shape[-1] // self.stretch.loss_side_share
        shares = [low_resolution_targets(masks[:, t], side) for t in range(frames)]
        bank = MemoryBank(frames)
        # A fifth of the tracks starts from a point; the others from masks. Points are practised on every track.
        # Where two objects are joined, a point would mean one of them.
        from_point = (torch.rand(count, generator=random) < 0.2).to(masks.device) & ~joined
        losses, numbers = [], {}
        for t in layout:
            entry, loss, iou = self._condition(features[t], masks[:, t], shares[t], from_point & (t == 0), random)
            bank.conditioning[t] = entry
            losses.append(loss)
            numbers["iou_point"] = float(iou.nanmean())
        tracked = [t for t in range(frames) if t not in layout]
        for t in tracked:
            conditioned = attend(self.segmenter, features[t], bank, t)
            logits, ious, tokens, score = self._decode(conditioned, features[t])
            loss, iou = mask_losses(logits, ious, score, shares[t])
            losses.append(loss)
            numbers[f"iou_{'first' if t == tracked[0] else 'later'}"] = float(iou.nanmean())
            best = ious.argmax(1)
            predicted = logits[torch.arange(count), best]
            predicted = torch.where((score > 0)[:, None, None], predicted, torch.full_like(predicted, NO_OBJECT_LOGIT))
            forced = (torch.rand(count, generator=random) < forcing).to(masks.device)
            memory_logits = torch.where(forced[:, None, None], _as_logits(shares[t], predicted.shape[-1]), predicted)
            present = torch.where(forced, shares[t].amax((1, 2)) >= 0.5, score > 0)
            pointer = self.segmenter.pointer(tokens[torch.arange(count), best], present)
            bank.remember(t, MemoryEntry(self.segmenter.encode_memory(features[t], memory_logits), pointer))
        present = torch.stack([shares[t].amax((1, 2)) >= 0.5 for t in tracked])
        numbers["present"] = float(present.float().mean())
        return torch.stack(losses).mean(), {k: v for k, v in numbers.items() if v == v}

    def _condition(
        self, features: FrameFeatures, mask: Tensor, share: Tensor, from_point: Tensor, random: torch.Generator
    ) -> tuple[MemoryEntry, Tensor, Tensor]:
        """Memory of a conditioning frame from its true mask (or, for some rows, from what a point gave)."""
        segmenter, sam2 = self.segmenter, self.segmenter.sam2
        present = mask.flatten(1).any(1)
        dense = sam2.sam_prompt_encoder.mask_downscaling(sam2.mask_downsample(mask[:, None].float()))
        single, single_iou, single_token, single_score = self._decode(
            features.levels[2], features, dense=dense, multimask=False
        )
        redrawn, _ = mask_losses(single, single_iou, single_score, share)
        point = _points(mask, random)
        sparse, _ = sam2.sam_prompt_encoder(
            points=(point[:, None] + 0.5, torch.where(present, 1, 0)[:, None].int()), boxes=None, masks=None
        )
        image = features.levels[2] + sam2.no_mem_embed.reshape(1, -1, 1, 1)
        logits, ious, tokens, score = self._decode(image, features, sparse=sparse)
        loss, iou = mask_losses(logits, ious, score, share)
        loss = torch.where(present, loss, torch.zeros_like(loss))  # a point beside an absent object means nothing
        rows, best = torch.arange(len(mask)), ious.argmax(1)
        usable = from_point & present
        exact = F.interpolate(
            mask[:, None].float() * 20 - 10,
            size=logits.shape[-2:],
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )[:, 0]
        memory_logits = torch.where(usable[:, None, None], logits[rows, best], exact)
        token = torch.where(usable[:, None], tokens[rows, best], single_token[:, 0])
        pointer = segmenter.pointer(token, present & (usable | (single_score > 0)))
        entry = MemoryEntry(segmenter.encode_memory(features, memory_logits), pointer)
        return entry, loss + 0.2 * redrawn, iou

    def _decode(
        self, image: Tensor, features: FrameFeatures, *, sparse: Tensor | None = None, dense: Tensor | None = None,
        multimask: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        segmenter, decoder = self.segmenter, self.segmenter.original_decoder
        masks, ious, tokens, score = decoder(
            image_embeddings=image,
            image_pe=segmenter.image_position,
            sparse_prompt_embeddings=segmenter.no_point.expand(len(image), -1, -1) if sparse is None else sparse,
            dense_prompt_embeddings=segmenter.no_mask.expand(len(image), -1, -1, -1) if dense is None else dense,
            multimask_output=multimask,
            repeat_image=False,
            high_res_features=segmenter.high_resolution(decoder, features),
        )
        return masks, ious, tokens, score[:, 0]


def _times(clips: int, layout: tuple[int, ...], frames: int, random: torch.Generator) -> Tensor:
    """Small steps between the frames of a stretch; a longer gap before each later conditioning frame."""
    step = torch.rand(clips, 1, generator=random) * 0.035 + 0.02
    gaps = step.expand(-1, frames).clone()
    gaps[:, 0] = 0
    for t in layout[1:]:
        gaps[:, t] += torch.rand(clips, generator=random) * 0.2
    offset = gaps.cumsum(1)
    return offset + torch.rand(clips, 1, generator=random) * (1 - offset[:, -1:]).clamp(min=0)


def _frame(level: Tensor, clips: int, t: int) -> Tensor:
    return level.unflatten(0, (clips, -1))[:, t]


def _as_logits(share: Tensor, side: int) -> Tensor:
    """True masks as the confident logits of a decoder."""
    return F.interpolate(share[:, None] * 20 - 10, size=(side, side), mode="bilinear", align_corners=False)[:, 0]


def _choose_objects(exists: Tensor, masks: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Objects to follow [B, count]: seen at some time, most often from the first frame on; repeated where too few."""
    area = masks.sum((3, 4))
    seen = (area > 20).float()
    weight = 1e-3 * exists + seen.amax(2) * (0.4 + seen[:, :, 0] + 2 * (seen.amin(2) < 1))
    order = _weighted_order(weight, random)
    available = (weight > 0.01).sum(1, keepdim=True).clamp(min=1)
    return torch.gather(order, 1, torch.arange(count, device=order.device)[None] % available)


def _weighted_order(weight: Tensor, random: torch.Generator) -> Tensor:
    """Random order in which heavier entries tend to come first (exponential races)."""
    race = -torch.rand(weight.shape, generator=random).clamp(min=1e-9).log().to(weight.device) / weight.clamp(min=1e-9)
    return race.argsort(1)


def _points(mask: Tensor, random: torch.Generator) -> Tensor:
    """One pixel (x, y) inside each mask, away from its rim where possible; (0, 0) for an empty one."""
    inner = F.avg_pool2d(mask[:, None].float(), 5, 1, 2)[:, 0] * mask
    race = torch.rand(mask.shape, generator=random).to(mask.device) * inner**2
    index = race.flatten(1).argmax(1)
    return torch.stack((index % mask.shape[-1], index // mask.shape[-1]), -1).float()
