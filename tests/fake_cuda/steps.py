"""The steps that are measured: SAM 2 with several objects, and the grounder of each size."""

import gzip
import json
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from transformers import DynamicCache

from pipeline.model.exact_resize import resize_bicubic
from pipeline.model.families import config_of
from pipeline.model.families.base import ModelConfig
from pipeline.model.grounder import Grounder
from pipeline.model.procedure import SA2VA, SA2VA_I, Procedure
from pipeline.model.sam2.memory import MemoryEntry
from pipeline.model.sam2.propagation import ObjectBatch
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.model.sam2.stream import final_masks
from tests.fake_cuda.counting import Cost, CostCounter
from tests.fake_cuda.device import CUDA, fake_cuda, put_on_cuda

KEYS = Path(__file__).resolve().parents[1] / "golden" / "keys"
KEYFRAMES = 5
SIZE = (480, 854)


def published_config(size: str) -> ModelConfig:
    """The configuration of a published size."""
    return config_of(json.loads(gzip.decompress((KEYS / f"{size}.config.json.gz").read_bytes())))


class Report:
    """Costs by step, and what could not run."""

    def __init__(self) -> None:
        self.steps: dict[str, Cost] = {}
        self.mismatches: list[str] = []

    def measure(self, name: str, modules: list[torch.nn.Module], step: Callable[[], Any]) -> Any:
        """Run a step and note its cost; an error is a mismatch."""
        try:
            with torch.no_grad(), CostCounter(modules) as counter:
                result = step()
        except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
            where = traceback.extract_tb(error.__traceback__)
            ours = [f"{Path(f.filename).name}:{f.lineno}" for f in where if "/pipeline/" in f.filename]
            self.mismatches.append(f"{name}: {' '.join(str(error).split())} ({' < '.join(reversed(ours[-4:]))})")
            return None
        self.steps[name] = counter.cost
        return result


def segmenter_on_cuda(config: ModelConfig, dtype: torch.dtype) -> Segmenter:
    """A segmenter on the fake device, set up as from a checkpoint."""
    with init_empty_weights(include_buffers=False):
        segmenter = Segmenter(config.grounding, has_original=True)
    put_on_cuda(segmenter, torch.float32)
    return segmenter.eval().ready(CUDA, dtype)


def segmenter_steps(
    report: Report, config: ModelConfig, objects: list[int], dtype: torch.dtype = torch.bfloat16, batch: int = 4
) -> None:
    """Encode, add a keyframe, track, final masks: both procedures."""
    with fake_cuda():
        segmenter = segmenter_on_cuda(config, dtype)
        side = config.grounding.image_size

        def frames(count: int) -> torch.Tensor:
            return torch.empty(count, side, side, 3, dtype=torch.uint8)

        decoded = torch.empty(batch, *SIZE, 3, dtype=torch.uint8, device=CUDA)
        report.measure(f"resize_{batch}", [segmenter], lambda: resize_bicubic(decoded, height=side, width=side))
        report.measure(f"encode_{batch}", [segmenter], lambda: segmenter.encode(frames(batch)))
        for procedure, suffix in ((SA2VA_I, ""), (SA2VA, "_sa2va")):
            for count in objects:
                _object_steps(report, segmenter, procedure, count, suffix, lambda: segmenter.encode(frames(1))[0])


def _object_steps(
    report: Report,
    segmenter: Segmenter,
    procedure: Procedure,
    objects: int,
    suffix: str,
    encoded: Callable[[], Any],
) -> None:
    """A keyframe, and a tracked frame when the windows of memory are full."""
    prompts = torch.empty(objects, segmenter.config.d_model, device=CUDA)
    batch = ObjectBatch(segmenter, procedure, prompts, 80, *SIZE)
    name = f"e{objects}{suffix}"
    with torch.no_grad(), segmenter.autocast():
        features = encoded()
        report.measure(f"add_keyframe_{name}", [segmenter], lambda: batch.add_keyframe(0, features))
        if not batch.bank.conditioning:
            return
        _fill(batch, batch.bank.conditioning[0])
        masks = None
        for index in range(KEYFRAMES + 20, KEYFRAMES + 22):  # the first one also projects what is in the bank
            masks = report.measure(f"track_{name}", [segmenter], lambda i=index: batch.track(i, features))
            if masks is None:
                return
        height_width, side = batch.size, segmenter.config.image_size
        report.measure(f"final_masks_{name}", [segmenter], lambda: final_masks(masks.logits, *height_width, side))


def _fill(batch: ObjectBatch, like: MemoryEntry) -> None:
    """Fill the windows of memory with entries of the right shape."""

    def entry() -> MemoryEntry:
        return MemoryEntry(torch.empty_like(like.features), torch.empty_like(like.pointer))

    batch.bank.conditioning = {index: entry() for index in range(KEYFRAMES)}
    for index in range(KEYFRAMES, KEYFRAMES + 20):
        batch.bank.remember(index, entry())


def grounder_steps(report: Report, size: str, config: ModelConfig, tokens: int = 1293) -> None:
    """The tower on five keyframes and the language model on a prompt."""
    with init_empty_weights(include_buffers=False):
        grounder = Grounder(config).eval()
    with fake_cuda():
        put_on_cuda(grounder, torch.bfloat16)
        name = size.lower()
        for label, step in _grounder_parts(grounder, tokens):
            report.measure(f"{label}_{name}", [grounder], step)


def _grounder_parts(grounder: Grounder, tokens: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    model = grounder.language_model
    if hasattr(grounder.tower, "normalise") and hasattr(grounder.config, "image_size"):
        side = grounder.config.image_size
        pixels = torch.empty(KEYFRAMES, side, side, 3, dtype=torch.uint8, device=CUDA)
        yield "tower", lambda: grounder.tower(grounder.tower.normalise(pixels))
    embeds = torch.empty(1, tokens, model.config.hidden_size, dtype=torch.bfloat16, device=CUDA)

    def prefill() -> Any:
        cache = DynamicCache(config=model.config)
        return model.model(inputs_embeds=embeds, past_key_values=cache, use_cache=True).last_hidden_state

    yield "prefill", prefill
