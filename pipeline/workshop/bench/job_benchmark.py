"""What the job around the model costs: many short videos through the whole Ray job against a plain loop over them."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.manifest import read_manifest
from pipeline.schema import VideoTask
from pipeline.workshop.shapes.demo import write_demo


@dataclass(frozen=True, kw_only=True)
class JobBenchSettings:
    """What is measured."""

    model: Path
    videos: int = 200
    frames: int = 16
    expressions: int = 4
    say: Callable[[str], None]


def job_benchmark(settings: JobBenchSettings, scratch: Path) -> dict[str, Any]:
    """Time the same videos in one process and through ``annotate`` on this machine's Ray.

    Neither time holds the start: the loop is timed from its second video on, the job from its first committed file to
    its last, which says what a long run pays.

    Args:
        settings: Model and load.
        scratch: An empty directory for clips and datasets.

    Returns:
        ``loop_videos_per_s`` (one process), ``job_videos_per_s`` (the job with its two workers), ``busy``: the share
        of the job's time in which the busier of the two pools computes, ``ratio`` of job to loop, and the conditions.
    """
    settings.say(f"drawing {settings.videos} clips of {settings.frames} frames")
    manifest = write_demo(
        scratch / "clips",
        num_videos=settings.videos,
        num_frames=settings.frames,
        expressions_per_video=settings.expressions,
    )
    tasks = read_manifest(str(manifest))
    settings.say("a plain loop in this process")
    loop = _plain_loop(settings.model, tasks)
    settings.say("the job")
    job, busy = _job(settings, manifest, scratch / "dataset")
    return {
        "loop_videos_per_s": round(loop, 3),
        "job_videos_per_s": round(job, 3),
        "ratio": round(job / loop, 3),
        "busy": {stage: round(share, 3) for stage, share in busy.items()},
        "conditions": {
            "videos": settings.videos,
            "frames": settings.frames,
            "expressions": settings.expressions,
            "workers": "1 grounder and 1 segmenter, beside 1 process for the loop",
        },
    }


def _plain_loop(model: Path, tasks: list[VideoTask]) -> float:
    """Videos per second of the library alone, on one thread, as the job's workers use it for small models."""
    import torch

    from pipeline.model.sa2va import Sa2VA

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        sa2va = Sa2VA.from_checkpoint(model)
        began = 0.0
        for index, task in enumerate(tasks):
            sa2va.segment(task.video, [e.text for e in task.expressions])
            if index == 0:
                began = time.perf_counter()
        return (len(tasks) - 1) / (time.perf_counter() - began)
    finally:
        torch.set_num_threads(threads)


def _job(settings: JobBenchSettings, manifest: Path, output: Path) -> tuple[float, dict[str, float]]:
    """Videos per second of the job between its first and its last commit, and how busy its pools were then."""
    from pipeline.run import annotate

    config = RunConfig(manifest=str(manifest), model=str(settings.model), output=str(output), grounders=1, segmenters=1)
    committed: list[float] = []
    annotate(config, report_line=settings.say, on_progress=lambda _: committed.append(time.perf_counter()))
    timings = json.loads((output / "run.json").read_text(encoding="utf-8"))["timings"]
    rate = (len(committed) - 1) / (committed[-1] - committed[0])
    return rate, {stage: timings[f"{stage}_seconds"] / len(committed) * rate for stage in ("ground", "segment")}
