"""What a checkpoint's ``config.json`` says, checked and reduced to what inference needs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError

LANGUAGE_MODELS = {"qwen2": "Qwen2ForCausalLM", "internlm2": "InternLM2ForCausalLM"}


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


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The parts of ``config.json`` that decide what is computed."""

    vision: Mapping[str, Any]
    """``vision_config`` as published (InternViT)."""
    language: Mapping[str, Any]
    """``llm_config`` as published (Qwen2 or InternLM2)."""
    template: str
    """Name of the chat template, with underscores."""
    select_layer: int = -1
    pixel_shuffle_version: str = "v2"
    downsample_ratio: float = 0.5
    min_tiles: int = 1
    max_tiles: int = 12
    use_thumbnail: bool = True
    grounding: GroundingConfig = field(default_factory=GroundingConfig)

    @property
    def image_size(self) -> int:
        """Side in pixels of what the vision tower sees (448 as published)."""
        return int(self.vision["image_size"])

    @property
    def tokens_per_tile(self) -> int:
        """Image tokens of one keyframe or tile (256 as published)."""
        return int(self.image_size // self.vision["patch_size"] * self.downsample_ratio) ** 2

    @property
    def language_family(self) -> str:
        """``qwen2`` or ``internlm2``."""
        return str(self.language["model_type"])

    @classmethod
    def from_directory(cls, directory: Path) -> "ModelConfig":
        """Read ``directory/config.json``.

        Raises:
            CheckpointError: not a checkpoint directory, not a Sa2VA model, or a part this software does not know.
        """
        path = directory / "config.json"
        if not directory.is_dir():
            raise CheckpointError(f"{directory}: no such model directory")
        if not path.is_file():
            raise CheckpointError(f"{directory}: not a model directory (it has no config.json)")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
        return cls.from_dict(values, origin=str(path))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, origin: str = "config.json") -> "ModelConfig":
        """Check and reduce the contents of a config.json; ``origin`` names the file in messages."""
        architectures = values.get("architectures") if isinstance(values, dict) else None
        if architectures != ["Sa2VAChatModel"]:
            raise CheckpointError(
                f"{origin}: architectures is {architectures}, expected ['Sa2VAChatModel'] (Sa2VA or Sa2VA-i)"
            )
        missing = [k for k in ("vision_config", "llm_config", "template") if k not in values]
        if missing:
            raise CheckpointError(f"{origin}: {', '.join(missing)} missing")
        family = values["llm_config"].get("model_type")
        if family not in LANGUAGE_MODELS:
            raise CheckpointError(
                f"{origin}: language model {family!r} is not supported (supported: {', '.join(LANGUAGE_MODELS)})"
            )
        shuffle = values.get("ps_version", "v2")
        if shuffle not in ("v1", "v2"):
            raise CheckpointError(f"{origin}: ps_version {shuffle!r} is not known (v1 or v2)")
        return cls(
            vision=values["vision_config"],
            language=values["llm_config"],
            template=str(values["template"]).replace("-", "_"),
            select_layer=values.get("select_layer", -1),
            pixel_shuffle_version=shuffle,
            downsample_ratio=values.get("downsample_ratio", 0.5),
            min_tiles=values.get("min_dynamic_patch", 1),
            max_tiles=values.get("max_dynamic_patch", 12),
            use_thumbnail=values.get("use_thumbnail", True),
            grounding=GroundingConfig.from_dict(values.get("grounding_config") or {}),
        )
