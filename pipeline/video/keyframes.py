"""Which frames of a video the language model sees."""

import numpy as np


def uniform_keyframes(num_frames: int, count: int) -> list[int]:
    """Spread ``count`` keyframes evenly over a video, as the Sa2VA-i reference does.

    The real-valued positions are truncated, not rounded. A video shorter than ``count`` gives duplicates (3 frames,
    5 keyframes: ``[0, 0, 1, 1, 2]``), as in the list of sampled frames that the published code reports. They change no
    mask, since the same frame gives the same result: :func:`pipeline.model.ground.keyframes_of` drops them.

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


def _check(num_frames: int, count: int) -> None:
    if num_frames < 1 or count < 1:
        raise ValueError(f"num_frames and count must be at least 1, got {num_frames} and {count}")
