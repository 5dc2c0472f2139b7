"""The steps of the first session on a device that run the whole model; the program of one step.

python -m pipeline.workshop.bench.session_steps STEP --device cuda --model DIR --output FILE
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from pipeline.model.checkpoint.locate import fetch_model, pin_model
from pipeline.model.sa2va import Sa2VA, VideoMasks
from pipeline.model.sam2.stream import SegmentOptions
from pipeline.video.source import open_video
from pipeline.workshop.bench.agreement import agreement, disagreement, limits_of
from pipeline.workshop.bench.clip import BenchClip, bench_clip
from pipeline.workshop.bench.golden_case import golden_parity
from pipeline.workshop.bench.idle import idle_report
from pipeline.workshop.bench.model_benchmark import BenchSettings, ModelBenchmark, problems
from pipeline.workshop.bench.session_kernels import attention, encoder, resize
from pipeline.workshop.bench.session_results import Results, Setting
from pipeline.workshop.nano.untrained import write_untrained

KEYFRAMES = 5
DTYPES = ("float32", "bfloat16")
"""float32 switches TF32 off."""


def parity(setting: Setting) -> None:
    """The small model's masks on the device against the CPU's; then a golden case of the published implementation."""
    directory = fetch_model(pin_model("nano"))
    device = setting.device
    with bench_clip(None, frames=24 if setting.is_cuda else 6, height_width=(240, 427), expressions=4) as clip:
        expected = _masks(Sa2VA.from_checkpoint(directory, device="cpu", dtype="float32"), clip)
        for dtype in DTYPES:
            masks = _masks(Sa2VA.from_checkpoint(directory, device=str(device), dtype=dtype), clip)
            limits = limits_of(device.type, dtype)
            found = agreement(masks, expected, limits)
            verdict = disagreement(found, limits) or "same masks"
            setting.results.add(check="nano against the CPU in float32", dtype=dtype, **found, verdict=verdict)
    if setting.is_cuda:
        for dtype in DTYPES:
            setting.results.add(check="golden case", dtype=dtype, verdict=golden_parity(device, dtype))


def _masks(model: Sa2VA, clip: BenchClip) -> VideoMasks:
    batch = 4 if model.segmenter.device.type == "cuda" else 1
    with open_video(clip.location) as source:
        return model.segment(
            source, clip.sentences, num_keyframes=KEYFRAMES, options=SegmentOptions(frames_per_batch=batch)
        )


def benchmark(setting: Setting) -> None:
    """Ours beside the published arrangement, and ours compiled."""
    is_cuda, device = setting.is_cuda, setting.device
    with _speed_model(setting) as (directory, name):
        for count in (1, 4, 16) if is_cuda else (1, 2):
            report = ModelBenchmark(
                BenchSettings(
                    model=directory,
                    model_name=name,
                    device=str(device),
                    frames=80 if is_cuda else 7,
                    height_width=(480, 854) if is_cuda else (120, 160),
                    expressions=[count],
                    published_once=True,
                    variants=["compile"] if is_cuda else [],
                )
            ).run()
            (row,) = report["results"]
            kept = ("published_s", "ours_s", "ratio", "ours_frames_x_expressions_per_s", "mean_iou", "worst_iou")
            compiled = {}
            for variant in row["variants"]:
                compiled = {"compiled_s": variant["ours_s"], "compiled_mean_iou": variant["mean_iou"]}
            setting.results.add(
                model=name,
                expressions=count,
                **{key: row[key] for key in kept},
                **compiled,
                peak_gb=row["ours_peak_bytes"] / 1e9,
                verdict="; ".join(problems(report)) or "same masks",
            )
            setting.results.keep(f"benchmark of {count} expressions", report)


def profile(setting: Setting) -> None:
    """How long the device waits while 20 frames of one expression go through."""
    frames, device = 20 if setting.is_cuda else 6, setting.device
    with (
        _speed_model(setting) as (directory, name),
        bench_clip(None, frames=frames, height_width=(480, 854), expressions=1) as clip,
    ):
        sa2va = Sa2VA.from_checkpoint(directory, device=str(device))
        _masks(sa2va, clip)  # warm
        setting.results.extend({"model": name, **row} for row in idle_report(device, lambda: _masks(sa2va, clip)))


@contextmanager
def _speed_model(setting: Setting) -> Iterator[tuple[Path, str]]:
    """The checkpoint whose speed is measured: on a GPU of full size, untrained where only the small one is named."""
    model, is_cuda = setting.model, setting.is_cuda
    if model == "nano":
        with tempfile.TemporaryDirectory(prefix="session-model-") as scratch:
            name = "untrained, SAM 2 of full size" if is_cuda else "nano, untrained"
            yield write_untrained(Path(scratch), full_size_sam2=is_cuda), name
    else:
        yield fetch_model(pin_model(model)), model


STEPS: Mapping[str, Callable[[Setting], None]] = {
    "parity": parity,
    "attention": attention,
    "encoder": encoder,
    "benchmark": benchmark,
    "profile": profile,
    "resize": resize,
}


def main() -> int:
    """Run one step."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.workshop.bench.session_steps")
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--device", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    STEPS[args.step](Setting(torch.device(args.device), args.model, Results(args.output)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
