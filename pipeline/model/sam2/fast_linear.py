"""Linear layers through oneDNN, which on many CPUs multiplies float32 matrices faster than PyTorch's default.

PyTorch hands float32 products to MKL, whose fast paths are for Intel; on AMD's AVX-512 cores oneDNN is about twice as
fast. Results differ from the default's in summation order only. Everything falls back to PyTorch's own ``linear`` where
this does not apply: gradients, other devices and types, autocast, few rows.
"""

import platform

import torch
from sam2.modeling.sam2_utils import MLP
from torch import Tensor, nn
from torch.nn import functional

AVAILABLE = (
    torch.backends.mkldnn.is_available()
    and platform.machine().lower() in ("x86_64", "amd64")
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
FEWEST_ROWS = 32
"""Below this the default is as fast."""


def applies_to(tensor: Tensor) -> bool:
    """Whether products with ``tensor`` may go through oneDNN: float32 on a CPU, no gradients, autocast or compiler."""
    return (
        AVAILABLE
        and tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def product(rows: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    """``rows @ weight.T + bias``, then GELU if asked for, through oneDNN; check :func:`applies_to` first.

    Args:
        rows: float32 ``[..., in]``.
        weight: float32 ``[out, in]``.
        bias: float32 ``[out]``.
        gelu: Apply the exact GELU to the result, without another pass over memory.
    """
    if gelu:
        return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "gelu", [], "none")
    return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
    """As :func:`product` where that applies and pays, else PyTorch's own."""
    if rows.numel() >= FEWEST_ROWS * rows.shape[-1] and applies_to(rows) and weight.dtype == torch.float32:
        return product(rows, weight, bias, gelu=gelu)
    result = functional.linear(rows, weight, bias)
    return functional.gelu(result) if gelu else result


class FastLinear(nn.Linear):
    """A linear layer that computes through :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name nn.Linear gives it
        """As ``nn.Linear``."""
        return linear(input, self.weight, self.bias)


class FastGeluMLP(nn.Module):
    """Two linear layers with the exact GELU between them, as the image encoder's blocks have; names as in ``sam2``."""

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, rows: Tensor) -> Tensor:
        """``[..., in]`` to ``[..., out]``."""
        first, second = self.layers
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        return linear(linear(rows, first.weight, first.bias, gelu=True), second.weight, second.bias)


def use_fast_linear(module: nn.Module) -> None:
    """Make every linear layer under ``module`` a :class:`FastLinear`, with the same parameters under the same names."""
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            fast = FastLinear(child.in_features, child.out_features, bias=child.bias is not None, device="meta")
            fast.weight, fast.bias = child.weight, child.bias
            fast.train(child.training)
            setattr(module, name, fast)
        elif (layers := _gelu_mlp_layers(child)) is not None:
            setattr(module, name, FastGeluMLP(layers).train(child.training))
        else:
            use_fast_linear(child)


def _gelu_mlp_layers(module: nn.Module) -> nn.ModuleList | None:
    """The two layers of a ``sam2`` MLP with exact GELU between them; none of anything else."""
    if not isinstance(module, MLP) or not isinstance(module.act, nn.GELU) or module.act.approximate != "none":
        return None
    return module.layers if len(module.layers) == 2 and not module.sigmoid_output else None
