"""Sa2VA on InternVL2.5 and InternVL3: InternViT, and Qwen2 or InternLM2 as the language model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.model.config import GroundingConfig
from pipeline.model.exact_resize import resized_frame
from pipeline.model.families import internvl_names
from pipeline.model.families.base import ModelConfig, ModelFamily, Pictures
from pipeline.model.families.internvl_prompt import TEMPLATES, InternVLPrompts
from pipeline.model.families.internvl_tiles import image_tiles
from pipeline.model.families.mapping import TensorMapping
from pipeline.model.tokenizer import ByteLevelTokenizer, SentencePieceTokenizer, Tokenizer, open_tokenizer
from pipeline.video.frames import FrameSource

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedModel

    from pipeline.model.families.internvl_vision import InternVLTower

IMAGE_TOKEN = "<IMG_CONTEXT>"  # noqa: S105 - a word of the vocabulary
CONTROL_TOKENS = ("<img>", "</img>", IMAGE_TOKEN, "[SEG]")
LANGUAGE_MODELS = ("qwen2", "internlm2")
_NOT_ARCHITECTURE = frozenset(
    {
        *("attn_implementation", "architectures", "torch_dtype", "transformers_version", "torchscript"),
        *("use_cache", "return_dict", "output_attentions", "output_hidden_states"),
    }
)
"""Entries of a published ``llm_config`` that say how some program ran the model, not what it computes."""


@dataclass(frozen=True, kw_only=True)
class InternVLConfig(ModelConfig):
    """What an InternVL checkpoint says beside the common parts."""

    template: str
    """Name of the chat template, with underscores."""
    select_layer: int = -1
    pixel_shuffle_version: str = "v2"
    downsample_ratio: float = 0.5
    min_tiles: int = 1
    max_tiles: int = 12
    use_thumbnail: bool = True

    @property
    def image_size(self) -> int:
        """Side in pixels of the square tiles that the tower sees (448 as published)."""
        return int(self.vision["image_size"])

    @property
    def tokens_per_tile(self) -> int:
        """Image tokens of one keyframe or tile (256 as published)."""
        return int(self.image_size // self.vision["patch_size"] * self.downsample_ratio) ** 2


class InternVL(ModelFamily):
    """InternVL2.5 (the first Sa2VA release and Sa2VA-i) and InternVL3."""

    name = "InternVL2.5 and InternVL3"
    no_split_classes = ("InternVLVisionEmbeddings", "InternVLVisionLayer", "Qwen2DecoderLayer", "LlamaDecoderLayer")

    def recognises(self, values: Mapping[str, Any]) -> bool:
        """See :class:`ModelFamily`."""
        return values.get("architectures") == ["Sa2VAChatModel"]

    def read_config(self, values: Mapping[str, Any], origin: str) -> InternVLConfig:
        """See :class:`ModelFamily`."""
        missing = [k for k in ("vision_config", "llm_config", "template") if k not in values]
        if missing:
            raise CheckpointError(f"{origin}: {', '.join(missing)} missing")
        language = values["llm_config"].get("model_type")
        if language not in LANGUAGE_MODELS:
            raise CheckpointError(
                f"{origin}: language model {language!r} is not supported (supported: {', '.join(LANGUAGE_MODELS)})"
            )
        shuffle = values.get("ps_version", "v2")
        if shuffle not in ("v1", "v2"):
            raise CheckpointError(f"{origin}: ps_version {shuffle!r} is not known (v1 or v2)")
        template = str(values["template"]).replace("-", "_")
        if template not in TEMPLATES:
            known = ", ".join(sorted(TEMPLATES))
            raise CheckpointError(f"{origin}: chat template {template!r} is not known (known: {known})")
        return InternVLConfig(
            family=self,
            vision=values["vision_config"],
            language=values["llm_config"],
            template=template,
            select_layer=values.get("select_layer", -1),
            pixel_shuffle_version=shuffle,
            downsample_ratio=values.get("downsample_ratio", 0.5),
            min_tiles=values.get("min_dynamic_patch", 1),
            max_tiles=values.get("max_dynamic_patch", 12),
            use_thumbnail=values.get("use_thumbnail", True),
            grounding=GroundingConfig.from_dict(values.get("grounding_config") or {}),
        )

    def build_tower(self, config: InternVLConfig) -> "InternVLTower":
        """See :class:`ModelFamily`."""
        from pipeline.model.families.internvl_vision import InternVLTower

        return InternVLTower(config)

    def build_language_model(self, config: InternVLConfig) -> "PreTrainedModel":
        """See :class:`ModelFamily`."""
        from transformers import LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

        values = config.language
        if values["model_type"] == "internlm2":
            return _with_sdpa(LlamaForCausalLM, _internlm2_as_llama(values))
        own = {k: v for k, v in values.items() if k not in _NOT_ARCHITECTURE}
        return _with_sdpa(Qwen2ForCausalLM, Qwen2Config(**own))

    def load_tokenizer(self, directory: Path, config: InternVLConfig) -> Tokenizer:
        """See :class:`ModelFamily`."""
        is_internlm2 = config.language["model_type"] == "internlm2"
        kind = SentencePieceTokenizer if is_internlm2 else ByteLevelTokenizer
        return open_tokenizer(kind, directory, CONTROL_TOKENS, IMAGE_TOKEN)

    def prompt_builder(
        self, directory: Path, config: InternVLConfig, tokenizer: Tokenizer, prompt_text: str
    ) -> InternVLPrompts:
        """See :class:`ModelFamily`."""
        return InternVLPrompts(TEMPLATES[config.template], tokenizer, prompt_text)

    def map_tensor(self, key: str, config: InternVLConfig) -> TensorMapping | None:
        """See :class:`ModelFamily`."""
        return internvl_names.map_tensor(key, config.language)

    def published_name(self, name: str, config: InternVLConfig) -> str:
        """See :class:`ModelFamily`."""
        return internvl_names.published_name(name, config.language)

    def read_pictures(
        self,
        source: FrameSource,
        keyframes: Sequence[int],
        config: InternVLConfig,
        *,
        resize_on: torch.device | None = None,
    ) -> Pictures:
        """See :class:`ModelFamily`: one square tile a keyframe; an image is cut into tiles, all in one image block."""
        side = config.image_size
        if source.is_image:
            tiles = image_tiles(next(source.read([0])), config, resize_on=resize_on)
            return tile_pictures(tiles, config, one_image=True)
        if resize_on is None:  # in the decoder's process
            return tile_pictures(np.stack(list(source.read(keyframes, side=side))), config)
        frames = source.read(keyframes)
        return tile_pictures(
            torch.stack([resized_frame(frame, width=side, height=side, on=resize_on) for frame in frames]), config
        )


def tile_pictures(tiles: np.ndarray | Tensor, config: InternVLConfig, *, one_image: bool = False) -> Pictures:
    """Tiles uint8 ``[N, S, S, 3]`` as pictures: of one image, or one keyframe each."""
    blocks = [len(tiles)] if one_image else [1] * len(tiles)
    return Pictures(pixels=torch.as_tensor(tiles), tokens=tuple(config.tokens_per_tile * count for count in blocks))


def _with_sdpa(model_class: "type[PreTrainedModel]", config: Any) -> "PreTrainedModel":  # noqa: ANN401
    config._attn_implementation = "sdpa"
    return model_class(config)


def _internlm2_as_llama(values: Mapping[str, Any]) -> "LlamaConfig":
    """InternLM2 is Llama with fused projections (see ``internvl_names``).

    Its dynamic NTK rope rescales beyond ``max_position_embeddings`` alone, and longer prompts are refused. Up to there
    it equals the default rope, which does not read the length back from the GPU in every pass.
    """
    from transformers import LlamaConfig

    scaling = values.get("rope_scaling") or {"type": "default"}
    kind = scaling.get("type", scaling.get("rope_type"))
    rope = {"rope_type": "default", "rope_theta": float(values["rope_theta"])}
    if kind not in ("default", "dynamic"):
        rope |= {"rope_type": kind, "factor": float(scaling["factor"])}
    return LlamaConfig(
        vocab_size=values["vocab_size"],
        hidden_size=values["hidden_size"],
        intermediate_size=values["intermediate_size"],
        num_hidden_layers=values["num_hidden_layers"],
        num_attention_heads=values["num_attention_heads"],
        num_key_value_heads=values.get("num_key_value_heads", values["num_attention_heads"]),
        hidden_act=values.get("hidden_act", "silu"),
        max_position_embeddings=values["max_position_embeddings"],
        rms_norm_eps=values["rms_norm_eps"],
        attention_bias=values.get("bias", False),
        mlp_bias=False,
        tie_word_embeddings=values.get("tie_word_embeddings", False),
        rope_parameters=rope,
        bos_token_id=values.get("bos_token_id", 1),
        eos_token_id=values.get("eos_token_id", 2),
        pad_token_id=values.get("pad_token_id", 2),
    )
