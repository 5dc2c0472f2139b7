"""The score of a track: more evidence never lowers it, and tracks that go wrong get less than those that do not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.masks import areas_and_bboxes, encode_masks
from pipeline.model.sa2va import Sa2VA
from pipeline.model.score import WEIGHTS, TrackEvidence, gather_evidence, track_score

KEYFRAMES = [0, 4, 8, 11]
NOTHING = TrackEvidence(seg_probability=0, predicted_iou=0, presence=0, agreement=0, stability=0)
EVERYTHING = TrackEvidence(seg_probability=1, predicted_iou=1, presence=1, agreement=1, stability=1)


def moving_square(frames=12, speed=3, side=12):
    masks = np.zeros((frames, 64, 80), bool)
    for t in range(frames):
        masks[t, 20 : 20 + side, 2 + speed * t : 2 + speed * t + side] = True
    return masks


def evidence_for(masks, scores=None, keyframes=KEYFRAMES):
    encoded = encode_masks(masks)
    areas, bboxes = areas_and_bboxes(encoded)
    return gather_evidence(
        masks=encoded,
        areas=areas,
        bboxes=bboxes,
        scores=scores or [0.9] * len(masks),
        keyframes=keyframes,
        seg_probability=0.99,
        keyframe_ious=[0.8] * len(keyframes),
    )


def test_scores_stay_between_none_and_all_and_never_fall_with_more_evidence() -> None:
    assert 0 < track_score(NOTHING) < 0.1
    assert 0.8 < track_score(EVERYTHING) < 1
    for name, weight in vars(WEIGHTS).items():
        grown = track_score(replace(NOTHING, **{name: 1.0}))
        assert grown > track_score(NOTHING) if weight else grown == track_score(NOTHING), name
    assert sum(weight > 0 for weight in vars(WEIGHTS).values()) >= 2


def test_a_steady_track_has_all_the_evidence() -> None:
    found = evidence_for(moving_square())
    assert found.agreement == 1, "motion is not disagreement"
    assert found.stability == pytest.approx(1)
    assert found.presence == pytest.approx(0.9)
    assert (found.seg_probability, found.predicted_iou) == (0.99, pytest.approx(0.8))


def test_a_first_mask_on_another_object_shows_beside_its_keyframe() -> None:
    masks = moving_square()
    masks[4] = np.roll(masks[4], 30, axis=0)
    found = evidence_for(masks)
    assert found.agreement == pytest.approx(1 - 2 / 6), "two of six frames beside keyframes disagree with them"
    assert found.stability < 0.7


def test_one_jump_counts_more_than_a_slow_drift() -> None:
    jumps, drifts = moving_square(speed=0), moving_square(speed=0)
    jumps[6:] = np.roll(jumps[6:], 40, axis=2)
    drifts = np.stack([np.roll(mask, t, axis=1) for t, mask in enumerate(drifts)])
    assert evidence_for(jumps).stability < evidence_for(drifts).stability - 0.3


def test_growing_out_of_bounds_is_unstable() -> None:
    masks = moving_square()
    masks[6] = True
    assert evidence_for(masks).stability < 0.65


def test_presence_is_that_of_tracked_frames_that_show_the_object() -> None:
    masks = moving_square()
    masks[5] = False
    scores = [1.0 if t in KEYFRAMES else 0.4 for t in range(12)]
    scores[5] = 0.0
    assert evidence_for(masks, scores).presence == pytest.approx(0.4)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_clips_and_images_cannot_contradict_themselves(frames: int) -> None:
    found = evidence_for(moving_square(frames), keyframes=list(range(frames)))
    assert (found.agreement, found.stability) == (1, pytest.approx(1))
    assert found.presence == pytest.approx(0.9)


def test_an_absent_object_has_no_presence() -> None:
    found = evidence_for(np.zeros((5, 8, 8), bool), keyframes=[0, 4])
    assert (found.presence, found.stability) == (0, 0)


def test_numbers_out_of_range_are_brought_back() -> None:
    found = gather_evidence(
        masks=[None], areas=[0], bboxes=[None], scores=[1.5], keyframes=[0], seg_probability=1.2, keyframe_ious=[np.nan]
    )
    assert (found.seg_probability, found.predicted_iou) == (1, 0)


def test_the_library_gives_score_and_evidence(untrained: Path, clips: Path) -> None:
    torch.set_num_threads(1)
    model = Sa2VA.from_checkpoint(untrained)
    tracks = [t for one in model.segment(clips / "JPEGImages/clip0", ["the red star", "it"]) for t in one.tracks]
    image = next((clips / "JPEGImages/clip0").iterdir())
    tracks += [t for one in model.segment(image, ["the red star"]) for t in one.tracks]
    assert len(tracks) >= 3
    for track in tracks:
        assert all(0 <= value <= 1 for value in vars(track.evidence).values())
        assert track.score == pytest.approx(track_score(track.evidence) if any(track.areas) else 0)
        assert len(track.scores) == len(track.masks)
