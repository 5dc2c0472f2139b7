"""SAM 2 from the ``sam2`` package, built from dimensions instead of hydra files.

The options that are not dimensions are those of the published ``sam2_hiera_l`` (SAM 2.0) inference configuration.
"""

from functools import partial
from typing import Any

import torch
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine, compute_axial_cis
from sam2.modeling.sam.transformer import Attention, RoPEAttention
from sam2.modeling.sam2_base import SAM2Base
from torch import Tensor
from torch.nn import functional

from pipeline.model.config import GroundingConfig


def build_sam2(config: GroundingConfig) -> SAM2Base:
    """A SAM 2 video model of the given dimensions, with uninitialised weights."""
    return SAM2Base(
        image_encoder=_image_encoder(config),
        memory_attention=_memory_attention(config),
        memory_encoder=_memory_encoder(config),
        num_maskmem=7,
        image_size=config.image_size,
        backbone_stride=config.stride,
        sigmoid_scale_for_mem_enc=20.0,
        sigmoid_bias_for_mem_enc=-10.0,
        use_mask_input_as_output_without_sam=True,
        directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True,
        multimask_output_in_sam=True,
        iou_prediction_use_sigmoid=True,
        use_obj_ptrs_in_encoder=True,
        add_tpos_enc_to_obj_ptrs=False,
        only_obj_ptrs_in_the_past_for_eval=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        fixed_no_obj_ptr=True,
        multimask_output_for_tracking=True,
        use_multimask_token_for_obj_ptr=True,
        multimask_min_pt_num=0,
        multimask_max_pt_num=1,
        use_mlp_for_obj_ptr_proj=True,
    )


class Trunk(Hiera):
    """``Hiera`` that can keep its position embedding, which depends on weights and image size alone.

    Attributes:
        position: The kept embedding ``[1, H, W, C]``; ``None`` computes it for every image, as training needs.
    """

    position: Tensor | None = None

    def _get_pos_embed(self, hw: tuple[int, int]) -> Tensor:
        embedding: Tensor = super()._get_pos_embed(hw) if self.position is None else self.position
        return embedding

    @torch.no_grad()
    def keep_position(self, image_size: int) -> None:
        """Compute the position embedding once, for square images of this side, in the type of the weights."""
        weight = self.pos_embed
        cells = image_size // self.patch_embed.proj.stride[0]
        self.position = None
        self.position = self._get_pos_embed((cells, cells)).to(weight.dtype)


class FeatureNeck(FpnNeck):
    """``FpnNeck`` that leaves out its position encodings, which nobody reads here."""

    def forward(self, xs: list[Tensor]) -> tuple[list[Tensor], list[None]]:
        """Trunk levels, fine to coarse, to ``d_model`` channels each; no position encodings."""
        levels: list[Tensor] = []
        above: Tensor | None = None
        for level in reversed(range(len(xs))):
            here: Tensor = self.convs[len(xs) - 1 - level](xs[level])
            if level in self.fpn_top_down_levels and above is not None:
                here = here + functional.interpolate(above.float(), scale_factor=2.0, mode=self.fpn_interp_model)
            above = here
            levels.insert(0, here)
        return levels, [None] * len(levels)


def _image_encoder(config: GroundingConfig) -> ImageEncoder:
    channels = [config.trunk_embed_dim * 2**stage for stage in reversed(range(len(config.trunk_stages)))]
    return ImageEncoder(
        scalp=1,
        trunk=Trunk(
            embed_dim=config.trunk_embed_dim,
            num_heads=config.trunk_num_heads,
            stages=config.trunk_stages,
            global_att_blocks=config.trunk_global_attention_blocks,
            window_pos_embed_bkg_spatial_size=config.trunk_position_background_size,
            window_spec=config.trunk_window_spec,
        ),
        neck=FeatureNeck(
            position_encoding=PositionEmbeddingSine(num_pos_feats=config.d_model, normalize=True, warmup_cache=False),
            d_model=config.d_model,
            backbone_channel_list=channels,
            fpn_top_down_levels=[2, 3],
            fpn_interp_model="nearest",
        ),
    )


class RotaryAttention(RoPEAttention):
    """``RoPEAttention`` whose constructor leaves the GPU alone.

    The package's own moves its table to GPU 0 wherever there is one, and so makes a CUDA context in processes that
    only look at a checkpoint or compute on the CPU.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - those of Attention
        rope_theta: float,
        rope_k_repeat: bool,
        feat_sizes: tuple[int, int],
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        Attention.__init__(self, *args, **kwargs)
        self.compute_cis = partial(compute_axial_cis, dim=self.internal_dim // self.num_heads, theta=rope_theta)
        self.freqs_cis = self.compute_cis(end_x=feat_sizes[0], end_y=feat_sizes[1])
        self.rope_k_repeat = rope_k_repeat


def _rope_attention(config: GroundingConfig, *, of_memory: bool) -> RotaryAttention:
    return RotaryAttention(
        embedding_dim=config.d_model,
        num_heads=1,
        downsample_rate=1,
        dropout=0.0,  # dropout acts in training only
        rope_theta=10000.0,
        feat_sizes=(config.feature_size, config.feature_size),
        rope_k_repeat=of_memory,
        kv_in_dim=config.memory_dim if of_memory else None,
    )


def _memory_attention(config: GroundingConfig) -> MemoryAttention:
    layer = MemoryAttentionLayer(
        activation="relu",
        d_model=config.d_model,
        dim_feedforward=config.memory_attention_feedforward,
        dropout=0.0,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=_rope_attention(config, of_memory=False),
        cross_attention=_rope_attention(config, of_memory=True),
    )
    return MemoryAttention(
        d_model=config.d_model, pos_enc_at_input=True, layer=layer, num_layers=config.memory_attention_layers
    )


def _memory_encoder(config: GroundingConfig) -> MemoryEncoder:
    return MemoryEncoder(
        in_dim=config.d_model,
        out_dim=config.memory_dim,
        position_encoding=PositionEmbeddingSine(num_pos_feats=config.memory_dim, normalize=True, warmup_cache=False),
        mask_downsampler=MaskDownSampler(embed_dim=config.d_model, kernel_size=3, stride=2, padding=1),
        fuser=Fuser(CXBlock(dim=config.d_model, kernel_size=7, padding=3), num_layers=2),
    )
