"""Dimensions of SAM 2 in a checkpoint, which all model families share."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pipeline.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class GroundingConfig:
    """Dimensions of SAM 2; the defaults are the published Hiera-L at 1024 x 1024.

    A checkpoint of another size says so under ``grounding_config`` in its config.json, with these names.
    """

    image_size: int = 1024
    """Side in pixels of the square image SAM 2 sees; a multiple of 32."""
    trunk_embed_dim: int = 144
    trunk_num_heads: int = 2
    trunk_stages: tuple[int, ...] = (2, 6, 36, 4)
    trunk_global_attention_blocks: tuple[int, ...] = (23, 33, 43)
    trunk_window_spec: tuple[int, ...] = (8, 4, 16, 8)
    trunk_position_background_size: tuple[int, int] = (7, 7)
    d_model: int = 256
    memory_dim: int = 64
    memory_attention_layers: int = 4
    memory_attention_feedforward: int = 2048

    def __post_init__(self) -> None:
        if self.image_size % 32:
            raise CheckpointError(f"grounding_config.image_size is {self.image_size}; it must be a multiple of 32")
        if self.d_model % self.memory_dim:
            raise CheckpointError(
                f"grounding_config.d_model ({self.d_model}) must be a multiple of memory_dim ({self.memory_dim})"
            )

    @property
    def stride(self) -> int:
        """Pixels per cell of the feature map that memory works on."""
        return 16

    @property
    def feature_size(self) -> int:
        """Side of that feature map (64 as published)."""
        return self.image_size // self.stride

    @property
    def mask_size(self) -> int:
        """Side of the low-resolution mask logits (256 as published)."""
        return self.image_size // 4

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "GroundingConfig":
        """Read the optional ``grounding_config`` of a config.json; unknown names are refused."""
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise CheckpointError(f"grounding_config has unknown entries {unknown}; known are {sorted(known)}")
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**given)
