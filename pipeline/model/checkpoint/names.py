"""Where each published parameter lives in our modules, and back.

A published name maps to one of our names, or (fused projections) to several together with the way to cut the tensor.
The table works in both directions, so what is loaded can also be written.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.model.config import ModelConfig

SAM2_PREFIX = "grounding_encoder.sam2_model."

# (published, ours) inside one encoder layer of InternViT
_VISION = (
    ("embeddings.class_embedding", "embeddings.cls_token"),
    ("embeddings.position_embedding", "embeddings.position_embeddings"),
    ("embeddings.patch_embedding.", "embeddings.patch_embeddings.projection."),
    ("encoder.layers.", "encoder.layer."),
    (".ls1", ".lambda_1"),
    (".ls2", ".lambda_2"),
    (".attn.proj.", ".attention.projection_layer."),
    (".attn.", ".attention."),
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
)
# InternLM2 -> Llama
_INTERNLM2 = (
    ("model.tok_embeddings.", "model.embed_tokens."),
    (".attention.wo.", ".self_attn.o_proj."),
    (".feed_forward.w1.", ".mlp.gate_proj."),
    (".feed_forward.w3.", ".mlp.up_proj."),
    (".feed_forward.w2.", ".mlp.down_proj."),
    (".attention_norm.", ".input_layernorm."),
    (".ffn_norm.", ".post_attention_layernorm."),
    ("output.", "lm_head."),
)


@dataclass(frozen=True)
class Placement:
    """Where a published tensor goes: ``split`` cuts it into one tensor per target, ``join`` undoes that."""

    targets: tuple[str, ...]
    split: Callable[[Tensor], Sequence[Tensor]] = lambda tensor: (tensor,)
    join: Callable[[Sequence[Tensor]], Tensor] = lambda parts: parts[0]


def place_in_grounder(key: str, config: ModelConfig) -> Placement | None:
    """Place a published name in :class:`~pipeline.model.grounder.Grounder`; ``None`` if it belongs elsewhere."""
    if key.startswith(("mlp1.", "text_hidden_fcs.")):
        return Placement((("tower." if key.startswith("mlp1.") else "") + key,))
    if key.startswith("vision_model."):
        return _place_vision(key)
    if key.startswith("language_model."):
        return _place_internlm2(key, config) if config.language_family == "internlm2" else Placement((key,))
    return None


def place_in_segmenter(key: str) -> Placement | None:
    """Place a published name in :class:`~pipeline.model.sam2.segmenter.Segmenter`; ``None`` if it belongs elsewhere."""
    if not key.startswith(SAM2_PREFIX):
        return None
    name = key.removeprefix(SAM2_PREFIX)
    if name.startswith("sam_mask_decoder_modified."):
        return Placement((name,))
    # the published file renames the layer scale of the memory fuser
    return Placement(("sam2." + name.replace(".g_weight", ".gamma"),))


def published_names(config: ModelConfig, grounder: Sequence[str], segmenter: Sequence[str]) -> dict[str, Placement]:
    """The inverse: every published name whose tensors are the given parameters of our two modules."""
    found: dict[str, Placement] = {}
    for name in grounder:
        key = _publish_grounder(name, config)
        placement = place_in_grounder(key, config)
        assert placement is not None
        found[key] = placement
    for name in segmenter:
        plain = name.removeprefix("sam2.")
        key = SAM2_PREFIX + re.sub(r"(fuser\.layers\.\d+\.)gamma$", r"\1g_weight", plain)
        placement = place_in_segmenter(key)
        assert placement is not None
        found[key] = placement
    return found


def _place_vision(key: str) -> Placement:
    name = _rename(key, _VISION)
    if ".attention.qkv." not in name:
        return Placement(("tower." + name,))
    targets = tuple("tower." + name.replace(".qkv.", f".{part}_proj.") for part in "qkv")
    return Placement(targets, lambda fused: fused.chunk(3), lambda parts: torch.cat(list(parts)))


def _place_internlm2(key: str, config: ModelConfig) -> Placement:
    prefix = "language_model."
    name = key.removeprefix(prefix)
    if ".attention.wqkv." not in name:
        return Placement((prefix + _rename(name, _INTERNLM2),))
    targets = tuple(prefix + name.replace(".attention.wqkv.", f".self_attn.{part}_proj.") for part in "qkv")
    heads, groups = int(config.language["num_attention_heads"]), int(config.language["num_key_value_heads"])
    per_group = heads // groups

    def split(fused: Tensor) -> Sequence[Tensor]:
        """Rows are grouped by key/value head: its query heads, its key, its value."""
        rows = fused.view(groups, per_group + 2, -1, *fused.shape[1:])
        parts = rows[:, :per_group], rows[:, per_group], rows[:, per_group + 1]
        return [part.reshape(-1, *fused.shape[1:]) for part in parts]

    def join(parts: Sequence[Tensor]) -> Tensor:
        width = parts[0].shape[0] // heads
        query = parts[0].view(groups, per_group, width, -1)
        key_value = [part.view(groups, 1, width, -1) for part in parts[1:]]
        return torch.cat([query, *key_value], dim=1).reshape(-1, *parts[0].shape[1:])

    return Placement(targets, split, join)


def _publish_grounder(name: str, config: ModelConfig) -> str:
    if name.startswith("tower."):
        plain = re.sub(r"\.attention\.[qkv]_proj\.", ".attention.qkv.", name.removeprefix("tower."))
        return plain if plain.startswith("mlp1.") else _rename(plain, [(ours, theirs) for theirs, ours in _VISION])
    if name.startswith("language_model.") and config.language_family == "internlm2":
        plain = re.sub(r"\.self_attn\.[qkv]_proj\.", ".attention.wqkv.", name.removeprefix("language_model."))
        return "language_model." + _rename(plain, [(ours, theirs) for theirs, ours in _INTERNLM2])
    return name


def _rename(name: str, table: Sequence[tuple[str, str]]) -> str:
    for old, new in table:
        name = name.replace(old, new)
    return name
