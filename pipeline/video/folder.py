"""Folders of frame images and single image files, on any filesystem."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Protocol

import numpy as np

from pipeline.errors import VideoError
from pipeline.storage import scrub, with_retries
from pipeline.video.frames import BaseSource, FrameSelection, VideoLimits
from pipeline.video.images import IMAGE_SUFFIXES, check_single, decode_image, image_size
from pipeline.video.locations import Place, storage_errors

# Image files fetched at once from object storage, where each one costs a round trip.
_REMOTE_BATCH = 8
_CHUNK_BYTES = 2**20


class ImageStore(Protocol):
    """Image files by path: a folder on some filesystem, or an archive."""

    def sizes(self) -> dict[str, int | None]:
        """Bytes of every image file, by path; None where unknown."""
        ...

    def read(self, paths: Sequence[str]) -> Iterator[bytes]:
        """Contents, in the order of ``paths``."""
        ...

    def close(self) -> None:
        """Release the files."""
        ...


def is_image_path(path: str) -> bool:
    """Whether a path's extension is one of an image, and it is not a hidden file (``._00000.jpg``)."""
    name = PurePosixPath(path).name
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


class ImageSource(BaseSource):
    """The images of a store as the frames of a video, in the order of the numbers in their names."""

    def __init__(
        self,
        location: str,
        store: ImageStore,
        selection: FrameSelection,
        limits: VideoLimits,
        *,
        is_image: bool = False,
    ) -> None:
        """Choose the frames and learn their size from the first.

        Raises:
            VideoError: If there are no images, two have one name, one asked for is missing, or the first is broken.
        """
        self.is_image = is_image
        self._store = store
        self._limits = limits
        try:
            chosen, width, height = self._choose(location, selection)
        except BaseException:
            store.close()
            raise
        super().__init__(location, chosen, width, height)

    def _choose(self, location: str, selection: FrameSelection) -> tuple[list[str], int, int]:
        limits = self._limits
        sizes = self._store.sizes()
        by_name = named_paths(location, sizes, limits)
        names = list(by_name)
        chosen = [names[index] for index in selection.apply(names, location)]
        self._paths = [by_name[name] for name in chosen]
        for path in self._paths:
            if (sizes[path] or 0) > limits.max_image_bytes:
                raise VideoError(
                    f"{scrub(location)}: {path} is over the limit of {limits.max_image_bytes} bytes an image"
                )
        first = next(iter(self._store.read(self._paths[:1])))
        if self.is_image:
            check_single(first, self._label(location, self._paths[0]), limits)
        return chosen, *image_size(first, self._label(location, self._paths[0]), limits)

    def _label(self, location: str, path: str) -> str:
        return scrub(location) if self.is_image else f"{scrub(location)}: {PurePosixPath(path).name}"

    def _frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        paths = [self._paths[index] for index in indices]
        for path, data in zip(paths, self._store.read(paths), strict=True):
            yield decode_image(data, self._label(self.location, path), self._limits)

    def close(self) -> None:
        """Release the store."""
        self._store.close()


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key that puts numbers in their own order, so that ``frame_2`` comes before ``frame_10``."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts if part], name


def named_paths(location: str, paths: Mapping[str, int | None], limits: VideoLimits) -> dict[str, str]:
    """Paths of images by frame name, in the order of the frames.

    Raises:
        VideoError: There are none, too many, or two of one name.
    """
    if not paths:
        raise VideoError(f"{scrub(location)}: holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    limits.check_count(len(paths), scrub(location))
    by_name: dict[str, str] = {}
    for path in sorted(paths):
        stem = PurePosixPath(path).stem
        if stem in by_name:
            raise VideoError(
                f"{scrub(location)}: {by_name[stem]} and {path} have the same frame name; keep one of them"
            )
        by_name[stem] = path
    return {name: by_name[name] for name in sorted(by_name, key=natural_order)}


class FilesystemStore:
    """The image files directly in a folder, or one image file."""

    def __init__(self, place: Place, limits: VideoLimits) -> None:
        self._place = place
        self._limits = limits

    def sizes(self) -> dict[str, int | None]:
        """Bytes of every image file, by path."""
        if not self._place.is_folder:
            return {self._place.path: self._place.size_bytes}
        with storage_errors(self._place.location):
            entries = with_retries(
                lambda: self._place.filesystem.ls(self._place.path, detail=True), self._place.location, "list"
            )
        return {
            entry["name"]: entry.get("size")
            for entry in entries
            if entry["type"] != "directory" and is_image_path(entry["name"])
        }

    def read(self, paths: Sequence[str]) -> Iterator[bytes]:
        """Contents in order; from remote storage a few at a time."""
        batch_size = 1 if self._place.is_local else _REMOTE_BATCH
        remaining = iter(paths)
        while batch := list(islice(remaining, batch_size)):
            if len(batch) == 1:
                with storage_errors(f"{self._place.location}: {PurePosixPath(batch[0]).name}"):
                    contents = {batch[0]: self._fetch(batch[0])}
            else:
                with storage_errors(self._place.location):
                    contents = self._fetch_all(list(dict.fromkeys(batch)))
            yield from (contents[path] for path in batch)

    def _fetch(self, path: str) -> bytes:
        if self._place.size_bytes is None and not self._place.is_folder:
            return with_retries(lambda: self._fetch_bounded(path), self._place.location, "read")
        return with_retries(lambda: self._place.filesystem.cat_file(path), self._place.location, "read")

    def _fetch_bounded(self, path: str) -> bytes:
        """A file whose size its server does not tell."""
        data = bytearray()
        with self._place.filesystem.open(path, "rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                data += chunk
                if len(data) > self._limits.max_image_bytes:
                    raise VideoError(
                        f"{scrub(self._place.location)}: is over the limit of {self._limits.max_image_bytes} bytes"
                    )
        return bytes(data)

    def _fetch_all(self, paths: list[str]) -> dict[str, bytes]:
        return with_retries(lambda: dict(self._place.filesystem.cat(paths)), self._place.location, "read")

    def close(self) -> None:
        """Nothing is held open between reads."""
