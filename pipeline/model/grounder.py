"""Grounding: keyframes and expressions in, one answer and its ``[SEG]`` prompt vectors per expression out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import init_empty_weights
from torch import Tensor, nn

from pipeline.model.checkpoint.names import place_in_grounder
from pipeline.model.checkpoint.weights import CheckpointFiles, load
from pipeline.model.config import ModelConfig
from pipeline.model.language import Reply, ReplyReader, build_language_model, embedding_device
from pipeline.model.prompt import DEFAULT_PROMPT, PromptBuilder
from pipeline.model.tokenizer import load_tokenizer
from pipeline.model.vision import VisionTower

TILES_PER_PASS = 16


@dataclass(frozen=True, kw_only=True)
class Grounding:
    """What the language model said about one expression.

    Attributes:
        answer: The reply as text, control tokens kept, surrounding white space stripped.
        prompts: float32 ``[S, d_model]``, one prompt vector for SAM 2 per ``[SEG]`` of the reply; ``S`` may be 0.
        seg_probabilities: Probability the model gave each of those ``[SEG]`` tokens.
        prompt_ids: Token ids of the prompt.
        reply_ids: Generated token ids, stop token(s) included.
        seg_hidden: float32 ``[S, D]``, the language model's state behind each prompt vector.
    """

    answer: str
    prompts: np.ndarray
    seg_probabilities: list[float]
    prompt_ids: list[int]
    reply_ids: list[int]
    seg_hidden: np.ndarray


class Grounder(nn.Module):
    """Vision tower, language model and the projection of ``[SEG]`` states, on one device (or several)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = int(config.language["hidden_size"])
        self.config = config
        self.tower = VisionTower(config, width)
        self.language_model = build_language_model(config.language)
        self.text_hidden_fcs = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.grounding.d_model)
        )
        self.replies: ReplyReader

    @classmethod
    def from_checkpoint(
        cls,
        files: CheckpointFiles,
        config: ModelConfig,
        *,
        device_of: Callable[[str], torch.device],
        dtype: torch.dtype,
        prompt: str = DEFAULT_PROMPT,
    ) -> "Grounder":
        """Load the grounding half of a checkpoint; ``device_of`` names the device of each parameter."""
        tokenizer = load_tokenizer(files.directory, config.language_family)
        prompts = PromptBuilder(config.template, tokenizer, config.tokens_per_tile, prompt)
        # parameters are made without storage; buffers (rope frequencies, pixel means) stay real
        with init_empty_weights(include_buffers=False):
            grounder = cls(config)
        placements = {key: place for key in files.file_of if (place := place_in_grounder(key, config))}
        load(grounder, files, placements, dtype=dtype, device_of=device_of)
        for name, module in grounder.named_modules():
            for key, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[key] = buffer.to(device_of(f"{name}.{key}" if name else key))
        grounder.replies = ReplyReader(grounder.language_model, prompts)
        return grounder.eval()

    @torch.inference_mode()
    def image_tokens(self, tiles: np.ndarray) -> Tensor:
        """Tiles uint8 ``[N, S, S, 3]`` to image tokens ``[N, tokens_per_tile, D]``."""
        device = next(self.tower.parameters()).device
        batches = torch.from_numpy(tiles).split(TILES_PER_PASS)
        return torch.cat([self.tower(self.tower.normalise(batch.to(device))) for batch in batches])

    @torch.inference_mode()
    def ground(self, tiles: np.ndarray, expressions: Sequence[str], *, one_image: bool = False) -> list[Grounding]:
        """Ask the language model for every expression of one video (or image).

        Args:
            tiles: uint8 ``[N, S, S, 3]``: the distinct keyframes in time order, or the tiles of an image.
            expressions: As written.
            one_image: The tiles belong to one image and go into one image block.
        """
        return self.ground_tokens(self.image_tokens(tiles), expressions, one_image=one_image)

    @torch.inference_mode()
    def ground_tokens(self, tokens: Tensor, expressions: Sequence[str], *, one_image: bool = False) -> list[Grounding]:
        """As :meth:`ground`, from the image tokens ``[N, tokens_per_tile, D]``."""
        blocks = [len(tokens)] if one_image else [1] * len(tokens)
        prompts = [self.replies.prompts.ids(expression, blocks) for expression in expressions]
        replies = self.replies.read(prompts, tokens.flatten(0, 1).to(embedding_device(self.language_model)))
        return [self.grounding_of(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]

    def grounding_of(self, prompt: list[int], reply: Reply) -> Grounding:
        """The answer in a reply, with a prompt vector for each of its [SEG] tokens."""
        tokenizer = self.replies.prompts.tokenizer
        # a [SEG] that was never fed back (the very last token) has no state and yields nothing, as in the reference
        at = [i for i, token in enumerate(reply.ids[: len(reply.hidden)]) if token == tokenizer.seg_id]
        hidden = reply.hidden[at]
        projection = self.text_hidden_fcs
        vectors = projection(hidden.to(next(projection.parameters()).device))
        return Grounding(
            answer=tokenizer.decode(reply.ids).strip(),
            prompts=vectors.float().cpu().numpy(),
            seg_probabilities=[reply.probabilities[i] for i in at],
            prompt_ids=list(prompt),
            reply_ids=list(reply.ids),
            seg_hidden=hidden.float().cpu().numpy(),
        )
