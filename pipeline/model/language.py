"""The language model: its architecture from the published config, and greedy replies to many prompts at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM
from transformers.cache_utils import DynamicLayer

from pipeline.model.prompt import PromptBuilder
from pipeline.model.sam2.fast_linear import use_fast_linear

MAX_REPLY_TOKENS = 2048


def build_language_model(values: Mapping[str, Any]) -> PreTrainedModel:
    """The ``transformers`` model that computes what the published ``llm_config`` describes, without weights."""
    if values["model_type"] == "qwen2":
        own = {k: v for k, v in values.items() if k not in {"attn_implementation", "architectures", "torch_dtype"}}
        config: Any = Qwen2Config(**own)
        model_class: type[PreTrainedModel] = Qwen2ForCausalLM
    else:
        config = _internlm2_as_llama(values)
        model_class = LlamaForCausalLM
    config._attn_implementation = "sdpa"
    model = model_class(config)
    use_fast_linear(model)
    return model


def _internlm2_as_llama(values: Mapping[str, Any]) -> LlamaConfig:
    """InternLM2 is Llama with fused projections (see :mod:`pipeline.model.checkpoint.names`) and dynamic NTK rope."""
    scaling = values.get("rope_scaling")
    rope = {"rope_type": "default", "rope_theta": float(values["rope_theta"])}
    if scaling:
        rope |= {"rope_type": scaling.get("type", scaling.get("rope_type")), "factor": float(scaling["factor"])}
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


@dataclass(frozen=True)
class Reply:
    """A greedy reply.

    Attributes:
        ids: Generated token ids, the stop token(s) included.
        hidden: ``[len(ids), D]`` last-layer state (after the final norm) with each generated token *as input*; the row
            of a token that was never fed back (the last one at the length limit) is absent.
        probabilities: Probability the model gave each generated token.
    """

    ids: list[int]
    hidden: Tensor
    probabilities: list[float]


class ReplyReader:
    """Greedy replies of one language model to prompts that share their beginning.

    The common beginning (all image tokens) is run once and its key/value cache serves every prompt. The usual reply is
    proposed and verified in one forward pass: it is accepted exactly as far as each of its tokens is the arg-max, so
    the result is that of token-by-token greedy decoding.
    """

    def __init__(self, model: PreTrainedModel, prompts: PromptBuilder) -> None:
        self.model = model
        self.prompts = prompts
        self.proposal = prompts.usual_reply()
        self.forward_passes = 0

    @torch.inference_mode()
    def read(self, prompts: Sequence[Sequence[int]], image_embeds: Tensor) -> list[Reply]:
        """Reply to each prompt.

        Args:
            prompts: Token ids; all hold the same image blocks at the same place.
            image_embeds: ``[image tokens, D]``, what stands at the image positions, in order.
        """
        shared = min(_common_prefix(prompts), min(map(len, prompts)) - 1)
        cache = self._prefill(prompts[0][:shared], image_embeds)
        suffixes = [list(p[shared:]) for p in prompts]
        replies = self._verify(cache, shared, suffixes, self.proposal)
        pending = [row for row, reply in enumerate(replies) if len(reply.ids) < len(self.proposal)]
        if pending:
            decoded = self._decode(cache, shared, [suffixes[row] for row in pending])
            for row, reply in zip(pending, decoded, strict=True):
                replies[row] = reply
        self._learn(replies)
        return replies

    def _learn(self, replies: Sequence[Reply]) -> None:
        """Propose next time what most replies said this time, so that a checkpoint's own habit is guessed."""
        counts: dict[tuple[int, ...], int] = {}
        for reply in replies:
            if len(reply.ids) <= 64:
                counts[tuple(reply.ids)] = counts.get(tuple(reply.ids), 0) + 1
        if counts and tuple(self.proposal) not in counts:
            self.proposal = list(max(counts.items(), key=lambda item: item[1])[0])

    def _prefill(self, ids: Sequence[int], image_embeds: Tensor) -> DynamicCache:
        device = image_embeds.device
        tokens = torch.tensor([list(ids)], device=device)
        embeds = self.model.get_input_embeddings()(tokens)
        at_image = tokens[0] == self.prompts.tokenizer.image_id
        embeds[0, at_image] = image_embeds.to(embeds.dtype)
        cache = DynamicCache(config=self.model.config)
        self._forward(inputs_embeds=embeds, past_key_values=cache)
        return cache

    def _forward(self, **inputs: Tensor | DynamicCache | None) -> Tensor:
        self.forward_passes += 1
        return self.model.model(use_cache=True, **inputs).last_hidden_state

    def _rows(self, cache: DynamicCache, count: int) -> DynamicCache:
        """A cache of ``count`` rows, as views of the content: a layer is copied when it grows, and not before."""
        rows = DynamicCache(config=self.model.config)
        for layer, source in zip(rows.layers, cache.layers, strict=True):
            assert isinstance(layer, DynamicLayer)
            assert isinstance(source, DynamicLayer)
            assert source.keys is not None
            assert source.values is not None
            layer.lazy_initialization(source.keys, source.values)
            layer.keys = source.keys.expand(count, -1, -1, -1)
            layer.values = source.values.expand(count, -1, -1, -1)
        return rows

    def _step(
        self, cache: DynamicCache, shared: int, inputs: Sequence[Sequence[int]], before: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Feed each row its own tokens, padded on the right.

        Args:
            cache: Key/value cache with one row per input; it grows by the longest input.
            shared: Length of the common prefix in the cache.
            inputs: New tokens of each row.
            before: Bool ``[rows, cached after the prefix]``: which of those cached positions are real.

        Returns:
            Hidden states ``[rows, longest, D]`` and the bool mask of real new positions ``[rows, longest]``.
        """
        device = embedding_device(self.model)
        longest = max(map(len, inputs))
        ids = torch.zeros(len(inputs), longest, dtype=torch.long)
        real = torch.zeros(len(inputs), longest, dtype=torch.bool)
        for row, tokens in enumerate(inputs):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            real[row, : len(tokens)] = True
        ids, real = ids.to(device), real.to(device)
        cached = torch.zeros(len(inputs), 0, dtype=torch.bool, device=device) if before is None else before
        prefix = torch.ones(len(inputs), shared, dtype=torch.bool, device=device)
        start = shared + cached.sum(1, keepdim=True)
        positions = start + (real.cumsum(1) - 1).clamp(min=0)
        # without padding there is nothing to mask but the future, which needs no mask of its own
        is_padded = before is not None or min(map(len, inputs)) < longest
        attend = torch.cat([prefix, cached, real], dim=1).long() if is_padded else None
        hidden = self._forward(input_ids=ids, attention_mask=attend, position_ids=positions, past_key_values=cache)
        return hidden, real

    def _verify(
        self, cache: DynamicCache, shared: int, suffixes: Sequence[Sequence[int]], proposal: Sequence[int]
    ) -> list[Reply]:
        """Run every prompt with the proposed reply behind it; keep of it what greedy decoding would have said."""
        rows = self._rows(cache, len(suffixes))
        hidden, _ = self._step(rows, shared, [[*suffix, *proposal] for suffix in suffixes])
        at = torch.tensor([len(suffix) for suffix in suffixes], device=hidden.device)[:, None]
        index = torch.arange(len(proposal), device=hidden.device)[None]
        row = torch.arange(len(suffixes), device=hidden.device)[:, None]
        logits = self.model.lm_head(hidden[row, at - 1 + index]).float()
        chosen = logits.argmax(-1)
        probability = logits.softmax(-1).amax(-1)
        wanted = torch.tensor(list(proposal), device=hidden.device)
        agreed = (chosen == wanted).long().cumprod(1).sum(1)
        states = hidden[row, at + index]
        agreed_host, probability_host = agreed.tolist(), probability.tolist()
        return [
            Reply(list(proposal[:n]), states[i, :n].clone(), probability_host[i][:n]) for i, n in enumerate(agreed_host)
        ]

    def _decode(self, cache: DynamicCache, shared: int, suffixes: Sequence[Sequence[int]]) -> list[Reply]:
        """Plain greedy decoding of several rows at once, each until its reply is over."""
        rows = self._rows(cache, len(suffixes))
        hidden, before = self._step(rows, shared, suffixes)
        last = torch.tensor([len(suffix) - 1 for suffix in suffixes], device=hidden.device)
        state = hidden[torch.arange(len(suffixes), device=hidden.device), last]
        ids: list[list[int]] = [[] for _ in suffixes]
        states: list[list[Tensor]] = [[] for _ in suffixes]
        probabilities: list[list[float]] = [[] for _ in suffixes]
        active = [True] * len(suffixes)
        for _ in range(MAX_REPLY_TOKENS):
            logits = self.model.lm_head(state).float()
            best = logits.argmax(-1).tolist()
            chance = logits.softmax(-1).amax(-1).tolist()
            for row in range(len(suffixes)):
                if active[row]:
                    ids[row].append(best[row])
                    probabilities[row].append(chance[row])
            over = [not active[row] or self.prompts.is_over(ids[row]) for row in range(len(suffixes))]
            if all(over):
                break
            # finished rows are fed a masked token, so that the batch keeps its shape
            hidden, real = self._step(rows, shared, [[token] for token in best], before)
            for row in range(len(suffixes)):
                if over[row]:
                    real[row] = False
                else:
                    states[row].append(hidden[row, 0])
                active[row] = not over[row]
            before = torch.cat([before, real], dim=1)
            state = hidden[:, 0]
        width = hidden.shape[-1]
        return [
            Reply(ids[row], torch.stack(states[row]) if states[row] else hidden.new_zeros(0, width), probabilities[row])
            for row in range(len(suffixes))
        ]


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
    assert isinstance(weight, Tensor)
    return weight.device
