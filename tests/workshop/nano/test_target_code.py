"""What the training tells the decoder about a target is true, sufficient, and understood alike by both halves."""

import torch

from pipeline.model.families import config_of
from pipeline.model.grounder import Grounder
from pipeline.workshop.nano.code import CODE_WIDTH, LOOKS_WIDTH, PLACE_SIDE, drop_parts, looks_of, places_of
from pipeline.workshop.nano.data import vision_pixels
from pipeline.workshop.nano.decoding import blur_code, draw_targets, masks_of
from pipeline.workshop.nano.dimensions import IMAGE_SIZE, config_json
from pipeline.workshop.nano.encoder import cover
from pipeline.workshop.nano.vision import LOOKS, whiten_patches
from pipeline.workshop.shapes import keyframe_times, render, sample_scenes


def clips(count=6, seed=3):
    scenes = sample_scenes(count, seed=seed)
    rendered = render(scenes, keyframe_times(scenes, 5), 64, 64)
    return scenes, rendered, cover(rendered, 16)[:, 1:].unflatten(0, (count, 5))


def test_the_code_names_the_targets_looks_and_the_cells_it_covers():
    scenes, rendered, share = clips()
    wanted = torch.zeros(1, scenes.exists.shape[1], dtype=torch.bool)
    wanted[0, 1] = True
    row = torch.tensor([2])
    looks = looks_of(scenes, row, wanted)[0]
    start = 0
    for name, count in LOOKS.items():
        assert looks[start : start + count].nonzero().tolist() == [[int(getattr(scenes, name)[2, 1])]]
        start += count
    place = places_of(share, row, wanted)[0].view(PLACE_SIDE, PLACE_SIDE)
    covered = (rendered.owner[2] == 2).any(0)  # object 1 is painted as 2
    cells = covered.view(PLACE_SIDE, 8, PLACE_SIDE, 8).float().amax((1, 3))
    assert torch.equal(place > 0, cells > 0)


def test_without_a_place_all_that_match_are_meant_and_with_one_only_matches():
    scenes, _, share = clips(40)
    rows = torch.arange(40).repeat_interleave(4)
    wanted, keep = draw_targets(scenes, share, rows, torch.Generator().manual_seed(0))
    assert keep.any(1).all()
    assert wanted.any(1).all()
    visible = share.sum((3, 4)).amax(1)[rows] > 1.0
    for row in range(len(rows)):
        first = int(wanted[row].nonzero()[0])
        same = visible[row].clone()
        for index, name in enumerate(LOOKS):
            values = getattr(scenes, name)[rows[row]]
            if keep[row, index]:
                same &= values == values[first]
        assert not (wanted[row] & ~same).any()
        if not keep[row, 3]:
            assert torch.equal(wanted[row], same)


def test_left_out_parts_are_silent_and_doubt_only_adds_others():
    code = torch.ones(2, CODE_WIDTH)
    keep = torch.tensor([[True, False, True, False], [False, True, False, True]])
    dropped = drop_parts(code, keep)
    colours, shapes = LOOKS["colour"], LOOKS["shape"]
    assert dropped[0, :colours].all()
    assert not dropped[0, colours : colours + shapes].any()
    assert not dropped[0, LOOKS_WIDTH:].any()
    assert dropped[1, LOOKS_WIDTH:].all()
    blurred = blur_code(code, torch.zeros(2, CODE_WIDTH - LOOKS_WIDTH), torch.Generator().manual_seed(1))
    assert ((blurred > 0.5) & (blurred <= 1)).all()


def test_masks_are_the_union_of_the_wanted_objects():
    owner = torch.tensor([[[0, 1], [2, 3]]], dtype=torch.uint8)
    assert masks_of(owner, torch.tensor([[True, False, True]])).tolist() == [[[False, True], [False, True]]]


def test_whitened_patches_come_in_with_equal_strength(tmp_path):
    config = config_of(config_json(300))
    vision = Grounder(config).tower.vision_model
    whiten_patches(vision, IMAGE_SIZE, clips=40, seed=9)
    scenes = sample_scenes(40, seed=9)
    frames = render(scenes, torch.rand(40, 2, generator=torch.Generator().manual_seed(9)), IMAGE_SIZE, IMAGE_SIZE)
    with torch.no_grad():
        out = vision.embeddings.patch_embeddings.projection(vision_pixels(frames.frames.flatten(0, 1)))
    strength = out.transpose(0, 1).flatten(1).std(1)
    assert strength.max() / strength.min() < 1.5
