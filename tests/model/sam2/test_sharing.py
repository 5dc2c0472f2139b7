"""Objects with the same first masks share one track, and nobody can tell from the masks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.model.procedure import SA2VA, SA2VA_I, Procedure, keyframes_of
from pipeline.model.sa2va import Sa2VA
from pipeline.model.sam2.propagation import ObjectBatch
from pipeline.model.sam2.sharing import mask_ious
from pipeline.model.sam2.stream import MaskStream, SegmentOptions
from pipeline.model.segment import encode_tracks
from pipeline.video.source import open_video
from pipeline.workshop.nano.untrained import write_untrained


@pytest.fixture(scope="module")
def model(untrained: Path) -> Sa2VA:
    torch.set_num_threads(1)
    return Sa2VA.from_checkpoint(untrained)


def prompts_of(model: Sa2VA, rows: list[int]) -> np.ndarray:
    different = np.random.default_rng(0).normal(size=(4, model.segmenter.config.d_model)).astype(np.float32)
    return different[rows]


@pytest.mark.parametrize(("procedure", "max_objects"), [(SA2VA_I, 16), (SA2VA_I, 2), (SA2VA, 16)])
def test_equal_objects_are_propagated_once(
    model: Sa2VA, clips: Path, monkeypatch: pytest.MonkeyPatch, procedure: Procedure, max_objects: int
) -> None:
    track, sizes = ObjectBatch.track, []

    def counted(self, index, features):
        sizes.append(len(self))
        return track(self, index, features)

    options = SegmentOptions(max_objects=max_objects)
    with open_video(str(clips / "JPEGImages/clip0")) as source:
        keyframes = keyframes_of(source, procedure, 3)
        stream = MaskStream(model.segmenter, source, prompts_of(model, [0, 1, 2]), procedure, keyframes)
        alone = [frame.logits for frame in stream.logits()]
        monkeypatch.setattr(ObjectBatch, "track", counted)
        rows = [0, 1, 0, 2, 1]
        prompts = prompts_of(model, rows)
        stream = MaskStream(model.segmenter, source, prompts, procedure, keyframes, options)
        tracks = encode_tracks(stream.masks(), 3)
        again = MaskStream(model.segmenter, source, prompts, procedure, keyframes)
        logits = [frame.logits for frame in again.logits()]
    assert stream.shared_with == [0, 1, 0, 3, 1]
    assert stream.track_of == [0, 1, 0, 2, 1]
    assert stream.keyframe_ious.shape == (3, 5)
    assert sum(sizes) == 3 * 5 * 2, "three tracks on five tracked frames, in two runs"
    assert [len(track.masks) for track in tracks] == [len(source)] * 3
    for one, other in zip(alone, logits, strict=True):
        torch.testing.assert_close(one[rows], other, atol=1e-3, rtol=1e-3)


def test_similar_objects_share_only_on_demand(clips: Path, tmp_path: Path) -> None:
    model = Sa2VA.from_checkpoint(write_untrained(tmp_path, seed=3))  # whose random masks differ enough
    prompts = prompts_of(model, [2, 2, 1])
    prompts[1] *= 1.02
    with open_video(str(clips / "JPEGImages/clip0")) as source:
        for threshold, shared in ((None, [0, 1, 2]), (0.5, [0, 0, 2])):
            options = SegmentOptions(merge_tracks=threshold)
            stream = MaskStream(model.segmenter, source, prompts, SA2VA_I, keyframes_of(source, SA2VA_I, 3), options)
            assert len(next(stream.masks()).masks) == len(set(shared))
            assert stream.shared_with == shared


def test_ious_of_masks() -> None:
    masks = torch.zeros(4, 4, 6, dtype=torch.bool)
    masks[0, :2], masks[1, 1:3] = True, True
    ious = mask_ious(masks)
    assert ious[0, 1] == pytest.approx(1 / 3)
    assert ious[2, 3] == 1, "two empty masks agree"
    assert ious[0, 2] == 0
