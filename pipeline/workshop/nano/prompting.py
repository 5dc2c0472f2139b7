"""Stage 2, as Sa2VA was trained: words to masks on single frames, memory and image encoder frozen and unused.

Trained are the vision tower, the projector, the language model, the projection of [SEG] and the copy of the mask
decoder, which both know their half already: the language model what the target is, the decoder how to find what a
code says. The helpers of the language stage go on with a small weight, and prompt vectors keep near the code's.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.workshop.nano.code import CodeProjection, looks_of, places_of
from pipeline.workshop.nano.data import sam_features
from pipeline.workshop.nano.decoding import FRAMES_PER_CLIP, PromptedDecoder, masks_of, pick_frames
from pipeline.workshop.nano.encoder import cover
from pipeline.workshop.nano.language import LanguageTraining
from pipeline.workshop.nano.sentences import Packed, ReferringBatch

HELPERS = 0.3
"""Weight of the language stage's loss beside the masks'."""


class PromptTraining(nn.Module):
    """Language side and fine-tuned decoder, trained together."""

    def __init__(self, language: LanguageTraining, decoder: PromptedDecoder, projection: CodeProjection) -> None:
        super().__init__()
        self.language = language
        self.decoder = decoder
        self.projection = projection.requires_grad_(requires_grad=False)

    def forward(
        self, batch: ReferringBatch, packed: Packed, seed: int, imitation: float
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Loss and numbers of one batch.

        Args:
            batch: Pixels, scenes and expressions.
            packed: The same expressions as tokens.
            seed: Chooses the frames that are decoded.
            imitation: Weight of the distance between the language model's prompt vectors and the true codes'.
        """
        device = packed.ids.device
        with torch.autocast(device.type, torch.bfloat16):
            helpers, numbers, prompts = self.language(batch, packed)
        prompts = prompts.float()
        clips, frames = batch.rendered.frames.shape[:2]
        clip_of = packed.seg_at[:, 0]
        wanted = batch.wanted()[clip_of, packed.seg_at[:, 1]]  # [S, O]
        share = cover(batch.rendered, 16)[:, 1:].unflatten(0, (clips, frames))
        code = torch.cat((looks_of(batch.scenes, clip_of, wanted), places_of(share, clip_of, wanted)), 1)
        true_prompts = self.projection(code)
        apart = (prompts - true_prompts).square().mean() / true_prompts.var()
        numbers["imitation"] = float(apart.detach())

        random = torch.Generator().manual_seed(seed)
        picked, owners = pick_frames(batch.rendered, random)
        levels = sam_features(self.decoder.segmenter, picked.flatten(0, 1))
        owner = owners[clip_of].flatten(0, 1)
        masks = masks_of(owner, wanted.repeat_interleave(FRAMES_PER_CLIP, 0))
        at = (clip_of[:, None] * FRAMES_PER_CLIP + torch.arange(FRAMES_PER_CLIP, device=device)).flatten()
        loss, iou = self.decoder(
            [level[at] for level in levels], prompts.repeat_interleave(FRAMES_PER_CLIP, 0), masks, 0.0
        )
        kinds = [batch.expressions[b][n].kind for b, n, _ in packed.seg_at.tolist() for _ in range(FRAMES_PER_CLIP)]
        for kind in sorted(set(kinds)):
            here = iou[[k == kind for k in kinds]].nanmean()
            if not here.isnan():
                numbers[f"iou_{kind}"] = float(here)
        numbers["mask"] = float(loss.detach().mean())
        return loss.mean() + HELPERS * helpers + imitation * apart, numbers
