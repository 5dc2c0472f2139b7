"""What passes between the parts of SAM 2 for one frame: the encoder's features and a decoder's masks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class FrameFeatures:
    """The image encoder's output for one frame.

    Attributes:
        levels: ``[1, C, 4h, 4w]``, ``[1, C, 2h, 2w]`` and ``[1, C, h, w]``.
    """

    levels: tuple[Tensor, Tensor, Tensor]
    _derived: WeakKeyDictionary[nn.Module, Any] = field(default_factory=WeakKeyDictionary, compare=False, repr=False)

    def memoize(self, module: nn.Module, compute: Callable[[], T]) -> T:
        """What ``module`` computes from this frame, kept for the other objects (in training it is computed anew)."""
        if torch.is_grad_enabled():
            return compute()
        if module not in self._derived:
            self._derived[module] = compute()
        return self._derived[module]


@dataclass(frozen=True)
class DecodedMasks:
    """What a mask decoder says about O objects on one frame.

    Attributes:
        logits: float32 ``[O, 4h, 4w]``, the mask with the highest predicted IoU.
        ious: float32 ``[O, M]``, predicted IoU of each candidate mask.
        token: ``[O, C]``, output token of the chosen mask.
        object_score: float32 ``[O]``, logit of the object being present.
    """

    logits: Tensor
    ious: Tensor
    token: Tensor
    object_score: Tensor

    @classmethod
    def joined(cls, parts: "Sequence[DecodedMasks]") -> "DecodedMasks":
        """Of several groups of objects, as one."""
        columns = zip(*((p.logits, p.ious, p.token, p.object_score) for p in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))

    def rows(self, part: Sequence[int]) -> "DecodedMasks":
        """Of some of the objects."""
        chosen = list(part)
        return DecodedMasks(self.logits[chosen], self.ious[chosen], self.token[chosen], self.object_score[chosen])
