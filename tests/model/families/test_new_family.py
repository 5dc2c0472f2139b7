"""The proof that a family is one place: this file defines one and registers it; nothing else is touched.

Its tower is a linear map of mean colours, each picture gives another number of tokens, it has tensor names and prompts
of its own, and ``[SEG]`` is read before the final norm.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from pipeline.errors import CheckpointError
from pipeline.model import families
from pipeline.model.checkpoint.weights import save_checkpoint
from pipeline.model.config import GroundingConfig
from pipeline.model.families.base import ImageTokens, ModelConfig, ModelFamily, Pictures, Tower
from pipeline.model.families.mapping import TensorMapping
from pipeline.model.grounder import Grounder
from pipeline.model.prompt import PromptBuilder
from pipeline.model.sa2va import Sa2VA, check_checkpoint
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.model.spread import load_spread
from pipeline.model.tokenizer import ByteLevelTokenizer, Tokenizer, open_tokenizer
from pipeline.video.frames import FrameSource

WIDTH = 128


class RowTower(Tower):
    """Mean colour of each strip of 16 rows, projected."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = torch.nn.Linear(3, WIDTH)

    def look(self, pictures: Pictures) -> ImageTokens:
        weight = self.projection.weight
        embeds = self.projection(pictures.pixels.to(weight.device, weight.dtype))
        return ImageTokens(embeds=embeds, tokens=pictures.tokens, grids=pictures.grids)


class AskPrompts(PromptBuilder):
    """``ASK: <pictures> <request> <end of turn>``."""

    def render(self, request: str, image_tokens: Sequence[int]) -> tuple[str, int]:
        head = "ASK: " + "".join("<IMG_CONTEXT>" * count for count in image_tokens) + " "
        return f"{head}{request}<|im_end|>", len(head)

    def is_over(self, reply: Sequence[int]) -> bool:
        return (bool(reply) and reply[-1] == self.tokenizer.eos_id) or len(reply) >= 8

    def end_of_reply(self) -> str:
        return "<|im_end|>"


class Strips(ModelFamily):
    name = "Strips"
    no_split_classes = ("Qwen2DecoderLayer",)
    seg_state_is_normed = False

    def recognises(self, values: Mapping[str, Any]) -> bool:
        return values.get("architectures") == ["StripsChatModel"]

    def read_config(self, values: Mapping[str, Any], origin: str) -> ModelConfig:
        if "text" not in values:
            raise CheckpointError(f"{origin}: text missing")
        grounding = GroundingConfig.from_dict(values["grounding_config"])
        return ModelConfig(family=self, vision={}, language=values["text"], grounding=grounding)

    def build_tower(self, config: ModelConfig) -> RowTower:
        return RowTower()

    def build_language_model(self, config: ModelConfig) -> PreTrainedModel:
        return Qwen2ForCausalLM(Qwen2Config(**config.language))

    def load_tokenizer(self, directory: Path, config: ModelConfig) -> Tokenizer:
        return open_tokenizer(ByteLevelTokenizer, directory, ("<IMG_CONTEXT>", "[SEG]"), "<IMG_CONTEXT>")

    def prompt_builder(
        self, directory: Path, config: ModelConfig, tokenizer: Tokenizer, prompt_text: str
    ) -> PromptBuilder:
        return AskPrompts(tokenizer, prompt_text)

    def map_tensor(self, key: str, config: ModelConfig) -> TensorMapping | None:
        if key.startswith("rows."):
            return TensorMapping((key.replace("rows.", "tower.projection."),))
        return TensorMapping((key.replace("text.", "language_model."),)) if key.startswith("text.") else None

    def published_name(self, name: str, config: ModelConfig) -> str:
        return name.replace("tower.projection.", "rows.").replace("language_model.", "text.")

    def read_pictures(
        self,
        source: FrameSource,
        keyframes: Sequence[int],
        config: ModelConfig,
        *,
        resize_on: torch.device | None = None,
    ) -> Pictures:
        strips, counts = [], []
        for number, frame in enumerate(source.read([0] if source.is_image else keyframes)):
            rows = frame[: 16 * (number + 1)]  # each picture has another number of tokens
            means = rows.reshape(-1, 16 * rows.shape[1], 3).mean(1, dtype=np.float32) / 255
            strips.append(means)
            counts.append(len(means))
        return Pictures(
            pixels=torch.from_numpy(np.concatenate(strips)),
            tokens=tuple(counts),
            grids=tuple((count, 1) for count in counts),
        )


@pytest.fixture(scope="module")
def registered():
    """One entry of the registry, which is all that the rest of the software is told."""
    families.FAMILIES.append(Strips())
    yield
    families.FAMILIES.pop()


@pytest.fixture(scope="module")
def checkpoint(untrained: Path, registered: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("strips")
    for path in untrained.iterdir():
        if path.suffix != ".safetensors" and path.name != "config.json":
            (directory / path.name).write_bytes(path.read_bytes())
    nano = json.loads((untrained / "config.json").read_text())
    text = {k: v for k, v in nano["llm_config"].items() if k not in ("architectures", "torch_dtype")}
    values = {
        "architectures": ["StripsChatModel"],
        "grounding_config": nano["grounding_config"],
        "text": text | {"hidden_size": WIDTH},
    }
    config = families.config_of(values)
    torch.manual_seed(0)
    grounder, segmenter = Grounder(config), Segmenter(config.grounding, has_original=True)
    save_checkpoint(directory, values, grounder, segmenter, torch.float32)
    return directory


def test_it_is_checked_loaded_and_run_as_any_other(checkpoint, frames):
    check_checkpoint(checkpoint)
    model = Sa2VA.from_checkpoint(checkpoint, device="cpu")
    assert model.grounder.config.family.name == "Strips"
    first, second = model.segment(frames, ["the square", "the square that moves"], num_keyframes=3)
    assert first.expression == "the square"
    assert (len(first.frame_names), first.height, first.width) == (6, 64, 96)
    assert second.answer


def test_its_prompt_and_tokens_are_its_own(checkpoint):
    prompts = Sa2VA.from_checkpoint(checkpoint, device="cpu").grounder.replies.prompts
    text, (start, end) = prompts.text("the dog", (1, 2))
    assert text == "ASK: <IMG_CONTEXT><IMG_CONTEXT><IMG_CONTEXT> Please segment the dog.<|im_end|>"
    assert text[start:end] == "the dog"


def test_seg_is_read_before_the_norm(checkpoint, registered):
    grounder = Sa2VA.from_checkpoint(checkpoint, device="cpu").grounder
    pictures = Pictures(pixels=torch.rand(3, 3), tokens=(1, 2), grids=((1, 1), (2, 1)))
    (reply,), _ = grounder.replies.read(
        [grounder.replies.prompts.ids("the dog", (1, 2))], grounder.tower.look(pictures)
    )
    final = grounder.language_model.model.norm(reply.hidden)
    assert len(reply.hidden)
    assert not torch.allclose(reply.hidden, final, atol=1e-2)


def test_it_is_spread_over_devices_as_any_other(checkpoint):
    from pipeline.model.checkpoint.open import open_checkpoint

    files, config = open_checkpoint(checkpoint)
    grounder = load_spread(files, config, dtype=torch.float32, prompt_text="{expression}", memory_bytes={"cpu": 10**9})
    pictures = Pictures(pixels=torch.rand(2, 3), tokens=(2,), grids=((2, 1),))
    assert len(grounder.ground(pictures, ["the dog"])) == 1


def test_without_its_registration_the_families_known_are_named(checkpoint, monkeypatch):
    monkeypatch.setattr(families, "FAMILIES", families.FAMILIES[:-1])
    with pytest.raises(CheckpointError, match=r"StripsChatModel.*InternVL2\.5 and InternVL3") as error:
        check_checkpoint(checkpoint)
    assert error.value.exit_code == 3


def test_a_sam_3_trunk_is_named():
    values = {"architectures": ["Sa2VAChatModelQwen"], "grounding_model": "sam3_large"}
    with pytest.raises(CheckpointError, match=r"Sa2VA-Qwen3-VL-4B-SAM3.*not supported yet"):
        families.config_of(values)
