"""The published arrangement of the computation, emulated with our modules: everything again for every expression.

Per expression it decodes and resizes the whole video in the process, runs the vision tower and the language model,
token by token, and per ``[SEG]`` the image encoder about ``3K + (N - K)`` times (keyframes once for their first masks,
once as they become mask prompts and once for their memory). Memory attention is the ``sam2`` module's, over memories
concatenated for every frame. Linear layers are PyTorch's own.
"""

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from sam2.modeling.sam2_utils import MLP
from torch import Tensor, nn
from transformers import DynamicCache

from pipeline.masks import areas_and_bboxes, encode_masks
from pipeline.model.families.base import ImageTokens
from pipeline.model.families.internvl import InternVLConfig, tile_pictures
from pipeline.model.grounder import Grounding
from pipeline.model.language import MAX_REPLY_TOKENS, Reply
from pipeline.model.procedure import SA2VA_I, keyframes_of
from pipeline.model.sa2va import ExpressionMasks, Sa2VA
from pipeline.model.sam2.fast_linear import FastGeluMLP, FastLinear
from pipeline.model.sam2.frame import FrameFeatures
from pipeline.model.sam2.memory import MemoryBank, attend
from pipeline.model.sam2.propagation import FrameMasks, ObjectBatch
from pipeline.model.sam2.segmenter import Segmenter, masks_at
from pipeline.model.segment import Track
from pipeline.video.frames import FrameSource
from pipeline.video.resize import resize_square
from pipeline.workshop.bench.clock import StageClock

M = TypeVar("M", bound=nn.Module)
Attend = Callable[[Segmenter, FrameFeatures, MemoryBank, int], Tensor]


class PublishedArrangement:
    """A model with the same weights as ``model``, not copied, that computes as the published code does."""

    def __init__(self, model: Sa2VA, clock: StageClock) -> None:
        self.clock = clock
        self.grounder = plain_twin(model.grounder)
        self.segmenter = plain_twin(model.segmenter)
        grounder, segmenter = self.grounder, self.segmenter
        # as attributes of these instances the timed functions hide the methods
        for owner, name, stage in (
            (grounder.tower, "look", "vision tower"),
            (segmenter, "encode", "image encoder"),
            (segmenter, "decode", "decoders"),
            (segmenter, "high_resolution", "decoders"),
            (segmenter, "encode_memory", "memory encoder"),
        ):
            setattr(owner, name, clock.wrap(stage, getattr(owner, name), count=True))
        self._reply = clock.wrap("language model", self._reply_token_by_token)
        self._attend = clock.wrap("memory attention", attend, count=True)
        self._encode_masks = clock.wrap("RLE", encode_masks)

    @torch.inference_mode()
    def segment(self, source: FrameSource, expression: str, num_keyframes: int) -> ExpressionMasks:
        """Masks for one expression."""
        clock, side = self.clock, self.segmenter.config.image_size
        keyframes = keyframes_of(source, SA2VA_I, num_keyframes)
        frames = clock.wrap("decode", lambda: list(source.read(range(len(source)))))()
        config = self.grounder.config
        assert isinstance(config, InternVLConfig)
        tile = config.image_size
        tiles = clock.wrap("resize", lambda: np.stack([resize_square(frames[i], tile) for i in keyframes]))()
        squares = clock.wrap("resize", lambda: np.stack([resize_square(frame, side) for frame in frames]))()
        grounding = self._reply(self.grounder.tower.look(tile_pictures(tiles, config)), expression)
        pictures = torch.from_numpy(squares)
        tracks = [
            self._track(pictures, torch.from_numpy(prompt[None]), keyframes, source) for prompt in grounding.prompts
        ]
        return ExpressionMasks(
            expression=expression,
            answer=grounding.answer,
            tracks=tracks,
            frame_names=source.frame_names,
            keyframes=keyframes,
            height=source.height,
            width=source.width,
        )

    def _reply_token_by_token(self, images: ImageTokens, expression: str) -> Grounding:
        grounder = self.grounder
        model, prompts = grounder.language_model, grounder.replies.prompts
        ids, device = prompts.ids(expression, images.tokens), images.embeds.device
        given = torch.tensor([ids], device=device)
        embeds = model.get_input_embeddings()(given)
        embeds[0, given[0] == prompts.tokenizer.image_id] = images.embeds.to(embeds.dtype)
        cache = DynamicCache(config=model.config)
        state = model.model(inputs_embeds=embeds, past_key_values=cache, use_cache=True).last_hidden_state[0, -1:]
        reply: list[int] = []
        states: list[Tensor] = [state[:0]]
        while len(reply) < MAX_REPLY_TOKENS:
            reply.append(int(model.lm_head(state).argmax()))
            if prompts.is_over(reply):
                break
            step = torch.tensor([reply[-1:]], device=device)
            state = model.model(input_ids=step, past_key_values=cache, use_cache=True).last_hidden_state[0]
            states.append(state)
        return grounder.grounding_of(ids, Reply(reply, torch.cat(states), [1.0] * len(reply)))

    def _track(self, pictures: Tensor, prompt: Tensor, keyframes: Sequence[int], source: FrameSource) -> Track:
        segmenter, size = self.segmenter, (source.height, source.width)
        batch = PublishedBatch(segmenter, prompt.to(segmenter.device), len(source), size, self._attend)
        frames: list[FrameMasks] = []
        with segmenter.autocast():
            for index in keyframes:
                for _ in range(3):
                    (features,) = segmenter.encode(pictures[index : index + 1])
                batch.add_keyframe(index, features)
            for index in range(len(source)):
                if index in batch.keyframes:
                    frames.append(batch.keyframes[index])
                else:
                    frames.append(batch.track(index, segmenter.encode(pictures[index : index + 1])[0]))
        return self._collected(frames, size)

    def _collected(self, frames: Sequence[FrameMasks], size: tuple[int, int]) -> Track:
        side, track = self.segmenter.config.image_size, Track()
        full = self.clock.wrap(
            "masks to full size", lambda: [masks_at(f.logits, *size, through=side).cpu().numpy() for f in frames]
        )()
        for frame, mask in zip(frames, full, strict=True):
            encoded = self._encode_masks(mask)
            areas, boxes = areas_and_bboxes(encoded)
            track.masks += encoded
            track.areas += areas
            track.bboxes += boxes
            track.scores.append(float(frame.object_score.sigmoid()))
        return track


class PublishedBatch(ObjectBatch):
    """One object whose memory attention is the ``sam2`` module's."""

    def __init__(
        self, segmenter: Segmenter, prompt: Tensor, num_frames: int, size: tuple[int, int], attend_to: Attend
    ) -> None:
        super().__init__(segmenter, SA2VA_I, prompt, num_frames, *size, cache_bytes=0)
        self._attend_to = attend_to

    def conditioned(self, index: int, features: FrameFeatures) -> Tensor:
        """The frame's features conditioned on memory."""
        return self._attend_to(self.segmenter, features, self.bank, index)


def plain_twin(module: M) -> M:
    """A copy of a module that shares its parameters and buffers and computes with PyTorch's own linear layers."""
    shared = [*module.parameters(), *module.buffers()]
    twin = copy.deepcopy(module, {id(tensor): tensor for tensor in shared})
    _use_plain_linear(twin)
    return twin


def _use_plain_linear(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, FastLinear):
            plain = nn.Linear(child.in_features, child.out_features, bias=child.bias is not None, device="meta")
            plain.weight, plain.bias = child.weight, child.bias
            setattr(module, name, plain)
        elif isinstance(child, FastGeluMLP):
            mlp = MLP(1, 1, 1, 2, activation=nn.GELU)
            mlp.layers = child.layers
            _use_plain_linear(mlp)
            setattr(module, name, mlp)
        else:
            _use_plain_linear(child)
