"""COCO's string form of run lengths: base-32 digits, lowest first, from the fourth run on as differences.

The form is that of ``rleToString`` in pycocotools. Everything is array arithmetic in NumPy, during which other threads
run.
"""

import numpy as np

_MAX_DIGITS = 7
"""Enough for any run of a mask of 2**30 pixels, sign included."""

_CONTINUED = 0x20
_FIRST_CHARACTER = 48


def to_text(runs: np.ndarray) -> str:
    """The text of run lengths.

    Args:
        runs: int64 ``[runs]``, in column-major order, zeros first (0 if the first pixel is foreground).
    """
    values = runs.copy()
    values[3:] -= runs[1:-2]
    magnitude = np.where(values < 0, ~values, values)
    # n digits hold 5 n bits, one of them the sign
    limits = np.array([1 << (5 * n - 1) for n in range(1, _MAX_DIGITS)])
    digits = 1 + (magnitude[:, None] >= limits).sum(1)
    position = np.arange(_MAX_DIGITS)
    table = (values[:, None] >> (5 * position)) & 0x1F
    table |= np.where(position < digits[:, None] - 1, _CONTINUED, 0)
    characters = table[position < digits[:, None]] + _FIRST_CHARACTER
    return characters.astype(np.uint8).tobytes().decode("ascii")


def from_text(text: str | bytes) -> np.ndarray:
    """Run lengths, int64 ``[runs]``; possibly negative ones, which a caller has to refuse.

    Raises:
        ValueError: The text is not one of run lengths.
    """
    try:
        characters = np.frombuffer(text.encode("ascii") if isinstance(text, str) else text, dtype=np.uint8)
    except UnicodeEncodeError as error:
        raise ValueError("counts holds characters that no RLE has") from error
    if characters.size == 0:
        return np.zeros(0, dtype=np.int64)
    digits = characters.astype(np.int64) - _FIRST_CHARACTER
    if digits.min() < 0 or digits.max() > 63:
        raise ValueError("counts holds characters that no RLE has")
    is_last = (digits & _CONTINUED) == 0
    if not is_last[-1]:
        raise ValueError("counts ends in the middle of a run")
    ends = np.flatnonzero(is_last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() >= _MAX_DIGITS:
        raise ValueError("counts holds a run that is too long")
    position = np.arange(digits.size) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((digits & 0x1F) << (5 * position), starts)
    is_negative = (digits[ends] & 0x10) != 0
    values -= is_negative.astype(np.int64) << (5 * (ends - starts + 1))
    # From the fourth run on, each is stored as the difference to the one two positions before.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
