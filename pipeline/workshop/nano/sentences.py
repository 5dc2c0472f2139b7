"""Batches of clips with expressions, packed so that all expressions of a clip share its image tokens."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from pipeline.model.families.internvl_prompt import InternVLPrompts
from pipeline.workshop.shapes import (
    RenderedClips,
    Scenes,
    ShapeExpression,
    describe,
    keyframe_times,
    render,
    sample_scenes,
)
from pipeline.workshop.shapes.vocabulary import Split

ANSWER, NO_ANSWER = "Sure, [SEG].<|im_end|>", "No such object.<|im_end|>"
KIND_WEIGHTS = {
    "appearance": 0.2, "position": 0.15, "motion": 0.26, "motion-hard": 0.07, "relation": 0.1, "multiple": 0.12,
    "none": 0.1,
}  # fmt: skip


@dataclass(frozen=True)
class ReferringBatch:
    """Clips, their keyframes, and ``n`` expressions of each clip."""

    scenes: Scenes
    rendered: RenderedClips
    expressions: list[list[ShapeExpression]]

    def wanted(self) -> Tensor:
        """Bool [B, n, O]: which objects each expression means."""
        objects = self.rendered.num_objects
        flags = [[[k in e.targets for k in range(objects)] for e in row] for row in self.expressions]
        return torch.tensor(flags, device=self.rendered.owner.device)


def draw_batch(
    clips: int, expressions: int, keyframes: int, size: int, *, seed: int, split: Split = "train",
    weights: dict[str, float] | None = None, num_frames: tuple[int, int] = (16, 40),
    device: torch.device | str = "cpu",
) -> ReferringBatch:  # fmt: skip
    """Fresh clips with keyframes rendered at ``size`` and expressions drawn by kind."""
    scenes = sample_scenes(clips, seed=seed, split=split, num_frames=num_frames)
    # Drawn on the CPU, so that a seed means the same everywhere; painted where the model is.
    there = scenes.to(device)
    rendered = render(there, keyframe_times(scenes, keyframes).to(device), size, size)
    rng = random.Random(seed)
    chosen = [_choose(found, expressions, rng, weights or KIND_WEIGHTS) for found in describe(scenes)]
    return ReferringBatch(there, rendered, chosen)


def _choose(
    found: list[ShapeExpression], count: int, rng: random.Random, weights: dict[str, float]
) -> list[ShapeExpression]:
    by_kind: dict[str, list[ShapeExpression]] = {}
    for expression in found:
        by_kind.setdefault(expression.kind, []).append(expression)
    kinds = [kind for kind in weights if kind in by_kind] or list(by_kind)
    picks = rng.choices(kinds, [weights.get(kind, 1.0) for kind in kinds], k=count)
    return [rng.choice(by_kind[kind]) for kind in picks]


@dataclass(frozen=True)
class Packed:
    """One row per clip: the shared images, then expressions with answers, each seeing only itself and the images."""

    ids: Tensor
    """int64 [B, L]."""
    positions: Tensor
    """int64 [B, L]: as if each expression stood alone behind the images."""
    mask: Tensor
    """bool [B, 1, L, L]: what each token (row) may look at."""
    answer_at: Tensor
    """int64 [A, 2]: clip and position of every token that predicts a token of an answer."""
    answer_ids: Tensor
    """int64 [A]: what it should predict."""
    seg_at: Tensor
    """int64 [S, 3]: clip, expression, position of every [SEG]."""
    prefix: int

    def to(self, device: torch.device | str) -> "Packed":
        """The same rows on another device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "prefix"}
        return Packed(**moved, prefix=self.prefix)


@dataclass
class Packer:
    """Turns expressions into packed token rows with the prompt that inference uses."""

    prompts: InternVLPrompts
    tokens_per_keyframe: int
    _tails: dict[str, list[int]] = field(default_factory=dict)

    def _tail(self, text: str, question: str | None) -> list[int]:
        """Prompt ids behind the last image block, of a request for a mask or of a question."""
        key = f"{question}\0{text}"
        if key not in self._tails:
            prompts = self.prompts
            ids = prompts.ids(text, []) if question is None else prompts.question_ids(question, text, [])
            self._tails[key] = ids[len(prompts.tokenizer.encode(prompts.template.before)) :]
        return self._tails[key]

    def pack(self, expressions: list[list[ShapeExpression]], keyframes: int) -> Packed:
        """Pack ``n`` expressions of each of ``B`` clips, with their replies, behind ``keyframes`` image blocks."""
        return self.pack_with(expressions, keyframes, None, lambda e: ANSWER if e.targets else NO_ANSWER)[0]

    def pack_with(
        self,
        expressions: list[list[ShapeExpression]],
        keyframes: int,
        question: str | None,
        answer_to: Callable[[ShapeExpression], str],
    ) -> tuple[Packed, Tensor]:
        """As :meth:`pack`, with a question of one's own.

        Returns:
            The rows, and int64 ``[B * n, 3]``: clip, expression, and position of the last token of each prompt, from
            which the first word of the answer is read.
        """
        tokenizer = self.prompts.tokenizer
        whole = self.prompts.ids("x", [self.tokens_per_keyframe] * keyframes)
        head = whole[: len(whole) - len(self._tail("x", None))]
        rows = [[(self._tail(e.text, question), tokenizer.encode(answer_to(e))) for e in row] for row in expressions]
        prefix, count = len(head), len(rows[0])
        width = max(len(tail) + len(answer) for row in rows for tail, answer in row)
        length = prefix + count * width
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        ids[:, :prefix] = torch.tensor(head)
        real = torch.zeros(len(rows), length, dtype=torch.bool)
        real[:, :prefix] = True
        answer_at, answer_ids, seg_at, ends = [], [], [], []
        for b, row in enumerate(rows):
            for n, (tail, answer) in enumerate(row):
                start = prefix + n * width
                text = tail + answer
                ids[b, start : start + len(text)] = torch.tensor(text)
                real[b, start : start + len(text)] = True
                answer_at += [(b, start + len(tail) - 1 + i) for i in range(len(answer))]
                answer_ids += answer
                ends.append((b, n, start + len(tail) - 1))
                if tokenizer.seg_id in answer:
                    seg_at.append((b, n, start + len(tail) + answer.index(tokenizer.seg_id)))
        segment = torch.cat((torch.full((prefix,), -1), torch.arange(count).repeat_interleave(width)))
        index = torch.arange(length)
        together = (segment[:, None] == segment[None]) | (segment[None] == -1)
        allowed = together & (index[None] <= index[:, None])
        mask = (allowed[None] & real[:, None, :]) | torch.eye(length, dtype=torch.bool)[None]
        positions = torch.cat((torch.arange(prefix), prefix + torch.arange(width).repeat(count)))
        packed = Packed(ids, positions.expand(len(rows), -1), mask[:, None], torch.tensor(answer_at),
                        torch.tensor(answer_ids), torch.tensor(seg_at).reshape(-1, 3), prefix)  # fmt: skip
        return packed, torch.tensor(ends)
