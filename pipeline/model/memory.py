"""The memory of tracked objects: what past (and conditioning) frames left behind, and attending to it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.model.segmenter import FrameFeatures, Segmenter

RECENT_MEMORIES = 6
"""Preceding tracked frames whose memory is attended (the bank has 7 places, one kind is for conditioning frames)."""
MAX_POINTERS = 16


@dataclass(frozen=True)
class MemoryEntry:
    """What one frame leaves behind for O objects.

    Attributes:
        features: bfloat16 ``[O, memory_dim, h, w]``.
        pointer: float32 ``[O, C]``.
    """

    features: Tensor
    pointer: Tensor

    def rows(self, part: slice) -> "MemoryEntry":
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

    def memories(self, index: int) -> Iterator[tuple[Tensor, int]]:
        """Spatial memories frame ``index`` attends to, each with its place in the temporal embedding table.

        Every conditioning frame, future ones included, and up to six preceding tracked frames.
        """
        for entry in self.conditioning.values():
            yield entry.features, RECENT_MEMORIES
        for distance in range(RECENT_MEMORIES, 0, -1):
            if (entry := self.tracked.get(index - distance)) is not None:
                yield entry.features, distance - 1

    def pointers(self, index: int) -> list[Tensor]:
        """Object pointers frame ``index`` attends to: conditioning frames up to it, then tracked ones going back."""
        found = [entry.pointer for at, entry in self.conditioning.items() if at <= index]
        reach = min(self.num_frames, MAX_POINTERS)
        found += [self.tracked[index - d].pointer for d in range(1, reach) if index - d in self.tracked]
        return found

    def rows(self, part: slice) -> "MemoryBank":
        """The bank of some of the objects."""
        return MemoryBank(
            self.num_frames,
            {i: entry.rows(part) for i, entry in self.conditioning.items()},
            {i: entry.rows(part) for i, entry in self.tracked.items()},
        )


def attend(segmenter: Segmenter, features: FrameFeatures, bank: MemoryBank, index: int) -> Tensor:
    """Frame features conditioned on the memory of O objects: ``[O, C, h, w]``."""
    sam2 = segmenter.sam2
    memories, positions = [], []
    base = segmenter.memory_position.flatten(2).permute(2, 0, 1)
    for memory, place in bank.memories(index):
        memories.append(memory.flatten(2).permute(2, 0, 1).float())
        positions.append((base + sam2.maskmem_tpos_enc[place]).expand_as(memories[-1]))
    pointers = torch.stack(bank.pointers(index))
    count, objects, width = pointers.shape
    parts = width // segmenter.config.memory_dim
    # a pointer is cut in tokens of the memory's width; they have no position and are left out of the rotary encoding
    tokens = pointers.reshape(count, objects, parts, -1).permute(0, 2, 1, 3).flatten(0, 1)
    memories.append(tokens)
    positions.append(torch.zeros_like(tokens))
    frame = features.levels[2].flatten(2).permute(2, 0, 1)
    place = segmenter.frame_position.flatten(2).permute(2, 0, 1)
    conditioned = sam2.memory_attention(
        curr=frame.expand(-1, objects, -1),
        curr_pos=place.expand(-1, objects, -1),
        memory=torch.cat(memories),
        memory_pos=torch.cat(positions),
        num_obj_ptr_tokens=len(tokens),
    )
    return conditioned.permute(1, 2, 0).reshape(objects, width, *features.levels[2].shape[-2:])
