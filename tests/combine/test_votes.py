"""Votes on run lengths are the votes of pixels."""

import numpy as np
import pytest

from pipeline.combine.votes import track_iou, vote
from pipeline.masks import decode_masks, encode_masks


def random_track(rng, frames, height, width):
    """Blocky masks; some frames empty, some full, some with the corners that end a frame's line of pixels."""
    masks = np.kron(rng.random((frames, -(-height // 3), -(-width // 3))) > 0.5, np.ones((1, 3, 3), bool))
    masks = masks[:, :height, :width]
    masks[rng.random(frames) < 0.2] = False
    masks[rng.random(frames) < 0.2] = True
    masks[::2, -1, -1] = masks[1::2, 0, 0] = True
    return masks


@pytest.mark.parametrize(
    ("frames", "height", "width", "weights", "least"),
    [
        (7, 12, 17, (1, 1, 1), 2),
        (300, 5, 4, (5, 3, 1), 5),  # more frames than are voted on at a time
        (3, 1, 1, (1, 1), 1),
        (4, 9, 2, (2, 0), 1),  # a vote without weight
        (4, 9, 2, (1, 1), 3),  # more than there are
    ],
)
def test_a_vote_is_that_of_the_pixels(frames, height, width, weights, least) -> None:
    rng = np.random.default_rng(frames)
    pixels = [random_track(rng, frames, height, width) for _ in weights]
    tracks = [encode_masks(masks) for masks in pixels]
    expected = sum(masks * weight for masks, weight in zip(pixels, weights, strict=True)) >= least
    assert vote(tracks, weights, least, height, width) == encode_masks(expected)
    one, other = pixels[0], pixels[1]
    iou = np.count_nonzero(one & other) / np.count_nonzero(one | other)
    assert track_iou(tracks[0], tracks[1], height, width) == pytest.approx(iou)


def test_tracks_without_a_pixel() -> None:
    assert vote([[None] * 3, [None] * 3], [1, 1], 1, 4, 5) == [None] * 3
    assert track_iou([None], [None], 4, 5) == 1
    assert vote([[]], [1], 1, 4, 5) == []


@pytest.mark.parametrize(
    ("rle", "says"),
    [({"size": [4, 5], "counts": "06"}, "runs sum to 6"), ({"size": [5, 4], "counts": "0d0"}, "size is")],
)
def test_a_mask_that_is_none_is_named_by_its_frame(rle, says) -> None:
    good = encode_masks(np.ones((1, 4, 5), bool))[0]
    with pytest.raises(ValueError, match=f"mask of frame 1: {says}"):
        vote([[good, rle]], [1], 1, 4, 5)


def test_a_run_across_two_frames_stays_in_two_masks() -> None:
    full = encode_masks(np.ones((2, 3, 4), bool))
    assert decode_masks(vote([full, full], [1, 1], 2, 3, 4), 3, 4).all()
    assert vote([full, full], [1, 1], 2, 3, 4) == full
