"""Stage 2, as Sa2VA was trained: words to masks on single frames, memory and image encoder frozen and unused.

Trained are the vision tower, the projector, the language model, the projection of [SEG] and a copy of the mask
decoder. The helpers of the language stage go on with a small weight.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.model.segmenter import Segmenter
from pipeline.nano.data import sam_pixels
from pipeline.nano.language import LanguageTraining
from pipeline.nano.losses import LOSS_SIDE_SHARE, low_resolution_targets, mask_losses
from pipeline.nano.sentences import Packed, ReferringBatch

FRAMES_PER_CLIP = 2
HELPERS = 0.3
"""Weight of the language stage's loss beside the masks'."""


class PromptTraining(nn.Module):
    """Language side and fine-tuned decoder, trained together."""

    def __init__(self, language: LanguageTraining, segmenter: Segmenter) -> None:
        super().__init__()
        self.language = language
        self.segmenter = segmenter
        assert segmenter.sam_mask_decoder_modified is not None
        segmenter.requires_grad_(requires_grad=False)
        segmenter.sam_mask_decoder_modified.requires_grad_(requires_grad=True)
        segmenter.finish(segmenter.device)

    def start_from_original(self) -> None:
        """Make the fine-tuned decoder a copy of the original one."""
        assert self.segmenter.sam_mask_decoder_modified is not None
        self.segmenter.sam_mask_decoder_modified.load_state_dict(self.segmenter.sam2.sam_mask_decoder.state_dict())

    def forward(self, batch: ReferringBatch, packed: Packed, seed: int) -> tuple[Tensor, Mapping[str, float]]:
        """Loss and numbers of one batch; ``seed`` chooses the frames that are decoded."""
        with torch.autocast(self.segmenter.device.type, torch.bfloat16):
            helpers, numbers, prompts = self.language(batch, packed)
        clips, frames = batch.rendered.frames.shape[:2]
        random = torch.Generator().manual_seed(seed)
        picked = (
            torch.rand(clips, frames, generator=random).argsort(1)[:, :FRAMES_PER_CLIP].to(packed.ids.device)
        )  # [B, F]
        rows = torch.arange(clips, device=packed.ids.device)[:, None]
        with torch.no_grad():
            pixels = sam_pixels(batch.rendered.frames[rows, picked].flatten(0, 1))
            levels = self.segmenter.sam2.image_encoder(pixels)["backbone_fpn"]
        clip_of = packed.seg_at[:, 0]
        wanted = batch.wanted()[clip_of, packed.seg_at[:, 1]]  # [S, O]
        owner = batch.rendered.owner[rows, picked][clip_of]  # [S, F, H, W]
        flags = torch.cat((torch.zeros_like(wanted[:, :1]), wanted), 1)
        masks = torch.stack([flag[o.long()] for flag, o in zip(flags, owner, strict=True)]).flatten(0, 1)
        share = low_resolution_targets(masks, masks.shape[-1] // LOSS_SIDE_SHARE)
        at = (clip_of[:, None] * FRAMES_PER_CLIP + torch.arange(FRAMES_PER_CLIP, device=clip_of.device)).flatten()
        logits, ious, score = self._decode(
            [level[at] for level in levels], prompts.repeat_interleave(FRAMES_PER_CLIP, 0)
        )
        loss, iou = mask_losses(logits, ious, score, share, empty_too=True)
        kinds = [batch.expressions[b][n].kind for b, n, _ in packed.seg_at.tolist() for _ in range(FRAMES_PER_CLIP)]
        for kind in sorted(set(kinds)):
            here = iou[[k == kind for k in kinds]].nanmean()
            if not here.isnan():
                numbers[f"iou_{kind}"] = float(here)
        numbers["mask"] = float(loss.detach().mean())
        return loss.mean() + HELPERS * helpers, numbers

    def _decode(self, levels: list[Tensor], prompts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Fine-tuned decoder on [N] frames with one prompt vector each, as inference makes first masks."""
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
