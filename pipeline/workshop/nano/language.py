"""Stage 0, language: vision tower and language model alone learn to find what the words say.

No SAM 2 is needed for this. Four helpers, thrown away afterwards, make it quick: patch tokens name what they show;
image tokens inside the language model name how the object under them moves (the slow part: it takes several frames);
two attention heads of [SEG] are told to look at the target's image tokens; and the [SEG] state says its target's
code: looks and place, and how it moves.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from transformers.models.qwen2.modeling_qwen2 import apply_rotary_pos_emb

from pipeline.model.grounder import Grounder
from pipeline.workshop.nano.code import CODE_WIDTH, looks_of, places_of
from pipeline.workshop.nano.data import vision_pixels
from pipeline.workshop.nano.encoder import cover
from pipeline.workshop.nano.sentences import ANSWER, NO_ANSWER, Packed, ReferringBatch
from pipeline.workshop.nano.vision import LOOKS, NAMES_WIDTH, naming_loss, tower_of
from pipeline.workshop.shapes.vocabulary import MOTIONS

MOTION_LAYER = 3
"""After this many layers the motion under an image token must be known, so that the layers above can read it."""

GUIDED_LAYER, GUIDED_HEADS = 4, 2
"""The first heads of this layer look from [SEG] to the target."""

ANSWERS, OPENING = 2.0, 10.0
"""Weight of the answers, and within them of the first word, which alone says whether the target is there."""

PATCHES = 0.3
"""Weight of the patches' names: the tower knows them already and must not forget."""


def initialise_grounder(grounder: Grounder) -> None:
    """Scales for training from scratch (the classes' own are for fine-tuning or for far wider models)."""
    vision, language = tower_of(grounder).vision_model, grounder.language_model
    for part, layers in ((vision, len(vision.encoder.layer)), (language, len(language.model.layers))):
        for name, parameter in part.named_parameters():
            if name.endswith(("lambda_1", "lambda_2")):
                nn.init.constant_(parameter, 1.0)
            elif parameter.ndim == 2 and "embed" not in name and "lm_head" not in name:
                closing = name.endswith(("projection_layer.weight", "fc2.weight", "o_proj.weight", "down_proj.weight"))
                scale = (2 * layers) ** -0.5 if closing else 1.0
                nn.init.normal_(parameter, std=scale * parameter.shape[1] ** -0.5)
    nn.init.normal_(vision.embeddings.position_embeddings, std=0.3)
    nn.init.normal_(language.model.embed_tokens.weight, std=0.5)


class LanguageTraining(nn.Module):
    """A grounder with the helper heads."""

    def __init__(self, grounder: Grounder) -> None:
        super().__init__()
        self.grounder = grounder
        width = int(grounder.config.language["hidden_size"])
        seen = int(grounder.config.vision["hidden_size"])
        self.patch_head = nn.Linear(seen, NAMES_WIDTH)
        self.motion_head = nn.Linear(width, len(MOTIONS) + 5)
        self.target_head = nn.Linear(width, CODE_WIDTH + len(MOTIONS))
        tokenizer = grounder.replies.prompts.tokenizer
        self._yes, self._no = tokenizer.encode(ANSWER)[0], tokenizer.encode(NO_ANSWER)[0]
        self._tapped: dict[str, Tensor] = {}
        attention = grounder.language_model.model.layers[GUIDED_LAYER].self_attn
        for name, projection in (("query", attention.q_proj), ("key", attention.k_proj)):
            projection.register_forward_hook(lambda *call, name=name: self._tapped.update({name: call[2]}))

    def forward(
        self, batch: ReferringBatch, packed: Packed, *, guided: bool = True
    ) -> tuple[Tensor, dict[str, float], Tensor]:
        """Loss, numbers for the log, and the prompt vectors [S, d_model] of the batch's [SEG] tokens.

        Args:
            batch: Pixels, scenes and expressions.
            packed: The same expressions as tokens.
            guided: Whether the attention helper is on.
        """
        clips, frames = batch.rendered.frames.shape[:2]
        patches, tokens = self.look(vision_pixels(batch.rendered.frames.flatten(0, 1)))
        middle, last = self.read(tokens.view(clips, -1, tokens.shape[-1]), packed)
        numbers: dict[str, float] = {}
        logits = self.grounder.language_model.lm_head(last[packed.answer_at[:, 0], packed.answer_at[:, 1]])
        loss = ANSWERS * self._answer_loss(logits, packed.answer_ids, numbers)
        share = cover(batch.rendered, round(patches.shape[1] ** 0.5))
        naming, named = naming_loss(self.patch_head, patches, batch.rendered, batch.scenes)
        loss, numbers = loss + PATCHES * naming, numbers | named
        loss = loss + self._motion_loss(middle, share, batch, packed, numbers)
        if guided:
            loss = loss + 0.5 * self._attention_loss(share, batch, packed, numbers)
        states = last[packed.seg_at[:, 0], packed.seg_at[:, 2]]
        loss = loss + self._target_loss(states, share.unflatten(0, (clips, frames)), batch, packed, numbers)
        return loss, numbers, self.grounder.text_hidden_fcs(states)

    def look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Patch tokens [N, P, C] and image tokens [N, P / 4, D] of normalised frames."""
        tower = tower_of(self.grounder)
        patches = tower.vision_model(pixel_values=pixels).last_hidden_state[:, 1:]
        return patches, tower.mlp1(tower._pixel_shuffle(patches))

    def read(self, image_tokens: Tensor, packed: Packed) -> tuple[Tensor, Tensor]:
        """Hidden states [B, L, D] after ``MOTION_LAYER`` layers and after the final norm."""
        model = self.grounder.language_model.model
        embeds = model.embed_tokens(packed.ids)
        at_image = packed.ids == self.grounder.replies.prompts.tokenizer.image_id
        embeds = embeds.masked_scatter(at_image[..., None], image_tokens.to(embeds.dtype))
        output = model(
            inputs_embeds=embeds, attention_mask=packed.mask, position_ids=packed.positions, use_cache=False,
            output_hidden_states=True,
        )  # fmt: skip
        return output.hidden_states[MOTION_LAYER], output.last_hidden_state

    def _answer_loss(self, logits: Tensor, ids: Tensor, numbers: dict[str, float]) -> Tensor:
        """Cross-entropy of the answers' tokens [A], and how often "not there" is said where it is true."""
        absent, opening = ids == self._no, (ids == self._no) | (ids == self._yes)
        weights = 1 + (OPENING - 1) * opening.float()
        chance = F.cross_entropy(logits, ids, reduction="none")
        numbers["answer"] = float(chance.detach().mean())
        if absent.any():
            numbers["absent_said"] = float((logits.argmax(1) == self._no)[absent].float().mean())
        return (chance * weights).sum() / weights.sum()

    def _motion_loss(
        self, middle: Tensor, share: Tensor, batch: ReferringBatch, packed: Packed, numbers: dict[str, float]
    ) -> Tensor:
        """Motion and displacement of the object that covers most of an image token, from the second keyframe on."""
        clips, frames = batch.rendered.frames.shape[:2]
        at_image = packed.ids[:, : packed.prefix] == self.grounder.replies.prompts.tokenizer.image_id
        states = middle[:, : packed.prefix][at_image].view(clips, frames, -1, middle.shape[-1])
        output = self.motion_head(states)  # [B, K, tokens, M + 5]
        side = round(states.shape[2] ** 0.5)
        cells = F.adaptive_avg_pool2d(share, side).view(clips, frames, share.shape[1], -1)[
            :, :, 1:
        ]  # [B, K, O, tokens]
        best, owner = cells.max(2)
        held = best > 0.12
        motion = torch.gather(batch.scenes.motion[:, None].expand(-1, frames, -1), 2, owner)
        # With more keyframes the later ones tell all; the first sees a single picture and must guess.
        weight = held.float() * torch.linspace(0, 1, frames, device=states.device)[None, :, None].clamp(min=0.1)
        chance = F.cross_entropy(output[..., : len(MOTIONS)].flatten(0, 2), motion.flatten(), reduction="none")
        loss = (chance.view_as(weight) * weight).sum() / weight.sum().clamp(min=1)
        right = output[:, -1, :, : len(MOTIONS)].argmax(-1) == motion[:, -1]
        numbers["token_motion"] = float(right[held[:, -1]].float().mean())
        axis = (torch.arange(share.shape[-1], device=share.device) + 0.5) / share.shape[-1]
        area = share[:, 1:].sum((2, 3)).clamp(min=1e-3)
        centre = (
            torch.stack(((share[:, 1:] * axis).sum((2, 3)), (share[:, 1:] * axis[:, None]).sum((2, 3))), -1)
            / area[..., None]
        )
        centre = centre.view(clips, frames, -1, 2)
        step = centre - torch.cat((centre[:, :1], centre[:, :-1]), 1)
        target = torch.cat((centre, 4 * step), -1).gather(2, owner[..., None].expand(-1, -1, -1, 4))
        error = F.l1_loss(output[..., len(MOTIONS) : len(MOTIONS) + 4], target, reduction="none").mean(-1)
        return loss + 2 * (error * held).sum() / held.sum().clamp(min=1)

    def _attention_loss(
        self, share: Tensor, batch: ReferringBatch, packed: Packed, numbers: dict[str, float]
    ) -> Tensor:
        """Cross-entropy of where the guided heads of [SEG] look against the image tokens the target covers."""
        model = self.grounder.language_model.model
        clips, frames = batch.rendered.frames.shape[:2]
        width = model.layers[GUIDED_LAYER].self_attn.head_dim
        rows, at = packed.seg_at[:, 0], packed.seg_at[:, 2]
        query, key = (self._tapped[n].unflatten(-1, (-1, width))[:, :, :GUIDED_HEADS] for n in ("query", "key"))
        cos, sin = model.rotary_emb(query, packed.positions)
        query, key = apply_rotary_pos_emb(query.transpose(1, 2), key.transpose(1, 2), cos, sin)  # [B, H, L, w]
        logits = torch.einsum("shw,shlw->shl", query[rows, :, at].float(), key[rows].float()) * width**-0.5
        logits = logits.masked_fill(~packed.mask[rows, 0, at][:, None], -1e4)
        image = (packed.ids[0] == self.grounder.replies.prompts.tokenizer.image_id).nonzero()[:, 0]
        chance = logits.log_softmax(-1)[..., image]
        side = round((len(image) // frames) ** 0.5)
        cells = F.adaptive_avg_pool2d(share, side).view(clips, frames, share.shape[1], -1)[:, :, 1:]
        wanted = batch.wanted()[rows, packed.seg_at[:, 1]].float()
        target = torch.einsum("so,skop->skp", wanted, cells[rows]).flatten(1)
        target = target * (target > 0.12)
        total = target.sum(1)
        numbers["looks_at_target"] = float((chance.exp().detach() * (target > 0)[:, None]).sum(-1).mean())
        target = target / total.clamp(min=1e-3)[:, None]
        return -(chance * target[:, None]).sum(-1).mean()

    def _target_loss(
        self,
        states: Tensor,
        share: Tensor,
        batch: ReferringBatch,
        packed: Packed,
        numbers: dict[str, float],
        head: nn.Linear | None = None,
    ) -> Tensor:
        """How well the [SEG] states [S, D] say their targets' codes and motions; ``share`` [B, K, O + 1, s, s]."""
        rows = packed.seg_at[:, 0]
        wanted = batch.wanted()[rows, packed.seg_at[:, 1]]  # [S, O]
        moving = F.one_hot(batch.scenes.motion[rows], len(MOTIONS)).float()
        motion = (moving * wanted[..., None]).amax(1)
        place = places_of(share[:, :, 1:], rows, wanted)
        labels = {"looks": looks_of(batch.scenes, rows, wanted), "place": place, "motion": motion}
        output = dict(
            zip(labels, (head or self.target_head)(states).split([x.shape[1] for x in labels.values()], 1), strict=True)
        )
        loss = states.new_zeros(())
        for name, label in labels.items():
            bce = F.binary_cross_entropy_with_logits(output[name], label, reduction="none")
            loss = loss + (0.5 if name == "place" else 1.0) * bce.sum(1).mean() / 8
        found = output["place"].detach().sigmoid()
        overlap = torch.minimum(found, place).sum(1) / torch.maximum(found, place).sum(1).clamp(min=1e-3)
        colours = LOOKS["colour"]
        hit = labels["looks"].gather(1, output["looks"][:, :colours].argmax(1, keepdim=True))[:, 0]
        kinds = [batch.expressions[b][n].kind for b, n, _ in packed.seg_at.tolist()]
        for kind in sorted(set(kinds)):
            here = [k == kind for k in kinds]
            numbers[f"place_{kind}"] = float(overlap[here].mean())
            numbers[f"colour_{kind}"] = float(hit[here].mean())
        return loss
