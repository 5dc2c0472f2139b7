"""Where each published parameter of an InternVL language side lives in our modules, and back."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.model.families.mapping import TensorMapping, rename, renamed_back

# (published, ours) inside InternViT
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
_LANGUAGE = "language_model."


def map_tensor(key: str, language: Mapping[str, Any]) -> TensorMapping | None:
    """Where a published tensor goes, by the ``llm_config``; ``None`` if it is not of the language side."""
    if key.startswith("mlp1."):
        return TensorMapping(("tower." + key,))
    if key.startswith("vision_model."):
        return _map_vision(key)
    if key.startswith(_LANGUAGE):
        return _map_internlm2(key, language) if language["model_type"] == "internlm2" else TensorMapping((key,))
    return None


def published_name(name: str, language: Mapping[str, Any]) -> str:
    """The published name of one of our parameters."""
    if name.startswith("tower."):
        plain = re.sub(r"\.attention\.[qkv]_proj\.", ".attention.qkv.", name.removeprefix("tower."))
        return plain if plain.startswith("mlp1.") else renamed_back(plain, _VISION)
    if name.startswith(_LANGUAGE) and language["model_type"] == "internlm2":
        plain = re.sub(r"\.self_attn\.[qkv]_proj\.", ".attention.wqkv.", name.removeprefix(_LANGUAGE))
        return _LANGUAGE + renamed_back(plain, _INTERNLM2)
    return name


def _map_vision(key: str) -> TensorMapping:
    name = rename(key, _VISION)
    if ".attention.qkv." not in name:
        return TensorMapping(("tower." + name,))
    targets = tuple("tower." + name.replace(".qkv.", f".{part}_proj.") for part in "qkv")
    return TensorMapping(targets, lambda fused: fused.chunk(3), lambda parts: torch.cat(list(parts)))


def _map_internlm2(key: str, language: Mapping[str, Any]) -> TensorMapping:
    name = key.removeprefix(_LANGUAGE)
    if ".attention.wqkv." not in name:
        return TensorMapping((_LANGUAGE + rename(name, _INTERNLM2),))
    targets = tuple(_LANGUAGE + name.replace(".attention.wqkv.", f".self_attn.{part}_proj.") for part in "qkv")
    heads, groups = int(language["num_attention_heads"]), int(language["num_key_value_heads"])
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

    return TensorMapping(targets, split, join)
