"""Arithmetic of single frames that decides masks: pixels in, logits to masks, absent objects."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.model.procedure import SA2VA, SA2VA_I, Procedure
from pipeline.model.sa2va import Sa2VA
from pipeline.model.sam2.propagation import ObjectBatch
from pipeline.model.sam2.segmenter import Segmenter, masks_at
from pipeline.model.sam2.stream import MaskStream, final_masks
from pipeline.video.source import open_video


@pytest.fixture
def segmenter(untrained: Path) -> Segmenter:
    torch.set_num_threads(1)
    return Sa2VA.from_checkpoint(untrained).segmenter


def bilinear(grid: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear interpolation as OpenCV and PyTorch (``align_corners=False``, no antialias) define it, in float64."""

    def weights(size: int, target: int) -> np.ndarray:
        matrix = np.zeros((target, size))
        for row in range(target):
            at = max(0.0, (row + 0.5) * size / target - 0.5)
            low = min(int(at), size - 1)
            high = min(low + 1, size - 1)
            matrix[row, low] += 1 - (at - low)
            matrix[row, high] += at - low
        return matrix

    return weights(grid.shape[0], height) @ grid @ weights(grid.shape[1], width).T


@pytest.mark.parametrize(("logit", "is_set"), [(0.3, True), (1e-6, True), (0.0, False), (-1e-6, False), (-0.3, False)])
def test_a_pixel_belongs_to_a_mask_where_its_logit_is_above_0(logit: float, is_set: bool) -> None:
    for through in (None, 16):
        masks = masks_at(torch.full((2, 4, 4), logit), 6, 5, through=through)
        assert masks.shape == (2, 6, 5)
        assert masks.dtype == torch.bool
        assert masks.unique().tolist() == [is_set]


def test_propagated_masks_pass_through_sam2s_own_size() -> None:
    rng = np.random.default_rng(3)
    grid = rng.normal(size=(16, 16)).astype(np.float32)
    logits = torch.from_numpy(grid)[None]
    direct, twice = bilinear(grid, 60, 88) > 0, bilinear(bilinear(grid, 64, 64), 60, 88) > 0
    assert (direct != twice).sum() > 10, "else this test could not tell them apart"
    np.testing.assert_array_equal(masks_at(logits, 60, 88)[0].numpy(), direct)
    np.testing.assert_array_equal(final_masks(logits, 60, 88, 64)[0].numpy(), twice)


def test_the_stream_gives_masks_through_sam2s_own_size(segmenter: Segmenter, frames: Path) -> None:
    prompts = np.random.default_rng(0).normal(size=(2, segmenter.config.d_model)).astype(np.float32)
    side = segmenter.config.image_size
    with open_video(str(frames)) as source:
        logits = [frame.logits for frame in MaskStream(segmenter, source, prompts, SA2VA_I, [0, 5]).logits()]
        chunks = list(MaskStream(segmenter, source, prompts, SA2VA_I, [0, 5]).masks())
        for maps, chunk in zip(logits, chunks, strict=True):
            for grid, mask in zip(maps.double().numpy(), chunk.masks, strict=True):
                expected = bilinear(bilinear(grid, side, side), source.height, source.width) > 0
                assert (mask != expected).mean() < 1e-3


def test_pixels_are_normalised_with_constants_rounded_to_bfloat16(segmenter: Segmenter) -> None:
    pixels = torch.arange(256, dtype=torch.uint8)[None, :, None, None].expand(1, 256, 1, 3)
    found = segmenter.normalise(pixels)[0, :, :, 0].numpy()
    # ImageNet's mean 0.485, 0.456, 0.406 and standard deviation 0.229, 0.224, 0.225 in bfloat16
    mean, std = [0.484375, 0.455078125, 0.40625], [0.228515625, 0.2236328125, 0.224609375]
    value = np.arange(256, dtype=np.float32) / np.float32(255)
    for channel in range(3):
        expected = (value - np.float32(mean[channel])) / np.float32(std[channel])
        np.testing.assert_array_equal(found[channel], expected)


def images_given_to_decoders(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    images, decode = [], segmenter.decode

    def noted(decoder, image, *args, **kwargs):
        images.append(image)
        return decode(decoder, image, *args, **kwargs)

    monkeypatch.setattr(segmenter, "decode", noted)
    return images


def test_first_masks_see_the_no_memory_embedding_and_pointers_do_not(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = segmenter.config.image_size
    (features,) = segmenter.encode(torch.randint(0, 255, (1, side, side, 3), dtype=torch.uint8))
    batch = ObjectBatch(segmenter, SA2VA_I, torch.randn(1, segmenter.config.d_model), 3, 48, 64)
    images = images_given_to_decoders(segmenter, monkeypatch)
    with torch.inference_mode():
        batch.add_keyframe(0, features)
    embedding = segmenter.sam2.no_mem_embed.detach().reshape(1, -1, 1, 1)
    assert embedding.abs().max() > 0
    torch.testing.assert_close(images[0] - features.levels[2], embedding.expand_as(images[0]), atol=1e-5, rtol=1e-3)
    assert torch.equal(images[1], features.levels[2])


@pytest.mark.parametrize(("procedure", "is_blanked"), [(SA2VA_I, True), (SA2VA, False)], ids=["Sa2VA-i", "Sa2VA"])
def test_an_absent_object_has_no_mask_and_the_absent_pointer(
    segmenter: Segmenter, frames: Path, procedure: Procedure, is_blanked: bool
) -> None:
    with torch.no_grad():
        for decoder in (segmenter.original_decoder, segmenter.finetuned_decoder):
            decoder.pred_obj_score_head.layers[-1].weight.zero_()
            decoder.pred_obj_score_head.layers[-1].bias.fill_(-3.0)
    prompts = np.random.default_rng(0).normal(size=(2, segmenter.config.d_model)).astype(np.float32)
    with open_video(str(frames)) as source:
        stream = MaskStream(segmenter, source, prompts, procedure, [0])
        (_, *tracked) = list(stream.logits())
    for frame in tracked:
        assert frame.object_score.tolist() == [-3.0, -3.0]
        assert bool((frame.logits == -1024).all()) == is_blanked
        assert torch.equal(frame.entry.pointer, segmenter.sam2.no_obj_ptr.detach().expand(2, -1))


def test_masks_larger_than_sam2s_size_are_shrunk_with_antialiasing(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At half the size a pixel is 1/8, 3/8, 3/8, 1/8 of four, so that a line one pixel wide does not reach 1/2."""
    side = segmenter.config.image_size
    (features,) = segmenter.encode(torch.zeros(1, side, side, 3, dtype=torch.uint8))
    batch = ObjectBatch(segmenter, SA2VA_I, torch.zeros(2, segmenter.config.d_model), 3, 2 * side, 2 * side)
    masks = torch.zeros(2, 2 * side, 2 * side, dtype=torch.bool)
    masks[0, :, 8::8] = True
    masks[1, :, : side + 1] = True
    prompts, downsample = [], segmenter.sam2.mask_downsample.forward
    monkeypatch.setattr(segmenter.sam2.mask_downsample, "forward", lambda x: (prompts.append(x), downsample(x))[1])
    with torch.inference_mode():
        frame = batch.as_mask_prompt(0, features, masks)
    assert prompts[0][0].sum() == 0
    assert prompts[0][1, 0].sum(0).nonzero().max() == side // 2
    assert frame.object_score.tolist() == [-10, 10]
