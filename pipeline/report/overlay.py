"""Drawing masks over frames."""

import numpy as np

COLOURS = ((230, 60, 60), (60, 130, 240), (60, 190, 90), (240, 170, 40), (170, 90, 220), (40, 190, 200))
"""One per object, in turn."""


def draw_mask(frame: np.ndarray, mask: np.ndarray, object_id: int = 0, opacity: float = 0.5) -> np.ndarray:
    """Tint an object and outline it.

    Args:
        frame: uint8 RGB ``[H, W, 3]``.
        mask: bool ``[H, W]``.
        object_id: Chooses the colour.
        opacity: Of the tint, 0..1.

    Returns:
        uint8 RGB ``[H, W, 3]``, a copy.
    """
    colour = np.array(COLOURS[object_id % len(COLOURS)], np.float32)
    drawn = frame.copy()
    drawn[mask] = ((1 - opacity) * drawn[mask] + opacity * colour).astype(np.uint8)
    inside = mask.copy()
    inside[1:-1, 1:-1] &= mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    drawn[mask & ~inside] = colour.astype(np.uint8)
    return drawn
