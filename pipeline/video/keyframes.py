"""Which frames of a video the language model sees."""

from typing import Literal

import numpy as np

KeyframeChoice = Literal["uniform", "first", "uniform+"]
_ROUNDING = 1e-9
"""Half of the way is the middle, though a cosine may come out as a little less."""


def uniform_keyframes(num_frames: int, count: int) -> list[int]:
    """Spread ``count`` keyframes evenly over a video, as the Sa2VA-i reference does.

    The real-valued positions are truncated, not rounded. A video shorter than ``count`` gives duplicates (3 frames,
    5 keyframes: ``[0, 0, 1, 1, 2]``), as in the list of sampled frames that the published code reports. They change no
    mask, since the same frame gives the same result: :func:`pipeline.model.procedure.keyframes_of` drops them.

    Args:
        num_frames: Frames of the video, at least 1.
        count: Keyframes wanted, at least 1.

    Returns:
        ``count`` frame indices, ascending.

    Raises:
        ValueError: If either number is below 1.
    """
    _check(num_frames, count)
    return [int(index) for index in np.linspace(0, num_frames - 1, count, dtype=int)]


def first_keyframes(num_frames: int, count: int) -> list[int]:
    """Take the first ``count`` frames, as the original Sa2VA does; a shorter video gives all of its frames.

    Raises:
        ValueError: If either number is below 1.
    """
    _check(num_frames, count)
    return list(range(min(num_frames, count)))


def moved_keyframes(
    num_frames: int, count: int, *, denser_ends: bool = False, offset: float = 0.0, seed: int | None = None
) -> list[int]:
    """Spread keyframes over a video in another way than :func:`uniform_keyframes`, so that several runs differ.

    Positions are truncated. The first keyframe stays the video's first frame, since masks are propagated from the first
    keyframe on; what would lie behind the last frame is that frame.

    Args:
        num_frames: Frames of the video, at least 1.
        count: Keyframes wanted, at least 1; the space between two is the video's length divided by ``count`` - 1, or
            all of it where there is only one.
        denser_ends: Let the distances shrink towards both ends, as the extrema of a Chebyshev polynomial do.
        offset: Move all others by this share of the space between two.
        seed: Also move each of these by a random share of it from -0.5 to 0.5; the same for all videos of a length.

    Returns:
        ``count`` frame indices, ascending; some may be equal.

    Raises:
        ValueError: If either number is below 1.
    """
    _check(num_frames, count)
    steps = max(1, count - 1)
    moved = np.arange(count) + offset
    if seed is not None:
        moved += np.random.default_rng([seed, num_frames]).uniform(-0.5, 0.5, count)
    share = np.clip(moved / steps, 0, 1)
    if denser_ends:
        share = (1 - np.cos(np.pi * share)) / 2
    indices = sorted(int(index) for index in share * (num_frames - 1) + _ROUNDING)
    return [0, *indices[1:]]


def _check(num_frames: int, count: int) -> None:
    if num_frames < 1 or count < 1:
        raise ValueError(f"num_frames and count must be at least 1, got {num_frames} and {count}")
