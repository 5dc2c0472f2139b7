"""The memory of tracked objects: what past (and conditioning) frames left behind, and attending to it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pipeline.model.sam2.frame import FrameFeatures
from pipeline.model.sam2.memory_attention import Memory, MemoryReader
from pipeline.model.sam2.segmenter import Segmenter

RECENT_MEMORIES = 6
"""Preceding tracked frames whose memory is attended; SAM 2's seventh temporal embedding is for conditioning frames."""
MAX_POINTERS = 16
"""Object pointers of tracked frames nearer than this are attended."""
CONDITIONING_INDEX = RECENT_MEMORIES
"""Row of the table of temporal embeddings for conditioning frames, whatever their distance."""


@dataclass(frozen=True)
class MemoryEntry:
    """What one frame leaves behind for O objects.

    Attributes:
        features: bfloat16 ``[O, memory_dim, h, w]``.
        pointer: float32 ``[O, C]``.
    """

    features: Tensor
    pointer: Tensor

    def rows(self, part: Sequence[int]) -> "MemoryEntry":
        """The entry of some of the objects."""
        return MemoryEntry(self.features[part], self.pointer[part])


@dataclass
class MemoryBank:
    """Memories of the same O objects: all conditioning frames, and the latest tracked ones."""

    num_frames: int
    """Length of the video (it bounds the number of pointers)."""
    conditioning: dict[int, MemoryEntry] = field(default_factory=dict)
    tracked: dict[int, MemoryEntry] = field(default_factory=dict)

    def remember(self, index: int, entry: MemoryEntry) -> None:
        """Add a tracked frame and forget what no later frame can look at."""
        self.tracked[index] = entry
        for old in [i for i in self.tracked if i <= index - MAX_POINTERS]:
            del self.tracked[old]

    def memories(self, index: int) -> Iterator[tuple[MemoryEntry, int]]:
        """Spatial memories frame ``index`` attends to, each with its index in the table of temporal embeddings.

        Every conditioning frame, future ones included, and up to six preceding tracked frames.
        """
        for entry in self.conditioning.values():
            yield entry, CONDITIONING_INDEX
        for distance in range(RECENT_MEMORIES, 0, -1):
            if index - distance in self.tracked:
                yield self.tracked[index - distance], distance - 1

    def pointers(self, index: int) -> list[Tensor]:
        """Object pointers frame ``index`` attends to: conditioning frames up to it, then tracked ones going back."""
        pointers = [entry.pointer for at, entry in self.conditioning.items() if at <= index]
        reach = min(self.num_frames, MAX_POINTERS)
        pointers += [self.tracked[index - d].pointer for d in range(1, reach) if index - d in self.tracked]
        return pointers

    def rows(self, part: Sequence[int]) -> "MemoryBank":
        """The bank of some of the objects."""
        return MemoryBank(
            self.num_frames,
            {i: entry.rows(part) for i, entry in self.conditioning.items()},
            {i: entry.rows(part) for i, entry in self.tracked.items()},
        )


class ProjectedMemories:
    """The memories of a bank as attention wants them, projected when first attended and kept while they are needed.

    Args:
        reader: Projects them.
        budget_bytes: What may be kept; a memory beyond it is projected again for every frame.
    """

    def __init__(self, reader: MemoryReader, budget_bytes: int) -> None:
        self.reader = reader
        self.budget_bytes = budget_bytes
        self._kept: dict[int, tuple[MemoryEntry, Memory]] = {}

    def for_frame(self, bank: MemoryBank, index: int) -> list[Memory]:
        """What frame ``index`` attends to."""
        wanted = list(bank.memories(index))
        ids = {id(entry) for entry, _ in wanted}
        self._kept = {key: kept for key, kept in self._kept.items() if key in ids}
        return [self._projected(entry, temporal_index) for entry, temporal_index in wanted]

    def _projected(self, entry: MemoryEntry, temporal_index: int) -> Memory:
        fixed = temporal_index == CONDITIONING_INDEX
        if id(entry) in self._kept:
            memory = self._kept[id(entry)][1]
            return memory if fixed else replace(memory, temporal_index=temporal_index)
        memory = self.reader.project(entry.features, temporal_index, fixed=fixed)
        if self.size_bytes + memory.size_bytes <= self.budget_bytes:
            self._kept[id(entry)] = entry, memory  # the entry too: its id must not be given to another
        return memory

    def forget(self) -> None:
        """Keep nothing; everything can be projected again."""
        self._kept = {}

    @property
    def size_bytes(self) -> int:
        """Bytes of what is kept."""
        return sum(memory.size_bytes for _, memory in self._kept.values())


def attend_cached(
    segmenter: Segmenter, features: FrameFeatures, bank: MemoryBank, projected: ProjectedMemories, index: int
) -> Tensor:
    """As :func:`attend`, over keys that are projected once and kept; for inference."""
    memories = projected.for_frame(bank, index)
    return segmenter.memory_reader.read(features.levels[2], memories, _pointer_tokens(segmenter, bank, index))


def _pointer_tokens(segmenter: Segmenter, bank: MemoryBank, index: int) -> Tensor:
    """Pointers cut in tokens of the memory's width, ``[O, P, memory_dim]``."""
    return torch.stack(bank.pointers(index), dim=1).unflatten(2, (-1, segmenter.config.memory_dim)).flatten(1, 2)


def attend(segmenter: Segmenter, features: FrameFeatures, bank: MemoryBank, index: int) -> Tensor:
    """Frame features conditioned on the memory of O objects, ``[O, C, h, w]``: the plain form, as ``sam2`` computes it.

    Training goes through it, and :func:`attend_cached` is measured against it.
    """
    sam2 = segmenter.sam2
    memories, positions = [], []
    base = segmenter.memory_position.flatten(2).permute(2, 0, 1)
    for entry, temporal_index in bank.memories(index):
        memories.append(entry.features.flatten(2).permute(2, 0, 1).float())
        positions.append((base + sam2.maskmem_tpos_enc[temporal_index]).expand_as(memories[-1]))
    # pointers have no position and are left out of the rotary encoding
    tokens = _pointer_tokens(segmenter, bank, index).transpose(0, 1)
    memories.append(tokens)
    positions.append(torch.zeros_like(tokens))
    objects = tokens.shape[1]
    frame = features.levels[2].flatten(2).permute(2, 0, 1)
    frame_position = segmenter.frame_position.flatten(2).permute(2, 0, 1)
    conditioned = sam2.memory_attention(
        curr=frame.expand(-1, objects, -1),
        curr_pos=frame_position.expand(-1, objects, -1),
        memory=torch.cat(memories),
        memory_pos=torch.cat(positions),
        num_obj_ptr_tokens=len(tokens),
    )
    return conditioned.permute(1, 2, 0).reshape(objects, -1, *features.levels[2].shape[-2:])
