"""A fake CUDA device: real shapes, types and autocast rules of PyTorch, no arithmetic and no GPU.

Tensors are PyTorch's ``FakeTensor``. A build of PyTorch without CUDA refuses some operations on them only because it
has no guard for the device; those are expressed through other operators with the same cost.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)
FREE_BYTES = 70 * 10**9


def _lower_precision(*tensors: Tensor) -> list[Tensor]:
    """As autocast does before an operator of its lower-precision list."""
    if not torch.is_autocast_enabled("cuda"):
        return list(tensors)
    return [tensor.to(torch.get_autocast_dtype("cuda")) for tensor in tensors]


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *args: Any, **kw: Any
) -> Any:
    """One fused kernel, as on a GPU; with a mask it is the memory-efficient one."""
    query, key, value = _lower_precision(query, key, value)
    if kw.get("enable_gqa") or key.shape[1] != query.shape[1]:
        groups = query.shape[1] // key.shape[1]
        key, value = (aten.unsqueeze(t, 2).expand(-1, -1, groups, -1, -1).flatten(1, 2) for t in (key, value))
    if attn_mask is None and query.dtype != torch.float32:
        return aten._scaled_dot_product_flash_attention(query, key, value, 0.0, bool(kw.get("is_causal")))[0]
    return aten._scaled_dot_product_efficient_attention(query, key, value, None, False)[0]


_rows_of_masks = [0]


@contextmanager
def rows_of_masks(count: int) -> Iterator[None]:
    """Inside, a boolean mask that something is indexed with is taken to choose so many rows."""
    _rows_of_masks.append(count)
    try:
        yield
    finally:
        _rows_of_masks.pop()


def _index(tensor: Tensor, key: Any) -> Any:
    """Indexing through ``aten.index``, after the slices, integers and new axes in it."""
    parts = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in [part for part in parts if not isinstance(part, Tensor | list)]:
        at = next(i for i, part in enumerate(parts) if part is Ellipsis)
        used = sum(1 for part in parts if part is not None and part is not Ellipsis)
        parts[at : at + 1] = [slice(None)] * (tensor.ndim - used)
    advanced: dict[int, Tensor] = {}
    axis = 0
    for part in parts:
        if isinstance(part, Tensor) and part.dtype == torch.bool:
            rows = torch.empty(_rows_of_masks[-1], dtype=torch.int64, device=tensor.device)
            tensor = aten.flatten(tensor, axis, axis + part.ndim - 1)
            advanced[axis] = rows
        elif part is None:
            tensor = aten.unsqueeze(tensor, axis)
        elif isinstance(part, bool | Tensor | list | range):
            advanced[axis] = part if isinstance(part, Tensor) else _to(torch.tensor(list(part)), tensor.device)
        elif isinstance(part, int):
            tensor = aten.select(tensor, axis, part)
            continue
        elif part != slice(None):
            tensor = aten.slice(tensor, axis, part.start, part.stop, part.step or 1)
        axis += 1
    if not advanced:
        return aten.alias(tensor)
    return aten.index(tensor, [advanced.get(i) for i in range(max(advanced) + 1)])


def _set(tensor: Tensor, key: Any, values: Any) -> None:
    """Writing at the places of a boolean mask, or through slices and integers."""
    parts = key if isinstance(key, tuple) else (key,)
    masks = [part for part in parts if isinstance(part, Tensor | list)]
    if not masks:
        aten.copy_(_index(tensor, key), values)
    elif len(masks) == 1 and isinstance(masks[0], Tensor) and parts[0] is masks[0] and masks[0].dtype == torch.bool:
        aten.index_put_(tensor, masks, values)
    else:
        raise NotImplementedError(f"writing at {key} on a fake device")


def _to(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    device, dtype = kwargs.get("device"), kwargs.get("dtype")
    for arg in args:
        if isinstance(arg, torch.dtype):
            dtype = arg
        elif isinstance(arg, torch.device | str):
            device = torch.device(arg)
        elif isinstance(arg, Tensor):
            device, dtype = arg.device, arg.dtype
    device = tensor.device if device is None else torch.device(device)
    device = CUDA if device.type == "cuda" and device.index is None else device
    dtype = dtype or tensor.dtype
    if device == tensor.device and dtype == tensor.dtype:
        return tensor
    if getattr(tensor, "constant", None) is not None:
        tensor.constant = None  # else PyTorch would copy the real value too
    return aten._to_copy(tensor, device=device, dtype=dtype)


def _tensor(data: Any, **kwargs: Any) -> Tensor:
    device = kwargs.pop("device", None)
    made = torch.tensor(data, **kwargs)
    return made if device is None else _to(made, device)


def _zeros(tensor: Tensor) -> Any:
    """``tolist`` and ``item`` of values that do not exist."""
    if tensor.ndim == 0:
        return False if tensor.dtype == torch.bool else 0
    return [_zeros(tensor.new_empty(tensor.shape[1:])) if tensor.ndim > 1 else 0 for _ in range(tensor.shape[0])]


def _where(condition: Tensor, *values: Any) -> Tensor:
    tensors = [value for value in values if isinstance(value, Tensor)]
    full = [
        v if isinstance(v, Tensor) else aten.full([], v, dtype=tensors[0].dtype, device=tensors[0].device)
        for v in values
    ]
    return aten.where(condition, *full)


class _NoGuard(TorchFunctionMode):
    """Re-expresses what a CPU build has no device guard for."""

    substitutes: Mapping[Any, Callable[..., Any]] = {
        nn.functional.scaled_dot_product_attention: _attention,
        Tensor.__getitem__: _index,
        Tensor.__setitem__: _set,
        Tensor.to: _to,
        Tensor.cpu: lambda tensor: _to(tensor, "cpu"),
        Tensor.float: lambda tensor: _to(tensor, torch.float32),
        Tensor.pin_memory: lambda tensor: tensor,
        Tensor.tolist: _zeros,
        Tensor.item: lambda tensor: 0,
        Tensor.__int__: lambda tensor: 0,
        Tensor.__bool__: lambda tensor: False,
        torch.tensor: _tensor,
        torch.empty_strided: lambda size, stride, **kw: torch.empty(size, **kw),
        torch.where: _where,
        Tensor.contiguous: lambda t, **kw: (
            t if t.is_contiguous() else aten.clone(t, memory_format=torch.contiguous_format)
        ),
    }

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        substitute = self.substitutes.get(func)
        if substitute is None:
            return func(*args, **(kwargs or {}))
        return substitute(*args, **(kwargs or {}))


class _NoGradInstead:
    """In place of inference mode, in which composite operators and autocast's casts would not be seen."""

    def __init__(self, mode: bool) -> None:
        self._no_grad = torch.no_grad() if mode else torch.enable_grad()

    def __enter__(self) -> None:
        self._no_grad.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._no_grad.__exit__(*error)


@contextmanager
def fake_cuda() -> Iterator[FakeTensorMode]:
    """Inside, ``cuda`` is a device on which nothing is computed."""
    patches: dict[str, Any] = {
        "torch.cuda.is_available": lambda: True,
        "torch.cuda.is_bf16_supported": lambda *_, **__: True,
        "torch.cuda._lazy_init": lambda: None,
        "torch.cuda.amp.common.amp_definitely_not_available": lambda: False,
        "torch.cuda.mem_get_info": lambda *_: (FREE_BYTES, 80 * 10**9),
        "torch.cuda.memory_reserved": lambda *_: 0,
        "torch.cuda.memory_allocated": lambda *_: 0,
        "torch.cuda.empty_cache": lambda: None,
        "torch._C._InferenceMode": _NoGradInstead,
    }
    with ExitStack() as stack:
        for name, value in patches.items():
            stack.enter_context(mock.patch(name, value))
        fake = stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(_NoGuard())
        yield fake


def put_on_cuda(
    module: nn.Module, dtype: torch.dtype, device_of: Callable[[str], torch.device] = lambda _: CUDA
) -> None:
    """Give every parameter and buffer of a module fake storage on its device; call it inside :func:`fake_cuda`.

    Args:
        module: Its tensors may be without storage.
        dtype: Of the parameters.
        device_of: Names the device of each parameter and buffer, by its full name.
    """
    for path, part in module.named_modules():
        prefix = f"{path}." if path else ""
        for name, parameter in part._parameters.items():
            if parameter is not None:
                fake = torch.empty(parameter.shape, dtype=dtype, device=device_of(prefix + name))
                part._parameters[name] = nn.Parameter(fake, requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=device_of(prefix + name))
