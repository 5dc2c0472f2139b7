"""How well SAM 2 alone follows objects from true masks, by the inference code."""

import torch

from pipeline.model.procedure import SA2VA_I
from pipeline.model.sam2.propagation import ObjectBatch
from pipeline.model.sam2.segmenter import Segmenter, masks_at
from pipeline.workshop.shapes import keyframe_times, render, sample_scenes
from pipeline.workshop.shapes.scene import frame_times

TRACKED_FRAMES = 40
"""Frames of a clip in which validation follows objects."""


@torch.no_grad()
def validate_tracking(
    segmenter: Segmenter, *, seed: int, clips: int, num_frames: int = TRACKED_FRAMES, keyframes: int = 1
) -> dict[str, float]:
    """J of following every object of test clips from true masks, by the inference code.

    Args:
        segmenter: A trained one.
        seed: Decides which clips are drawn.
        clips: Number of clips.
        num_frames: Frames of a clip.
        keyframes: True masks given: on the first frame, or on this many uniform ones.
    """
    size = segmenter.config.image_size
    total: list[float] = []
    last: list[float] = []
    for index in range(clips):
        scenes = sample_scenes(1, seed=seed * 1000 + index, split="test", num_frames=(num_frames, num_frames))
        rendered = render(scenes, frame_times(num_frames), size, size)
        count = int(scenes.exists[0].sum())
        masks = rendered.masks()[0, :count].to(segmenter.device)
        prompts = (
            [0] if keyframes == 1 else (keyframe_times(scenes, keyframes)[0] * (num_frames - 1)).round().int().tolist()
        )
        alive = [k for k in range(count) if masks[k, prompts].flatten(1).any(1).any()]
        frames = (rendered.frames[0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        encoded = segmenter.encode(frames)
        batch = ObjectBatch(
            segmenter, SA2VA_I, torch.zeros(len(alive), segmenter.config.d_model), num_frames, size, size
        )
        for t in prompts:
            batch.bank.conditioning[t] = batch.as_mask_prompt(t, encoded[t], masks[alive, t]).entry
        for t in range(num_frames):
            if t in prompts:
                continue
            found = masks_at(batch.track(t, encoded[t]).logits, size, size, through=size)
            truth = masks[alive, t]
            union = (found | truth).sum((1, 2)).float()
            overlap = torch.where(union > 0, (found & truth).sum((1, 2)) / union.clamp(min=1), torch.ones_like(union))
            total += overlap.tolist()
            last += overlap.tolist() if t >= num_frames - 5 else []
    return {"J": sum(total) / len(total), "J_last5": sum(last) / len(last), "tracks": float(len(total))}
