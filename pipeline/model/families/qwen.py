"""Sa2VA on Qwen3-VL and Qwen2.5-VL."""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pipeline.errors import CheckpointError
from pipeline.model.config import GroundingConfig
from pipeline.model.families.base import ImageTokens, ModelConfig, ModelFamily, Pictures
from pipeline.model.families.mapping import TensorMapping, rename, renamed_back
from pipeline.model.families.qwen_pixels import patches_of
from pipeline.model.families.qwen_prompt import IMAGE_TOKEN, QwenPrompts
from pipeline.model.tokenizer import SEG_TOKEN, ByteLevelTokenizer, Tokenizer, open_tokenizer
from pipeline.video.frames import FrameSource

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from pipeline.model.families.qwen_modules import QwenTower

CONTROL_TOKENS = ("<|vision_start|>", "<|vision_end|>", IMAGE_TOKEN, SEG_TOKEN)
PREPROCESSOR_FILE = "preprocessor_config.json"
_PATCHES = {
    "patch_size": "patch_size",
    "spatial_merge_size": "merge_size",
    "temporal_patch_size": "temporal_patch_size",
}
"""Sizes by their names in ``vision_config`` and in preprocessor_config.json."""
# (published, ours)
_NAMES = (
    ("model.model.visual.", "tower.visual."),
    ("model.model.language_model.", "language_model.model."),
    ("model.lm_head.", "language_model.lm_head."),
)
_NOT_ARCHITECTURE = frozenset(
    {
        *("attn_implementation", "architectures", "dtype", "torch_dtype", "transformers_version", "torchscript"),
        *("use_cache", "return_dict", "output_attentions", "output_hidden_states", "model_type"),
    }
)
"""What a published part says of the program that ran it, not of what it computes."""


@dataclass(frozen=True, kw_only=True)
class QwenConfig(ModelConfig):
    """What a Qwen-VL checkpoint says beside the common parts."""

    image_token_id: int
    stop_ids: tuple[int, ...]
    """Tokens that end a reply."""
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]
    rescale_factor: float = 1 / 255

    @property
    def merge(self) -> int:
        """Patches along one side of an image token."""
        return int(self.vision["spatial_merge_size"])


class QwenVL(ModelFamily):
    """What both Qwen-VL families share."""

    text_type: str
    """``text_config.model_type`` of its checkpoints."""
    pixel_mean: tuple[float, ...]
    pixel_std: tuple[float, ...]

    @abstractmethod
    def build_parts(self, text: dict[str, Any], vision: dict[str, Any]) -> tuple[type, Any, type, Any]:
        """Class and configuration of the decoder, and of the tower."""

    def recognises(self, values: Mapping[str, Any]) -> bool:
        """See :class:`ModelFamily`."""
        text = values.get("text_config")
        ours = isinstance(text, dict) and text.get("model_type") == self.text_type
        # the one with another segmenter has the same language side and a name of its own
        return ours and values.get("architectures") == ["Sa2VAChatModelQwen"] and "sam3" not in str(values).lower()

    def read_config(self, values: Mapping[str, Any], origin: str) -> QwenConfig:
        """See :class:`ModelFamily`."""
        missing = [k for k in ("vision_config", "text_config", "image_token_id") if k not in values]
        if not missing:
            vision = values["vision_config"]
            missing = [f"vision_config.{k}" for k in _PATCHES if not isinstance(vision, dict) or k not in vision]
        if missing:
            raise CheckpointError(f"{origin}: {', '.join(missing)} missing")
        stop = values.get("eos_token_id")
        if stop is None:
            stop = values["text_config"].get("eos_token_id")
        if stop is None or stop == []:
            raise CheckpointError(f"{origin}: eos_token_id missing, which ends a reply")
        return QwenConfig(
            family=self,
            vision=values["vision_config"],
            language=values["text_config"],
            image_token_id=int(values["image_token_id"]),
            stop_ids=tuple(stop) if isinstance(stop, list) else (int(stop),),
            pixel_mean=self.pixel_mean,
            pixel_std=self.pixel_std,
            grounding=GroundingConfig.from_dict(values.get("grounding_config") or {}),
        )

    def read_files(self, directory: Path, config: QwenConfig) -> QwenConfig:
        """See :class:`ModelFamily`: colours are normalised as preprocessor_config.json says."""
        path = directory / PREPROCESSOR_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            sizes = {name: int(values[other]) for name, other in _PATCHES.items()}
            mean, std = (tuple(map(float, values[name])) for name in ("image_mean", "image_std"))
            rescale = float(values["rescale_factor"])
        except FileNotFoundError as error:
            raise CheckpointError(f"{path}: missing; it says how frames are normalised") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error!r})") from error
        tower = {name: int(config.vision[name]) for name in _PATCHES}
        if sizes != tower:
            raise CheckpointError(f"{path}: {sizes} is not what config.json says of the tower ({tower})")
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or rescale <= 0:
            raise CheckpointError(f"{path}: image_mean, image_std and rescale_factor do not describe RGB frames")
        return replace(config, pixel_mean=mean, pixel_std=std, rescale_factor=rescale)

    def build_tower(self, config: QwenConfig) -> "QwenTower":
        """See :class:`ModelFamily`."""
        from pipeline.model.families.qwen_modules import QwenTower

        _, _, tower, settings = self._parts(config)
        return QwenTower(
            tower(settings),
            merge=config.merge,
            temporal=int(config.vision["temporal_patch_size"]),
            mean=config.pixel_mean,
            std=config.pixel_std,
            rescale=config.rescale_factor,
        )

    def build_language_model(self, config: QwenConfig) -> "PreTrainedModel":
        """See :class:`ModelFamily`."""
        from pipeline.model.families.qwen_modules import LanguageModel

        decoder, settings, _, _ = self._parts(config)
        return LanguageModel(decoder(settings), settings)

    def _parts(self, config: QwenConfig) -> "tuple[type, PreTrainedConfig, type, PreTrainedConfig]":
        text, vision = (
            {key: value for key, value in part.items() if key not in _NOT_ARCHITECTURE}
            for part in (config.language, config.vision)
        )
        decoder, text_config, tower, vision_config = self.build_parts(text, vision)
        for settings in (text_config, vision_config):
            settings._attn_implementation = "sdpa"
        return decoder, text_config, tower, vision_config

    def load_tokenizer(self, directory: Path, config: QwenConfig) -> Tokenizer:
        """See :class:`ModelFamily`."""
        tokenizer = open_tokenizer(ByteLevelTokenizer, directory, CONTROL_TOKENS, IMAGE_TOKEN)
        if tokenizer.image_id != config.image_token_id:
            raise CheckpointError(
                f"{directory}: {IMAGE_TOKEN} is token {tokenizer.image_id} of the tokenizer, but image_token_id of "
                f"config.json is {config.image_token_id}"
            )
        return tokenizer

    def prompt_builder(
        self, directory: Path, config: QwenConfig, tokenizer: Tokenizer, prompt_text: str
    ) -> QwenPrompts:
        """See :class:`ModelFamily`."""
        return QwenPrompts(directory, tokenizer, prompt_text, config.stop_ids)

    def map_tensor(self, key: str, config: QwenConfig) -> TensorMapping | None:
        """See :class:`ModelFamily`: whole groups of names move."""
        known = any(key.startswith(published) for published, _ in _NAMES)
        return TensorMapping((rename(key, _NAMES),)) if known else None

    def published_name(self, name: str, config: QwenConfig) -> str:
        """See :class:`ModelFamily`."""
        return renamed_back(name, _NAMES)

    def read_pictures(
        self,
        source: FrameSource,
        keyframes: Sequence[int],
        config: QwenConfig,
        *,
        resize_on: torch.device | None = None,
    ) -> Pictures:
        """See :class:`ModelFamily`: every keyframe is an image of its own, and so is an image."""
        frames = source.read([0] if source.is_image else keyframes)
        pixels, grids = patches_of(frames, int(config.vision["patch_size"]), config.merge, resize_on=resize_on)
        return Pictures(pixels=pixels, tokens=tuple(rows * columns for rows, columns in grids), grids=tuple(grids))

    def prefix_positions(self, ids: Sequence[int], images: ImageTokens, image_id: int) -> Tensor:
        """See :class:`ModelFamily`: three streams, time, row and column.

        All advance together over text. Inside an image that begins at ``p``, time stays at ``p``, row and column count
        from ``p``; what follows goes on behind the largest of the three.
        """
        assert images.grids is not None
        grids = iter(images.grids)
        parts: list[Tensor] = []
        at, following = 0, 0
        while at < len(ids):
            if ids[at] == image_id:
                rows, columns = next(grids)
                row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
                part = torch.stack([torch.zeros_like(row), row, column]).flatten(1)
                step = max(rows, columns)
            else:
                part, step = torch.zeros(3, 1, dtype=torch.long), 1
            parts.append(part + following)
            at, following = at + part.shape[1], following + step
        return torch.cat(parts, 1)

    def prefill_inputs(self, images: ImageTokens, at_image: Tensor) -> dict[str, Any]:
        """See :class:`ModelFamily`."""
        if not images.deepstack:
            return {}
        return {"visual_pos_masks": at_image, "deepstack_visual_embeds": list(images.deepstack)}


class Qwen3VL(QwenVL):
    """Sa2VA-Qwen3-VL; ``[SEG]`` is read before the final norm."""

    name = "Qwen3-VL"
    text_type = "qwen3_vl_text"
    no_split_classes = ("Qwen3VLVisionModel", "Qwen3VLTextDecoderLayer")
    seg_state_is_normed = False
    pixel_mean = (0.5, 0.5, 0.5)
    pixel_std = (0.5, 0.5, 0.5)

    def build_parts(self, text: dict[str, Any], vision: dict[str, Any]) -> tuple[type, Any, type, Any]:
        """See :class:`QwenVL`."""
        from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig, Qwen3VLVisionConfig
        from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel, Qwen3VLVisionModel

        return Qwen3VLTextModel, Qwen3VLTextConfig(**text), Qwen3VLVisionModel, Qwen3VLVisionConfig(**vision)


class Qwen25VL(QwenVL):
    """Sa2VA-Qwen2.5-VL; ``[SEG]`` is read after the final norm."""

    name = "Qwen2.5-VL"
    text_type = "qwen2_5_vl_text"
    no_split_classes = ("Qwen2_5_VisionTransformerPretrainedModel", "Qwen2_5_VLDecoderLayer")
    pixel_mean = (0.48145466, 0.4578275, 0.40821073)
    pixel_std = (0.26862954, 0.26130258, 0.27577711)

    def build_parts(self, text: dict[str, Any], vision: dict[str, Any]) -> tuple[type, Any, type, Any]:
        """See :class:`QwenVL`."""
        from transformers.models.qwen2_5_vl import configuration_qwen2_5_vl as settings
        from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as networks

        tower = networks.Qwen2_5_VisionTransformerPretrainedModel
        text_config, vision_config = settings.Qwen2_5_VLTextConfig(**text), settings.Qwen2_5_VLVisionConfig(**vision)
        return networks.Qwen2_5_VLTextModel, text_config, tower, vision_config
