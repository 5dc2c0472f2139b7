"""Greedy replies of a language model to many prompts that share their images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from pipeline.model.families.base import ImageTokens, ModelFamily
from pipeline.model.packed import PackedCache, beginning_of
from pipeline.model.prompt import PromptBuilder

MAX_REPLY_TOKENS = 2048
TOKENS_PER_PASS = 2048
"""Prompt tokens behind the images that go through the language model at once; bounds memory, not what is computed."""
YES, NO = ("Yes", "yes"), ("No", "no")


@dataclass(frozen=True)
class Reply:
    """A greedy reply.

    Attributes:
        ids: Generated token ids, the stop token(s) included.
        hidden: ``[len(ids), D]`` last-layer state, after the final norm or before it as the family says, with each
            generated token *as input*; the row of a token that was never fed back (the last one at a limit) is absent.
        probabilities: Probability the model gave each generated token.
    """

    ids: list[int]
    hidden: Tensor
    probabilities: list[float]


class ReplyReader:
    """Greedy replies of one language model.

    The common beginning of the prompts (all image tokens) is run once. All prompts then go through the model in one
    row, each attending to the common beginning and to itself, so nothing is padded and the beginning is never copied
    per prompt. Behind each prompt stand the usual replies, side by side: one is accepted if every one of its tokens is
    the arg-max, so the result is that of token-by-token greedy decoding, whatever was asked before.
    """

    def __init__(self, model: PreTrainedModel, prompts: PromptBuilder, family: ModelFamily) -> None:
        self.model = model
        self.prompts = prompts
        self.family = family
        self.forward_passes = 0
        self.tokens_per_pass = TOKENS_PER_PASS
        self._candidates = prompts.usual_replies()
        self._before_norm: list[Tensor] = []
        if not family.seg_state_is_normed:
            model.model.norm.register_forward_pre_hook(lambda _, inputs: self._before_norm.append(inputs[0]))

    @property
    def context_length(self) -> int:
        """Tokens of prompt and reply that the model was made for."""
        return int(self.model.config.max_position_embeddings)

    def is_too_long(self, ids: Sequence[int]) -> bool:
        """Whether a prompt leaves no room for a reply in the model's context."""
        return len(ids) + max(map(len, self._candidates)) > self.context_length

    @torch.inference_mode()
    def read(
        self,
        prompts: Sequence[Sequence[int]],
        images: ImageTokens,
        *,
        max_objects: int | None = None,
        questions: Sequence[Sequence[int]] = (),
    ) -> tuple[list[Reply], list[float]]:
        """Reply to each prompt, and say how likely "yes" is as the answer to each question.

        Questions go through the model in passes of their own, so that replies are the same with and without them.

        Args:
            prompts: Token ids; all hold the same image blocks at the same place, and none :meth:`is_too_long`.
            images: What stands at the image positions.
            max_objects: End a reply behind so many ``[SEG]`` tokens and one more; ``None`` for no limit.
            questions: Token ids of yes-or-no questions about the same images.

        Returns:
            One reply per prompt, and per question the probability of yes against no, 0..1.
        """
        if not prompts:
            return [], []
        shared = min(_common_prefix(prompts), min(map(len, prompts)) - 1)
        cache, following = self._prefill(prompts[0][:shared], images)
        replies = self._replies(cache, following, shared, prompts, max_objects)
        if not questions:
            return replies, []
        both = min(_common_prefix([prompts[0][:shared], *questions]), min(map(len, questions)) - 1)
        earlier = beginning_of(cache, both, self.model.config)
        answers: list[float] = []
        for chunk in _chunks([list(question[both:]) for question in questions], self.tokens_per_pass, 0):
            answers += self._halving(lambda part: self._ask(earlier, following - (shared - both), part), chunk)
        return replies, answers

    def _replies(
        self,
        cache: DynamicCache,
        following: int,
        shared: int,
        prompts: Sequence[Sequence[int]],
        max_objects: int | None,
    ) -> list[Reply]:
        suffixes = [list(prompt[shared:]) for prompt in prompts]
        replies: list[Reply | None] = []
        room = self.tokens_per_pass - sum(map(len, self._candidates))
        for chunk in _chunks(suffixes, self.tokens_per_pass, sum(map(len, self._candidates))):
            replies += self._halving(lambda part: self._verify(cache, following, part), chunk)
        pending = [row for row, reply in enumerate(replies) if reply is None]
        for chunk_rows in _chunks([suffixes[row] for row in pending], room, 0):
            decoded = self._halving(lambda part: self._decode(cache, following, part, max_objects), chunk_rows)
            for reply in decoded:
                replies[pending.pop(0)] = reply
        return [reply for reply in replies if reply is not None]

    def _ask(self, cache: DynamicCache, following: int, suffixes: Sequence[Sequence[int]]) -> list[float]:
        """The probability of yes against no as the first word of the reply to each question."""
        packed = self._packed(cache, following)
        ends = []
        for suffix in suffixes:
            packed.add(suffix)
            ends.append(packed.length - 1)
        hidden = packed.run()
        logits = self.logits(hidden[torch.tensor(ends, device=hidden.device)])
        yes, no = (logits[:, self.prompts.first_ids(words)].logsumexp(1) for words in (YES, NO))
        return (yes - no).sigmoid().tolist()

    def _halving(self, work: Any, suffixes: list[list[int]]) -> list[Any]:  # noqa: ANN401
        """``work`` on all suffixes; on half of them at a time where device memory does not suffice."""
        try:
            return list(work(suffixes))
        except torch.OutOfMemoryError:
            if len(suffixes) == 1:
                raise
        torch.cuda.empty_cache()  # outside of the handler, whose traceback holds the failed step's tensors
        half = len(suffixes) // 2
        return [*self._halving(work, suffixes[:half]), *self._halving(work, suffixes[half:])]

    def _prefill(self, ids: Sequence[int], images: ImageTokens) -> tuple[DynamicCache, int]:
        """A cache that holds the common beginning, and the position of the token that follows it."""
        device = embedding_device(self.model)
        tokens = torch.tensor([list(ids)], device=device)
        embeds = self.model.get_input_embeddings()(tokens)
        image_id = self.prompts.tokenizer.image_id
        at_image = tokens == image_id
        embeds[at_image] = images.embeds.to(device, embeds.dtype)
        positions = self.family.prefix_positions(ids, images, image_id)
        cache = DynamicCache(config=self.model.config)
        inputs: dict[str, Any] = self.family.prefill_inputs(images, at_image)
        if len(positions) > 1:
            inputs["position_ids"] = positions[:, None].to(device)
        self.forward(inputs_embeds=embeds, past_key_values=cache, **inputs)
        self._streams = len(positions)
        return cache, int(positions.max()) + 1

    def forward(self, **inputs: Any) -> Tensor:  # noqa: ANN401 - what the language model takes
        """Hidden states ``[B, L, D]`` of one pass, of the kind that ``[SEG]`` is read from."""
        self.forward_passes += 1
        self._before_norm.clear()  # the head goes through the norm too
        normed: Tensor = self.model.model(use_cache=True, **inputs).last_hidden_state
        return normed if self.family.seg_state_is_normed else self._before_norm.pop()

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits of hidden states as :meth:`forward` gives them."""
        normed = hidden if self.family.seg_state_is_normed else self.model.model.norm(hidden)
        logits: Tensor = self.model.lm_head(normed)
        return logits.float()

    def _packed(self, cache: DynamicCache, following: int) -> PackedCache:
        device = embedding_device(self.model)
        return PackedCache(self.forward, cache, following, self._streams, device, self.model.config)

    def _verify(self, cache: DynamicCache, following: int, suffixes: Sequence[Sequence[int]]) -> list[Reply | None]:
        """Run every prompt with the usual replies behind it; the one that greedy decoding gives, or ``None``."""
        packed = self._packed(cache, following)
        ends, starts = [], []
        for suffix in suffixes:
            prompt = packed.add(suffix)
            ends.append(packed.length - 1)
            starts.append([packed.add_branch(prompt, candidate) for candidate in self._candidates])
        hidden = packed.run()
        last = torch.tensor(ends, device=hidden.device)[:, None]
        replies: list[Reply | None] = [None] * len(suffixes)
        for number, candidate in enumerate(self._candidates):
            first = torch.tensor([row[number] for row in starts], device=hidden.device)[:, None]
            inside = first + torch.arange(len(candidate), device=hidden.device)
            logits = self.logits(hidden[torch.cat([last, inside[:, :-1]], 1)])
            accepted = (logits.argmax(-1) == torch.tensor(candidate, device=logits.device)).all(1).tolist()
            probabilities = logits.softmax(-1).amax(-1).tolist()
            for row, is_accepted in enumerate(accepted):
                if is_accepted:
                    replies[row] = Reply(list(candidate), hidden[inside[row]].clone(), probabilities[row])
        return replies

    def _decode(
        self, cache: DynamicCache, following: int, suffixes: Sequence[Sequence[int]], max_objects: int | None
    ) -> list[Reply]:
        """Plain greedy decoding of several prompts at once, each until its reply is over."""
        packed = self._packed(cache, following)
        segments, ends = [], []
        for suffix in suffixes:
            segments.append(packed.add(suffix))
            ends.append(packed.length - 1)
        hidden = packed.run()
        state = hidden[torch.tensor(ends, device=hidden.device)]
        width = hidden.shape[-1]
        ids: list[list[int]] = [[] for _ in suffixes]
        states: list[list[Tensor]] = [[] for _ in suffixes]
        probabilities: list[list[float]] = [[] for _ in suffixes]
        active = list(range(len(suffixes)))
        for _ in range(MAX_REPLY_TOKENS):
            logits = self.logits(state)
            best, chance = logits.argmax(-1).tolist(), logits.softmax(-1).amax(-1).tolist()
            for row, token, probability in zip(active, best, chance, strict=True):
                ids[row].append(token)
                probabilities[row].append(probability)
            active = [row for row in active if not self._is_over(ids[row], len(suffixes[row]), following, max_objects)]
            if not active:
                break
            for row in active:
                packed.extend(segments[row], ids[row][-1])
            state = packed.run()
            for row, one in zip(active, state, strict=True):
                states[row].append(one)
        return [
            Reply(ids[row], torch.stack(states[row]) if states[row] else hidden.new_zeros(0, width), probabilities[row])
            for row in range(len(suffixes))
        ]

    def _is_over(self, reply: Sequence[int], prompt_length: int, following: int, max_objects: int | None) -> bool:
        if self.prompts.is_over(reply) or following + prompt_length + len(reply) >= self.context_length:
            return True
        # one more than is kept, so that the last one that is kept has been fed back and has its state
        return max_objects is not None and reply.count(self.prompts.tokenizer.seg_id) > max_objects


def _chunks(suffixes: Sequence[list[int]], limit: int, more: int) -> list[list[list[int]]]:
    """Suffixes in order, in groups of at most ``limit`` tokens (``more`` is added to each); at least one a group."""
    groups: list[list[list[int]]] = []
    size = 0
    for suffix in suffixes:
        cost = len(suffix) + more
        if not groups or size + cost > limit:
            groups.append([])
            size = 0
        groups[-1].append(suffix)
        size += cost
    return groups


def _common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    first, last = min(map(list, prompts)), max(map(list, prompts))
    length = 0
    for a, b in zip(first, last, strict=False):
        if a != b:
            break
        length += 1
    return length


def embedding_device(model: PreTrainedModel) -> torch.device:
    """Device that input ids go to."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, nn.Parameter | Tensor)
    return weight.device
