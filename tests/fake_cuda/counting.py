"""What a step costs on a device: kernels, casts of weights, bytes moved, arithmetic, memory alive."""

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
NO_KERNEL = {
    aten.empty.memory_format, aten.empty_strided.default, aten.new_empty.default, aten.empty_like.default,
    aten.detach.default, aten.alias.default, aten._unsafe_view.default, aten.lift_fresh.default,
    aten._local_scalar_dense.default, torch.ops.prim.device.default,
}  # fmt: skip


@dataclass
class Cost:
    """Cost of one step; a kernel is an operator that is no view."""

    kernels: int = 0
    weight_casts: int = 0
    bytes: int = 0
    flops: int = 0
    live_bytes: int = 0
    operators: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, float]:
        """In the units of the report."""
        return {
            "kernels": self.kernels,
            "weight_casts": self.weight_casts,
            "gigabytes": round(self.bytes / 1e9, 3),
            "teraflops": round(self.flops / 1e12, 4),
            "live_gigabytes": round(self.live_bytes / 1e9, 3),
        }


class CostCounter(TorchDispatchMode):
    """Adds up what runs on the device inside it.

    Args:
        modules: Their parameters are the weights; they count as memory that is alive.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        super().__init__()
        self.cost = Cost()
        weights = {id(p): p for module in modules for p in module.parameters()}.values()
        self._weights = {_key(weight) for weight in weights}
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        for weight in weights:
            self._keep(weight)

    def __exit__(self, *error: Any) -> None:
        self._alive.clear()
        super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        outputs = _on_device(tree_leaves(result))
        inputs = _on_device(tree_leaves((args, kwargs)))
        if (outputs or inputs) and not func.is_view and func not in NO_KERNEL:
            self._count(func, args, kwargs or {}, result, inputs, outputs)
        return result

    def _count(
        self, func: Any, args: Any, kwargs: Any, result: Any, inputs: list[Tensor], outputs: list[Tensor]
    ) -> None:
        cost = self.cost
        cost.kernels += 1
        cost.operators[str(func)] += 1
        cost.bytes += sum(tensor.nbytes for tensor in {id(t): t for t in [*inputs, *outputs]}.values())
        if func is aten._to_copy.default and inputs and _key(inputs[0]) in self._weights:
            cost.weight_casts += 1
        count: Callable[..., int] | None = flop_registry.get(func.overloadpacket)
        if count is not None:
            cost.flops += count(*args, **kwargs, out_val=result)
        for tensor in outputs:
            self._keep(tensor)
        cost.live_bytes = max(cost.live_bytes, self._live())

    def _keep(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._alive.setdefault(_key(tensor), (StorageWeakRef(storage), storage.nbytes()))

    def _live(self) -> int:
        for key in [key for key, (reference, _) in self._alive.items() if reference.expired()]:
            del self._alive[key]
        return sum(size for _, size in self._alive.values())


class Report:
    """Costs by step, and what could not run."""

    def __init__(self) -> None:
        self.steps: dict[str, Cost] = {}
        self.mismatches: list[str] = []

    def measure(self, name: str, modules: list[nn.Module], step: Callable[[], Any]) -> Any:
        """Run a step and note its cost; an error is a mismatch."""
        try:
            with torch.no_grad(), CostCounter(modules) as counter:
                result = step()
        except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
            where = traceback.extract_tb(error.__traceback__)
            ours = [f"{Path(f.filename).name}:{f.lineno}" for f in where if "/pipeline/" in f.filename]
            self.mismatches.append(f"{name}: {' '.join(str(error).split())} ({' < '.join(reversed(ours[-4:]))})")
            return None
        self.steps[name] = counter.cost
        return result


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _on_device(values: Iterable[Any]) -> list[Tensor]:
    return [value for value in values if isinstance(value, Tensor) and value.device.type == "cuda"]


def weights_of(module: nn.Module) -> int:
    """Bytes of a module's parameters."""
    return sum(p.numel() * torch.finfo(p.dtype).bits // 8 for p in module.parameters())
