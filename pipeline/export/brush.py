"""Label Studio's brush masks: a bit stream of runs over four equal channels a pixel, row by row.

The form is that of the npm package ``@thi.ng/rle-pack``: how many values there are, their size in bits, the sizes of
four kinds of length fields, then blocks of one repeated value or of so many single ones.
"""

import itertools

import numpy as np

_CHANNELS = 4
_WORD_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_COUNT_BITS, _SIZE_BITS, _LENGTH_SIZE_BITS = 32, 5, 4
_MOST_VALUES = 4 * 2**30


def brush_runs(mask: np.ndarray) -> list[int]:
    """A mask, bool ``[H, W]``, as the bytes of the stream; foreground is 255 in all four channels."""
    flat = mask.ravel()
    changes = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    bits = [
        _bits(_CHANNELS * flat.size, _COUNT_BITS),
        _bits(_WORD_BITS - 1, _SIZE_BITS),
        *(_bits(size - 1, _LENGTH_SIZE_BITS) for size in _LENGTH_BITS),
    ]
    for start, end in itertools.pairwise(changes):
        value = _bits(255 if flat[start] else 0, _WORD_BITS)
        left = _CHANNELS * (end - start)
        while left:
            count = min(left, 1 << _LENGTH_BITS[-1])
            field = next(i for i, size in enumerate(_LENGTH_BITS) if count <= 1 << size)
            bits.append("1" + _bits(field, 2) + _bits(count - 1, _LENGTH_BITS[field]) + value)
            left -= count
    stream = "".join(bits)
    stream += "0" * (8 - len(stream) % 8)
    return [int(stream[start : start + 8], 2) for start in range(0, len(stream), 8)]


def _bits(value: int, size: int) -> str:
    return f"{value:0{size}b}"


def brush_mask(stream: list[int], height: int, width: int) -> np.ndarray:
    """The inverse of :func:`brush_runs`: bool ``[height, width]``, true where the fourth channel is not 0.

    Raises:
        ValueError: It is not such a stream, or of another size.
    """
    if not isinstance(stream, list) or not all(type(byte) is int and 0 <= byte <= 255 for byte in stream):
        raise ValueError("rle must be a list of bytes")
    values = _values(_Bits("".join(map("{:08b}".format, stream))), _CHANNELS * height * width)
    return np.asarray(values.reshape(height, width, _CHANNELS)[:, :, _CHANNELS - 1] != 0)


class _Bits:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def take(self, size: int) -> int:
        end = self._at + size
        if end > len(self._text):
            raise ValueError("rle ends too early")
        value = int(self._text[self._at : end], 2)
        self._at = end
        return value


def _values(bits: _Bits, expected: int) -> np.ndarray:
    count = bits.take(_COUNT_BITS)
    if count != expected or count > _MOST_VALUES:
        raise ValueError(f"rle is of {count} values, the picture has {expected}")
    word_bits = bits.take(_SIZE_BITS) + 1
    length_bits = [bits.take(_LENGTH_SIZE_BITS) + 1 for _ in _LENGTH_BITS]
    values = np.zeros(count, np.int64)
    at = 0
    while at < count:
        is_repeated = bits.take(1)
        length = bits.take(length_bits[bits.take(2)]) + 1
        if at + length > count:
            raise ValueError("rle holds more values than it says")
        if is_repeated:
            values[at : at + length] = bits.take(word_bits)
        else:
            values[at : at + length] = [bits.take(word_bits) for _ in range(length)]
        at += length
    return values
