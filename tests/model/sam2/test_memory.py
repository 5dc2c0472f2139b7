"""Which memories and pointers a frame attends to, against what entered the published code's attention."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.model.sam2.memory import MemoryBank, MemoryEntry

ATTENDED: dict[str, Any] = json.loads(gzip.decompress((Path(__file__).parent / "attended.json.gz").read_bytes()))
"""Recorded from the running reference. For each clip and tracked frame: ``memories`` as (frame, kind, row of the table
of temporal embeddings) and ``pointers`` as (frame, kind)."""


def entry_of(index: int) -> MemoryEntry:
    """An entry that can be recognised."""
    return MemoryEntry(torch.tensor([index]), torch.tensor([index]))


@pytest.mark.parametrize("clip", ATTENDED)
def test_memories_and_pointers_are_those_of_the_published_code(clip: str) -> None:
    keyframes, num_frames = ATTENDED[clip]["keyframes"], ATTENDED[clip]["num_frames"]
    bank = MemoryBank(num_frames)
    for index in keyframes:
        bank.conditioning[index] = entry_of(index)
    kind = {index: "conditioning" if index in keyframes else "tracked" for index in range(num_frames)}
    checked = 0
    for index in range(num_frames):
        if index in keyframes:
            continue
        expected = ATTENDED[clip]["frames"][str(index)]
        memories = [
            [int(entry.features), "conditioning" if kind[int(entry.features)] == "conditioning" else "recent", row]
            for entry, row in bank.memories(index)
        ]
        assert sorted(memories) == expected["memories"], f"memories of frame {index}"
        pointers = [[int(pointer), kind[int(pointer)]] for pointer in bank.pointers(index)]
        assert sorted(pointers) == expected["pointers"], f"pointers of frame {index}"
        bank.remember(index, entry_of(index))
        checked += 1
    assert checked == len(ATTENDED[clip]["frames"]) > 30


def test_the_bank_does_not_grow_with_the_video() -> None:
    bank = MemoryBank(1000)
    bank.conditioning[0] = entry_of(0)
    for index in range(1, 1000):
        bank.remember(index, entry_of(index))
    assert len(bank.tracked) <= 16


def test_a_short_video_bounds_the_pointers() -> None:
    bank = MemoryBank(4)
    bank.conditioning[0] = entry_of(0)
    for index in (1, 2):
        bank.remember(index, entry_of(index))
    assert sorted(int(pointer) for pointer in bank.pointers(3)) == [0, 1, 2]
