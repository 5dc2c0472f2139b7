"""Grounding: keyframes and expressions in, one answer and its ``[SEG]`` prompt vectors per expression out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from accelerate import init_empty_weights
from torch import nn

from pipeline.model.checkpoint.names import grounder_mappings
from pipeline.model.checkpoint.weights import CheckpointFiles, load
from pipeline.model.families.base import ImageTokens, ModelConfig, Pictures
from pipeline.model.language import Reply, ReplyReader
from pipeline.model.procedure import MAX_OBJECTS_PER_EXPRESSION
from pipeline.model.prompt import DEFAULT_PROMPT
from pipeline.model.sam2.fast_linear import use_fast_linear


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
        yes_probability: Probability of "yes" against "no" when asked whether it is there at all; ``None`` if not asked.
        note: What a user should know about an answer that is good otherwise.
        error: Why this expression has no answer; the others of the video are not affected.
    """

    answer: str
    prompts: np.ndarray
    seg_probabilities: list[float]
    prompt_ids: list[int]
    reply_ids: list[int]
    seg_hidden: np.ndarray
    yes_probability: float | None = None
    note: str | None = None
    error: str | None = None


class Grounder(nn.Module):
    """Vision tower, language model and the projection of ``[SEG]`` states, on one device (or several)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.config = config
        self.tower = config.family.build_tower(config)
        self.language_model = config.family.build_language_model(config)
        use_fast_linear(self.language_model)
        self.text_hidden_fcs = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, config.grounding.d_model)
        )
        self.max_objects = MAX_OBJECTS_PER_EXPRESSION
        self.replies: ReplyReader

    @classmethod
    def from_checkpoint(
        cls,
        files: CheckpointFiles,
        config: ModelConfig,
        *,
        device_of: Callable[[str], torch.device],
        dtype: torch.dtype,
        prompt_text: str = DEFAULT_PROMPT,
    ) -> "Grounder":
        """Load the grounding half of a checkpoint; ``device_of`` names the device of each parameter."""
        family = config.family
        tokenizer = family.load_tokenizer(files.directory, config)
        prompts = family.prompt_builder(files.directory, config, tokenizer, prompt_text)
        # parameters are made without storage; buffers (rope frequencies, pixel means) stay real
        with init_empty_weights(include_buffers=False):
            grounder = cls(config)
        load(grounder, files, grounder_mappings(files.file_of, config), dtype=dtype, device_of=device_of)
        for name, module in grounder.named_modules():
            for key, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[key] = buffer.to(device_of(f"{name}.{key}" if name else key))
        grounder.replies = ReplyReader(grounder.language_model, prompts, family)
        return grounder.eval()

    @property
    def resizes_on(self) -> torch.device | None:
        """The GPU that should resize what the tower sees, which it does faster than a CPU; ``None`` without one."""
        device = next(self.tower.parameters()).device
        return device if device.type == "cuda" else None

    @torch.inference_mode()
    def ground(
        self,
        pictures: Pictures,
        expressions: Sequence[str],
        *,
        question_form: bool = False,
        presence_question: str | None = None,
    ) -> list[Grounding]:
        """Ask the language model for every expression of one video (or image).

        Args:
            pictures: Its keyframes, as the family reads them.
            expressions: As written.
            question_form: See :meth:`PromptBuilder.text`.
            presence_question: A yes-or-no question with ``{expression}`` in it, asked beside; changes no mask.
        """
        return self.ground_tokens(
            self.tower.look(pictures),
            expressions,
            question_form=question_form,
            presence_question=presence_question,
        )

    @torch.inference_mode()
    def ground_tokens(
        self,
        images: ImageTokens,
        expressions: Sequence[str],
        *,
        question_form: bool = False,
        presence_question: str | None = None,
    ) -> list[Grounding]:
        """As :meth:`ground`, from what the tower made of the pictures."""
        prompts = [
            self.replies.prompts.ids(expression, images.tokens, question_form=question_form)
            for expression in expressions
        ]
        readable = [number for number, ids in enumerate(prompts) if not self.replies.is_too_long(ids)]
        questions = [
            self.replies.prompts.question_ids(presence_question, expressions[number], images.tokens)
            for number in readable
            if presence_question is not None
        ]
        asked = [prompts[number] for number in readable]
        replies, answers = self.replies.read(asked, images, max_objects=self.max_objects, questions=questions)
        groundings = [self._too_long(ids) for ids in prompts]
        for row, number in enumerate(readable):
            grounding = self.grounding_of(prompts[number], replies[row])
            groundings[number] = replace(grounding, yes_probability=answers[row] if answers else None)
        return groundings

    def grounding_of(self, prompt: list[int], reply: Reply) -> Grounding:
        """The answer in a reply, with a prompt vector for each of its [SEG] tokens."""
        tokenizer = self.replies.prompts.tokenizer
        # a [SEG] that was never fed back (the very last token) has no state and yields nothing, as in the reference
        at = [i for i, token in enumerate(reply.ids[: len(reply.hidden)]) if token == tokenizer.seg_id]
        note = None
        if reply.ids.count(tokenizer.seg_id) > self.max_objects:
            at = at[: self.max_objects]
            note = f"Note: the answer names more than {self.max_objects} objects; the first {self.max_objects} are kept"
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
            note=note,
        )

    def _too_long(self, ids: list[int]) -> Grounding:
        config = self.config
        return Grounding(
            answer="",
            prompts=np.zeros((0, config.grounding.d_model), np.float32),
            seg_probabilities=[],
            prompt_ids=ids,
            reply_ids=[],
            seg_hidden=np.zeros((0, config.hidden_size), np.float32),
            error=f"ExpressionError: images and expression make {len(ids)} tokens, more than the model's context of "
            f"{self.replies.context_length} has room for; shorten the expression or use fewer keyframes",
        )
