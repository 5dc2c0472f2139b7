"""The three choices in which Sa2VA-i differs from Sa2VA, together and alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import RunConfig
from pipeline.errors import CheckpointError
from pipeline.model.ground import ground_video
from pipeline.model.procedure import SA2VA, SA2VA_I, Procedure, keyframes_of
from pipeline.model.sa2va import Sa2VA, check_checkpoint
from pipeline.model.sam2.stream import MaskStream
from pipeline.video.source import open_video

KEYFRAMES = 3
SWITCHES = {"keyframes": "first", "handover": "logits", "propagation_decoder": "finetuned"}


@pytest.fixture(scope="module")
def model(untrained) -> Sa2VA:
    return Sa2VA.from_checkpoint(untrained, device="cpu")


class Result:
    """Everything one procedure computes for one expression of a clip."""

    def __init__(self, model: Sa2VA, procedure: Procedure, clip: Path) -> None:
        with open_video(str(clip)) as source:
            self.keyframes = keyframes_of(source, procedure, KEYFRAMES)
            (grounding,) = ground_video(model.grounder, source, ["the yellow square"], procedure, KEYFRAMES)
            self.prompt = grounding.prompts
            stream = MaskStream(model.segmenter, source, self.prompt, procedure, self.keyframes)
            frames = list(stream.logits())
        self.first = np.stack([stream.propagation.first_masks(index).logits.numpy() for index in self.keyframes])
        self.logits = np.stack([frame.logits.numpy() for frame in frames])
        self.pointers = np.stack([frame.entry.pointer.numpy() for frame in frames])

    def tracked(self) -> np.ndarray:
        return np.delete(self.logits, self.keyframes, axis=0)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def config(procedure: str, **overrides: str) -> RunConfig:
    return RunConfig(manifest="m", model="nano", output="o", procedure=procedure, **overrides)


def test_all_three_switches_together_are_the_published_procedures(model, frames):
    as_sa2va_i = {"keyframes": "uniform", "handover": "masks", "propagation_decoder": "original"}
    switched = config("sa2va", **as_sa2va_i).resolved_procedure()
    back = config("sa2va-i", **SWITCHES).resolved_procedure()
    assert (switched, back) == (SA2VA_I, SA2VA)
    results = {
        name: model.segment(frames, ["the yellow square"], procedure=procedure, num_keyframes=KEYFRAMES)
        for name, procedure in {"named": "sa2va-i", "switched": switched, "other": "sa2va", "back": back}.items()
    }
    assert results["switched"] == results["named"]
    assert results["back"] == results["other"]
    assert results["named"] != results["other"]


@pytest.mark.parametrize(
    "choice",
    [{"keyframe_offset": 0.5}, {"keyframe_offset": -0.5}, {"keyframe_seed": 4}, {"keyframes": "uniform+"}],
    ids=str,
)
def test_keyframes_that_are_spread_otherwise_give_masks_on_every_frame(choice, model, frames):
    found = Result(model, replace(SA2VA_I, **choice), frames)
    usual = Result(model, SA2VA_I, frames)
    assert len(found.logits) == len(usual.logits)
    assert found.keyframes != usual.keyframes or choice == {"keyframes": "uniform+"}


@pytest.mark.parametrize("base", [SA2VA_I, SA2VA], ids=["on Sa2VA-i", "on Sa2VA"])
@pytest.mark.parametrize("name", SWITCHES)
def test_each_switch_alone_changes_what_it_should_and_nothing_before_it(name, base, model, frames):
    other = {"keyframes": ("uniform", "first"), "handover": ("masks", "logits"),
             "propagation_decoder": ("original", "finetuned")}[name]  # fmt: skip
    value = other[0] if getattr(base, name) == other[1] else other[1]
    before, after = Result(model, base, frames), Result(model, replace(base, **{name: value}), frames)

    sees_other_frames = name == "keyframes"
    assert (before.keyframes != after.keyframes) == sees_other_frames
    assert same(before.prompt, after.prompt) != sees_other_frames
    assert same(before.first, after.first) != sees_other_frames
    keyframe_output = same(before.logits[before.keyframes], after.logits[after.keyframes])
    if name == "handover":
        masks, logits = (before, after) if base.handover == "masks" else (after, before)
        assert not keyframe_output
        assert same(logits.logits[logits.keyframes], logits.first)
        assert set(np.unique(masks.logits[masks.keyframes].round(3))) != set(np.unique(logits.first.round(3)))
    elif name == "propagation_decoder":
        assert keyframe_output
    assert not same(before.tracked(), after.tracked())


def test_first_keyframes_are_the_first(model, frames):
    assert Result(model, SA2VA, frames).keyframes == [0, 1, 2]
    assert Result(model, SA2VA_I, frames).keyframes == [0, 2, 5]


@contextmanager
def noise_in(model: Sa2VA, part: str) -> Iterator[None]:
    """Other weights in one part of SAM 2, for a while."""
    parameters = list(model.segmenter.get_submodule(part).parameters())
    before = [parameter.clone() for parameter in parameters]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in parameters:
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
        try:
            yield
        finally:
            for parameter, values in zip(parameters, before, strict=True):
                parameter.copy_(values)


@pytest.mark.parametrize(
    ("procedure", "original_decides", "mask_prompt_decides"),
    [
        (SA2VA_I, True, True),
        (replace(SA2VA_I, keyframes="first"), True, True),
        (replace(SA2VA_I, handover="logits"), True, False),
        (replace(SA2VA_I, propagation_decoder="finetuned"), False, True),
        (SA2VA, False, False),
    ],
    ids=["Sa2VA-i", "first keyframes", "raw logits", "fine-tuned decoder propagates", "Sa2VA"],
)
def test_only_the_weights_that_a_procedure_names_decide_its_masks(
    procedure, original_decides, mask_prompt_decides, model, frames
):
    plain = Result(model, procedure, frames)
    with noise_in(model, "sam2.sam_mask_decoder"):
        changed = Result(model, procedure, frames)
    assert same(plain.first, changed.first)
    assert same(plain.tracked(), changed.tracked()) != original_decides
    with noise_in(model, "sam2.sam_prompt_encoder.mask_downscaling"):
        changed = Result(model, procedure, frames)
    assert same(plain.pointers, changed.pointers) != mask_prompt_decides
    with noise_in(model, "sam_mask_decoder_modified"):
        changed = Result(model, procedure, frames)
    assert not same(plain.first, changed.first)
    assert not same(plain.tracked(), changed.tracked())


def test_a_sa2va_checkpoint_runs_its_own_procedure(model, sa2va, frames):
    own = Sa2VA.from_checkpoint(sa2va, device="cpu")
    ask = {"expressions": ["the yellow square"], "procedure": "sa2va", "num_keyframes": KEYFRAMES}
    assert own.segment(frames, **ask) == model.segment(frames, **ask)
    check_checkpoint(sa2va, SA2VA)


@pytest.mark.parametrize("procedure", [SA2VA_I, replace(SA2VA, propagation_decoder="original")], ids=str)
def test_a_sa2va_checkpoint_refuses_what_it_has_no_weights_for(procedure, sa2va):
    with pytest.raises(
        CheckpointError, match=r"no original mask decoder.*--procedure sa2va.*jobs/convert\.py"
    ) as error:
        check_checkpoint(sa2va, procedure)
    assert error.value.exit_code == 3
    assert "\n" not in str(error.value)
