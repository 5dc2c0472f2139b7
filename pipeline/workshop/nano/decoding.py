"""Stage 2a: a copy of the mask decoder learns to find, on single frames, what a prompt vector describes.

Prompts are made from true codes here, so no language model is needed. From a decoder that only ever followed objects,
masks alone do not teach this: it settles on "nothing" or on "everything" for thousands of steps. What breaks that is
to tell its attention where to look for the first part of the training.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pipeline.model.sam2.segmenter import Segmenter
from pipeline.workshop.nano.code import LOOKS_WIDTH, CodeProjection, drop_parts, looks_of, places_of
from pipeline.workshop.nano.data import sam_features
from pipeline.workshop.nano.encoder import cover
from pipeline.workshop.nano.losses import LOSS_SIDE_SHARE, low_resolution_targets, mask_losses
from pipeline.workshop.nano.vision import LOOKS
from pipeline.workshop.shapes import RenderedClips, Scenes, keyframe_times, render, sample_scenes
from pipeline.workshop.shapes.vocabulary import Split

KEYFRAMES = 5
FRAMES_PER_CLIP = 2
GUIDED_HEADS = 4
"""So many heads of each attention are told where to look; the others find their own use."""


class PromptedDecoder(nn.Module):
    """The fine-tuned mask decoder on frozen image features, with losses on masks and on where it looks."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter
        decoder = segmenter.sam_mask_decoder_modified
        assert decoder is not None
        segmenter.requires_grad_(requires_grad=False)
        decoder.requires_grad_(requires_grad=True)
        segmenter.finish(segmenter.device)
        self._tapped: dict[tuple[int, str, str], Tensor] = {}
        for index, layer in enumerate(decoder.transformer.layers):
            for name in ("cross_attn_image_to_token", "cross_attn_token_to_image"):
                for part in ("q_proj", "k_proj"):
                    getattr(getattr(layer, name), part).register_forward_hook(
                        lambda *call, key=(index, name, part): self._tapped.update({key: call[2]})
                    )

    def start_from_original(self) -> None:
        """Make the fine-tuned decoder a copy of the original one."""
        assert self.segmenter.sam_mask_decoder_modified is not None
        self.segmenter.sam_mask_decoder_modified.load_state_dict(self.segmenter.sam2.sam_mask_decoder.state_dict())

    def forward(self, levels: list[Tensor], prompts: Tensor, masks: Tensor, guidance: float) -> tuple[Tensor, Tensor]:
        """Loss and IoU of each of ``N`` rows.

        Args:
            levels: Feature levels, a row each.
            prompts: [N, d_model].
            masks: True masks, bool [N, S, S].
            guidance: Weight of the loss on where the decoder looks.

        Returns:
            loss [N]; IoU [N], NaN where the target is not in view.
        """
        share = low_resolution_targets(masks, masks.shape[-1] // LOSS_SIDE_SHARE)
        logits, ious, score = self._decode(levels, prompts)
        loss, iou = mask_losses(logits, ious, score, share, empty_too=0.3, favour_best=True)
        if guidance > 0:
            side = levels[2].shape[-1]
            loss = loss + guidance * self._attention_loss(F.adaptive_avg_pool2d(share[:, None], side).flatten(1))
        return loss, iou

    def _decode(self, levels: list[Tensor], prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Candidate masks, as inference makes first masks."""
        segmenter, decoder = self.segmenter, self.segmenter.finetuned_decoder
        count = len(prompts)
        masks, ious, _, score = decoder(
            image_embeddings=levels[2] + segmenter.sam2.no_mem_embed.reshape(1, -1, 1, 1),
            image_pe=segmenter.image_position,
            sparse_prompt_embeddings=torch.cat((segmenter.no_point.expand(count, -1, -1), prompts[:, None].float()), 1),
            dense_prompt_embeddings=segmenter.no_mask.expand(count, -1, -1, -1),
            multimask_output=True,
            repeat_image=False,
            high_res_features=[decoder.conv_s0(levels[0]), decoder.conv_s1(levels[1])],
        )
        return masks, ious, score[:, 0]

    def _attention_loss(self, cells: Tensor) -> Tensor:
        """Loss per row: image cells look at the prompt where the target is, and mask tokens look at the target.

        Args:
            cells: Share of each image cell that the target covers, [N, P].
        """
        transformer = self.segmenter.finetuned_decoder.transformer
        total = cells.new_zeros(len(cells))
        for index, layer in enumerate(transformer.layers):
            heads = layer.cross_attn_image_to_token.num_heads
            # The prompt is the last token.
            looking = self._attention(index, "cross_attn_image_to_token", heads).softmax(-1)[..., -1].mean(1)
            looking = looking.clamp(1e-4, 1 - 1e-4)
            bce = F.binary_cross_entropy(looking, cells, reduction="none", weight=1 + 4 * cells).mean(1)
            dice = 1 - (2 * (looking * cells).sum(1) + 0.5) / (looking.sum(1) + cells.sum(1) + 0.5)
            # Tokens: object, IoU, then the four masks; the last three are the candidates.
            seen = self._attention(index, "cross_attn_token_to_image", heads)[:, :, 3:6].log_softmax(-1).mean((1, 2))
            wanted = cells / cells.sum(1, keepdim=True).clamp(min=0.05)
            total = total + 2 * bce + 0.5 * dice - 0.3 * (seen * wanted).sum(1)
        return total

    def _attention(self, index: int, name: str, heads: int) -> Tensor:
        """Attention logits of the guided heads [N, GUIDED_HEADS, queries, keys]."""
        query, key = (
            self._tapped[index, name, part].unflatten(-1, (heads, -1)).transpose(1, 2)[:, :GUIDED_HEADS]
            for part in ("q_proj", "k_proj")
        )
        return query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5


class DecodingTraining(nn.Module):
    """The decoder, fed with true codes."""

    def __init__(self, decoder: PromptedDecoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.projection = CodeProjection(decoder.segmenter.config.d_model)

    def forward(
        self, seed: int, clips: int, targets: int, guidance: float, split: Split = "train"
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Loss and numbers of one fresh batch of ``clips`` x ``targets`` codes on two keyframes each."""
        random = torch.Generator().manual_seed(seed)
        size = self.decoder.segmenter.config.image_size
        device = self.decoder.segmenter.device
        scenes = sample_scenes(clips, seed=seed, split=split)
        times = keyframe_times(scenes, KEYFRAMES).to(device)
        scenes = scenes.to(device)
        rendered = render(scenes, times, size, size)
        share = cover(rendered, 16)[:, 1:].unflatten(0, (clips, KEYFRAMES))
        rows = torch.arange(clips, device=device).repeat_interleave(targets)
        wanted, keep = draw_targets(scenes, share, rows, random)
        code = torch.cat((looks_of(scenes, rows, wanted), places_of(share, rows, wanted)), 1)
        others = places_of(share, rows, scenes.exists[rows])
        prompts = self.projection(blur_code(drop_parts(code, keep), others * keep[:, 3:], random))
        frames, owners = pick_frames(rendered, random)
        levels = sam_features(self.decoder.segmenter, frames.flatten(0, 1))
        at = (rows[:, None] * FRAMES_PER_CLIP + torch.arange(FRAMES_PER_CLIP, device=device)).flatten()
        owner = owners[rows].flatten(0, 1)
        masks = masks_of(owner, wanted.repeat_interleave(FRAMES_PER_CLIP, 0))
        prompts = prompts.repeat_interleave(FRAMES_PER_CLIP, 0)
        loss, iou = self.decoder([level[at] for level in levels], prompts, masks, guidance)
        placed = keep[:, 3].repeat_interleave(FRAMES_PER_CLIP)
        numbers = {"iou_by_place": float(iou[placed].nanmean()), "iou_by_looks": float(iou[~placed].nanmean())}
        return loss.mean(), {key: value for key, value in numbers.items() if value == value}


def masks_of(owner: Tensor, wanted: Tensor) -> Tensor:
    """Union of the wanted objects' visible masks: bool [N, H, W] from owners [N, H, W] and flags [N, O]."""
    flags = torch.cat((torch.zeros_like(wanted[:, :1]), wanted), 1)
    return flags.gather(1, owner.flatten(1).long()).view(owner.shape)


def draw_targets(scenes: Scenes, share: Tensor, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Targets and what is said of them, such that the one follows from the other.

    An object that is in view is drawn, and which parts of its code are given. Without the place, all objects that
    match the given looks are meant; with it, just this one or now and then several of them.

    Args:
        scenes: The clips.
        share: [B, K, O, s, s] as for ``places_of``.
        rows: int64 [S], the clip of each row.
        random: Source of chance.

    Returns:
        wanted: bool [S, O]; keep: bool [S, 4], which parts are given.
    """
    device = rows.device
    visible = share.sum((3, 4)).amax(1)[rows] > 1.0  # [S, O], in cells
    count, objects = visible.shape
    race = torch.rand(count, objects, generator=random).to(device) + visible
    chosen = race.argmax(1)
    keep = torch.rand(count, 4, generator=random) < torch.tensor([0.75, 0.6, 0.5, 0.6])
    keep[:, 0] |= ~keep.any(1)
    keep = keep.to(device)
    matches = visible.clone()
    for index, name in enumerate(LOOKS):
        values = getattr(scenes, name)[rows]
        same = values == values.gather(1, chosen[:, None])
        matches &= same | ~keep[:, index, None]
    several = (torch.rand(count, objects, generator=random) < 0.1).to(device)
    one = F.one_hot(chosen, objects).bool()
    return torch.where(keep[:, 3:], matches & (one | several), matches | one), keep


def blur_code(code: Tensor, others: Tensor, random: torch.Generator) -> Tensor:
    """Codes as an unsure speaker would give them: fainter, and with some of the other objects' places."""
    count = len(code)
    faint = 1 - 0.4 * torch.rand(count, 1, generator=random).to(code.device)
    doubt = 0.45 * torch.rand(count, 1, generator=random).to(code.device) ** 2
    looks, places = code[:, :LOOKS_WIDTH] * faint, code[:, LOOKS_WIDTH:]
    return torch.cat((looks, places * (1 - doubt) + others * doubt), 1)


def pick_frames(rendered: RenderedClips, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some frames of every clip, each at most once: frames [B, F, 3, H, W] and their owners [B, F, H, W]."""
    clips, frames = rendered.frames.shape[:2]
    picked = torch.rand(clips, frames, generator=random).argsort(1)[:, :FRAMES_PER_CLIP].to(rendered.frames.device)
    rows = torch.arange(clips, device=picked.device)[:, None]
    return rendered.frames[rows, picked], rendered.owner[rows, picked]
