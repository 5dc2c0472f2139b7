"""What sharing and streaming promise: every frame is encoded once, and a long video needs no more memory."""

import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.model.procedure import SA2VA, SA2VA_I
from pipeline.model.sa2va import Sa2VA
from pipeline.model.sam2.propagation import ObjectBatch
from pipeline.model.sam2.stream import MaskStream, SegmentOptions
from pipeline.video.source import open_video

KEYFRAMES = [0, 3, 5, 7]


@pytest.fixture(scope="module")
def model(untrained: Path) -> Sa2VA:
    torch.set_num_threads(1)
    return Sa2VA.from_checkpoint(untrained)


@pytest.mark.parametrize("procedure", [SA2VA_I, SA2VA], ids=["sa2va-i", "sa2va"])
def test_a_frame_is_encoded_once_however_many_expressions(model: Sa2VA, clips: Path, procedure) -> None:
    before = model.segmenter.encoded_frames
    results = model.segment(clips / "JPEGImages/clip0", [f"the {c} circle" for c in "abcd"], procedure=procedure)
    assert [len(result.tracks) for result in results] == [1, 1, 1, 1]
    assert model.segmenter.encoded_frames - before == 8


def test_expressions_together_give_the_masks_they_give_alone(model: Sa2VA, clips: Path) -> None:
    expressions = ["the red circle", "the blue square that moves", "everything"]
    together = model.segment(clips / "JPEGImages/clip0", expressions)
    for expression, result in zip(expressions, together, strict=True):
        (alone,) = model.segment(clips / "JPEGImages/clip0", [expression])
        assert alone.answer == result.answer
        assert alone.tracks[0].masks == result.tracks[0].masks


def test_batches_of_frames_and_objects_change_nothing(model: Sa2VA, clips: Path) -> None:
    prompts = np.random.default_rng(0).normal(size=(3, model.segmenter.config.d_model)).astype(np.float32)
    with open_video(str(clips / "JPEGImages/clip0")) as source:
        plain = list(MaskStream(model.segmenter, source, prompts, SA2VA_I, KEYFRAMES).masks())
        options = SegmentOptions(frames_per_batch=3, max_objects=2)
        batched = list(MaskStream(model.segmenter, source, prompts, SA2VA_I, KEYFRAMES, options).masks())
    assert [frame.index for frame in batched] == list(range(8))
    for one, other in zip(plain, batched, strict=True):
        assert (one.masks != other.masks).mean() < 1e-3


def test_a_batch_that_does_not_fit_in_gpu_memory_is_halved(model: Sa2VA, clips: Path, monkeypatch) -> None:
    track, split, sizes, allocated = ObjectBatch.track, ObjectBatch.split, [], []

    def small_gpu(self, index, features):
        sizes.append(len(self))
        if len(self) > 2:
            intermediate = torch.ones(1)
            allocated.append(weakref.ref(intermediate))
            raise torch.OutOfMemoryError("too much")
        return track(self, index, features)

    def halve(self):
        assert [tensor() for tensor in allocated] == [None]  # free again before anything is copied
        return split(self)

    monkeypatch.setattr(ObjectBatch, "split", halve)

    prompts = np.random.default_rng(1).normal(size=(4, model.segmenter.config.d_model)).astype(np.float32)
    with open_video(str(clips / "JPEGImages/clip0")) as source:

        def logits() -> list[torch.Tensor]:
            stream = MaskStream(model.segmenter, source, prompts, SA2VA_I, KEYFRAMES)
            return [frame.logits for frame in stream.logits()]

        expected = logits()
        monkeypatch.setattr(ObjectBatch, "track", small_gpu)
        halved = logits()
    assert sizes[0] == 4
    assert set(sizes[1:]) == {2}
    for one, other in zip(expected, halved, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


PEAK = """
import sys, resource, numpy as np, torch
torch.set_num_threads(1)
from pipeline.model.procedure import SA2VA_I
from pipeline.model.sa2va import Sa2VA
from pipeline.model.sam2.stream import MaskStream

class Noise:
    "A video that exists one frame at a time."
    height, width, is_image = 96, 128, False
    def __init__(self, length): self.frame_names = tuple(f"{i:05d}" for i in range(length))
    def __len__(self): return len(self.frame_names)
    def read(self, indices, side=None):
        for index in indices:
            yield np.random.default_rng(index).integers(0, 255, (side, side, 3), np.uint8)

model = Sa2VA.from_checkpoint(sys.argv[1])
prompts = np.random.default_rng(0).normal(size=(2, model.segmenter.config.d_model)).astype(np.float32)
length = int(sys.argv[2])
stream = MaskStream(model.segmenter, Noise(length), prompts, SA2VA_I, [i * (length - 1) // 4 for i in range(5)])
print(sum(1 for _ in stream.masks()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_number_of_frames(untrained: Path) -> None:
    peaks = {}
    for length in (50, 500):
        result = subprocess.run(
            [sys.executable, "-c", PEAK, str(untrained), str(length)], capture_output=True, text=True, check=True
        )
        done, peak_kib = map(int, result.stdout.split())
        assert done == length
        peaks[length] = peak_kib / 1024
    # 450 more frames would be 20 MB of pixels at this size, 2 GB of features and memories
    assert peaks[500] < peaks[50] + 15, peaks
