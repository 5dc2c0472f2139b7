"""Memory attention as SAM 2 computes it, arranged so that nothing is done twice.

The weights are those of the ``sam2`` package's ``MemoryAttention``; :func:`pipeline.model.sam2.memory.attend` is
the plain form of the same computation. Here

- the keys of a memory are projected and rotated once, when the memory is first attended, and not on every frame. Keys
  are an affine image of memory plus position plus temporal embedding, and rotation is linear, so the temporal part,
  which changes with a tracked memory's age, is added to the finished keys;
- values are an affine image of the narrow memories, and the weights of a row sum to one, so on CPUs attention is taken
  over the memories themselves and projected afterwards. Kernels for GPUs want equal widths, where it would not pay;
- what depends on the frame alone, the first layer's self-attention and queries, is computed for one object;
- rotation works on real cosines and sines, which are computed once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from torch import Tensor

from pipeline.model.sam2.attention import blocked_attention, blocks_apply_to, fused_attention


@dataclass(frozen=True)
class Memory:
    """What attention needs of one remembered frame, for O objects.

    Attributes:
        tokens: float32 ``[O, h*w, memory_dim]``, the memory itself.
        keys: One ``[O, h*w, C]`` per layer: projected and rotated.
        temporal_index: Row of the table of temporal embeddings; ``None`` if the keys contain the embedding already.
    """

    tokens: Tensor
    keys: list[Tensor]
    temporal_index: int | None

    @property
    def size_bytes(self) -> int:
        """Bytes it occupies."""
        return sum(tensor.nbytes for tensor in (self.tokens, *self.keys))

    def rows(self, part: slice) -> "Memory":
        """Of some of the objects."""
        return Memory(self.tokens[part], [keys[part] for keys in self.keys], self.temporal_index)


class MemoryReader:
    """Conditions frames on memories with the weights of one ``MemoryAttention``.

    Args:
        attention: The module whose weights are used.
        frame_position: Position encoding of the frame ``[1, C, h, w]``.
        memory_position: Position encoding of a memory ``[1, memory_dim, h, w]``.
        temporal: Temporal embeddings ``[7, 1, 1, memory_dim]``.
        working_bytes: Objects are attended so many at a time that keys, values and activations of a layer stay near
            this.
    """

    def __init__(
        self,
        attention: MemoryAttention,
        frame_position: Tensor,
        memory_position: Tensor,
        temporal: Tensor,
        *,
        working_bytes: int,
    ) -> None:
        self.working_bytes = working_bytes
        self._temporal_parts: dict[tuple[int, int], Tensor] = {}
        self.attention = attention
        self.layers: list[MemoryAttentionLayer] = list(attention.layers)
        self.frame_position = _tokens(frame_position)
        self.memory_position = _tokens(memory_position)
        self.temporal = temporal.flatten(1)
        side = frame_position.shape[-1]
        rotations = self.layers[0].self_attn.compute_cis(end_x=side, end_y=side).to(frame_position.device)
        # interleaved pairs (a, b) become (a cos - b sin, b cos + a sin)
        self.cosine = rotations.real.repeat_interleave(2, dim=-1)
        self.sine = torch.stack([-rotations.imag, rotations.imag], dim=-1).flatten(-2)

    def project(self, features: Tensor, temporal_index: int, *, fixed: bool) -> Memory:
        """Project a memory once for all frames that will attend to it.

        Args:
            features: ``[O, memory_dim, h, w]``.
            temporal_index: Row of the table of temporal embeddings.
            fixed: The index will stay the same, so that its embedding may go into the keys at once.
        """
        tokens = _tokens(features).float().contiguous()
        placed = tokens + self.memory_position
        if fixed:
            placed = placed + self.temporal[temporal_index]
        keys = [self._rotated(layer.cross_attn_image.k_proj(placed)) for layer in self.layers]
        return Memory(tokens, keys, None if fixed else temporal_index)

    def read(self, frame: Tensor, memories: Sequence[Memory], pointers: Tensor) -> Tensor:
        """Frame features conditioned on the memories of O objects.

        Args:
            frame: ``[1, C, h, w]``.
            memories: Of the same O objects.
            pointers: Object pointers cut in tokens ``[O, P, memory_dim]``; they have no position.

        Returns:
            ``[O, C, h, w]``.
        """
        state = _tokens(frame) + 0.1 * self.frame_position
        state = state + self._self_attention(self.layers[0], state)
        queries = self._queries(self.layers[0], state)
        count = self._objects_at_once(memories, pointers)
        parts = [slice(start, start + count) for start in range(0, len(pointers), count)]
        found = [
            self._read(state, queries, [memory.rows(part) for memory in memories], pointers[part]) for part in parts
        ]
        return torch.cat(found).transpose(1, 2).unflatten(2, frame.shape[-2:])

    def _objects_at_once(self, memories: Sequence[Memory], pointers: Tensor) -> int:
        keys = sum(memory.keys[0][0].nbytes for memory in memories)
        cells, width = memories[0].keys[0].shape[1:]
        hidden = cells * (self.layers[0].linear1.out_features + 4 * width) * 4
        return max(1, min(len(pointers), self.working_bytes // (2 * keys + hidden)))

    def _read(self, state: Tensor, queries: Tensor, memories: Sequence[Memory], pointers: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            if number > 0:
                state = state + self._self_attention(layer, state)
                queries = self._queries(layer, state)
            state = state + self._cross_attention(number, queries.expand(len(pointers), -1, -1), memories, pointers)
            state = state + layer.linear2(layer.linear1(layer.norm3(state)).relu_())
        return self.attention.norm(state)

    def _self_attention(self, layer: MemoryAttentionLayer, state: Tensor) -> Tensor:
        part, state = layer.self_attn, layer.norm1(state)
        queries, keys = self._rotated(part.q_proj(state)), self._rotated(part.k_proj(state))
        values = part.v_proj(state)
        if blocks_apply_to(queries, keys.shape[1]):
            rows = zip(queries, keys, values, strict=True)
            return part.out_proj(torch.stack([blocked_attention(q, [k], [v]) for q, k, v in rows]))
        return part.out_proj(fused_attention(queries, keys, values))

    def _queries(self, layer: MemoryAttentionLayer, state: Tensor) -> Tensor:
        return self._rotated(layer.cross_attn_image.q_proj(layer.norm2(state)))

    def _cross_attention(self, number: int, queries: Tensor, memories: Sequence[Memory], pointers: Tensor) -> Tensor:
        part = self.layers[number].cross_attn_image
        keys = [self._keys(number, memory) for memory in memories] + [part.k_proj(pointers).to(queries.dtype)]
        tokens = [memory.tokens for memory in memories] + [pointers]
        if blocks_apply_to(queries, keys[0].shape[1]):
            found = [
                blocked_attention(rows, [piece[i] for piece in keys], [piece[i] for piece in tokens])
                for i, rows in enumerate(queries)
            ]
            return part.out_proj(part.v_proj(torch.stack(found)))
        return part.out_proj(fused_attention(queries, torch.cat(keys, dim=1), part.v_proj(torch.cat(tokens, dim=1))))

    def _keys(self, number: int, memory: Memory) -> Tensor:
        keys = memory.keys[number]
        return (
            keys if memory.temporal_index is None else keys + self._temporal_keys(number, memory.temporal_index, keys)
        )

    def _temporal_keys(self, number: int, temporal_index: int, keys: Tensor) -> Tensor:
        """What a temporal embedding adds to the keys of a layer, ``[h*w, C]``; it depends on weights alone."""
        known = self._temporal_parts.get((number, temporal_index))
        if known is None or known.dtype != keys.dtype:
            weight = self.layers[number].cross_attn_image.k_proj.weight
            known = self._rotated(weight @ self.temporal[temporal_index].to(weight.dtype)).to(keys.dtype)
            self._temporal_parts[number, temporal_index] = known
        return known

    def _rotated(self, rows: Tensor) -> Tensor:
        """Rotary position encoding of ``[..., h*w or 1, C]``, in float32, given back in the type it came in."""
        full = rows.float()
        swapped = full.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        return (full * self.cosine).addcmul_(swapped, self.sine).to(rows.dtype)


def _tokens(grid: Tensor) -> Tensor:
    """``[N, C, h, w]`` to ``[N, h*w, C]``."""
    return grid.flatten(2).transpose(1, 2)
