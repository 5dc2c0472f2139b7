"""The world of shapes: seeded, disjoint, painted where it says, and true in what it says of itself."""

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.workshop.shapes import describe, keyframe_times, render, sample_scenes
from pipeline.workshop.shapes.benchmark import make_video
from pipeline.workshop.shapes.scene import frame_times
from pipeline.workshop.shapes.vocabulary import (
    COLOUR_NAMES,
    COLOURS,
    KINDS,
    MOTIONS,
    SHAPES,
    SIZE_NAMES,
    WORDS,
    is_held_out,
)


def same(first, second):
    return all(torch.equal(getattr(first, f.name), getattr(second, f.name)) for f in dataclasses.fields(first))


def test_the_seed_decides_everything():
    first, second, other = (sample_scenes(6, seed=s) for s in (5, 5, 6))
    assert same(first, second)
    assert not torch.equal(first.start, other.start)
    pictures = [render(s, keyframe_times(s, 3), 40, 48).frames for s in (first, second)]
    assert torch.equal(*pictures)
    assert describe(first) == describe(second)


def test_test_clips_hold_what_training_clips_never_hold():
    def combinations(split):
        scenes = sample_scenes(300, seed=1, split=split)
        held = [
            [is_held_out(int(c), int(s), int(m)) for c, s, m, e in zip(*row, strict=True) if e]
            for row in zip(scenes.colour, scenes.shape, scenes.motion, scenes.exists, strict=True)
        ]
        return scenes, held

    train, held_in_training = combinations("train")
    test, held_in_test = combinations("test")
    assert not any(any(clip) for clip in held_in_training)
    assert all(any(clip) for clip in held_in_test)
    assert not torch.equal(train.start[:, 0], test.start[:, 0])  # the same seed gives other clips
    assert set(train.motion[train.exists].tolist()) == set(range(len(MOTIONS)))


def test_an_objects_colour_lies_under_its_mask():
    scenes = sample_scenes(30, seed=3)
    clip = render(scenes, keyframe_times(scenes, 4), 96, 96)
    masks = clip.masks()
    palette = torch.tensor(list(COLOURS.values()))
    right = total = 0
    for b in range(30):
        for k in range(int(scenes.exists[b].sum())):
            for t in range(4):
                mask = masks[b, k, t]
                if mask.sum() < 60:
                    continue
                mean = clip.frames[b, t][:, mask].mean(1)
                # lighting scales all channels: compare directions
                nearest = torch.nn.functional.cosine_similarity(mean[None], palette).argmax()
                right += int(nearest == scenes.colour[b, k])
                total += 1
    assert total > 150
    assert right / total > 0.95


def test_later_objects_hide_earlier_ones_and_masks_never_overlap():
    scenes = sample_scenes(40, seed=8)
    masks = render(scenes, keyframe_times(scenes, 5), 64, 64).masks()
    assert int(masks.sum(1).max()) == 1
    alone = dataclasses.replace(scenes, exists=scenes.exists & (torch.arange(scenes.exists.shape[1]) == 0))
    uncovered = render(alone, keyframe_times(alone, 5), 64, 64).masks()[:, 0]
    assert not (masks[:, 0] & ~uncovered).any()
    assert (uncovered & ~masks[:, 0]).any()  # some passing behind happens


@pytest.mark.parametrize("height_width", [(128, 128), (96, 128), (33, 57)])
def test_masks_keep_their_place_at_every_size(height_width):
    scenes = sample_scenes(4, seed=2)
    times = keyframe_times(scenes, 2)
    small = render(scenes, times, *height_width).owner
    large = render(scenes, times, 256, 256).owner
    resized = torch.nn.functional.interpolate(large.float(), size=height_width, mode="nearest")
    assert float((resized == small).float().mean()) > 0.97


def test_entering_and_leaving_objects_are_out_of_the_picture_when_they_should_be():
    scenes = sample_scenes(200, seed=4)
    owner = render(scenes, torch.tensor([[0.0, 1.0]]).expand(200, -1).contiguous(), 32, 32).owner
    for name, moment in (("enters", 0), ("leaves", 1)):
        picked = (scenes.exists & (scenes.motion == MOTIONS.index(name))).nonzero()
        assert len(picked) > 20
        for b, k in picked.tolist():
            assert not (owner[b, moment] == k + 1).any()


def centres(owner, k):
    """Pixel centres per frame from the painted mask; NaN where little of it shows. x and y in 0..1."""
    out = np.full((len(owner), 2), np.nan)
    full = max(int((frame == k + 1).sum()) for frame in owner)
    for t, frame in enumerate(owner):
        y, x = np.nonzero(frame == k + 1)
        if len(x) > 0.6 * full:
            out[t] = (x.mean() + 0.5) / frame.shape[1], (y.mean() + 0.5) / frame.shape[0]
    return out


def words_of(text):
    singular = {**{s + "s": s for s in SHAPES}, "crosses": "cross"}
    return [singular.get(w, w) for w in text.split()]


def by_looks(scenes, words):
    count = int(scenes.exists[0].sum())
    return {
        k
        for k in range(count)
        if all(w == COLOUR_NAMES[scenes.colour[0, k]] for w in words if w in COLOUR_NAMES)
        and all(w == SHAPES[scenes.shape[0, k]] for w in words if w in SHAPES)
        and all(w == SIZE_NAMES[scenes.size[0, k]] for w in words if w in SIZE_NAMES)
    }


DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}
PLACES = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "bottom": (1, 1)}


def check(expression, scenes, owner):
    """Truth of one expression by its words and the painted masks alone."""
    words = words_of(expression.text)
    targets = set(expression.targets)
    if expression.kind == "appearance":
        assert by_looks(scenes, words) == targets, expression
        return
    if expression.kind == "none" and not set(words) & {"that", "moving"}:
        check_absent(expression.text, scenes, owner)
        return
    if expression.kind == "position":
        matching = by_looks(scenes, words)
        axis, sign = PLACES[words[-1]]
        places = {k: np.nanmean(centres(owner, k)[:, axis]) * sign for k in matching}
        assert {max(places, key=places.get)} == targets, expression
        return
    if expression.kind in ("motion", "motion-hard", "none") and words[-1] in DIRECTIONS:
        axis, sign = DIRECTIONS[words[-1]]
        moved = {}
        for k in by_looks(scenes, words):
            path = centres(owner, k)[:, axis] * sign
            path = path[~np.isnan(path)]
            moved[k] = path[-1] - path[0] if len(path) > 1 else 0.0
        if targets:
            assert {max(moved, key=moved.get)} == targets, (expression, moved)
            assert sum(m > 0.2 for m in moved.values()) == 1, (expression, moved)
        else:
            assert all(m < 0.2 for m in moved.values()), (expression, moved)


RELATIONS = {" to the left of ": (0, 1), " to the right of ": (0, -1), " above ": (1, 1), " below ": (1, -1)}


def check_absent(text, scenes, owner):
    """That nothing in the clip is what an absent sentence without a motion describes."""
    words = words_of(text)
    if words[0] in ("both", "all"):
        assert len(by_looks(scenes, words)) < (2 if words[0] == "both" else 3), text
        return
    for relation, (axis, sign) in RELATIONS.items():
        if relation in text:
            described, anchor = (by_looks(scenes, words_of(part)) for part in text.split(relation))
            (there,) = anchor
            for k in described - anchor:
                gap = (centres(owner, there) - centres(owner, k))[:, axis] * sign
                assert np.isnan(gap).all() or np.nanmean(gap) < 0, text
            return
    if len(words) > 2 and words[-3] in ("on", "at"):
        axis, sign = PLACES[words[-1]]
        for k in by_looks(scenes, words):
            path = centres(owner, k)[:, axis]
            assert np.isnan(path).all() or (np.nanmean(path) - 0.5) * sign < 0, text
        return
    assert not by_looks(scenes, words), text


def test_expressions_are_true_by_the_painted_masks():
    kinds = dict.fromkeys(KINDS, 0)
    for seed in range(60):
        scenes = sample_scenes(1, seed=seed, split="test", aspect=1.0, num_frames=(20, 20))
        owner = render(scenes, frame_times(20), 64, 64).owner[0].numpy()
        for expression in describe(scenes)[0]:
            kinds[expression.kind] += 1
            check(expression, scenes, owner)
            assert set(expression.text.split()) <= set(WORDS)
            assert bool(expression.targets) == (expression.kind != "none")
            assert (len(expression.targets) > 1) == (expression.kind == "multiple")
            if expression.targets:  # something of it can be seen on a quarter of the frames
                area = np.isin(owner, [k + 1 for k in expression.targets]).any((1, 2))
                assert area.mean() >= 0.25
    assert all(count > 10 for count in kinds.values()), kinds


def test_motion_hard_means_that_a_look_alike_crosses_the_targets_path():
    found = {"motion": [], "motion-hard": []}
    for seed in range(40):
        scenes = sample_scenes(1, seed=seed, aspect=1.0)
        owner = render(scenes, frame_times(30), 64, 64).owner[0]
        count = int(scenes.exists[0].sum())
        swept = [(owner == k + 1).any(0) for k in range(count)]
        for expression in describe(scenes)[0]:
            if expression.kind not in found:
                continue
            (target,) = expression.targets
            alike = [
                k
                for k in range(count)
                if k != target and all(v[0, k] == v[0, target] for v in (scenes.colour, scenes.shape))
            ]
            shared = max((float((swept[k] & swept[target]).sum() / swept[target].sum()) for k in alike), default=0.0)
            found[expression.kind].append(shared)
    assert max(found["motion"]) < 0.2
    assert np.mean(found["motion-hard"]) > 0.2
    assert min(map(len, found.values())) > 10


def test_a_clip_has_different_expressions_of_many_kinds():
    video = make_video("v", seed=3, split="test", height_width=(64, 80), num_frames=(16, 16), expressions=6)
    texts = [e.text for e in video.expressions]
    assert len(texts) == len(set(texts)) == 6
    assert len({e.kind for e in video.expressions}) >= 4
    assert video.frames.shape == (16, 64, 80, 3)
