"""The modules of the Qwen-VL families: ``transformers``' own tower and decoder, put together as Sa2VA needs them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from pipeline.model.families.base import ImageTokens, Pictures, Tower


class QwenTower(Tower):
    """A Qwen-VL vision tower with its merger(s) into the language model.

    Args:
        visual: The tower of ``transformers``, under the name of the published parameter group.
        merge: Patches along one side of an image token.
        temporal: Frames of one patch; an image is repeated so many times.
        mean: Of the colours, 0..1.
        std: Likewise.
        rescale: Factor from grey levels to 0..1.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        visual: PreTrainedModel,
        *,
        merge: int,
        temporal: int,
        mean: Sequence[float],
        std: Sequence[float],
        rescale: float,
    ) -> None:
        super().__init__()
        self.visual = visual
        self.merge = merge
        self.temporal = temporal
        # rescaling and normalising are one step in the reference, with constants folded in float32
        self.register_buffer("pixel_mean", torch.tensor(mean) * (1 / rescale), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(std) * (1 / rescale), persistent=False)

    @torch.inference_mode()
    def look(self, pictures: Pictures) -> ImageTokens:
        """See :class:`Tower`; ``pictures.pixels`` are patches, uint8 ``[N, 3 * P * P]``.

        Frames do not see each other, so each goes through alone: memory does not grow with their number.
        """
        assert pictures.grids is not None
        weight = next(self.parameters())
        embeds, deepstack = [], []
        counts = [count * self.merge**2 for count in pictures.tokens]
        for patches, (rows, columns) in zip(pictures.pixels.split(counts), pictures.grids, strict=True):
            pixels = self.normalise(patches.to(weight.device)).to(weight.dtype)
            grid = torch.tensor([[1, rows * self.merge, columns * self.merge]], device=weight.device)
            output = self.visual(pixels, grid_thw=grid)
            embeds.append(output.pooler_output)
            deepstack.append(getattr(output, "deepstack_features", None) or [])
        levels = tuple(torch.cat(level) for level in zip(*deepstack, strict=True))
        return ImageTokens(embeds=torch.cat(embeds), tokens=pictures.tokens, grids=pictures.grids, deepstack=levels)

    def normalise(self, patches: Tensor) -> Tensor:
        """Patches uint8 ``[N, 3 * P * P]`` to float32 ``[N, 3 * T * P * P]``: normalised, and repeated in time."""
        colours = patches.view(len(patches), 3, 1, -1).to(torch.float32)
        normalised = (colours - self.pixel_mean.view(3, 1, 1)) / self.pixel_std.view(3, 1, 1)
        return normalised.expand(-1, -1, self.temporal, -1).flatten(1)


class LanguageModel(PreTrainedModel):
    """A decoder of ``transformers`` with an output head of its own, never tied to the embeddings.

    Args:
        decoder: ``Qwen3VLTextModel`` or ``Qwen2_5_VLTextModel``.
        config: Of the decoder.
    """

    _supports_sdpa = True
    _no_split_modules: list[str] = []  # noqa: RUF012 - as the base class has it

    def __init__(self, decoder: PreTrainedModel, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.model = decoder
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        embeddings: nn.Module = self.model.get_input_embeddings()
        return embeddings
