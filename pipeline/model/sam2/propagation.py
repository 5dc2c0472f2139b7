"""From prompt vectors to masks on every frame: first masks on keyframes, then propagation through the video.

All objects of a video go through together, over frame features that are computed once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.errors import CheckpointError
from pipeline.model.device import run_halving
from pipeline.model.procedure import Procedure
from pipeline.model.sam2.frame import DecodedMasks, FrameFeatures
from pipeline.model.sam2.memory import MemoryBank, MemoryEntry, ProjectedMemories, attend_cached
from pipeline.model.sam2.segmenter import NO_OBJECT_LOGIT, Segmenter, masks_at
from pipeline.model.sam2.sharing import shared_tracks

T = TypeVar("T")


@dataclass(frozen=True)
class FrameMasks:
    """The masks of all O objects on one frame.

    Attributes:
        index: Of the frame.
        logits: float32 ``[O, s, s]``, low resolution.
        object_score: float32 ``[O]``, logit of the object being present.
        entry: What the frame left in memory, for inspection.
    """

    index: int
    logits: Tensor
    object_score: Tensor
    entry: MemoryEntry

    def rows(self, part: Sequence[int]) -> "FrameMasks":
        """Of some of the objects, or of some of them several times."""
        chosen = list(part)
        if chosen == list(range(len(self.logits))):
            return self
        return FrameMasks(self.index, self.logits[chosen], self.object_score[chosen], self.entry.rows(chosen))


class ObjectBatch:
    """Objects that are tracked together: their prompts, their memory bank and their keyframe output."""

    def __init__(
        self,
        segmenter: Segmenter,
        procedure: Procedure,
        prompts: Tensor,
        num_frames: int,
        height: int,
        width: int,
        *,
        cache_bytes: int | None = None,
    ) -> None:
        self.segmenter = segmenter
        self.procedure = procedure
        self.prompts = prompts
        self.size = height, width
        self.bank = MemoryBank(num_frames)
        limit = segmenter.working_set.cache_bytes if cache_bytes is None else cache_bytes
        self.projected = ProjectedMemories(segmenter.memory_reader, limit)
        self.given: dict[int, Tensor] = {}
        """Masks bool ``[O, height, width]`` that stand for the first masks of keyframes still to be added."""
        self.first_masks: dict[int, DecodedMasks] = {}
        self.keyframes: dict[int, FrameMasks] = {}

    def __len__(self) -> int:
        return len(self.prompts)

    def add_keyframe(self, index: int, features: FrameFeatures) -> None:
        """Decode the first masks of a keyframe, alone and without memory, and make it a conditioning frame."""
        if index in self.given:
            output = self.as_mask_prompt(index, features, self.given[index])
            del self.given[index]
        else:
            output = self._first_output(index, features)
        self.keyframes[index] = output
        self.bank.conditioning[index] = output.entry

    def _first_output(self, index: int, features: FrameFeatures) -> FrameMasks:
        """A keyframe's output from the first masks that the prompts give."""
        segmenter, decoder = self.segmenter, self.segmenter.finetuned_decoder
        first = segmenter.decode(
            decoder,
            features.levels[2] + segmenter.sam2.no_mem_embed.reshape(1, -1, 1, 1),
            segmenter.high_resolution(decoder, features),
            prompts=self.prompts,
            objects=len(self),
            multimask=True,
        )
        self.first_masks[index] = first
        if self.procedure.handover == "masks":
            return self.as_mask_prompt(index, features, masks_at(first.logits, *self.size))
        return self._as_logits(index, features, first)

    def _as_logits(self, index: int, features: FrameFeatures, first: DecodedMasks) -> FrameMasks:
        """The decoder's raw output is the frame's output: never thresholded, never blanked."""
        pointer = self.segmenter.pointer(first.token, first.object_score > 0)
        entry = MemoryEntry(self.segmenter.encode_memory(features, first.logits), pointer)
        return FrameMasks(index, first.logits, first.object_score, entry)

    def as_mask_prompt(self, index: int, features: FrameFeatures, masks: Tensor) -> FrameMasks:
        """A binary mask is the frame's output itself; the propagation decoder only makes its pointer.

        Args:
            index: Of the keyframe.
            features: Of the keyframe.
            masks: bool ``[O, height, width]``.
        """
        segmenter, sam2, side = self.segmenter, self.segmenter.sam2, self.segmenter.config.image_size
        square = functional.interpolate(
            masks[:, None].float(), size=(side, side), mode="bilinear", align_corners=False, antialias=True
        )
        prompt = (square >= 0.5).float()
        present = prompt.flatten(1).any(1)
        low = segmenter.config.mask_size
        logits = functional.interpolate(
            prompt * 20.0 - 10.0, size=(low, low), mode="bilinear", align_corners=False, antialias=True
        )[:, 0]
        decoder = self._propagation_decoder()
        decoded = segmenter.decode(
            decoder,
            features.levels[2],
            segmenter.high_resolution(decoder, features),
            dense=sam2.sam_prompt_encoder.mask_downscaling(sam2.mask_downsample(prompt)),
            objects=len(self),
            multimask=False,
        )
        pointer = segmenter.pointer(decoded.token, present & (decoded.object_score > 0))
        entry = MemoryEntry(segmenter.encode_memory(features, logits), pointer)
        return FrameMasks(index, logits, present.float() * 20.0 - 10.0, entry)

    def track(self, index: int, features: FrameFeatures) -> FrameMasks:
        """Masks on a frame that is no keyframe, from memory alone."""
        conditioned, graphs = self.conditioned(index, features), self.segmenter.graphs
        if graphs is None:
            logits, object_score, memory, pointer = self._masks_and_memory(conditioned, features)
        else:
            logits, object_score, memory, pointer = graphs.run(
                f"track with the {self.procedure.propagation_decoder} decoder",
                lambda one, *levels: self._masks_and_memory(one, FrameFeatures(levels)),
                (conditioned, *features.levels),
            )
        entry = MemoryEntry(memory, pointer)
        self.bank.remember(index, entry)
        return FrameMasks(index, logits, object_score, entry)

    def _masks_and_memory(self, conditioned: Tensor, features: FrameFeatures) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits, object score, memory and pointer of a frame whose features were conditioned on memory.

        It reads nothing of this batch but the number of objects and the procedure.
        """
        segmenter, decoder = self.segmenter, self._propagation_decoder()
        decoded = segmenter.decode(
            decoder,
            conditioned,
            segmenter.high_resolution(decoder, features),
            objects=len(self),
            multimask=True,
        )
        present, logits = decoded.object_score > 0, decoded.logits
        if self.procedure.propagation_decoder == "original":  # the published Sa2VA never blanks
            logits = torch.where(present[:, None, None], logits, NO_OBJECT_LOGIT)
        memory, pointer = segmenter.encode_memory(features, logits), segmenter.pointer(decoded.token, present)
        return logits, decoded.object_score, memory, pointer

    def conditioned(self, index: int, features: FrameFeatures) -> Tensor:
        """The frame's features conditioned on the memory of each object, ``[O, C, h, w]``."""
        return attend_cached(self.segmenter, features, self.bank, self.projected, index)

    def _propagation_decoder(self) -> torch.nn.Module:
        if self.procedure.propagation_decoder == "original":
            return self.segmenter.original_decoder
        return self.segmenter.finetuned_decoder

    def split(self) -> list["ObjectBatch"]:
        """Two batches of half the objects, each with its part of the memory; nothing projected is kept."""
        self.projected.forget()
        half = len(self) // 2
        # memory is short: together the halves keep half of what the whole could
        budget = self.projected.budget_bytes // 4
        return [self.rows(range(half), budget), self.rows(range(half, len(self)), budget)]

    def rows(self, part: Sequence[int], cache_bytes: int | None = None) -> "ObjectBatch":
        """A batch of some of the objects, each with its part of the memory."""
        budget = self.projected.budget_bytes if cache_bytes is None else cache_bytes
        chosen = list(part)
        batch = ObjectBatch(
            self.segmenter, self.procedure, self.prompts[chosen], self.bank.num_frames, *self.size, cache_bytes=budget
        )
        batch.bank = self.bank.rows(chosen)
        batch.given = {i: masks[chosen] for i, masks in self.given.items()}
        batch.keyframes = {i: masks.rows(chosen) for i, masks in self.keyframes.items()}
        batch.first_masks = {i: masks.rows(chosen) for i, masks in self.first_masks.items()}
        return batch


class Propagation:
    """One video going through SAM 2 with all its objects.

    Usage: :meth:`add_keyframe` for every distinct keyframe, :meth:`share`, then :meth:`track` for every other frame in
    time order; :meth:`keyframe_masks` gives the keyframes' own output.

    Attributes:
        track_of: For each object, the row of :meth:`track`'s and :meth:`keyframe_masks`' output that is its own. Before
            :meth:`share` every object has its own row.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        procedure: Procedure,
        prompts: Tensor,
        *,
        num_frames: int,
        height: int,
        width: int,
        max_objects: int = 16,
    ) -> None:
        check_procedure(segmenter, procedure)
        self.segmenter = segmenter
        parts = prompts.to(segmenter.device, torch.float32).split(max_objects)
        self.batches = [ObjectBatch(segmenter, procedure, part, num_frames, height, width) for part in parts]
        self.size = height, width
        self.handover = procedure.handover
        self.track_of = list(range(len(prompts)))
        self._first_masks: dict[int, DecodedMasks] = {}

    @torch.inference_mode()
    def add_keyframe(self, index: int, features: FrameFeatures) -> None:
        """First masks of all objects on a keyframe; it becomes a conditioning frame."""
        with self.segmenter.autocast():
            self._each(lambda batch: batch.add_keyframe(index, features))

    def give(self, index: int, masks: Tensor) -> None:
        """Have masks, bool ``[O, height, width]``, stand for the first masks of a keyframe that is added next."""
        start = 0
        for batch in self.batches:
            batch.given[index] = masks[start : start + len(batch)].to(self.segmenter.device)
            start += len(batch)

    @torch.inference_mode()
    def share(self, merge_iou: float | None = None) -> list[int]:
        """Let objects go on as one track whose first masks are the same on all keyframes; call it after the last one.

        What follows depends on the keyframes' masks alone (where logits are handed over: on the logits), so the result
        is the same as without sharing.

        Args:
            merge_iou: Also share where the first masks agree this much on every keyframe. This changes masks.

        Returns:
            For each object the first object whose track it has; its own number if it shares with none before it.
        """
        self._first_masks = {index: self.first_masks(index) for index in self.keyframe_indices}
        logits = [masks.logits for masks in self._first_masks.values()]
        owner = shared_tracks(logits, self.size, exact_logits=self.handover == "logits", merge_iou=merge_iou)
        owners = sorted(set(owner))
        self.track_of = [owners.index(number) for number in owner]
        if len(owners) < len(owner):
            start, kept = 0, []
            for batch in self.batches:
                part = [number - start for number in owners if start <= number < start + len(batch)]
                start += len(batch)
                if part:
                    kept.append(batch.rows(part))
            self.batches = kept
        return owner

    @torch.inference_mode()
    def track(self, index: int, features: FrameFeatures) -> FrameMasks:
        """Masks of all tracks on the next frame that is no keyframe."""
        with self.segmenter.autocast():
            return _join(self._each(lambda batch: batch.track(index, features)))

    def keyframe_masks(self, index: int) -> FrameMasks:
        """The output of a keyframe as propagation gives it."""
        return _join([batch.keyframes[index] for batch in self.batches])

    def first_masks(self, index: int) -> DecodedMasks:
        """What the fine-tuned decoder said on a keyframe, about every object."""
        if index in self._first_masks:
            return self._first_masks[index]
        found = [batch.first_masks[index] for batch in self.batches]
        return DecodedMasks.joined(found)

    @property
    def keyframe_indices(self) -> set[int]:
        """Frames that were added as keyframes."""
        return set(self.batches[0].keyframes)

    def _each(self, step: Callable[[ObjectBatch], T]) -> list[T]:
        """Run ``step`` on every batch of objects; a batch that does not fit in GPU memory is halved and tried again."""
        done = run_halving(step, self.batches, size=len, split=ObjectBatch.split)
        self.batches = [batch for batch, _ in done]
        return [result for _, result in done]


def check_procedure(segmenter: Segmenter, procedure: Procedure) -> None:
    """Refuse a procedure that the checkpoint lacks the weights for."""
    if procedure.propagation_decoder == "original" and not segmenter.has_original:
        raise CheckpointError(
            "this is a Sa2VA checkpoint: it has no original mask decoder to propagate with; use --procedure sa2va, or "
            "make a Sa2VA-i checkpoint of it with jobs/convert.py"
        )


def _join(parts: list[FrameMasks]) -> FrameMasks:
    if len(parts) == 1:
        return parts[0]
    return FrameMasks(
        parts[0].index,
        torch.cat([p.logits for p in parts]),
        torch.cat([p.object_score for p in parts]),
        MemoryEntry(torch.cat([p.entry.features for p in parts]), torch.cat([p.entry.pointer for p in parts])),
    )
