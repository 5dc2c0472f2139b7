"""InternVL's vision tower: InternViT and the projector, from pixels to image tokens of the language model."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import InternVLVisionConfig, InternVLVisionModel

from pipeline.errors import CheckpointError
from pipeline.model.families.base import ImageTokens, Pictures, Tower
from pipeline.model.pixels import normalisation_table, normalise_pixels

if TYPE_CHECKING:
    from pipeline.model.families.internvl import InternVLConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
TILES_PER_PASS = 16


class InternVLTower(Tower):
    """InternViT (300M or 6B flavour), pixel shuffle and projector.

    Attributes are named as the parameter groups of the published checkpoint, ``vision_model`` and ``mlp1``.
    """

    pixel_table: Tensor

    def __init__(self, config: "InternVLConfig") -> None:
        super().__init__()
        self.vision_model = InternVLVisionModel(_vision_config(config.vision))
        cells = round(1 / config.downsample_ratio) ** 2
        width, language_width = int(config.vision["hidden_size"]) * cells, config.hidden_size
        self.mlp1 = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, language_width), nn.GELU(), nn.Linear(language_width, language_width)
        )
        self.select_layer = config.select_layer
        self.pixel_shuffle_version = config.pixel_shuffle_version
        self.downsample_ratio = config.downsample_ratio
        table = normalisation_table(IMAGENET_MEAN, IMAGENET_STD)
        self.register_buffer("pixel_table", table, persistent=False)

    @torch.inference_mode()
    def look(self, pictures: Pictures) -> ImageTokens:
        """See :class:`Tower`; ``pictures.pixels`` are tiles, uint8 ``[N, S, S, 3]``."""
        device = next(self.parameters()).device
        batches = pictures.pixels.split(TILES_PER_PASS)
        tokens = torch.cat([self(self.normalise(batch.to(device))) for batch in batches])
        return ImageTokens(embeds=tokens.flatten(0, 1), tokens=pictures.tokens)

    def normalise(self, frames: Tensor) -> Tensor:
        """Tiles uint8 ``[N, S, S, 3]`` to float32 ``[N, 3, S, S]``: /255, then ImageNet mean and deviation."""
        return normalise_pixels(frames, self.pixel_table)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised tiles ``[N, 3, S, S]`` to image tokens ``[N, tokens_per_tile, language_width]``.

        The last encoder layer's output without a final norm, class token dropped.
        """
        dtype = next(self.mlp1.parameters()).dtype
        if self.select_layer == -1:
            hidden = self.vision_model(pixel_values=pixels.to(dtype)).last_hidden_state
        else:
            output = self.vision_model(pixel_values=pixels.to(dtype), output_hidden_states=True)
            hidden = output.hidden_states[self.select_layer]
        return self.mlp1(self._pixel_shuffle(hidden[:, 1:]))

    def _pixel_shuffle(self, tokens: Tensor) -> Tensor:
        """Fold each square of neighbouring tokens into the channels: ``[N, S*S, C]`` to ``[N, S*S/4, 4*C]``."""
        count, length, width = tokens.shape
        side, cell = round(length**0.5), round(1 / self.downsample_ratio)
        grid = tokens.view(count, side // cell, cell, side // cell, cell, width)
        folded = grid.permute(0, 1, 3, 2, 4, 5)
        if self.pixel_shuffle_version == "v1":  # the first release read the grid column by column
            folded = folded.transpose(1, 2)
        return folded.reshape(count, length // cell**2, width * cell**2)


def _vision_config(values: Mapping[str, Any]) -> InternVLVisionConfig:
    """Translate the published ``vision_config`` to the ``transformers`` class that computes the same."""
    norm_type = values.get("norm_type", "layer_norm")
    if norm_type not in ("layer_norm", "rms_norm"):
        raise CheckpointError(f"vision_config.norm_type {norm_type!r} is not known (layer_norm or rms_norm)")
    config = InternVLVisionConfig(
        hidden_size=values["hidden_size"],
        num_hidden_layers=values["num_hidden_layers"],
        num_attention_heads=values["num_attention_heads"],
        intermediate_size=values["intermediate_size"],
        image_size=values["image_size"],
        patch_size=values["patch_size"],
        num_channels=values.get("num_channels", 3),
        hidden_act=values.get("hidden_act", "gelu"),
        layer_norm_eps=values.get("layer_norm_eps", 1e-6),
        norm_type=norm_type,
        use_qk_norm=values.get("qk_normalization", False),
        attention_bias=values.get("qkv_bias", True),
        use_mean_pooling=True,  # no final norm: the published tower has none
    )
    config._attn_implementation = "sdpa"
    return config
