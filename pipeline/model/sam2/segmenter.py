"""SAM 2 with both mask decoders: what is computed from one frame, shared by every object of a video."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from accelerate import init_empty_weights
from sam2.modeling.sam.mask_decoder import MaskDecoder
from torch import Tensor, nn
from torch.nn import functional

from pipeline.model.allocation import keep_freed_memory
from pipeline.model.checkpoint.names import SAM2_PREFIX, segmenter_mappings
from pipeline.model.checkpoint.weights import CheckpointFiles, load
from pipeline.model.config import GroundingConfig
from pipeline.model.device import run_halving, use_full_precision, working_set
from pipeline.model.exact_resize import resize_bicubic
from pipeline.model.families.base import ModelConfig
from pipeline.model.pixels import normalisation_table, normalise_pixels
from pipeline.model.sam2.build import build_sam2
from pipeline.model.sam2.compiled import CompiledEncoder, StepGraphs, record_cuda_graph
from pipeline.model.sam2.fast_linear import use_fast_linear
from pipeline.model.sam2.frame import DecodedMasks, FrameFeatures
from pipeline.model.sam2.memory_attention import MemoryReader

# The reference makes its constants in bfloat16 whatever the compute type, so these are ImageNet's, rounded to it.
PIXEL_MEAN = (0.484375, 0.455078125, 0.40625)
PIXEL_STD = (0.228515625, 0.2236328125, 0.224609375)

NO_OBJECT_LOGIT = -1024.0
_CACHED_PIXELS = 2**20
"""Of the image, over all objects that are decoded, or put into memory, together on a CPU."""
_PIXELS_AT_ONCE = 2**26
"""Of masks that are brought to full size together on a GPU."""


class Segmenter(nn.Module):
    """SAM 2 (original weights) and, beside its mask decoder, the fine-tuned one.

    A Sa2VA checkpoint has the fine-tuned decoder only; it then stands in both places and ``has_original`` is False.

    Attributes:
        graphs: Steps that are recorded as CUDA graphs; ``None`` unless :meth:`compile_steps` was called.
        compiled_encoder: The image encoder compiled, likewise.
        encoded_frames: Frames that went through the image encoder so far.
    """

    def __init__(self, config: GroundingConfig, *, has_original: bool) -> None:
        super().__init__()
        self.config = config
        self.sam2 = build_sam2(config)
        self.has_original = has_original
        self.sam_mask_decoder_modified = build_sam2(config).sam_mask_decoder if has_original else None
        self.compute_dtype = torch.float32
        self.reduced_encoder = False
        self.graphs: StepGraphs | None = None
        self.compiled_encoder: CompiledEncoder | None = None
        self.encoded_frames = 0

    @classmethod
    def from_checkpoint(
        cls, files: CheckpointFiles, config: ModelConfig, *, device: torch.device, dtype: torch.dtype
    ) -> "Segmenter":
        """Load the SAM 2 half of a checkpoint. ``dtype`` is what most of it computes in.

        On a CPU this process from then on keeps freed memory (:mod:`pipeline.model.allocation`).
        """
        mappings = segmenter_mappings(files.file_of)
        has_original = any(key.startswith(SAM2_PREFIX + "sam_mask_decoder_modified.") for key in mappings)
        with init_empty_weights(include_buffers=False):
            segmenter = cls(config.grounding, has_original=has_original)
        use_full_precision(device, dtype)
        load(segmenter, files, mappings, dtype=torch.float32, device_of=lambda _: device)
        if device.type == "cpu":
            keep_freed_memory()
        return segmenter.eval().ready(device, dtype)

    def ready(self, device: torch.device, dtype: torch.dtype, *, reduced_encoder: bool | None = None) -> "Segmenter":
        """Arrange the loaded weights for inference that computes in ``dtype``.

        Args:
            device: Where the weights are.
            dtype: What linear layers, convolutions and attention compute in.
            reduced_encoder: Whether the image encoder computes in ``dtype`` throughout, its norms and sums too, as the
                published code does; else those are float32. ``None`` does so on a GPU, whose memory traffic it halves.
        """
        self.compute_dtype = dtype
        use_fast_linear(self)
        if dtype != torch.float32:
            cast_weights(self, dtype)
            self.reduced_encoder = device.type == "cuda" if reduced_encoder is None else reduced_encoder
        if self.reduced_encoder:
            _cast_parameters(self.sam2.image_encoder, dtype)
        self.sam2.image_encoder.trunk.keep_position(self.config.image_size)
        return self.finish(device)

    def finish(self, device: torch.device) -> "Segmenter":
        """Compute the constants that depend on the weights; call after loading or changing them."""
        sam2, size = self.sam2, self.config.feature_size
        encoder = sam2.sam_prompt_encoder
        with torch.no_grad():
            self.image_position = encoder.get_dense_pe()
            self.no_mask = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(-1, -1, size, size)
            # an empty point prompt is two "not a point" tokens: the point and its padding
            self.no_point = encoder.not_a_point_embed.weight.expand(2, -1)[None]
            blank = torch.zeros(1, 1, size, size, device=device)
            self.frame_position = sam2.image_encoder.neck.position_encoding(blank)
            self.memory_position = sam2.memory_encoder.position_encoding(blank)
            self.pixel_table = normalisation_table(PIXEL_MEAN, PIXEL_STD).to(device)
            self.working_set = working_set(device)
            self.memory_reader = MemoryReader(
                sam2.memory_attention,
                self.frame_position,
                self.memory_position,
                sam2.maskmem_tpos_enc.detach(),
                working_bytes=self.working_set.attention_bytes,
            )
        return self

    @torch.inference_mode()
    def compile_steps(self, frames_per_batch: int) -> None:
        """Have the image encoder compiled, and on a GPU the steps recorded as graphs; single pixels may change.

        Takes up to a minute or two, in which both sizes of batches are compiled.

        Args:
            frames_per_batch: Frames that :meth:`encode` is usually given.
        """
        self.graphs = StepGraphs(record_cuda_graph if self.device.type == "cuda" else None)
        self.compiled_encoder = CompiledEncoder(self.sam2.image_encoder, frames_per_batch, self.graphs)
        side = self.config.image_size
        for count in {1, frames_per_batch}:
            self._encode(torch.zeros(count, side, side, 3, dtype=torch.uint8))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.sam2.no_mem_embed.device

    @property
    def finetuned_decoder(self) -> MaskDecoder:
        """The decoder trained with language prompts."""
        return self.sam_mask_decoder_modified if self.has_original else self.sam2.sam_mask_decoder

    @property
    def original_decoder(self) -> MaskDecoder:
        """SAM 2's own decoder (of a Sa2VA checkpoint: the fine-tuned one, there is no other)."""
        return self.sam2.sam_mask_decoder

    def autocast(self) -> AbstractContextManager[None]:
        """Context in which the network computes in ``compute_dtype``."""
        reduced = self.compute_dtype != torch.float32
        return torch.autocast(
            self.device.type, dtype=self.compute_dtype if reduced else torch.bfloat16, enabled=reduced
        )

    @property
    def resizes_frames(self) -> bool:
        """Whether :meth:`encode` should be given frames as they were decoded: a GPU resizes them faster than a CPU."""
        return self.device.type == "cuda"

    def normalise(self, frames: Tensor) -> Tensor:
        """Frames uint8 ``[N, H, W, 3]`` to float32 ``[N, 3, H, W]`` as the reference normalises them."""
        return normalise_pixels(frames.to(self.device, non_blocking=True), self.pixel_table)

    @torch.inference_mode()
    def encode(self, frames: Tensor) -> list[FrameFeatures]:
        """Image encoder on frames uint8 ``[N, H, W, 3]``: one :class:`FrameFeatures` each.

        Frames that do not fit in GPU memory together are encoded in smaller batches.
        """
        self.encoded_frames += len(frames)
        parts = run_halving(self._encode, [frames], size=len, split=lambda batch: list(batch.tensor_split(2)))
        return [features for _, part in parts for features in part]

    def _encode(self, frames: Tensor) -> list[FrameFeatures]:
        side = self.config.image_size
        frames = resize_bicubic(frames.to(self.device, non_blocking=True), height=side, width=side)
        pixels = self.normalise(frames)
        if self.reduced_encoder:
            levels = self._levels(pixels.to(self.compute_dtype))
        else:
            with self.autocast():
                levels = self._levels(pixels)
        split = [level.split(1) for level in levels]
        return [FrameFeatures((split[0][i], split[1][i], split[2][i])) for i in range(len(frames))]

    def _levels(self, pixels: Tensor) -> list[Tensor]:
        if self.compiled_encoder is not None:
            return self.compiled_encoder(pixels)
        levels: list[Tensor] = self.sam2.image_encoder(pixels)["backbone_fpn"]
        return levels

    def high_resolution(self, decoder: MaskDecoder, features: FrameFeatures) -> list[Tensor]:
        """The two finer feature maps as ``decoder`` wants them (each decoder has its own projections)."""
        return features.memoize(
            decoder, lambda: [decoder.conv_s0(features.levels[0]), decoder.conv_s1(features.levels[1])]
        )

    def decode(
        self,
        decoder: MaskDecoder,
        image: Tensor,
        high_resolution: list[Tensor],
        *,
        prompts: Tensor | None = None,
        dense: Tensor | None = None,
        objects: int,
        multimask: bool,
    ) -> DecodedMasks:
        """Run a mask decoder for ``objects`` objects on one frame.

        Args:
            decoder: Either decoder.
            image: ``[1 or O, C, h, w]``.
            high_resolution: From :meth:`high_resolution`, of one frame.
            prompts: ``[O, C]`` language prompt vectors appended to the (empty) point prompt, or none.
            dense: ``[O, C, h, w]`` embedded mask prompt; none means no mask prompt.
            objects: O.
            multimask: Choose the best of three masks, else the single-mask token.
        """
        sparse = self.no_point.expand(objects, -1, -1)
        if prompts is not None:
            sparse = torch.cat([sparse, prompts[:, None].to(sparse.dtype)], dim=1)
        image = image.expand(objects, -1, -1, -1)
        dense = (self.no_mask if dense is None else dense).expand(objects, -1, -1, -1)
        parts = [
            self._decode_together(decoder, image[rows], high_resolution, sparse[rows], dense[rows], multimask)
            for rows in self._cached_together(objects)
        ]
        return parts[0] if len(parts) == 1 else DecodedMasks.joined(parts)

    def _decode_together(
        self,
        decoder: MaskDecoder,
        image: Tensor,
        high_resolution: list[Tensor],
        sparse: Tensor,
        dense: Tensor,
        multimask: bool,
    ) -> DecodedMasks:
        masks, ious, tokens, object_score = decoder(
            image_embeddings=image,
            image_pe=self.image_position,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask,
            repeat_image=False,
            high_res_features=high_resolution,
        )
        rows = torch.arange(len(masks), device=masks.device)
        best = ious.argmax(-1) if multimask else torch.zeros_like(rows)
        return DecodedMasks(masks[rows, best].float(), ious.float(), tokens[rows, best], object_score[:, 0].float())

    def pointer(self, token: Tensor, present: Tensor) -> Tensor:
        """Object pointer ``[O, C]`` of decoder tokens; the "no object" pointer where not ``present`` (bool ``[O]``)."""
        return torch.where(present[:, None], self.sam2.obj_ptr_proj(token), self.sam2.no_obj_ptr).float()

    def encode_memory(self, features: FrameFeatures, logits: Tensor) -> Tensor:
        """Memory of a frame and its masks: ``[O, memory_dim, h, w]``, stored in bfloat16 whatever the compute type.

        Args:
            features: The frame (without the "no memory" embedding).
            logits: float32 ``[O, 4h, 4w]`` low-resolution mask logits.
        """
        encoder = self.sam2.memory_encoder
        frame = features.memoize(encoder, lambda: encoder.pix_feat_proj(features.levels[2]))
        parts = [
            encoder.out_proj(encoder.fuser(frame + encoder.mask_downsampler(self._memory_mask(logits[rows]))))
            for rows in self._cached_together(len(logits))
        ]
        return torch.cat(parts).to(torch.bfloat16)

    def _cached_together(self, objects: int) -> list[slice]:
        """Objects in groups whose maps stay in a processor's caches; all together on a GPU, or if they are small."""
        at_once = _CACHED_PIXELS // self.config.image_size**2 if self.device.type == "cpu" else objects
        size = max(1, at_once)
        return [slice(first, first + size) for first in range(0, max(1, objects), size)]

    def _memory_mask(self, logits: Tensor) -> Tensor:
        """Low-resolution logits to the mask the memory encoder sees, ``[O, 1, S, S]``."""
        side = self.config.image_size
        full = functional.interpolate(logits[:, None], size=(side, side), mode="bilinear", align_corners=False)
        return full.sigmoid() * self.sam2.sigmoid_scale_for_mem_enc + self.sam2.sigmoid_bias_for_mem_enc


def cast_weights(module: nn.Module, dtype: torch.dtype) -> None:
    """Store the weights of linear layers and convolutions in the type they compute in.

    Under autocast they would be cast anew for every input; the results are the same to the bit.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            _cast_parameters(part, dtype)


def _cast_parameters(module: nn.Module, dtype: torch.dtype) -> None:
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            setattr(part, name, nn.Parameter(parameter.detach().to(dtype), requires_grad=False))


def masks_at(logits: Tensor, height: int, width: int, *, through: int | None = None) -> Tensor:
    """Low-resolution logits ``[O, s, s]`` to bool masks ``[O, height, width]``: bilinear, then sigmoid > 0.5.

    Args:
        logits: float32 mask logits.
        height: Of the video, pixels.
        width: Of the video, pixels.
        through: Side of an intermediate square (propagated masks pass through SAM 2's own image size first).
    """
    # one at a time stays in a processor's caches; a GPU wants many, within reason
    largest = max((through or 0) ** 2, height * width)
    at_once = 1 if logits.device.type == "cpu" else max(1, _PIXELS_AT_ONCE // largest)
    return torch.cat([_masks_together(part, height, width, through) for part in logits.split(at_once)])


def _masks_together(logits: Tensor, height: int, width: int, through: int | None) -> Tensor:
    maps = logits[:, None].float()
    resize: Callable[..., Tensor] = functional.interpolate
    if through is not None:
        maps = resize(maps, size=(through, through), mode="bilinear", align_corners=False)
    maps = resize(maps, size=(height, width), mode="bilinear", align_corners=False)
    return maps[:, 0].sigmoid() > 0.5
