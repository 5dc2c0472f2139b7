"""Votes of masks per pixel, on the ends of their runs: no mask is ever decoded to pixels.

A track is laid out as one line of pixels, frame after frame, each frame in column-major order. Between two successive
ends of runs, of whichever track, all pixels have the same votes.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.masks import runs_of
from pipeline.rle_text import to_text
from pipeline.schema import Rle

_FRAMES_AT_ONCE = 128

Masks = Sequence[Rle | None]


def vote(tracks: Sequence[Masks], weights: Sequence[int], least: int, height: int, width: int) -> list[Rle | None]:
    """The pixels for which tracks of enough weight vote.

    Args:
        tracks: Each with a mask per frame, all for the same frames.
        weights: Of each track, at least 0; whole numbers, so that their sums are exact.
        least: Sum of weights from which on a pixel is in the mask, at least 1.
        height: Of the masks, pixels.
        width: Of the masks, pixels.

    Returns:
        A mask per frame; None where no pixel has enough votes.

    Raises:
        ValueError: A mask is not a valid encoding, or has another size.
    """
    combined: list[Rle | None] = []
    for frames, starts, ends, votes in _stretches(tracks, weights, height, width):
        combined += _masks(frames, starts, ends, votes >= least, height, width)
    return combined


def track_iou(one: Masks, other: Masks, height: int, width: int) -> float:
    """Pixels in both tracks over pixels in either, of all frames together; 1 where both are empty.

    Raises:
        ValueError: As :func:`vote`.
    """
    both = either = 0
    for _, starts, ends, votes in _stretches([one, other], [1, 1], height, width):
        lengths = ends - starts
        both += int(lengths[votes == 2].sum())
        either += int(lengths[votes >= 1].sum())
    return both / either if either else 1.0


def _stretches(
    tracks: Sequence[Masks], weights: Sequence[int], height: int, width: int
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Stretches of equal votes, a bounded number of frames at a time; none crosses the border of two frames.

    Yields:
        Number of frames; start, end and sum of weights of each stretch, in order and without gaps.
    """
    pixels = height * width
    for first in range(0, len(tracks[0]), _FRAMES_AT_ONCE):
        frames = min(_FRAMES_AT_ONCE, len(tracks[0]) - first)
        borders = np.arange(frames + 1, dtype=np.int64) * pixels
        positions, changes = [borders], [np.zeros(len(borders), np.int64)]
        for track, weight in zip(tracks, weights, strict=True):
            begins, ends = _ends_of_runs(track, first, frames, height, width)
            positions += [begins, ends]
            changes += [np.full(len(begins), weight), np.full(len(ends), -weight)]
        position = np.concatenate(positions)
        order = np.argsort(position, kind="stable")
        position, votes = position[order], np.cumsum(np.concatenate(changes)[order])
        last = np.flatnonzero(np.diff(position, append=-1))  # of the changes at one pixel the last has them all
        position, votes = position[last], votes[last]
        yield frames, position[:-1], position[1:], votes[:-1]


def _ends_of_runs(
    track: Masks, first: int, frames: int, height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where runs of foreground begin and where they end, as pixels of the line of ``frames`` frames."""
    begins, ends = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for index in range(frames):
        rle = track[first + index]
        if rle is None:
            continue
        if list(rle["size"]) != [height, width]:
            raise ValueError(f"mask of frame {first + index}: size is {list(rle['size'])}, not [{height}, {width}]")
        try:
            edges = np.cumsum(runs_of(rle)) + index * height * width
        except ValueError as error:
            raise ValueError(f"mask of frame {first + index}: {error}") from error
        count = len(edges) // 2  # zeros first: every second run is foreground
        begins.append(edges[0 : 2 * count : 2])
        ends.append(edges[1 : 2 * count : 2])
    return np.concatenate(begins), np.concatenate(ends)


def _masks(
    frames: int,
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    is_in: NDArray[np.bool_],
    height: int,
    width: int,
) -> list[Rle | None]:
    """The stretches that are in the mask as a run-length mask per frame."""
    frame = starts // (height * width)
    is_first = np.diff(frame, prepend=-1) != 0
    begins_run = is_first | np.diff(is_in, prepend=not is_in[0])
    begins, run_is_in, run_frame = starts[begins_run], is_in[begins_run], frame[begins_run]
    lengths = np.diff(begins, append=ends[-1])
    first_of_frame = np.searchsorted(run_frame, np.arange(frames + 1))
    masks: list[Rle | None] = [None] * frames
    for index in range(frames):
        some = slice(first_of_frame[index], first_of_frame[index + 1])
        if run_is_in[some].any():
            runs = np.concatenate([[0], lengths[some]]) if run_is_in[some][0] else lengths[some]
            masks[index] = Rle(size=[height, width], counts=to_text(runs))
    return masks
