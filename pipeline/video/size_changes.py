"""Packets after which a stream may go on in another size: decord would scale without a word, so PyAV reads these.

Sizes are not compared for H.264 and H.265: any new parameter set counts, which costs speed at most.
"""

from typing import TYPE_CHECKING

from pipeline.video.sync_points import units

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext

CODECS = frozenset({"h264", "hevc", "vp9"})
"""Codecs whose changes of size can be told from their packets."""

_H264_PARAMETER_SET = 7
_H265_PARAMETER_SET = 33
_VP9_RGB = 7
_VP9_HEADER_BYTES = 24


class SizeWatch:
    """Looks at the packets of one stream in stored order."""

    def __init__(self, codec: "VideoCodecContext") -> None:
        self._name = codec.codec.canonical_name
        self._extradata = codec.extradata or b""
        self._size: tuple[int, int] | None = None
        self.has_change = False

    def look(self, packet: "Packet") -> None:
        """Note whether ``packet`` announces another size than the stream began with."""
        if packet.has_sidedata("new_extradata"):
            self.has_change = True
        elif self._name == "vp9":
            size = _vp9_size(bytes(memoryview(packet)[:_VP9_HEADER_BYTES]))
            self._size = self._size or size
            self.has_change |= size not in (None, self._size)
        elif packet.is_keyframe and self._name in CODECS and self._extradata[:1] == b"\x01":
            self.has_change |= any(unit not in self._extradata for unit in self._parameter_sets(bytes(packet)))

    def _parameter_sets(self, data: bytes) -> list[bytes]:
        if self._name == "h264":
            length_size = (self._extradata[4] & 3) + 1
            return [unit for unit in units(data, length_size) if unit[0] & 0x1F == _H264_PARAMETER_SET]
        length_size = (self._extradata[21] & 3) + 1
        return [unit for unit in units(data, length_size) if (unit[0] >> 1) & 0x3F == _H265_PARAMETER_SET]


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data)
        self._remaining = 8 * len(data)

    def take(self, count: int) -> int:
        self._remaining -= count
        if self._remaining < 0:
            raise ValueError("the header is cut short")
        return self._value >> self._remaining & ((1 << count) - 1)


def _vp9_size(header: bytes) -> tuple[int, int] | None:
    """The size in a frame's header (VP9 bitstream specification, 6.2); None where it is that of an earlier frame."""
    try:
        return _vp9_stated_size(_Bits(header))
    except ValueError:
        return None


def _vp9_stated_size(bits: _Bits) -> tuple[int, int] | None:
    bits.take(2)
    profile = bits.take(1) | bits.take(1) << 1
    if profile == 3:
        bits.take(1)
    if bits.take(1):  # shows a frame that was decoded before
        return None
    is_key, is_shown, is_resilient = not bits.take(1), bits.take(1), bits.take(1)
    if is_key:
        bits.take(24)
        _skip_colours(bits, profile)
    else:
        is_intra = 0 if is_shown else bits.take(1)
        if not is_resilient:
            bits.take(2)
        if is_intra:
            bits.take(24)
            if profile:
                _skip_colours(bits, profile)
            bits.take(8)
        else:
            bits.take(8 + 3 * 4)
            if any(bits.take(1) for _ in range(3)):
                return None
    return bits.take(16) + 1, bits.take(16) + 1


def _skip_colours(bits: _Bits, profile: int) -> None:
    if profile >= 2:
        bits.take(1)
    if bits.take(3) != _VP9_RGB:
        bits.take(1)
        if profile in (1, 3):
            bits.take(3)
    elif profile in (1, 3):
        bits.take(1)
