"""Is a file shorter than its own structure says? MP4/MOV, Matroska/WebM and AVI tell their length."""

import struct
from pathlib import Path
from typing import BinaryIO

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_TOP_BOXES = frozenset(b"ftyp styp moov mdat moof free skip wide sidx mfra uuid meta".split())


def missing_tail(path: str) -> str | None:
    """Say what is missing at the end of a local file, or None if it is whole or its format does not tell."""
    try:
        size = Path(path).stat().st_size
        with Path(path).open("rb") as file:
            head = file.read(12)
            if not head:
                return "the file is empty"
            if head[:4] == _EBML:
                expected = _matroska_length(file)
            elif head[:4] == b"RIFF":
                expected = struct.unpack("<I", head[4:8])[0]
            elif head[4:8] in _TOP_BOXES:
                return _mp4_problem(file, size)
            else:
                return None
    except (OSError, struct.error):
        return None
    return _short(size, expected) if expected is not None and expected > size else None


def _short(size: int, expected: int) -> str:
    return f"the file was cut short, it has {size} of {expected} bytes; fetch or export it again"


def _mp4_problem(file: BinaryIO, size: int) -> str | None:
    position, has_index, problem = 0, False, None
    while position + 8 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        elif length == 0:  # up to the end of the file
            length = size - position
        has_index = has_index or kind == b"moov"
        if length < 8 or kind not in _TOP_BOXES:
            break
        position += length
        if position > size:
            problem = _short(size, position)
    if not has_index:
        return "its index (moov) is missing: the file was cut short or its recording never finished"
    return problem


def _matroska_length(file: BinaryIO) -> int | None:
    """End of the segment in bytes from the start of the file; None if it was left open (live recording)."""
    file.seek(len(_EBML))
    header_length = _variable_integer(file)
    if header_length is None:
        return None
    file.seek(header_length, 1)
    if file.read(4) != _SEGMENT:
        return None
    segment_length = _variable_integer(file)
    return None if segment_length is None else file.tell() + segment_length


def _variable_integer(file: BinaryIO) -> int | None:
    first = file.read(1)
    if not first or not first[0]:
        return None
    extra_bytes = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & ((1 << (7 - extra_bytes)) - 1)]) + file.read(extra_bytes), "big")
    is_unknown = value == (1 << (7 * (extra_bytes + 1))) - 1
    return None if is_unknown else value
