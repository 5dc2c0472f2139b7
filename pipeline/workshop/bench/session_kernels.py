"""The steps of the first session on a device that look at parts alone: attention, image encoder, resizing."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipeline.model.config import GroundingConfig
from pipeline.model.exact_resize import interpolate_bicubic, resize_bicubic
from pipeline.model.families import read_config
from pipeline.model.sam2.segmenter import Segmenter
from pipeline.workshop.bench.session_results import Setting

BACKENDS = (
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
)
MEMORY_KEYS = 11 * 4096 + 80
"""Five keyframes, six tracked frames and 20 object pointers of four tokens."""


def attention(setting: Setting) -> None:
    """Every kernel of PyTorch on the shapes of SAM 2, ``[batch, heads, queries or keys, width]``, in bfloat16."""
    device = setting.device
    shapes = {"memory attention, 1 object": (1, 1, 64, 264, 256), "windows": (8, 2, 64, 64, 72)}
    if setting.is_cuda:
        shapes = {f"memory attention, {count} objects": (count, 1, 4096, MEMORY_KEYS, 256) for count in (1, 4, 16)}
        shapes |= {
            "windows of stage 1, 4 frames": (4096, 2, 64, 64, 72),
            "windows of stage 3, 4 frames": (64, 8, 256, 256, 72),
            "global in stage 3, 4 frames": (4, 8, 4096, 4096, 72),
        }
    for name, (batch, heads, queries, keys, width) in shapes.items():
        query, key, value = (
            torch.randn(batch, heads, length, width, device=device, dtype=torch.bfloat16)
            for length in (queries, keys, keys)
        )
        for backend in BACKENDS:
            with sdpa_kernel(backend):
                row = _timed(device, partial(functional.scaled_dot_product_attention, query, key, value))
            if "ms" in row:
                row["tflops_per_s"] = 4 * batch * heads * queries * keys * width / row["ms"] / 1e9
            setting.results.add(shape=name, kernel=backend.name.lower(), **row)


def encoder(setting: Setting) -> None:
    """The image encoder with random weights, arranged in four ways."""
    device = setting.device
    config = GroundingConfig() if setting.is_cuda else read_config_of_nano()
    batches = (1, 2, 4, 8) if setting.is_cuda else (2,)
    for name, arrange in ARRANGEMENTS.items():
        for batch in batches:
            torch.manual_seed(0)
            segmenter = Segmenter(config, has_original=True).requires_grad_(False).eval().to(device)
            arrange(segmenter, device, batch)
            side = config.image_size
            frames = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8, device=device)
            row = _timed(device, partial(segmenter.encode, frames))
            if "ms" in row:
                row["ms_per_frame"] = row["ms"] / batch
            setting.results.add(arrangement=name, batch=batch, **row)


def _eager(segmenter: Segmenter, device: torch.device, _batch: int) -> None:
    segmenter.ready(device, torch.float32)
    segmenter.compute_dtype = torch.bfloat16  # under autocast, which then casts every weight in every run


def _cast_once(segmenter: Segmenter, device: torch.device, _batch: int) -> None:
    segmenter.ready(device, torch.bfloat16, reduced_encoder=False)


def _reduced(segmenter: Segmenter, device: torch.device, _batch: int) -> None:
    segmenter.ready(device, torch.bfloat16, reduced_encoder=True)


def _compiled(segmenter: Segmenter, device: torch.device, batch: int) -> None:
    _reduced(segmenter, device, batch)
    segmenter.compile_steps(batch)


ARRANGEMENTS: dict[str, Callable[[Segmenter, torch.device, int], None]] = {
    "eager": _eager,
    "weights cast once": _cast_once,
    "bfloat16 throughout": _reduced,
    "compiled": _compiled,
}


def read_config_of_nano() -> GroundingConfig:
    """SAM 2 of the small model."""
    from pipeline.model.checkpoint.locate import fetch_model, pin_model

    return read_config(fetch_model(pin_model("nano"))).grounding


def resize(setting: Setting) -> None:
    """Resizes on the device against Pillow's and PyTorch's on the CPU, bit for bit, and what one takes."""
    device = setting.device
    random = np.random.default_rng(0)
    count, longest = (200, 2000) if setting.is_cuda else (10, 200)
    differing: dict[str, list[str]] = {"Pillow": [], "PyTorch": []}
    for _ in range(count):
        (height, width), side = random.integers(1, longest, 2), int(random.choice([448, 1024]))
        pixels = random.integers(0, 256, (int(height), int(width), 3), dtype=np.uint8)
        on_device = torch.from_numpy(pixels)[None].to(device)
        found = resize_bicubic(on_device, height=side, width=side)[0].cpu().numpy()
        expected = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))
        if not np.array_equal(found, expected):
            differing["Pillow"].append(f"{height}x{width}")
        channels_first = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()[None]
        by_torch = functional.interpolate(channels_first, (side, side), mode="bicubic", antialias=True)
        second = interpolate_bicubic(on_device, height=side, width=side)[0].cpu()
        if not torch.equal(second, by_torch[0].permute(1, 2, 0)):
            differing["PyTorch"].append(f"{height}x{width}")
    for name, sizes in differing.items():
        setting.results.add(reference=name, sizes=count, different=len(sizes), examples=", ".join(sizes[:5]))
    shape = (4, 1080, 1920) if setting.is_cuda else (1, 120, 214)
    frames = torch.zeros(*shape, 3, dtype=torch.uint8, device=device)
    row = _timed(device, partial(resize_bicubic, frames, height=1024, width=1024))
    setting.results.add(step=f"frames {shape} to 1024", **row)


def _timed(device: torch.device, work: Callable[[], object]) -> dict[str, Any]:
    """Milliseconds of a run once it is warm, or why it cannot run."""
    runs = 20 if device.type == "cuda" else 2
    try:
        with torch.inference_mode():
            for _ in range(3 if device.type == "cuda" else 1):
                work()
            _wait(device)
            started = time.perf_counter()
            for _ in range(runs):
                work()
            _wait(device)
    except RuntimeError as error:
        return {"error": " ".join(str(error).split())[:160]}
    return {"ms": (time.perf_counter() - started) / runs * 1e3}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
