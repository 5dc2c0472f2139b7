"""How one published tensor becomes parameters of our modules, and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class TensorMapping:
    """Where a published tensor goes: ``split`` cuts it into one tensor per target, ``join`` undoes that."""

    targets: tuple[str, ...]
    split: Callable[[Tensor], Sequence[Tensor]] = lambda tensor: (tensor,)
    join: Callable[[Sequence[Tensor]], Tensor] = lambda parts: parts[0]


def rename(name: str, table: Sequence[tuple[str, str]]) -> str:
    """``name`` with each (old, new) pair of ``table`` replaced, in order."""
    for old, new in table:
        name = name.replace(old, new)
    return name


def renamed_back(name: str, table: Sequence[tuple[str, str]]) -> str:
    """Undo :func:`rename`."""
    return rename(name, [(new, old) for old, new in table])
