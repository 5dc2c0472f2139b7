"""Which way up a video is shown: the display matrix of MP4 and MOV files, H.264 and H.265 streams."""

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """One of the eight ways to lay a picture on the screen: first exchange rows and columns, then mirror."""

    is_transposed: bool = False
    mirrors_left_right: bool = False
    mirrors_top_bottom: bool = False

    @property
    def is_rotation(self) -> bool:
        """Whether turning alone does it (by 0, 90, 180 or 270 degrees); the other four are mirror images."""
        return not (self.is_transposed ^ self.mirrors_left_right ^ self.mirrors_top_bottom)

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """``pixels`` ``[H, W, 3]`` as shown; contiguous."""
        if self.is_transposed:
            pixels = pixels.transpose(1, 0, 2)
        if self.mirrors_left_right:
            pixels = pixels[:, ::-1]
        if self.mirrors_top_bottom:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)


AS_STORED = Orientation()


def orientation_of(frame: "VideoFrame") -> Orientation:
    """How a decoded frame is to be shown. Scale and shift of the matrix are ignored, odd angles go to the nearest turn.

    The matrix takes a stored point ``(x, y)`` to ``(a x + c y, b x + d y)`` (ISO/IEC 14496-12, 8.3.2, as nine integers
    ``a b u c d v x y w`` of this machine's byte order).
    """
    from av.sidedata.sidedata import SideData

    matrix = frame.side_data.get("DISPLAYMATRIX")
    if not isinstance(matrix, SideData):
        return AS_STORED
    a, b, _, c, d = struct.unpack("=5i", memoryview(matrix)[:20])
    if a * d - b * c == 0:  # it would show a line or a point: players ignore it
        return AS_STORED
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(mirrors_left_right=a < 0, mirrors_top_bottom=d < 0)
    return Orientation(is_transposed=True, mirrors_left_right=c < 0, mirrors_top_bottom=b < 0)
