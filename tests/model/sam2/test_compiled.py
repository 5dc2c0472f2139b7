"""Compiled and recorded steps give the masks of the plain ones; a recorder of the tests stands for CUDA's."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.config import RunConfig
from pipeline.masks import decode_mask
from pipeline.model.procedure import SA2VA_I
from pipeline.model.sa2va import Sa2VA
from pipeline.model.sam2 import compiled
from pipeline.model.sam2.compiled import CompiledEncoder, StepGraphs, Tensors
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.model.sam2.stream import MaskStream, SegmentOptions
from pipeline.model.segment import Track, encode_tracks
from pipeline.video.source import open_video


class Recorder:
    """As a CUDA graph: a replay computes from what the inputs' tensors hold, into the same output tensors."""

    def __init__(self) -> None:
        self.recorded = 0
        self.replayed = 0

    def __call__(self, step: Callable[[], Tensors]) -> tuple[Tensors, Callable[[], None]]:
        self.recorded += 1
        outputs = tuple(torch.full_like(output, torch.nan) for output in step())

        def replay() -> None:
            self.replayed += 1
            for output, value in zip(outputs, step(), strict=True):
                output.copy_(value)

        return outputs, replay


@pytest.fixture
def segmenter(untrained: Path) -> Segmenter:
    torch.set_num_threads(1)
    return Sa2VA.from_checkpoint(untrained, device="cpu").segmenter


def tracks_of(segmenter: Segmenter, frames: Path, batch: int = 1) -> list[Track]:
    prompts = np.random.default_rng(0).normal(size=(2, segmenter.config.d_model)).astype(np.float32)
    with open_video(str(frames)) as source:
        options = SegmentOptions(frames_per_batch=batch)
        return encode_tracks(MaskStream(segmenter, source, prompts, SA2VA_I, [0, 5], options).masks(), 2)


def test_recorded_steps_give_the_same_masks(segmenter: Segmenter, frames: Path) -> None:
    expected = tracks_of(segmenter, frames)
    recorder = Recorder()
    segmenter.graphs = StepGraphs(recorder)
    assert tracks_of(segmenter, frames) == expected
    assert (recorder.recorded, recorder.replayed) == (1, 4), "one number of objects, four tracked frames"
    assert tracks_of(segmenter, frames) == expected
    assert recorder.recorded == 1, "the next video replays"


def test_a_result_outlives_the_next_replay_and_shapes_are_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def double(x: Tensor) -> Tensors:
        return (2 * x,)

    recorder = Recorder()
    graphs = StepGraphs(recorder)
    (first,) = graphs.run("double", double, [torch.ones(2)])
    (second,) = graphs.run("double", double, [torch.full((2,), 5.0)])
    assert (first.tolist(), second.tolist()) == ([2, 2], [10, 10])
    assert graphs.run("double", double, [torch.ones(3)])[0].tolist() == [2, 2, 2]
    assert recorder.recorded == 2
    assert graphs.run("negate", lambda x: (-x,), [torch.ones(3)])[0].tolist() == [-1, -1, -1]
    monkeypatch.setattr(compiled, "MOST_GRAPHS", 3)
    assert graphs.run("double", double, [torch.ones(4)])[0].tolist() == [2, 2, 2, 2]
    assert recorder.recorded == 3, "a further shape runs as it is"


def test_batches_have_two_sizes_and_padding_leaves_no_trace(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def compile_nothing(encode: Callable[[Tensor], Tensors], **_: object) -> Callable[[Tensor], Tensors]:
        return lambda pixels: seen.append(len(pixels)) or encode(pixels)

    monkeypatch.setattr(torch, "compile", compile_nothing)
    side = segmenter.config.image_size
    frames = torch.randint(0, 256, (6, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        pixels = segmenter.normalise(frames)
        expected = segmenter.sam2.image_encoder(pixels)["backbone_fpn"]
        encoder = CompiledEncoder(segmenter.sam2.image_encoder, 4, StepGraphs(None))
        for count, sizes in ((1, [1]), (3, [4]), (4, [4]), (5, [4, 1]), (6, [4, 4])):
            seen.clear()
            found = encoder(pixels[:count])
            assert seen == sizes
            for level, right in zip(found, expected, strict=True):
                torch.testing.assert_close(level, right[:count], rtol=1e-4, atol=1e-4)


def test_an_output_is_bound_to_the_choice() -> None:
    plain, chosen = (RunConfig(manifest="m", model="nano", output="o", compile=on) for on in (False, True))
    assert "compile" not in plain.identity("f")
    assert chosen.identity("f")["compile"] is True


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_compiled_encoder_gives_masks_within_tolerance(segmenter: Segmenter, frames: Path) -> None:
    expected = tracks_of(segmenter, frames, batch=2)
    segmenter.compile_steps(2)
    assert segmenter.compiled_encoder is not None
    for track, right in zip(tracks_of(segmenter, frames, batch=2), expected, strict=True):
        np.testing.assert_allclose(track.scores, right.scores, atol=1e-3)
        for mask, other in zip(track.masks, right.masks, strict=True):
            assert (mask is None) == (other is None)
            if mask is not None and other is not None:
                assert np.mean(decode_mask(mask) != decode_mask(other)) < 0.001
