"""The stages of the training in their order, each resumable, and the checkpoint they end in."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.model.checkpoint.weights import save_checkpoint
from pipeline.model.config import GroundingConfig
from pipeline.model.families import config_of
from pipeline.model.families.internvl import InternVLConfig
from pipeline.model.families.internvl_prompt import InternVLPrompts
from pipeline.model.grounder import Grounder
from pipeline.model.language import ReplyReader
from pipeline.model.prompt import DEFAULT_PROMPT
from pipeline.model.sam2.build import build_sam2
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.workshop.nano.code import CodeProjection
from pipeline.workshop.nano.decoding import DecodingTraining, PromptedDecoder
from pipeline.workshop.nano.dimensions import GROUNDING, IMAGE_SIZE, config_json
from pipeline.workshop.nano.encoder import EncoderProbe, encoder_step, initialise_sam2
from pipeline.workshop.nano.language import LanguageTraining, initialise_grounder
from pipeline.workshop.nano.loop import StageSettings, load_stage, steps_done, train_stage
from pipeline.workshop.nano.plan import STAGES, Plan
from pipeline.workshop.nano.presence import KIND_WEIGHTS, Asked, PresenceTraining, area_under_curve, name_more_often
from pipeline.workshop.nano.prompting import PromptTraining
from pipeline.workshop.nano.sentences import Packed, Packer, ReferringBatch, draw_batch
from pipeline.workshop.nano.tokenizer import write_tokenizer
from pipeline.workshop.nano.track_validation import validate_tracking
from pipeline.workshop.nano.tracking import LONG, TrackingTraining
from pipeline.workshop.nano.vision import PatchNaming, tower_of, vision_step, whiten_patches
from pipeline.workshop.shapes.vocabulary import Split

LOG = logging.getLogger(__name__)
_SEED_SPACE = 10_000_000
"""Each stage draws its clips from seeds of its own."""
_FORCING = 0.15
"""Share of tracked frames that go into memory as they truly are, once the model follows by itself."""


class NanoTraining:
    """Trains the nano model under ``directory``; a second call with the same directory goes on where it stopped."""

    def __init__(self, directory: Path, plan: Plan, device: torch.device | str = "cpu") -> None:
        self.directory = directory
        self.device = torch.device(device)
        self.plan = plan
        self.checkpoint = directory / "checkpoint"
        self.config_values = config_json(write_tokenizer(self.checkpoint))
        config = config_of(self.config_values)
        assert isinstance(config, InternVLConfig)
        self.config = config
        tokenizer = config.family.load_tokenizer(self.checkpoint, config)
        prompts = config.family.prompt_builder(self.checkpoint, config, tokenizer, DEFAULT_PROMPT)
        assert isinstance(prompts, InternVLPrompts)
        self.packer = Packer(prompts, config.tokens_per_tile)

    def run(self, stages: tuple[str, ...] = STAGES) -> None:
        """Train the given stages in order, and write the checkpoint if no stage is missing any more."""
        for stage in stages:
            LOG.info("stage %s", stage)
            getattr(self, f"train_{stage}")()
        if all(self._is_finished(stage) for stage in ("following", "prompting", "presence")):
            self.write_checkpoint()

    def train_encoder(self) -> None:
        """Stage 0, vision."""
        torch.manual_seed(0)
        sam2 = build_sam2(GroundingConfig.from_dict(GROUNDING))
        initialise_sam2(sam2)
        probe = EncoderProbe(sam2.image_encoder, self.config.grounding.d_model).to(self.device)
        plan = self.plan
        train_stage(
            self._settings("encoder", plan.encoder_steps, 2e-3),
            probe,
            lambda step: encoder_step(probe, _SEED_SPACE + step, plan.encoder_clips, IMAGE_SIZE),
            validate=lambda: encoder_step(probe, 77, plan.validation_clips, IMAGE_SIZE, "test")[1],
            validate_every=500,
        )

    def train_vision(self) -> None:
        """Stage 0, vision tower. Needs no other stage."""
        torch.manual_seed(4)
        grounder = Grounder(self.config)
        initialise_grounder(grounder)
        vision = tower_of(grounder).vision_model
        whiten_patches(vision, IMAGE_SIZE, seed=5 * _SEED_SPACE)
        naming = PatchNaming(vision).to(self.device)
        plan = self.plan
        train_stage(
            self._settings("vision", plan.vision_steps, 1.5e-3, decay_from=0.5),
            naming,
            lambda step: vision_step(naming, 5 * _SEED_SPACE + 1 + step, plan.vision_clips, IMAGE_SIZE),
            validate=lambda: vision_step(naming, 77, plan.validation_clips, IMAGE_SIZE, "test")[1],
            validate_every=1000,
        )

    def train_language(self) -> None:
        """Stage 0, language. Needs the vision tower."""
        torch.manual_seed(1)
        module = self._language()
        load_stage(self._finished("vision"), tower_of(module.grounder).vision_model, "vision.")
        load_stage(self._finished("vision"), module.patch_head, "head.")
        plan = self.plan

        def compute(step: int) -> tuple[Tensor, Mapping[str, float]]:
            count = keyframes_of_step(step)
            seed = 2 * _SEED_SPACE + step
            batch, packed = self._batch(plan.language_clips, plan.language_expressions, count, seed)
            with torch.autocast(self.device.type, torch.bfloat16):
                loss, numbers, _ = module(batch, packed, guided=step >= plan.language_guided_from)
            return loss, numbers

        def validate() -> Mapping[str, float]:
            return module(*self._batch(plan.validation_clips, plan.language_expressions, 5, 1, "test"))[1]

        settings = self._settings("language", plan.language_steps, 1e-3, decay_from=0.5)
        slower = {"grounder.tower.vision_model.": 0.3}  # trained already
        train_stage(settings, module, compute, validate=validate, validate_every=500, slower=slower)

    def train_tracking(self) -> None:
        """Stage 1. Needs the encoder."""
        torch.manual_seed(2)
        segmenter = Segmenter(self.config.grounding, has_original=True)
        initialise_sam2(segmenter.sam2)
        assert segmenter.sam_mask_decoder_modified is not None
        segmenter.sam_mask_decoder_modified.requires_grad_(requires_grad=False)
        load_stage(self._finished("encoder"), segmenter.sam2.image_encoder, "encoder.")
        module = TrackingTraining(segmenter.to(self.device))
        plan = self.plan

        def compute(step: int) -> tuple[Tensor, Mapping[str, float]]:
            forcing = max(_FORCING, 1 - step / (0.5 * plan.tracking_steps))
            return module(3 * _SEED_SPACE + step, plan.tracking_clips, plan.tracking_objects, forcing)

        settings = self._settings("tracking", plan.tracking_steps, 1e-3, decay_from=0.5)
        clips = max(1, plan.validation_clips // 8)
        train_stage(settings, module, compute, validate=lambda: _tracking_scores(segmenter, clips), validate_every=400)

    def train_following(self) -> None:
        """Stage 1 again, on longer stretches. Needs tracking; nothing but the checkpoint needs it."""
        torch.manual_seed(3)
        segmenter = Segmenter(self.config.grounding, has_original=True)
        load_stage(self._finished("tracking"), segmenter, "segmenter.")
        assert segmenter.sam_mask_decoder_modified is not None
        segmenter.sam_mask_decoder_modified.requires_grad_(requires_grad=False)
        module = TrackingTraining(segmenter.to(self.device), LONG)
        plan = self.plan

        settings = self._settings("following", plan.following_steps, 5e-4)
        seeds = 7 * _SEED_SPACE
        train_stage(
            settings,
            module,
            lambda step: module(seeds + step, plan.following_clips, plan.following_objects, _FORCING),
            validate=lambda: _tracking_scores(segmenter, max(1, plan.validation_clips // 2)),
            validate_every=500,
        )

    def train_decoding(self) -> None:
        """Stage 2a. Needs tracking."""
        torch.manual_seed(5)
        segmenter = Segmenter(self.config.grounding, has_original=True)
        load_stage(self._finished("tracking"), segmenter, "segmenter.")
        decoder = PromptedDecoder(segmenter.to(self.device))
        decoder.start_from_original()
        module = DecodingTraining(decoder).to(self.device)
        plan = self.plan

        def compute(step: int) -> tuple[Tensor, Mapping[str, float]]:
            guidance = max(0.0, 1 - step / (plan.decoding_guided_until * plan.decoding_steps))
            return module(6 * _SEED_SPACE + step, plan.decoding_clips, plan.decoding_targets, guidance)

        settings = self._settings("decoding", plan.decoding_steps, 1e-3, decay_from=0.5)
        train_stage(
            settings,
            module,
            compute,
            validate=lambda: module(6, plan.validation_clips, plan.decoding_targets, 0.0, "test")[1],
            validate_every=500,
        )

    def train_prompting(self) -> None:
        """Stage 2. Needs language and decoding."""
        language, segmenter = self._language(), Segmenter(self.config.grounding, has_original=True)
        load_stage(self._finished("language"), language)
        assert segmenter.sam_mask_decoder_modified is not None
        load_stage(self._finished("tracking"), segmenter, "segmenter.")
        copied = "decoder.segmenter.sam_mask_decoder_modified."
        load_stage(self._finished("decoding"), segmenter.sam_mask_decoder_modified, copied)
        decoder = PromptedDecoder(segmenter.to(self.device))
        projection = CodeProjection(self.config.grounding.d_model).to(self.device)
        load_stage(self._finished("decoding"), projection, "projection.")
        module = PromptTraining(language, decoder, projection)
        plan = self.plan

        def compute(step: int) -> tuple[Tensor, Mapping[str, float]]:
            count = keyframes_of_step(step)
            seed = 4 * _SEED_SPACE + step
            batch = self._batch(plan.prompting_clips, plan.prompting_expressions, count, seed)
            # First the prompts come near the codes that the decoder knows, then masks decide.
            return module(*batch, step, max(0.1, 1 - step / (0.3 * plan.prompting_steps)))

        def validate() -> Mapping[str, float]:
            return module(*self._batch(plan.validation_clips, plan.prompting_expressions, 5, 1, "test"), 0, 0.0)[1]

        # All but the projection of [SEG] is good already.
        slower = {"decoder.": 0.5, "language.grounder.text_hidden_fcs.": 1.0, "language.grounder.": 0.4}
        settings = self._settings("prompting", plan.prompting_steps, 1e-3, decay_from=0.35)
        train_stage(settings, module, compute, validate=validate, validate_every=250, slower=slower)

    def train_presence(self) -> None:
        """Stage 3. Needs prompting."""
        torch.manual_seed(11)
        language, frozen = self._language(), self._language()
        for part in (language, frozen):
            load_stage(self._finished("prompting"), part, "language.")
        module = PresenceTraining(language.grounder, frozen.grounder).to(self.device)
        plan = self.plan

        def batch(clips: int, count: int, seed: int, split: Split = "train") -> tuple[ReferringBatch, Asked]:
            drawn = draw_batch(
                clips, plan.presence_expressions, count, IMAGE_SIZE, seed=seed, split=split, device=self.device,
                weights=KIND_WEIGHTS,
            )  # fmt: skip
            return drawn, Asked(self.packer, drawn.expressions, count, self.device)

        def compute(step: int) -> tuple[Tensor, Mapping[str, float]]:
            module.grounder.requires_grad_(requires_grad=step >= plan.presence_heads_alone)
            drawn = batch(plan.presence_clips, keyframes_of_step(step), 9 * _SEED_SPACE + step)
            with torch.autocast(self.device.type, torch.bfloat16):
                return module.ask(*drawn)[:2]

        def validate() -> Mapping[str, float]:
            drawn, asked = batch(plan.validation_clips, 5, 501, "test")
            _, numbers, odds = module.ask(drawn, asked)
            return {**numbers, "auc": area_under_curve(odds, asked.there)}

        heads = dict.fromkeys(("patch_head", "motion_head", "target_head", "candidate_head"), 2.5)
        slower = {**heads, "grounder.tower.vision_model.": 0.3}
        settings = self._settings("presence", plan.presence_steps, 4e-4, decay_from=0.5)
        train_stage(settings, module, compute, validate=validate, validate_every=500, slower=slower)

    def write_checkpoint(self) -> None:
        """The language side from presence, its decoder from prompting, everything else of SAM 2 from following."""
        language, segmenter = self._language(), Segmenter(self.config.grounding, has_original=True)
        load_stage(self._finished("presence"), language.grounder, "grounder.")
        clips, count = self.plan.validation_clips, self.plan.presence_expressions
        drawn = draw_batch(clips, count, 5, IMAGE_SIZE, seed=10 * _SEED_SPACE, device=self.device, weights=KIND_WEIGHTS)
        name_more_often(language, drawn, self.packer, 5)
        load_stage(self._finished("following"), segmenter, "segmenter.")
        assert segmenter.sam_mask_decoder_modified is not None
        copied = "decoder.segmenter.sam_mask_decoder_modified."
        load_stage(self._finished("prompting"), segmenter.sam_mask_decoder_modified, copied)
        save_checkpoint(self.checkpoint, self.config_values, language.grounder, segmenter, torch.bfloat16)

    def _language(self) -> LanguageTraining:
        grounder = Grounder(self.config)
        initialise_grounder(grounder)
        grounder.replies = ReplyReader(grounder.language_model, self.packer.prompts, self.config.family)
        return LanguageTraining(grounder).to(self.device)

    def _batch(
        self, clips: int, expressions: int, keyframes: int, seed: int, split: Split = "train"
    ) -> tuple[ReferringBatch, Packed]:
        batch = draw_batch(clips, expressions, keyframes, IMAGE_SIZE, seed=seed, split=split, device=self.device)
        return batch, self.packer.pack(batch.expressions, keyframes).to(self.device)

    def _state(self, stage: str) -> Path:
        return self.directory / f"{stage}.safetensors"

    def _is_finished(self, stage: str) -> bool:
        return steps_done(self._state(stage)) >= getattr(self.plan, f"{stage}_steps")

    def _finished(self, stage: str) -> Path:
        """The state of a stage that others start from. Raises UsageError where it is not there yet."""
        if not self._is_finished(stage):
            raise UsageError(f"{self._state(stage)}: stage {stage} is not finished; train it first (--stage {stage})")
        return self._state(stage)

    def _settings(self, name: str, steps: int, learning_rate: float, decay_from: float = 0.4) -> StageSettings:
        return StageSettings(
            name=name, directory=self.directory, steps=steps, learning_rate=learning_rate, decay_from=decay_from,
            save_every=100,
        )  # fmt: skip


def _tracking_scores(segmenter: Segmenter, clips: int) -> Mapping[str, float]:
    """J from one true mask, and from five on half the clips."""
    segmenter.finish(segmenter.device)
    five = validate_tracking(segmenter, seed=3, clips=max(1, clips // 2), keyframes=5)
    return {**validate_tracking(segmenter, seed=3, clips=clips), "J5": five["J"]}


def keyframes_of_step(step: int) -> int:
    """Number of keyframes in a training step: five, and now and then fewer or more."""
    if step % 40 == 39:
        return 12
    return {9: 3, 19: 8}.get(step % 20, 5)
