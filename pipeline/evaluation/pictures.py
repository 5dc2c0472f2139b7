"""Trees of mask pictures: a folder on any fsspec URL or a zip file, read one picture at a time."""

import io
import posixpath
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import PipelineError
from pipeline.storage import MissingFileError, exists, join, list_names, open_input, read_bytes

BoolArray = NDArray[np.bool_]

MAX_PICTURE_PIXELS = 1 << 26
"""Larger pictures than this (8192 x 8192) are refused before they are decoded."""
MAX_FILE_BYTES = 1 << 28
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
"""Pillow knows many more, some of which start other programs."""


class PictureError(PipelineError):
    """A mask picture is missing or cannot be read."""


class PictureTree:
    """Pictures by their path in a folder or a zip file. Can be pickled: a zip file is opened again where it is used."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_zip = url.lower().endswith(".zip")
        self._zip: zipfile.ZipFile | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_zip": None}

    def folders(self) -> list[str]:
        """Names directly under the root, sorted."""
        if self.is_zip:
            return sorted({name.split("/")[0] for name in self._archive().namelist() if "/" in name})
        return list_names(self.url)

    def has_folder(self, path: str) -> bool:
        """Whether anything lies under ``path``."""
        if self.is_zip:
            return any(name.startswith(path + "/") for name in self._archive().namelist())
        return exists(join(self.url, path))

    def has_file(self, path: str) -> bool:
        """Whether there is a file of this path."""
        if self.is_zip:
            return path in self._archive().NameToInfo
        return exists(join(self.url, path))

    def read(self, path: str) -> bytes:
        """The bytes of one file.

        Raises:
            PictureError: There is no such file, or the archive is damaged there.
        """
        try:
            if not self.is_zip:
                return read_bytes(join(self.url, path))
            if self._archive().getinfo(path).file_size > MAX_FILE_BYTES:
                raise PictureError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
            return self._archive().read(path)
        except (KeyError, MissingFileError):
            raise PictureError(f"{path} is missing") from None
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
            raise PictureError(f"{path} cannot be read: {error}") from error

    def mask(self, path: str) -> BoolArray:
        """A picture as a mask ``[H, W]``: every non-zero pixel is foreground. Raises PictureError."""
        return decode_picture(self.read(path), path) != 0

    def labels(self, path: str) -> NDArray[np.integer]:
        """A palette or grey picture's values ``[H, W]``. Raises PictureError."""
        return decode_picture(self.read(path), path)

    def _archive(self) -> zipfile.ZipFile:
        if self._zip is None:
            try:
                self._zip = zipfile.ZipFile(open_input(self.url))
            except zipfile.BadZipFile as error:
                raise PipelineError(f"{self.url}: not a readable zip file: {error}") from error
        return self._zip


def open_picture(data: bytes, path: str) -> Image.Image:
    """Open a picture without decoding it, so that format, mode and size can be looked at first.

    Raises:
        PictureError: It is no picture, or one of absurd size.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PictureError(f"{path} is not a picture: {error}") from error
    if picture.width * picture.height > MAX_PICTURE_PIXELS:
        raise PictureError(f"{path} claims to be {picture.width}x{picture.height} pixels")
    return picture


def decode_picture(data: bytes, path: str) -> NDArray[np.integer]:
    """Decode a picture to ``[H, W]``; palette pictures give their indices, coloured ones the brightest channel.

    Raises:
        PictureError: It is no picture, or damaged.
    """
    picture = open_picture(data, path)
    try:
        if picture.mode in ("1", "L", "P", "I", "I;16"):
            values = np.asarray(picture)
            return values.astype(np.uint8) if values.dtype == bool else values
        return np.asarray(picture.convert("RGB")).max(axis=2)
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise PictureError(f"{path} is damaged: {error}") from error


def size_of_picture(data: bytes, path: str) -> tuple[int, int]:
    """Height and width from a picture's header. Raises PictureError."""
    picture = open_picture(data, path)
    return picture.height, picture.width


def picture_path(*parts: str) -> str:
    """Join ids to the path of a picture inside a tree; the last part gets ``.png``.

    Raises:
        PictureError: An id would lead out of the tree.
    """
    path = "/".join(parts) + ".png"
    if path.startswith(("/", "../")) or "\0" in path or posixpath.normpath(path) != path:
        raise PictureError(f"{path!r} is not a path inside the predictions")
    return path
