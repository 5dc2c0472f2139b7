"""InternLM2's dynamic NTK rope is the default one up to the trained length, and computed as such."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaForCausalLM

from pipeline.model.families.internvl import _internlm2_as_llama

VALUES = {
    "model_type": "internlm2",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
    "rms_norm_eps": 1e-5,
    "rope_theta": 1000000,
    "rope_scaling": {"type": "dynamic", "factor": 3.0},
}


class HostReads(TorchDispatchMode):
    """Counts how often a value of a tensor is read by Python, for which it would wait for a GPU."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def run(model: LlamaForCausalLM) -> tuple[torch.Tensor, int]:
    ids = torch.arange(96)[None] % 64
    with torch.no_grad(), HostReads() as reads:
        return model.model(input_ids=ids, position_ids=torch.arange(96)[None]).last_hidden_state, reads.count


def test_numbers_are_those_of_the_dynamic_rope_and_nothing_is_read_back() -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(_internlm2_as_llama(VALUES)).eval()
    config = _internlm2_as_llama(VALUES)
    config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 1e6, "factor": 3.0}
    dynamic = LlamaForCausalLM(config).eval()
    dynamic.load_state_dict(model.state_dict())
    (found, reads), (expected, reads_of_dynamic) = run(model), run(dynamic)
    assert torch.equal(found, expected)
    assert reads < reads_of_dynamic
    assert reads == 0


def test_other_scaling_is_kept() -> None:
    config = _internlm2_as_llama(VALUES | {"rope_scaling": {"type": "linear", "factor": 2.0}})
    assert config.rope_parameters["rope_type"] == "linear"
    assert config.rope_parameters["factor"] == 2.0
