"""Products through oneDNN are those of PyTorch, wherever they may be used."""

import pytest
import torch
from sam2.modeling.sam2_utils import MLP
from torch import nn
from torch.nn import functional

from pipeline.model.sam2.fast_linear import FastLinear, linear, use_fast_linear


@pytest.mark.parametrize(
    ("shape", "out", "has_bias", "gelu"),
    [
        ((64, 48), 32, True, False),  # plain
        ((2, 5, 7, 48), 33, True, True),  # many dimensions, odd widths, GELU
        ((40, 2304), 576, False, False),  # long sums, no bias
        ((3, 48), 32, True, True),  # too few rows to be worth it
    ],
)
def test_equals_pytorch(shape: tuple[int, ...], out: int, has_bias: bool, gelu: bool) -> None:
    torch.manual_seed(0)
    rows, weight = torch.randn(shape), torch.randn(out, shape[-1])
    bias = torch.randn(out) if has_bias else None
    expected = functional.linear(rows.double(), weight.double(), None if bias is None else bias.double())
    if gelu:
        expected = functional.gelu(expected)
    with torch.inference_mode():
        found = linear(rows, weight, bias, gelu=gelu)
    torch.testing.assert_close(found.double(), expected, atol=3e-6 * shape[-1] ** 0.5, rtol=1e-6)


def test_rows_that_are_not_contiguous() -> None:
    rows, weight = torch.randn(3, 64, 50)[:, :, ::2], torch.randn(16, 25)
    with torch.inference_mode():
        torch.testing.assert_close(linear(rows, weight), functional.linear(rows, weight))


def test_a_changed_module_keeps_names_results_and_gradients() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), MLP(16, 64, 16, 2, activation=nn.GELU), MLP(16, 64, 16, 3))
    rows = torch.randn(100, 8)
    names, expected = list(module.state_dict()), module(rows)
    use_fast_linear(module)
    assert list(module.state_dict()) == names
    assert isinstance(module[0], FastLinear)
    with torch.inference_mode():
        torch.testing.assert_close(module(rows), expected)
    module(rows).sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_bfloat16_autocast_is_left_alone() -> None:
    module = nn.Sequential(nn.Linear(16, 16))
    use_fast_linear(module)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert module(torch.randn(64, 16)).dtype == torch.bfloat16
