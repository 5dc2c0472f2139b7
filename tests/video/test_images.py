import io

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import VideoError
from pipeline.video.frames import VideoLimits
from pipeline.video.images import decode_image, image_size

LIMITS = VideoLimits()
COLOURS = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def encoded(image, file_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_rgb_comes_back_exactly(file_format):
    assert np.array_equal(decode_image(encoded(Image.fromarray(COLOURS), file_format), "x", LIMITS), COLOURS)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1"])
def test_other_modes_become_the_rgb_of_pillow(mode):
    image = Image.fromarray(COLOURS).convert(mode)
    frame = decode_image(encoded(image), "x", LIMITS)
    assert frame.shape == (6, 8, 3)
    assert np.array_equal(frame, np.asarray(image.convert("RGB")))


def test_cmyk_jpeg():
    flat = Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK")
    frame = decode_image(encoded(flat, "JPEG", quality=95), "x", LIMITS)
    assert np.abs(frame.astype(int) - (200, 40, 90)).max() <= 6


def test_sixteen_bit_grey_is_scaled_not_clipped():
    grey = np.array([[0, 128, 129, 257], [32768, 65278, 65406, 65535]], dtype=np.uint16)
    frame = decode_image(encoded(Image.fromarray(grey)), "x", LIMITS)
    assert frame[..., 0].tolist() == [[0, 0, 1, 1], [128, 254, 254, 255]]
    assert np.array_equal(frame[..., 0], frame[..., 2])


TURNED = {
    1: COLOURS,
    2: COLOURS[:, ::-1],
    3: COLOURS[::-1, ::-1],
    4: COLOURS[::-1],
    5: COLOURS.transpose(1, 0, 2),
    6: np.rot90(COLOURS, -1),
    7: COLOURS.transpose(1, 0, 2)[::-1, ::-1],
    8: np.rot90(COLOURS),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_exif_orientation_is_applied(file_format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data, turned = encoded(Image.fromarray(COLOURS), file_format, exif=exif), TURNED[orientation]
    assert np.array_equal(decode_image(data, "x", LIMITS), turned)
    assert image_size(data, "x", LIMITS) == (turned.shape[1], turned.shape[0])


def test_the_bytes_decide_not_the_name():
    data = encoded(Image.fromarray(COLOURS), "JPEG", quality=95)
    assert np.array_equal(decode_image(data, "frame.png", LIMITS), decode_image(data, "frame.jpg", LIMITS))


@pytest.mark.parametrize(
    ("data", "limits", "message"),
    [
        (b"", LIMITS, "x.png: the file is empty"),
        (b"not a picture at all", LIMITS, "x.png: is not a readable image"),
        (encoded(Image.fromarray(COLOURS))[:60], LIMITS, "x.png: the image is damaged"),
        (encoded(Image.new("L", (8193, 1))), LIMITS, "x.png: 8193x1 pixels is over the limit"),
        (encoded(Image.new("1", (20000, 20000))), LIMITS, "x.png: .*bomb"),
        (encoded(Image.new("L", (100, 100))), VideoLimits(max_pixels=9999), "x.png: 100x100 pixels is over the limit"),
        (encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), LIMITS, "x.png: .*neither 8 nor 16 bits"),
    ],
    ids=["empty", "text", "cut short", "too wide", "bomb", "too many pixels", "floats"],
)
def test_unusable_images_say_why(data, limits, message):
    with pytest.raises(VideoError, match=message):
        decode_image(data, "x.png", limits)


def test_one_pixel():
    assert decode_image(encoded(Image.new("RGB", (1, 1), (1, 2, 3))), "x", LIMITS).tolist() == [[[1, 2, 3]]]
