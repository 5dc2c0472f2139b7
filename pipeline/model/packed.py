"""Many continuations of one beginning in a single row of a key/value cache.

Each continuation (a prompt, or a proposed reply behind a prompt) is a segment. A token attends to the common beginning,
to the segment its own one continues, and to what stands before it in its own. So the beginning is held once, whatever
the number of continuations, and nothing is padded.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer


class PackedCache:
    """A key/value cache whose row holds a common beginning and then the segments.

    Args:
        forward: The language model: its inputs to hidden states ``[1, L, D]``.
        beginning: A cache of one row that holds the common beginning; it is not changed.
        following: Position of the token that follows the beginning.
        streams: Position streams of the model (three with M-RoPE, else one).
        device: Where token ids go.
        config: Of the language model.
    """

    def __init__(
        self,
        forward: Callable[..., Tensor],
        beginning: DynamicCache,
        following: int,
        streams: int,
        device: torch.device,
        config: PreTrainedConfig,
    ) -> None:
        self._forward = forward
        self._cache = _same_content(beginning, config)
        self._shared = beginning.get_seq_length()
        self._following = following
        self._streams = streams
        self._device = device
        self._parents: list[int] = []
        self._lengths: list[int] = []
        self._segment_of: list[int] = []
        self._ids: list[int] = []
        self._positions: list[int] = []

    @property
    def length(self) -> int:
        """Tokens that wait for :meth:`run`."""
        return len(self._ids)

    def add(self, ids: Sequence[int]) -> int:
        """Queue a segment that follows the beginning, and return its number."""
        self._parents.append(-1)
        self._lengths.append(0)
        number = len(self._parents) - 1
        for token in ids:
            self.extend(number, token)
        return number

    def add_branch(self, parent: int, ids: Sequence[int]) -> int:
        """Queue a segment that follows segment ``parent``; the index of its first token among those that wait."""
        first = self.length
        branch = self.add(())
        self._parents[branch] = parent
        for token in ids:
            self.extend(branch, token)
        return first

    def extend(self, segment: int, token: int) -> None:
        """Queue one more token of a segment."""
        parent = self._parents[segment]
        before = self._lengths[segment] + (self._lengths[parent] if parent >= 0 else 0)
        self._ids.append(token)
        self._positions.append(self._following + before)
        self._segment_of.append(segment)
        self._lengths[segment] += 1

    def run(self) -> Tensor:
        """Run the tokens that wait; their hidden states ``[length, D]`` in the order they were queued."""
        count = self.length
        segment = torch.tensor(self._segment_of, device=self._device)
        parent = torch.tensor(self._parents, device=self._device)
        new = segment[-count:]
        related = (new[:, None] == segment[None]) | (parent[new][:, None] == segment[None])
        order = torch.arange(len(segment), device=self._device)
        allowed = related & (order[None] <= order[-count:, None])
        beginning = allowed.new_ones(count, self._shared)
        positions = torch.tensor(self._positions, device=self._device)[None]
        inputs: dict[str, Any] = {
            "input_ids": torch.tensor([self._ids], device=self._device),
            "attention_mask": torch.cat([beginning, allowed], 1)[None, None],
            "position_ids": positions if self._streams == 1 else positions[None].expand(self._streams, -1, -1),
        }
        self._ids, self._positions = [], []
        return self._forward(past_key_values=self._cache, **inputs)[0]


def beginning_of(cache: DynamicCache, length: int, config: PreTrainedConfig) -> DynamicCache:
    """The first ``length`` tokens of a cache of one row, as views."""
    part = _same_content(cache, config)
    for layer in part.layers:
        assert isinstance(layer, DynamicLayer)
        assert layer.keys is not None
        assert layer.values is not None
        layer.keys, layer.values = layer.keys[:, :, :length], layer.values[:, :, :length]
    return part


def _same_content(cache: DynamicCache, config: PreTrainedConfig) -> DynamicCache:
    """Another cache with the same content, by reference: a layer is copied when it grows, and not before."""
    same = DynamicCache(config=config)
    for layer, source in zip(same.layers, cache.layers, strict=True):
        assert isinstance(layer, DynamicLayer)
        assert isinstance(source, DynamicLayer)
        assert source.keys is not None
        assert source.values is not None
        layer.lazy_initialization(source.keys, source.values)
        layer.keys, layer.values = source.keys, source.values
    return same
