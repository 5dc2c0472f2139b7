"""Masks that are given on some frames, and what SAM 2 makes of the others."""

import numpy as np
import pytest
import torch

from pipeline.masks import decode_masks, encode_masks
from pipeline.model.checkpoint.locate import fetch_model, pin_model
from pipeline.model.checkpoint.open import open_checkpoint
from pipeline.model.device import resolve_dtype
from pipeline.model.procedure import SA2VA_I
from pipeline.model.propagate import propagate_masks
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.model.sam2.stream import SegmentOptions
from pipeline.video.source import open_video

FRAMES, HEIGHT, WIDTH = 7, 60, 80
COLOURS = ((230, 40, 40), (40, 60, 230))


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.set_num_threads(1)
    device = torch.device("cpu")
    files, model = open_checkpoint(fetch_model(pin_model("nano")))
    return Segmenter.from_checkpoint(files, model, device=device, dtype=resolve_dtype("float32", device))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, np.ndarray]:
    """A clip of two squares that move apart, and their masks ``[2, T, H, W]``."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("squares")
    masks = np.zeros((2, FRAMES, HEIGHT, WIDTH), bool)
    for index in range(FRAMES):
        masks[0, index, 8:26, 6 + 3 * index : 24 + 3 * index] = True
        masks[1, index, 34:52, 50 - 3 * index : 68 - 3 * index] = True
        frame = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
        for mask, colour in zip(masks, COLOURS, strict=True):
            frame[mask[index]] = colour
        Image.fromarray(frame).save(folder / f"{index:05d}.png")
    return str(folder), masks


def ious(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one & other).sum((1, 2)) / np.maximum(1, (one | other).sum((1, 2)))


def test_the_track_follows_a_mask_that_was_drawn_once(segmenter: Segmenter, clip: tuple[str, np.ndarray]) -> None:
    video, truth = clip
    source = open_video(video)
    given = [{2: encode_masks(masks)[2]} for masks in truth]
    tracks = propagate_masks(segmenter, source, given, SA2VA_I)
    for track, masks, start in zip(tracks, truth, given, strict=True):
        assert track.masks[2] == start[2]
        assert ious(decode_masks(track.masks, HEIGHT, WIDTH), masks).min() > 0.6
        assert track.areas[2] == masks[2].sum()
        assert track.score > 0


def test_objects_with_masks_on_other_frames_do_not_disturb_each_other(
    segmenter: Segmenter, clip: tuple[str, np.ndarray]
) -> None:
    video, truth = clip
    source = open_video(video)
    given = [{0: encode_masks(truth[0])[0], 5: encode_masks(truth[0])[5]}, {3: encode_masks(truth[1])[3]}]
    together = propagate_masks(segmenter, source, given, SA2VA_I)
    for number in range(2):
        (alone,) = propagate_masks(segmenter, source, [given[number]], SA2VA_I)
        assert together[number].masks == alone.masks
    halves = propagate_masks(segmenter, source, [given[1], given[1]], SA2VA_I, SegmentOptions(max_objects=1))
    assert halves[0].masks == halves[1].masks == together[1].masks


def test_before_the_first_frame_there_is_nothing(segmenter: Segmenter, clip: tuple[str, np.ndarray]) -> None:
    video, truth = clip
    (track,) = propagate_masks(segmenter, open_video(video), [{4: encode_masks(truth[0])[4]}], SA2VA_I, first_frame=4)
    assert [rle is None for rle in track.masks] == [True] * 4 + [False] * 3
    assert (track.areas[:4], track.bboxes[:4], track.scores[:4]) == ([0] * 4, [None] * 4, [0.0] * 4)
