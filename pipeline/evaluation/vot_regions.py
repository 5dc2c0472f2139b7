"""Masks as the VOT toolkit stores them: row-major run lengths inside a bounding box, in text or binary files."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_RUNS = 65_535
"""Runs of one mask that a binary file can hold."""
_MAX_RUN = 65_025
"""A longer run is written as this many pixels, none of the other value, and the rest."""
_MAX_PIXELS = 2**28
_SPECIAL, _RECTANGLE, _POLYGON, _MASK = 0, 1, 2, 3


class RegionError(ValueError):
    """A file does not hold VOT regions; the message says where."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """One frame's region. ``mask`` is bool ``[h, w]`` with its upper left pixel at (x, y); None if it is no mask."""

    x: int = 0
    y: int = 0
    mask: np.ndarray | None = None

    def canvas(self) -> np.ndarray | None:
        """The mask as bool ``[y + h, x + w]``, from the picture's corner on; None if it is no mask."""
        if self.mask is None:
            return None
        canvas = np.zeros((max(self.y + self.mask.shape[0], 0), max(self.x + self.mask.shape[1], 0)), bool)
        top, left = max(-self.y, 0), max(-self.x, 0)
        canvas[max(self.y, 0) :, max(self.x, 0) :] = self.mask[top:, left:]
        return canvas


def region_of(mask: np.ndarray | None) -> Region:
    """The region of a picture's mask, bool ``[H, W]``; of None or an empty one the empty region."""
    if mask is None or not mask.any():
        return Region(mask=np.zeros((0, 0), bool))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Region(x=int(columns[0]), y=int(rows[0]), mask=box)


def runs_of(mask: np.ndarray) -> list[int]:
    """Row-major run lengths of ``[h, w]``, zeros first; of an empty box one run of 0."""
    flat = mask.ravel()
    if not flat.size:
        return [0]
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *runs] if flat[0] else runs


def to_text(regions: Sequence[Region]) -> bytes:
    """A text file, one region a line."""
    lines = []
    for region in regions:
        if region.mask is None:
            lines.append("0")
        else:
            height, width = region.mask.shape
            numbers = [region.x, region.y, width, height, *runs_of(region.mask)]
            lines.append("m" + ",".join(map(str, numbers)))
    return ("\n".join(lines) + "\n").encode()


def to_binary(regions: Sequence[Region]) -> bytes:
    """A binary file. Raises RegionError for a mask of more than :data:`MAX_RUNS` runs."""
    data = [struct.pack("<hI", 1, len(regions))]
    for index, region in enumerate(regions):
        if region.mask is None:
            data.append(struct.pack("<BI", _SPECIAL, 0))
            continue
        runs = [part for run in runs_of(region.mask) for part in _split(run)]
        if len(runs) > MAX_RUNS:
            raise RegionError(f"frame {index}: the mask has {len(runs)} runs, a binary file holds {MAX_RUNS}")
        height, width = region.mask.shape
        data.append(struct.pack("<BhhHHH", _MASK, region.x, region.y, width, height, len(runs)))
        data.append(struct.pack(f"<{len(runs)}H", *runs))
    return b"".join(data)


def _split(run: int) -> list[int]:
    parts = []
    while run > _MAX_RUN:
        parts += [_MAX_RUN, 0]
        run -= _MAX_RUN
    return [*parts, run]


def from_text(data: bytes) -> list[Region]:
    """Read a text file as the toolkit does: a mask in the first column of its box alone is read as an empty one.

    Raises:
        RegionError: A line is no region.
    """
    regions = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
        text = line.strip()
        if not text.startswith("m"):
            regions.append(Region())  # a special code, rectangle or polygon counts as no mask
            continue
        try:
            x, y, width, height, *runs = (int(part) for part in text[1:].split(","))
        except ValueError as error:
            raise RegionError(f"line {number}: not a mask") from error
        region = _region(x, y, width, height, runs, f"line {number}")
        is_lost = region.mask is not None and not region.mask[:, 1:].any()
        regions.append(region_of(None) if is_lost else region)
    return regions


def from_binary(data: bytes) -> list[Region]:
    """Read a binary file. Raises RegionError where it is damaged."""
    try:
        version, count = struct.unpack_from("<hI", data)
        if version != 1:
            raise RegionError(f"version {version} is unknown")
        at, regions = 6, []
        for index in range(count):
            kind = data[at]
            at += 1
            if kind == _MASK:
                x, y, width, height, runs = struct.unpack_from("<hhHHH", data, at)
                values = struct.unpack_from(f"<{runs}H", data, at + 10)
                regions.append(_region(x, y, width, height, values, f"region {index}"))
                at += 10 + 2 * runs
            elif kind == _SPECIAL:
                regions.append(Region())
                at += 4
            elif kind == _RECTANGLE:
                regions.append(Region())
                at += 16
            elif kind == _POLYGON:
                (points,) = struct.unpack_from("<H", data, at)
                regions.append(Region())
                at += 2 + 8 * points
            else:
                raise RegionError(f"region {index} is of the unknown kind {kind}")
    except (struct.error, IndexError) as error:
        raise RegionError(f"cut short: {error}") from error
    return regions


def _region(x: int, y: int, width: int, height: int, runs: Sequence[int], where: str) -> Region:
    if not 0 <= width * height <= _MAX_PIXELS or width < 0 or height < 0 or any(run < 0 for run in runs):
        raise RegionError(f"{where}: a box of {width}x{height} pixels, or a negative run")
    if sum(runs) > width * height:
        raise RegionError(f"{where}: runs of {sum(runs)} pixels in a box of {width}x{height}")
    values = np.arange(len(runs)) % 2 == 1
    flat = np.zeros(width * height, bool)
    flat[: sum(runs)] = np.repeat(values, runs)
    return Region(x=x, y=y, mask=flat.reshape(height, width))
