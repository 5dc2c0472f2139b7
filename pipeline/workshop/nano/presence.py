"""Stage 3: the trained model learns to say no, without forgetting where things are.

Beside its reply, it is asked whether what an expression names is there. The answer is trained, and so is
"No such object."; prompt vectors of expressions with a target are held where a frozen copy of the model has them, so
that decoder, memory and propagation need no training again. What helps: where the answer is formed, the model is told
where to look and what is seen there, also for an absent expression that fits an object but for one detail.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from pipeline.model.grounder import Grounder
from pipeline.model.prompt import PRESENCE_QUESTION
from pipeline.workshop.nano.code import CODE_WIDTH
from pipeline.workshop.nano.data import vision_pixels
from pipeline.workshop.nano.encoder import cover
from pipeline.workshop.nano.language import ANSWERS, PATCHES, LanguageTraining
from pipeline.workshop.nano.sentences import ANSWER, NO_ANSWER, Packed, Packer, ReferringBatch
from pipeline.workshop.nano.vision import naming_loss
from pipeline.workshop.shapes import ShapeExpression
from pipeline.workshop.shapes.vocabulary import MOTIONS

YES, NO = "Yes.<|im_end|>", "No.<|im_end|>"
KIND_WEIGHTS = {
    "appearance": 0.12, "position": 0.09, "motion": 0.17, "motion-hard": 0.04, "relation": 0.07, "multiple": 0.08,
    "none": 0.43,
}  # fmt: skip
ASKED, HELD, LOOK_AT = 3.0, 3.0, 0.5
"""Weights of the answer, of prompt vectors that must stay, and of being told where to look when asked."""
ATTENTION, TARGET = 0.3, 0.5
"""Weights of the language stage's helpers, which know their part already."""
KEPT_REPLIES = 0.98
"""Share of the expressions with a target whose reply has to name an object."""


class Asked:
    """The expressions of a batch as requests and as questions, packed behind shared images.

    Attributes:
        requests: Rows of the requests with their replies, as :class:`Packer` makes them.
        questions: Rows of the questions with their answers.
        answered_at: int64 ``[Q, 3]``: clip, expression, and position in ``questions`` where the answer is formed.
        there: Bool ``[Q]``: whether the expression has a target.
    """

    def __init__(
        self, packer: Packer, expressions: list[list[ShapeExpression]], keyframes: int, device: torch.device
    ) -> None:
        self.requests = packer.pack(expressions, keyframes).to(device)
        questions, ends = packer.pack_with(
            expressions, keyframes, PRESENCE_QUESTION, lambda expression: YES if expression.targets else NO
        )
        self.questions, self.answered_at = questions.to(device), ends.to(device)
        flags = [bool(expressions[b][n].targets) for b, n, _ in ends.tolist()]
        self.there = torch.tensor(flags, device=device)


class PresenceTraining(LanguageTraining):
    """The language side with its helper heads, and a frozen copy of it for its prompt vectors."""

    def __init__(self, grounder: Grounder, frozen: Grounder) -> None:
        super().__init__(grounder)
        self.candidate_head = nn.Linear(grounder.config.hidden_size, CODE_WIDTH + len(MOTIONS))
        self._frozen = [LanguageTraining(frozen).requires_grad_(requires_grad=False).eval()]  # no part of this module
        encode = grounder.replies.prompts.tokenizer.encode
        self._yes_word, self._no_word = encode(YES)[0], encode(NO)[0]

    def ask(self, batch: ReferringBatch, asked: Asked) -> tuple[Tensor, dict[str, float], Tensor]:
        """Loss, numbers for the log, and the log-odds ``[Q]`` of yes against no."""
        clips = len(batch.rendered.frames)
        pixels = vision_pixels(batch.rendered.frames.flatten(0, 1))
        patches, tokens = self.look(pixels)
        tokens = tokens.view(clips, -1, tokens.shape[-1])
        share = cover(batch.rendered, round(patches.shape[1] ** 0.5))
        naming, numbers = naming_loss(self.patch_head, patches, batch.rendered, batch.scenes)
        loss = PATCHES * naming + self._reply_loss(batch, asked.requests, tokens, share, pixels, numbers)
        _, last = self.read(tokens, asked.questions)
        states = last[asked.answered_at[:, 0], asked.answered_at[:, 2]]
        words = self.grounder.language_model.lm_head(states)
        there = asked.there
        loss = loss + ASKED * F.cross_entropy(words.float(), torch.where(there, self._yes_word, self._no_word))
        loss = loss + LOOK_AT * self._candidate_loss(states, share, batch, asked, numbers)
        odds = (words[:, self._yes_word] - words[:, self._no_word]).float().detach()
        numbers["yes_right"] = float((odds > 0)[there].float().mean())
        numbers["no_right"] = float((odds <= 0)[~there].float().mean())
        return loss, numbers, odds

    def _reply_loss(
        self,
        batch: ReferringBatch,
        packed: Packed,
        tokens: Tensor,
        share: Tensor,
        pixels: Tensor,
        numbers: dict[str, float],
    ) -> Tensor:
        """As in the language stage, and the distance of the prompt vectors from those of the frozen copy."""
        clips, frames = batch.rendered.frames.shape[:2]
        middle, last = self.read(tokens, packed)
        logits = self.grounder.language_model.lm_head(last[packed.answer_at[:, 0], packed.answer_at[:, 1]])
        loss = ANSWERS * self._answer_loss(logits, packed.answer_ids, numbers)
        loss = loss + self._motion_loss(middle, share, batch, packed, numbers)
        loss = loss + ATTENTION * self._attention_loss(share, batch, packed, numbers)
        states = last[packed.seg_at[:, 0], packed.seg_at[:, 2]]
        loss = loss + TARGET * self._target_loss(states, share.unflatten(0, (clips, frames)), batch, packed, numbers)
        with torch.no_grad():
            frozen = self._frozen[0]
            _, seen = frozen.look(pixels)
            _, before = frozen.read(seen.view(clips, -1, seen.shape[-1]), packed)
            wanted = frozen.grounder.text_hidden_fcs(before[packed.seg_at[:, 0], packed.seg_at[:, 2]]).float()
        apart = (self.grounder.text_hidden_fcs(states).float() - wanted).square().mean() / wanted.var()
        numbers["apart"] = float(apart.detach())
        return loss + HELD * apart

    def _candidate_loss(
        self, states: Tensor, share: Tensor, batch: ReferringBatch, asked: Asked, numbers: dict[str, float]
    ) -> Tensor:
        """Where the answer is formed: look at what the expression nearly describes, and know what that is."""
        clips, frames = batch.rendered.frames.shape[:2]
        near = [[replace(e, targets=e.targets or e.near) for e in row] for row in batch.expressions]
        like = replace(batch, expressions=near)
        known = like.wanted()[asked.answered_at[:, 0], asked.answered_at[:, 1]].any(1)
        at = replace(asked.questions, seg_at=asked.answered_at[known])
        seen: dict[str, float] = {}
        loss = self._attention_loss(share, like, at, seen)
        numbers["asked_looks"] = seen["looks_at_target"]
        square = share.unflatten(0, (clips, frames))
        return loss + self._target_loss(states[known], square, like, at, seen, self.candidate_head)


@torch.no_grad()
def name_more_often(language: LanguageTraining, batch: ReferringBatch, packer: Packer, keyframes: int) -> None:
    """Shift the head so that :data:`KEPT_REPLIES` of the expressions with a target get a reply that names an object.

    Training with many absent expressions makes "No such object." too frequent, and a mask that was never made cannot be
    kept by a threshold on presence. "Sure" is raised by one amount for every state in which a reply begins.
    """
    packed, ends = packer.pack_with(batch.expressions, keyframes, None, lambda e: ANSWER if e.targets else NO_ANSWER)
    ends = ends.to(packed.ids.device)
    clips = len(batch.rendered.frames)
    _, tokens = language.look(vision_pixels(batch.rendered.frames.flatten(0, 1)))
    _, last = language.read(tokens.view(clips, -1, tokens.shape[-1]), packed)
    states = last[ends[:, 0], ends[:, 2]]
    head, encode = language.grounder.language_model.lm_head, language.grounder.replies.prompts.tokenizer.encode
    sure, no = encode(ANSWER)[0], encode(NO_ANSWER)[0]
    logits = head(states)
    there = torch.tensor([bool(batch.expressions[b][n].targets) for b, n, _ in ends.tolist()])
    missing = -torch.quantile((logits[:, sure] - logits[:, no])[there].float(), 1 - KEPT_REPLIES).clamp(max=0)
    mean = states.mean(0)
    head.weight[sure] += missing * mean / mean.square().sum()


def area_under_curve(odds: Tensor, there: Tensor) -> float:
    """Chance that an expression that is there gets higher odds than one that is not."""
    order = odds.argsort()
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(odds), device=odds.device)
    present = int(there.sum())
    return float((rank[there].sum() - present * (present - 1) / 2) / (present * (len(odds) - present)))
