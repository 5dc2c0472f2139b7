"""What a target looks like and where it stays, as one vector that both halves of the training share.

The mask decoder learns to find what such a code says (``decoding``), the language model learns to say it
(``language``): apart, and at the same time. The prompt vector is a linear image of the code, so a language model in
doubt between two objects, which answers with the mean, says just that.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pipeline.workshop.nano.vision import LOOKS
from pipeline.workshop.shapes import Scenes

PLACE_SIDE = 8
"""Places are cells of a grid of this many rows and columns over the frame."""

LOOKS_WIDTH = sum(LOOKS.values())
CODE_WIDTH = LOOKS_WIDTH + PLACE_SIDE**2


def looks_of(scenes: Scenes, clips: Tensor, wanted: Tensor) -> Tensor:
    """Colours, shapes and sizes of the wanted objects, one flag each: float [S, LOOKS_WIDTH].

    Args:
        scenes: The clips.
        clips: int64 [S], the clip of each row.
        wanted: bool [S, O].
    """
    flags = []
    for name, count in LOOKS.items():
        one_hot = F.one_hot(getattr(scenes, name)[clips], count).float()
        flags.append((one_hot * wanted[..., None]).amax(1))
    return torch.cat(flags, 1)


def places_of(share: Tensor, clips: Tensor, wanted: Tensor) -> Tensor:
    """How much of each cell the wanted objects cover on the keyframe where they cover it most: float [S, cells].

    Args:
        share: [B, K, O, s, s]: covered share of a finer or equal grid, from ``encoder.cover`` without background.
        clips: int64 [S].
        wanted: bool [S, O].
    """
    cells = F.adaptive_avg_pool2d(share.flatten(0, 2), PLACE_SIDE).view(*share.shape[:3], -1)[clips]  # [S, K, O, cells]
    return (cells * wanted[:, None, :, None]).sum(2).amax(1).clamp(max=1)


def drop_parts(code: Tensor, keep: Tensor) -> Tensor:
    """Zero the parts of codes [S, CODE_WIDTH] that ``keep`` (bool [S, 4]: colour, shape, size, place) leaves out."""
    widths = torch.tensor([*LOOKS.values(), PLACE_SIDE**2], device=keep.device)
    return code * keep.float().repeat_interleave(widths, 1)


class CodeProjection(nn.Linear):
    """Code to prompt vector [S, d_model]."""

    def __init__(self, width: int) -> None:
        super().__init__(CODE_WIDTH, width)
        # Looks are one of a few, places many at once: started at like strength.
        nn.init.normal_(self.weight[:, :LOOKS_WIDTH], std=1.0)
        nn.init.normal_(self.weight[:, LOOKS_WIDTH:], std=0.3)
        nn.init.zeros_(self.bias)
