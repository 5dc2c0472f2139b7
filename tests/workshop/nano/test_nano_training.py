"""Training: it runs from nothing to a loadable checkpoint, learns, resumes exactly, and sees what inference sees."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline.errors import UsageError
from pipeline.model.families.internvl import tile_pictures
from pipeline.model.sa2va import Sa2VA
from pipeline.workshop.nano.data import sam_pixels, vision_pixels
from pipeline.workshop.nano.decoding import PromptedDecoder
from pipeline.workshop.nano.dimensions import IMAGE_SIZE
from pipeline.workshop.nano.language import LanguageTraining
from pipeline.workshop.nano.loop import StageSettings, train_stage
from pipeline.workshop.nano.losses import mask_losses
from pipeline.workshop.nano.plan import STAGES, Plan
from pipeline.workshop.nano.sentences import Packer, draw_batch
from pipeline.workshop.nano.track_validation import validate_tracking
from pipeline.workshop.nano.tracking import TrackingTraining
from pipeline.workshop.nano.training import NanoTraining
from pipeline.workshop.nano.untrained import write_untrained
from pipeline.workshop.shapes import ShapeExpression


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    return Sa2VA.from_checkpoint(write_untrained(tmp_path_factory.mktemp("untrained")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    NanoTraining(directory, Plan.short()).run()
    return directory


def test_a_short_run_ends_in_a_checkpoint_that_fits_the_repository_and_answers(trained, tmp_path):
    weights = trained / "checkpoint" / "model.safetensors"
    assert weights.stat().st_size <= 12e6
    from pipeline.workshop.shapes.demo import write_demo

    write_demo(tmp_path, num_videos=1, num_frames=6, height_width=(48, 64))
    results = Sa2VA.from_checkpoint(trained / "checkpoint").segment(tmp_path / "JPEGImages" / "clip0", ["the red star"])
    assert len(results) == 1
    assert len(results[0].frame_names) == 6
    for name in STAGES:
        assert '"validation"' in (trained / f"{name}.jsonl").read_text()


def test_the_checkpoint_follows_with_the_longest_training_and_prompts_with_the_decoder_of_the_language_side(trained):
    written = load_file(trained / "checkpoint" / "model.safetensors")

    def state(stage, start):
        tensors = load_file(trained / f"{stage}.safetensors")
        return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}

    following, prompting = state("following", "model/segmenter.sam2."), state("prompting", "model/decoder.segmenter.")
    propagation, finetuned = "memory_attention.norm.bias", "sam_mask_decoder_modified.conv_s0.bias"
    assert torch.equal(written[f"grounding_encoder.sam2_model.{propagation}"], following[propagation].bfloat16())
    assert not torch.equal(following[propagation], prompting[f"sam2.{propagation}"])
    assert torch.equal(written[f"grounding_encoder.sam2_model.{finetuned}"], prompting[finetuned].bfloat16())


def test_no_stage_starts_from_an_unfinished_one(trained, tmp_path):
    longer = replace(Plan.short(), encoder_steps=5)
    (tmp_path / "encoder.safetensors").write_bytes((trained / "encoder.safetensors").read_bytes())
    with pytest.raises(UsageError, match="encoder is not finished"):
        NanoTraining(tmp_path, longer).run(("tracking",))


def test_running_a_finished_training_again_changes_nothing(trained):
    before = (trained / "checkpoint" / "model.safetensors").read_bytes()
    NanoTraining(trained, Plan.short()).run()
    assert (trained / "checkpoint" / "model.safetensors").read_bytes() == before


class Line(torch.nn.Module):
    """Small enough to train to the end in a blink."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 1)

    def compute(self, step, stop_at=None):
        if step == stop_at:
            raise KeyboardInterrupt
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        loss = (self.layer(x)[:, 0] - x.sum(1)).abs().mean()
        return loss, {"seen": float(step)}


def settings(directory):
    return StageSettings(name="line", directory=directory, steps=40, learning_rate=0.05, save_every=10, log_every=10)


def test_a_stopped_stage_goes_on_exactly_where_it_was(tmp_path):
    whole, first, second = Line(), Line(), Line()
    train_stage(settings(tmp_path / "whole"), whole, whole.compute)
    with pytest.raises(KeyboardInterrupt):
        train_stage(settings(tmp_path / "parts"), first, lambda step: first.compute(step, stop_at=25))
    train_stage(settings(tmp_path / "parts"), second, second.compute)
    assert torch.equal(whole.layer.weight, second.layer.weight)
    assert not torch.equal(whole.layer.weight, first.layer.weight)


def test_a_stage_lowers_its_loss(tmp_path):
    line = Line()
    before = float(line.compute(1000)[0].detach())
    train_stage(settings(tmp_path), line, line.compute)
    assert float(line.compute(1000)[0].detach()) < 0.3 * before


def test_the_encoder_learns_colours_within_a_few_steps():
    from pipeline.model.config import GroundingConfig
    from pipeline.model.sam2.build import build_sam2
    from pipeline.workshop.nano.dimensions import GROUNDING
    from pipeline.workshop.nano.encoder import EncoderProbe, encoder_step, initialise_sam2

    torch.manual_seed(0)
    sam2 = build_sam2(GroundingConfig.from_dict(GROUNDING))
    initialise_sam2(sam2)
    probe = EncoderProbe(sam2.image_encoder, 64)
    optimizer = torch.optim.AdamW(probe.parameters(), lr=2e-3)
    losses = []
    for step in range(16):
        loss, _ = encoder_step(probe, step, 3, IMAGE_SIZE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


def test_a_packed_expression_sees_what_it_would_see_alone(untrained):
    batch = draw_batch(2, 3, 4, IMAGE_SIZE, seed=5)
    texts = [["the red circle", "both stars", "the one that enters last"]] * 2
    batch.expressions[:] = [[ShapeExpression(text, "appearance", (0,)) for text in row] for row in texts]
    grounder = untrained.grounder
    training = LanguageTraining(grounder)
    packed = Packer(grounder.replies.prompts, grounder.config.tokens_per_tile).pack(batch.expressions, 4)
    frames = (batch.rendered.frames * 255).round()
    with torch.no_grad():
        _, tokens = training.look(vision_pixels(frames.flatten(0, 1) / 255))
        _, last = training.read(tokens.view(2, -1, tokens.shape[-1]), packed)
    states = last[packed.seg_at[:, 0], packed.seg_at[:, 2]].view(2, 3, -1)
    for clip in range(2):
        tiles = frames[clip].to(torch.uint8).permute(0, 2, 3, 1).numpy()
        for row, grounding in enumerate(grounder.ground(tile_pictures(tiles, grounder.config), texts[clip])):
            assert grounding.answer == "Sure, [SEG].<|im_end|>"
            assert np.allclose(states[clip, row].numpy(), grounding.seg_hidden[0], atol=2e-4)


def test_stage_two_decodes_as_inference_makes_first_masks(untrained):
    segmenter = untrained.segmenter
    batch = draw_batch(1, 1, 2, IMAGE_SIZE, seed=6)
    frames = (batch.rendered.frames[0] * 255).round()
    prompts = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        levels = segmenter.sam2.image_encoder(sam_pixels(frames / 255))["backbone_fpn"]
        logits, ious, _ = PromptedDecoder(segmenter)._decode(list(levels), prompts)
        for index, features in enumerate(segmenter.encode(frames.to(torch.uint8).permute(0, 2, 3, 1))):
            decoded = segmenter.decode(
                segmenter.finetuned_decoder,
                features.levels[2] + segmenter.sam2.no_mem_embed.reshape(1, -1, 1, 1),
                segmenter.high_resolution(segmenter.finetuned_decoder, features),
                prompts=prompts[index : index + 1],
                objects=1,
                multimask=True,
            )
            assert torch.allclose(decoded.logits[0], logits[index, ious[index].argmax()], atol=1e-3)


def test_tracking_leaves_the_encoder_alone_and_reaches_memory_and_decoder(untrained):
    module = TrackingTraining(untrained.segmenter)
    for parameter in untrained.segmenter.sam2.sam_mask_decoder.parameters():
        parameter.requires_grad_(requires_grad=True)
    sam2 = untrained.segmenter.sam2
    for part in (sam2.memory_attention, sam2.memory_encoder, sam2.obj_ptr_proj, sam2.mask_downsample):
        part.requires_grad_(requires_grad=True)
    loss, numbers = module(4, 1, 2, forcing=0.5)
    loss.backward()
    assert all(p.grad is None for p in sam2.image_encoder.parameters())
    for part in (sam2.memory_attention, sam2.memory_encoder, sam2.sam_mask_decoder, sam2.obj_ptr_proj):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    assert {"iou_point", "iou_first"} <= set(numbers)


def test_tracking_validation_counts_every_tracked_frame(untrained):
    found = validate_tracking(untrained.segmenter, seed=1, clips=1, num_frames=5)
    assert 0 <= found["J"] <= 1
    assert found["tracks"] % 4 == 0


def test_a_perfect_mask_costs_less_than_a_wrong_one():
    share = torch.zeros(2, 16, 16)
    share[0, 4:10, 4:10] = 1  # the second object is absent
    right = (share[:, None, ::2, ::2] * 20 - 10).expand(-1, 3, -1, -1)
    ious, score = torch.full((2, 3), 0.9), torch.tensor([4.0, -4.0])
    good, iou = mask_losses(right, ious, score, share)
    bad, _ = mask_losses(-right, ious, score, share)
    assert good[0] < 0.5 * bad[0]
    assert iou[0] > 0.6
    assert iou[1].isnan()
    assert good[1] == bad[1]  # an absent object's mask does not count ...
    empty_good, _ = mask_losses(right, ious, score, share, empty_too=1.0)
    empty_bad, _ = mask_losses(-right, ious, score, share, empty_too=1.0)
    assert empty_good[1] < 0.5 * empty_bad[1]  # ... unless asked for
