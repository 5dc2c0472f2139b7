"""Run-length masks: exact both ways, and safe on anything a stranger's file may hold."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from pipeline.masks import areas_and_bboxes, decode_mask, decode_masks, encode_masks, validate_rle

QUICK = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")), deadline=None)
CLIPS = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=13))


@QUICK
@given(CLIPS)
def test_round_trip(masks):
    rles = encode_masks(masks)
    for mask, rle in zip(masks, rles, strict=True):
        assert (rle is None) == (not mask.any())
        if rle is not None:
            validate_rle(rle)
            assert rle["size"] == list(mask.shape)
            assert (decode_mask(rle) == mask).all()
            assert (coco.decode({**rle, "counts": rle["counts"].encode()}) == mask).all()
    assert (decode_masks(rles, *masks.shape[1:]) == masks).all()


@QUICK
@given(CLIPS)
def test_areas_and_boxes(masks):
    areas, boxes = areas_and_bboxes(encode_masks(masks))
    assert areas == [int(mask.sum()) for mask in masks]
    for mask, box in zip(masks, boxes, strict=True):
        ys, xs = np.nonzero(mask)
        if len(ys):
            assert box == [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
        else:
            assert box is None


@pytest.mark.parametrize(
    "masks",
    [
        np.ones((2, 480, 854), bool),
        np.zeros((2, 480, 854), bool),
        np.zeros((0, 3, 4), bool),
        np.eye(37, 53, dtype=np.uint8)[None] * 255,
        np.array([[[0, 1, 255, 2]]], np.uint8),
        np.asfortranarray(np.tri(30, 20, dtype=bool))[None],
        np.tri(30, 20, dtype=bool)[None, ::-2, ::3],
    ],
    ids=["full", "empty", "no frames", "0 and 255", "mixed values", "column-major", "strided"],
)
def test_layouts_and_values(masks):
    assert (decode_masks(encode_masks(masks), *masks.shape[1:]) == (masks != 0)).all()


@pytest.mark.parametrize("density", [0.05, 0.5, 0.97])
def test_the_text_is_that_of_pycocotools(density):
    random = np.random.default_rng(7)
    for _ in range(200):
        height, width = random.integers(1, 50, 2)
        mask = random.random((height, width)) < density
        mask[:, : random.integers(0, width + 1)] &= random.random() < 0.5  # empty columns at the left
        (rle,) = encode_masks(mask[None])
        expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rle == ({**expected, "counts": expected["counts"].decode()} if mask.any() else None)


def test_clips_of_more_than_255_frames():
    masks = np.zeros((600, 5, 7), bool)
    masks[1:, 2, 3] = True
    rles = encode_masks(masks)
    assert areas_and_bboxes(rles) == ([0] + [1] * 599, [None] + [[3, 2, 1, 1]] * 599)
    assert (decode_masks(rles, 5, 7) == masks).all()


def test_long_runs():
    masks = np.zeros((1, 5000, 8000), bool)
    masks[0, :, 4000:] = True
    (rle,) = encode_masks(masks)
    validate_rle(rle)
    assert areas_and_bboxes([rle]) == ([20_000_000], [[4000, 0, 4000, 5000]])


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        (None, "not an RLE"),
        ({"size": [2, 3]}, "counts must be"),
        ({"size": [2], "counts": "06"}, "size must be"),
        ({"size": [2, 3.0], "counts": "06"}, "size must be"),
        ({"size": [2, True], "counts": "06"}, "size must be"),
        ({"size": [0, 3], "counts": ""}, "outside"),
        ({"size": [-2, -3], "counts": "06"}, "outside"),
        ({"size": [2**20, 2**20], "counts": "06"}, "outside"),
        ({"size": [2, 3], "counts": [0, 6]}, "counts must be"),
        ({"size": [2, 3], "counts": ""}, "sum to 0 pixels, but size .2, 3. has 6"),
        ({"size": [2, 3], "counts": "07"}, "sum to 7"),
        ({"size": [2, 3], "counts": "0é"}, "characters"),
        ({"size": [2, 3], "counts": "0\x00"}, "characters"),
        ({"size": [2, 3], "counts": "0V"}, "middle of a run"),
        ({"size": [2, 3], "counts": "0" + "o" * 30 + "1"}, "too long"),
        ({"size": [2, 3], "counts": "O7"}, "negative"),
    ],
)
def test_garbage_is_refused(rle, message):
    with pytest.raises(ValueError, match=message):
        validate_rle(rle)


@QUICK
@given(
    size=st.lists(st.integers(-1, 40), min_size=1, max_size=3),
    counts=st.text(st.characters(min_codepoint=40, max_codepoint=115), max_size=40)
    | st.text(max_size=10)
    | st.binary(),
)
def test_what_passes_the_check_decodes(size, counts):
    rle = {"size": size, "counts": counts}
    try:
        validate_rle(rle)
    except ValueError:
        return
    assert decode_mask(rle).shape == tuple(size)


@QUICK
@given(masks=CLIPS, data=st.data())
def test_a_changed_character_is_noticed_or_decodes(masks, data):
    rle = encode_masks(masks)[0]
    if rle is None:
        return
    at = data.draw(st.integers(0, len(rle["counts"]) - 1))
    broken = {**rle, "counts": rle["counts"][:at] + data.draw(st.sampled_from("0P`o/p")) + rle["counts"][at + 1 :]}
    try:
        decode_mask(broken)
    except ValueError:
        return
    assert decode_mask(broken).shape == masks.shape[1:]


def test_a_mask_of_another_size_names_its_frame():
    rles = encode_masks(np.ones((2, 3, 4), bool))
    with pytest.raises(ValueError, match=r"frame 1: size is \[3, 4\], expected \[4, 3\]"):
        decode_masks([None, rles[1]], 4, 3)


def test_importing_the_codec_does_not_import_the_storage_stack() -> None:
    heavy = ["fsspec", "pandas", "psutil", "yaml", "torch"]
    code = f"import sys, pipeline.masks; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
