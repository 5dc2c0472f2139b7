"""Which keyframes decoding can really start at.

Containers also flag pictures as keyframes from which a decoder only recovers after a while (H.264 intra refresh).
Starting there gives wrong frames, and decord then miscounts them without a word.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext

_H264_IDR = 5
# BLA, IDR and CRA pictures: by the standard everything shown from them on decodes exactly.
_HEVC_RANDOM_ACCESS = range(16, 22)


def is_sync_packet(packet: "Packet", codec: "VideoCodecContext") -> bool:
    """Whether a packet flagged as keyframe begins with a picture from which on all frames shown later are exact.

    Pictures shown before it but stored after it (an open group of pictures) may still need what came before.
    """
    name = codec.codec.canonical_name  # the codec's own, whichever library decodes it
    if name not in ("h264", "hevc"):
        return True
    extradata = codec.extradata or b""
    if name == "h264":
        if len(extradata) < 7 or extradata[0] != 1:
            return False
        return any(unit[0] & 0x1F == _H264_IDR for unit in units(bytes(packet), (extradata[4] & 3) + 1))
    if len(extradata) < 23 or extradata[0] != 1:
        return False
    return any((unit[0] >> 1) & 0x3F in _HEVC_RANDOM_ACCESS for unit in units(bytes(packet), (extradata[21] & 3) + 1))


def units(data: bytes, length_size: int) -> Iterator[bytes]:
    """The length-prefixed units of an H.264 or H.265 packet; none of them is empty."""
    position = 0
    while position + length_size < len(data):
        start = position + length_size
        position = start + int.from_bytes(data[position:start], "big")
        if position > start:
            yield data[start:position]
