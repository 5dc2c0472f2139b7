"""J and F against the official numbers and against a plain whole-frame implementation of the definition."""

import json
from pathlib import Path

import numpy as np
import pytest
import whole_frame_oracle as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as cocomask

from pipeline.evaluation import boundary_accuracy, boundary_radius, region_similarity

CASES = sorted((Path(__file__).parent / "metric_cases" / "cases").glob("*.json"))


def decode(rles, size):
    return np.stack([cocomask.decode(rle).astype(bool) if rle else np.zeros(size, bool) for rle in rles])


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_official_numbers_to_the_last_digit(path):
    case = json.loads(path.read_text())
    truth, prediction = decode(case["gt"], case["size"]), decode(case["pred"], case["size"])
    region, boundary = region_similarity(truth, prediction), boundary_accuracy(truth, prediction)
    assert region.dtype == boundary.dtype == np.float64
    np.testing.assert_allclose(region, case["expected"]["J"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(boundary, case["expected"]["F"], rtol=0, atol=1e-9)
    assert boundary_radius(*case["size"]) == case["expected"]["bound_pix"]


def frame(*boxes, size=(24, 31)):
    mask = np.zeros(size, bool)
    for y0, y1, x0, x1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


FULL = (0, 24, 0, 31)


@pytest.mark.parametrize(
    ("truth", "prediction", "region", "boundary"),
    [
        (frame(), frame(), 1, 1),  # both empty
        (frame(), frame((3, 5, 3, 5)), 0, 0),  # something out of nothing
        (frame((3, 5, 3, 5)), frame(), 0, 0),  # missed
        (frame(), frame(FULL), 0, 1),  # neither has boundary pixels
        (frame(FULL), frame(FULL), 1, 1),  # equal and full
        (frame(FULL), frame((0, 24, 0, 10)), 240 / 744, 0),  # full against a part
    ],
)
def test_empty_and_full_masks(truth, prediction, region, boundary):
    assert region_similarity(truth[None], prediction[None]).tolist() == [region]
    assert boundary_accuracy(truth[None], prediction[None]).tolist() == [boundary]


@st.composite
def clips(draw):
    """Pairs of clips from dense noise to single pixels, boxes that touch the borders, empty and full ones."""
    size = draw(st.sampled_from([(1, 1), (1, 9), (7, 1), (2, 2), (13, 17), (37, 53), (64, 200), (150, 260)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def mask():
        kind = draw(st.sampled_from(["empty", "full", "noise", "sparse", "box", "boxes"]))
        if kind == "empty":
            return np.zeros(size, bool)
        if kind == "full":
            return np.ones(size, bool)
        if kind in ("noise", "sparse"):
            return rng.random(size) < (0.5 if kind == "noise" else 0.01)
        made = np.zeros(size, bool)
        for _ in range(1 if kind == "box" else 4):
            y, x = np.sort(rng.integers(0, size[0] + 1, 2)), np.sort(rng.integers(0, size[1] + 1, 2))
            made[y[0] : y[1], x[0] : x[1]] ^= True
        return made

    frames = draw(st.integers(1, 2))
    return np.stack([mask() for _ in range(frames)]), np.stack([mask() for _ in range(frames)])


@settings(max_examples=150, deadline=None)
@given(clips())
def test_equals_the_definition_on_any_mask(pair):
    truth, prediction = pair
    np.testing.assert_allclose(
        region_similarity(truth, prediction), oracle.region_similarity(truth, prediction), rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(
        boundary_accuracy(truth, prediction), oracle.boundary_accuracy(truth, prediction), rtol=0, atol=1e-12
    )


def test_equals_the_definition_at_a_benchmark_size():
    y, x = np.mgrid[:480, :854]
    truth = ((x - 300) ** 2 / 2 + (y - 200) ** 2 < 150**2)[None]
    prediction = ((x - 306) ** 2 / 2 + (y - 205) ** 2 < 143**2)[None]
    assert boundary_accuracy(truth, prediction) == pytest.approx(oracle.boundary_accuracy(truth, prediction), abs=1e-12)


def test_masks_of_any_nonzero_value_score_alike():
    truth, prediction = frame((2, 12, 4, 20))[None], frame((3, 12, 4, 22))[None]
    for scale in (1, 255):
        scaled = prediction.astype(np.uint8) * scale
        assert boundary_accuracy(truth, scaled) == boundary_accuracy(truth, prediction)
        assert region_similarity(truth, scaled) == region_similarity(truth, prediction)


@pytest.mark.parametrize("shape", [(4, 5), (1, 4, 6), (2, 4, 5)])
def test_shapes_that_differ_are_refused(shape):
    with pytest.raises(ValueError, match=r"\[T, H, W\]"):
        region_similarity(np.zeros((1, 4, 5), bool), np.zeros(shape, bool))
    with pytest.raises(ValueError, match=r"\[T, H, W\]"):
        boundary_accuracy(np.zeros((1, 4, 5), bool), np.zeros(shape, bool))


def test_without_frames_there_are_no_scores():
    nothing = np.zeros((0, 4, 5), bool)
    assert region_similarity(nothing, nothing).shape == boundary_accuracy(nothing, nothing).shape == (0,)
