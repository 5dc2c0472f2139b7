import numpy as np
import pytest
from PIL import Image

from pipeline.video.resize import resize_square


@pytest.mark.parametrize(("height", "width", "side"), [(240, 320, 448), (97, 129, 64), (1, 1, 16), (500, 3, 32)])
def test_is_what_pillow_does_by_default(height, width, side):
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    resized = resize_square(frame, side)
    assert resized.shape == (side, side, 3)
    assert resized.dtype == np.uint8
    # The reference calls resize() with the default filter in one place and with BICUBIC in the other.
    assert np.array_equal(resized, np.asarray(Image.fromarray(frame).resize((side, side))))
    resized[:] = 0  # the caller's own


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resize_square(stripes, 16).astype(int) - 128).max() <= 30
