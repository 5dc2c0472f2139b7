"""One image file's bytes to RGB pixels."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

from pipeline.errors import VideoError
from pipeline.video.frames import VideoLimits

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

# Pillow would start Ghostscript for a PostScript file: only real picture formats are tried. JPEG includes MPO (phones).
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM", "GIF")

HEIF_REFUSED = "HEIC, HEIF and AVIF pictures are not read; convert it to PNG or JPEG first"

# Major brands of still pictures (ISO/IEC 23008-12, AVIF specification); moving ones (hevc, avis, msf1) are as bad.
_HEIF_BRANDS = frozenset({b"mif1", b"mif2", b"msf1", b"miaf", b"avif", b"avis"}) | {
    brand.encode() for brand in ("heic", "heix", "heim", "heis", "hevc", "hevx", "hevm", "hevs", "jpeg", "jpgs")
}

_EXIF_ORIENTATION = 0x0112
_TIFF_WIDTH_AND_HEIGHT = (0x0100, 0x0101)

_BROKEN_IMAGE = (
    OSError,
    SyntaxError,  # Pillow's word for a malformed PNG
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)


def image_size(data: bytes, name: str, limits: VideoLimits) -> tuple[int, int]:
    """Width and height in pixels as shown (EXIF orientation applied), without decoding the pixels.

    Raises:
        VideoError: If ``data`` is no readable image or is over ``limits``; the message starts with ``name``.
    """
    image, orientation = _open(data, name, limits)
    with image:
        width, height = image.size
        if image.format == "TIFF":  # newer versions of Pillow turn its size on opening: the file's own is taken
            width, height = (int(image.getexif()[tag]) for tag in _TIFF_WIDTH_AND_HEIGHT)
        return (height, width) if orientation >= 5 else (width, height)


def decode_image(data: bytes, name: str, limits: VideoLimits) -> np.ndarray:
    """Decode an image file to RGB.

    The same as Pillow's ``open(...).convert("RGB")`` in the reference, with two differences that benchmark frames do
    not meet: an EXIF orientation is applied, as every viewer does, and 16-bit greyscale is scaled to 8 bits where
    Pillow would clip it. Transparency is dropped. Of an animation or a multi-page file the first picture is taken.

    Args:
        data: The file's content.
        name: What errors call it.
        limits: Sizes to refuse.

    Returns:
        uint8 RGB ``[H, W, 3]``, writable and contiguous.

    Raises:
        VideoError: If ``data`` is no readable image or is over ``limits``; the message starts with ``name``.
    """
    image, orientation = _open(data, name, limits)
    try:
        with image:
            if orientation != 1:
                image = ImageOps.exif_transpose(image)
            if image.mode.startswith(("I", "F")):
                return _from_deep_grey(np.asarray(image), name)
            return np.array(image.convert("RGB"))
    except _BROKEN_IMAGE as error:
        raise VideoError(f"{name}: the image is damaged ({error})") from error


def _open(data: bytes, name: str, limits: VideoLimits) -> tuple[Image.Image, int]:
    if not data:
        raise VideoError(f"{name}: the file is empty")
    check_not_heif(data, name)
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise VideoError(f"{name}: is far over the pixel limit, possibly a decompression bomb") from error
    except _BROKEN_IMAGE as error:
        raise VideoError(f"{name}: is not a readable image (JPEG, PNG, BMP, WebP, TIFF or PNM)") from error
    limits.check_size(image.width, image.height, name)
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)  # of a PNG this decodes the pixels
    except _BROKEN_IMAGE as error:
        raise VideoError(f"{name}: the image is damaged ({error})") from error
    return image, orientation if orientation in range(1, 9) else 1


def check_not_heif(head: bytes, name: str) -> None:
    """Refuse HEIC, HEIF and AVIF pictures, whatever their file is called.

    FFmpeg's video reader would give the first tile, or a plane of transparency or depth, as if it were the picture.

    Args:
        head: The first bytes of a file, 64 are plenty.
        name: What the error calls it.

    Raises:
        VideoError: It is one; the message starts with ``name``.
    """
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        raise VideoError(f"{name}: {HEIF_REFUSED}")


def check_single(data: bytes, name: str, limits: VideoLimits) -> None:
    """Refuse a file of several pictures (animated WebP and PNG, TIFF of several pages) as a one-picture video.

    Raises:
        VideoError: If it holds more than one picture; the message starts with ``name``.
    """
    image, _ = _open(data, name, limits)
    with image:
        try:
            count = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))  # MPO adds depth or a preview
        except _BROKEN_IMAGE as error:
            raise VideoError(f"{name}: the image is damaged ({error})") from error
    if count > 1:
        raise VideoError(f"{name}: holds {count} pictures; convert it to a video or to a folder of images first")


def _from_deep_grey(grey: np.ndarray, name: str) -> np.ndarray:
    if grey.dtype.kind == "f" or grey.min() < 0 or grey.max() > 65535:
        raise VideoError(f"{name}: its pixel values are neither 8 nor 16 bits; convert it to 8 bits first")
    # 65535 / 255 = 257, so this is the nearest 8-bit value of each 16-bit one.
    eight_bit = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(eight_bit[:, :, None], 3, axis=2)
