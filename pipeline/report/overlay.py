"""Drawing masks over frames."""

import numpy as np

COLOURS = ((255, 40, 150), (0, 165, 255), (120, 215, 0), (255, 195, 0), (150, 90, 255), (0, 205, 175))
"""One per object, in turn; strong ones that real scenes rarely have."""


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
    drawn[outline(mask)] = colour.astype(np.uint8)
    return drawn


def outline(mask: np.ndarray) -> np.ndarray:
    """The pixels of ``mask`` (bool ``[H, W]``) that touch the outside or the picture's border."""
    inside = np.zeros_like(mask)
    inside[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    return mask & ~inside
