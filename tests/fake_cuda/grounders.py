"""The steps of a grounder: its vision tower, the images' prompt, expressions behind it, and yes-or-no questions."""

from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from accelerate import init_empty_weights

from pipeline.model.families.base import ImageTokens, ModelConfig
from pipeline.model.families.internvl import InternVLConfig
from pipeline.model.families.qwen import QwenConfig
from pipeline.model.families.qwen_pixels import FIRST_CELL, FIRST_PIXELS, SECOND_PIXELS, fitted_size, patches_of
from pipeline.model.grounder import Grounder
from pipeline.model.language import ReplyReader
from pipeline.model.spread import Device, _place_of, connect_layers, place_layers
from tests.fake_cuda.counting import Report
from tests.fake_cuda.device import CUDA, fake_cuda, put_on_cuda, rows_of_masks

KEYFRAMES = 5
SIZE = (480, 854)
TEXT_TOKENS = 13
"""Of a prompt's beginning: what stands around the images."""
ROOM = {0: 40 * 10**9, 1: 40 * 10**9}
"""Of two GPUs, for a grounder that is larger than one."""


def grounder_steps(report: Report, size: str, config: ModelConfig, *, expressions: int = 4) -> None:
    """All steps on one device, in bfloat16."""
    with init_empty_weights(include_buffers=False):
        grounder = Grounder(config).eval()
    with fake_cuda():
        put_on_cuda(grounder, torch.bfloat16)
        _measure(report, size.lower(), grounder, expressions)


def spread_steps(report: Report, size: str, config: ModelConfig, room: Mapping[Device, int] | None = None) -> None:
    """All steps of a grounder whose layers are on two devices, as a run places them."""
    places = place_layers(config, ROOM if room is None else room, torch.bfloat16)
    if len(set(places.values())) < 2:
        report.mismatches.append(f"{size}: all layers are on one device")
    devices: dict[str, Device] = {name: f"cuda:{index}" for name, index in places.items()}
    with init_empty_weights(include_buffers=False):
        grounder = Grounder(config).eval()
    with fake_cuda():
        put_on_cuda(grounder, torch.bfloat16, lambda name: torch.device(_place_of(name, devices)))
        connect_layers(grounder, devices)
        _measure(report, f"{size.lower()}_spread", grounder, 4)


def _measure(report: Report, name: str, grounder: Grounder, expressions: int) -> None:
    for label, step in _steps(grounder, expressions):
        report.measure(f"{label}_{name}", [grounder], step)


def _steps(grounder: Grounder, expressions: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    config = grounder.config
    frame = np.zeros((*SIZE, 3), np.uint8)
    tokens = _image_tokens(config)
    if isinstance(config, InternVLConfig):
        side = config.image_size
        pixels = torch.empty(KEYFRAMES, side, side, 3, dtype=torch.uint8, device=CUDA)
        yield "tower", lambda: grounder.tower(grounder.tower.normalise(pixels))
    elif isinstance(config, QwenConfig):  # the tower itself reads its grid's values back, which do not exist here
        patch, merge = int(config.vision["patch_size"]), config.merge
        yield "patches", lambda: patches_of([frame], patch, merge, resize_on=CUDA)
    images = _images(config, tokens)
    reader = ReplyReader(grounder.language_model, _Prompts(), config.family)  # type: ignore[arg-type]
    beginning: list[tuple[Any, int]] = []
    with rows_of_masks(sum(tokens)):
        yield "prefill", lambda: beginning.append(reader._prefill(_prompt(tokens), images))
    if beginning:
        cache, following = beginning[0]
        asked = [[7] * 18] * expressions
        yield "verify", lambda: reader._verify(cache, following, asked)
        yield "question", lambda: reader._ask(cache, following, asked)


def _image_tokens(config: ModelConfig) -> tuple[int, ...]:
    if isinstance(config, InternVLConfig):
        return (config.tokens_per_tile,) * KEYFRAMES
    rows, columns = _grid(config)
    return (rows * columns,) * KEYFRAMES


def _grid(config: ModelConfig) -> tuple[int, int]:
    """Rows and columns of image tokens of a keyframe."""
    assert isinstance(config, QwenConfig)
    cell = int(config.vision["patch_size"]) * config.merge
    height, width = fitted_size(*fitted_size(*SIZE, FIRST_CELL, FIRST_PIXELS), cell, SECOND_PIXELS)
    return height // cell, width // cell


def _images(config: ModelConfig, tokens: tuple[int, ...]) -> ImageTokens:
    def rows() -> torch.Tensor:
        return torch.empty(sum(tokens), config.hidden_size, dtype=torch.bfloat16, device=CUDA)

    levels = len(config.vision.get("deepstack_visual_indexes", ()))
    grids = (_grid(config),) * len(tokens) if isinstance(config, QwenConfig) else None
    return ImageTokens(embeds=rows(), tokens=tokens, grids=grids, deepstack=tuple(rows() for _ in range(levels)))


_IMAGE_ID = 9


def _prompt(tokens: tuple[int, ...]) -> list[int]:
    text = [1] * TEXT_TOKENS
    return [*text, *(token for count in tokens for token in (2, *[_IMAGE_ID] * count, 3))]


class _Prompts:
    """What the reader asks a family's prompts."""

    tokenizer = SimpleNamespace(image_id=_IMAGE_ID, seg_id=8)

    def usual_replies(self) -> list[list[int]]:
        """Three replies of the usual lengths."""
        return [[4] * 6, [5] * 8, [6] * 10]

    def first_ids(self, words: tuple[str, ...]) -> list[int]:
        """An id for each word."""
        return list(range(len(words)))
