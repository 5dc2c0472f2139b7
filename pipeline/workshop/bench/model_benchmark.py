"""The model benchmark: the published arrangement and ours on the same video, stage by stage, and whether they agree."""

import logging
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.dataset.tables import row_table, to_parquet
from pipeline.engine.settings import SMALL_IMAGE
from pipeline.model.sa2va import ExpressionMasks, Sa2VA, VideoMasks
from pipeline.model.sam2.stream import SegmentOptions
from pipeline.video.frames import FrameSelection
from pipeline.video.isolated import IsolatedDecoder
from pipeline.video.source import open_video
from pipeline.workshop.bench import ours
from pipeline.workshop.bench.agreement import agreement, disagreement, distinct_tracks, limits_of
from pipeline.workshop.bench.clip import BenchClip, bench_clip
from pipeline.workshop.bench.clock import STAGES, StageClock, StageTime
from pipeline.workshop.bench.machine import conditions, peak_memory, product_rate
from pipeline.workshop.bench.published import PublishedArrangement
from pipeline.workshop.bench.variants import VARIANTS

log = logging.getLogger(__name__)

FULL_SIZE = 512
"""From this side of SAM 2's picture on, a CPU has no time for warm-up and second passes."""


@dataclass(kw_only=True)
class BenchSettings:
    """What to measure."""

    model: Path
    """Checkpoint directory."""
    model_name: str = ""
    """What to call it in the report."""
    device: str = "auto"
    dtype: str = "auto"
    frames: int = 80
    keyframes: int = 5
    expressions: Sequence[int] = (1, 4, 16)
    """Numbers of expressions to measure with, ascending."""
    video: str | None = None
    """A video; ``None`` draws one."""
    height_width: tuple[int, int] = (480, 854)
    """Size of a drawn video, pixels."""
    threads: int | None = None
    """CPU threads; ``None`` takes PyTorch's choice, and one thread for a small network, as the job does."""
    published_once: bool = False
    """Measure the published arrangement on one expression and multiply."""
    variants: Sequence[str] = ()
    """Names of :data:`pipeline.workshop.bench.variants.VARIANTS` to measure beside ours."""
    frames_per_batch: int | None = None
    say: Callable[[str], None] = log.info
    """Gets lines about progress."""


class ModelBenchmark:
    """One run of the benchmark."""

    def __init__(self, settings: BenchSettings) -> None:
        self.settings = settings
        self.model = Sa2VA.from_checkpoint(settings.model, device=settings.device, dtype=settings.dtype)
        self.device = self.model.segmenter.device
        self.dtype = self.model.segmenter.compute_dtype
        self.limits = limits_of(self.device.type, _name_of(self.dtype))
        if settings.threads:
            torch.set_num_threads(settings.threads)
        elif self.model.segmenter.config.image_size <= SMALL_IMAGE:
            torch.set_num_threads(1)  # as the job's workers do
        is_cuda = self.device.type == "cuda"
        self.is_long = not is_cuda and self.model.segmenter.config.image_size >= FULL_SIZE
        batch = settings.frames_per_batch or (4 if is_cuda else 1)
        self.options = SegmentOptions(frames_per_batch=batch)
        self.published_clock = StageClock(is_cuda, counts_apart=not self.is_long)
        self.published = PublishedArrangement(self.model, self.published_clock)
        self.expected: list[ExpressionMasks] = []
        self.published_seconds: list[tuple[float, float]] = []
        self.published_peak = 0
        self.frames = 0

    def run(self) -> dict[str, Any]:
        """Measure everything; the report has the form of ``python -m pipeline.workshop.bench --json``."""
        settings = self.settings
        self.rates = [product_rate(self.device, self.dtype)]
        drawn = bench_clip(
            settings.video,
            frames=settings.frames,
            height_width=settings.height_width,
            expressions=max(settings.expressions),
        )
        with drawn as clip, IsolatedDecoder(timeout_s=600) as decoder:
            selection = FrameSelection(max_frames=settings.frames)
            if not self.is_long:
                settings.say("warming up")
                short = self._short()
                self._published_run(clip, short, 0)
                self._our_run(decoder, clip, short, 1, StageClock())
                self._forget()
            results = [self._measure(decoder, clip, selection, count) for count in sorted(settings.expressions)]
        self.rates.append(product_rate(self.device, self.dtype))
        return {"results": results, "conditions": self._conditions()}

    def _measure(
        self, decoder: IsolatedDecoder, clip: BenchClip, selection: FrameSelection, count: int
    ) -> dict[str, Any]:
        say, once = self.settings.say, self.settings.published_once
        for number in range(len(self.expected), 1 if once else count):
            say(f"published arrangement, expression {number + 1} of {count}")
            self._published_run(clip, selection, number)
        say(f"ours, {count} expression{'s' if count > 1 else ''}")
        clock = StageClock(self.device.type == "cuda", is_on=self.is_long, counts_apart=not self.is_long)
        with peak_memory(self.device) as peak:
            found, (seconds, cpu_seconds) = self._our_run(decoder, clip, selection, count, clock)
        if not self.is_long:  # the stages in a pass of their own: watching costs time
            clock.is_on = True
            self._our_run(decoder, clip, selection, count, clock)
        times = self.published_seconds if not once else self.published_seconds * count
        published, published_cpu = (sum(column) for column in zip(*times[:count], strict=True))
        scale = count if once else 1
        self.frames = len(found[0].frame_names)
        masks = self.frames * count
        return {
            "expressions": count,
            "published_s": published,
            "ours_s": seconds,
            "ratio": published / seconds,
            "published_cpu_s": published_cpu,
            "ours_cpu_s": cpu_seconds,
            "cpu_ratio": published_cpu / cpu_seconds,
            "published_frames_x_expressions_per_s": masks / published,
            "ours_frames_x_expressions_per_s": masks / seconds,
            "published_peak_bytes": self.published_peak,
            "ours_peak_bytes": peak.size_bytes,
            **agreement(found[: len(self.expected)], self.expected[:count], self.limits),
            "compared_expressions": min(len(self.expected), count),
            "distinct_tracks": distinct_tracks(found),
            "stages": self._stages(clock, scale),
            "variants": [self._variant(name, decoder, clip, selection, found) for name in self.settings.variants],
        }

    def _published_run(self, clip: BenchClip, selection: FrameSelection, number: int) -> None:
        expression = clip.sentences[number]
        clock = self.published_clock
        clock.counting_seconds = clock.counting_cpu_seconds = 0.0
        started = time.perf_counter(), time.process_time()
        with peak_memory(self.device) as peak, open_video(clip.location, selection) as source:
            found = self.published.segment(source, expression, self.settings.keyframes)
            clock.wrap("writing", _write)([found])
            _wait(self.device)
        self.published_seconds.append(
            (
                time.perf_counter() - started[0] - clock.counting_seconds,
                time.process_time() - started[1] - clock.counting_cpu_seconds,
            )
        )
        self.published_peak = max(self.published_peak, peak.size_bytes)
        self.expected.append(found)

    def _our_run(
        self, decoder: IsolatedDecoder, clip: BenchClip, selection: FrameSelection, count: int, clock: StageClock
    ) -> tuple[list[ExpressionMasks], tuple[float, float]]:
        started = time.perf_counter(), time.process_time()
        with decoder.open(clip.location, selection) as source:
            found = ours.segment(
                self.model, source, clip.sentences[:count], self.settings.keyframes, clock, self.options
            )
            clock.wrap("writing", _write)(found)
            _wait(self.device)
        return found, (time.perf_counter() - started[0], time.process_time() - started[1])

    def _variant(
        self,
        name: str,
        decoder: IsolatedDecoder,
        clip: BenchClip,
        selection: FrameSelection,
        expected: Sequence[ExpressionMasks],
    ) -> dict[str, Any]:
        count = len(expected)
        self.settings.say(f"ours with {name}, {count} expressions")
        started = time.perf_counter()
        with VARIANTS[name](self.model, self.options.frames_per_batch):
            if name == "compile":  # batches of the sizes that are timed
                self._our_run(decoder, clip, self._short(), count, StageClock(is_on=False))
            warm_up = time.perf_counter() - started
            found, (seconds, _) = self._our_run(decoder, clip, selection, count, StageClock(is_on=False))
        return {"name": name, "ours_s": seconds, "warm_up_s": warm_up, **agreement(found, expected, self.limits)}

    def _short(self) -> FrameSelection:
        """A few frames, in batches of the size that is timed."""
        return FrameSelection(max_frames=min(self.settings.frames, self.settings.keyframes + 8))

    def _forget(self) -> None:
        """Drop what the warm-up measured; operations that were counted stay."""
        self.published_clock.stages.clear()
        self.expected, self.published_seconds, self.published_peak = [], [], 0

    def _stages(self, clock: StageClock, scale: int) -> dict[str, Any]:
        rate = max(self.rates)
        report = {}
        for stage in STAGES:
            published, own = self.published_clock.stages.get(stage), clock.stages.get(stage)
            if published or own:
                report[stage] = {
                    **_of("published", published, scale, rate, self.device),
                    **_of("ours", own, 1, rate, self.device),
                }
        return report

    def _conditions(self) -> dict[str, Any]:
        settings, segmenter = self.settings, self.model.segmenter
        return {
            "model": settings.model_name or settings.model.name,
            "sam2_side": segmenter.config.image_size,
            "device": str(self.device),
            "dtype": _name_of(self.dtype),
            "frames": self.frames,
            "keyframes": settings.keyframes,
            "video": settings.video or f"drawn, {settings.height_width[1]}x{settings.height_width[0]}, JPEG frames",
            "frames_per_batch": self.options.frames_per_batch,
            "published_arrangement": "measured on one expression and multiplied by E"
            if settings.published_once
            else "every expression measured",
            "warm_up": "none" if self.is_long else "one short run of each arrangement",
            "timed": "opening the video to the Parquet file; not loading the model",
            "large_product_flops_per_s": max(self.rates),
            **conditions(self.device),
        }


def _of(who: str, record: StageTime | None, scale: int, rate: float, device: torch.device) -> dict[str, float | None]:
    if record is None:
        return {f"{who}_s": None}
    found: dict[str, float | None] = {f"{who}_s": record.seconds * scale}
    if record.flops:
        busy = record.seconds if device.type == "cuda" else record.cpu_seconds
        found |= {f"{who}_flops": record.flops * scale, f"{who}_share_of_large_product": record.flops / busy / rate}
    return found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _write(found: Sequence[ExpressionMasks]) -> None:
    """Write the dataset's rows of a video, as a run does."""
    rows = VideoMasks(found).rows(video_id="video")
    with tempfile.TemporaryFile() as file:
        file.write(to_parquet([row_table(row) for row in rows], {}))


def problems(report: Mapping[str, Any]) -> list[str]:
    """Why the benchmark fails: masks that are not the same."""
    conditions = report["conditions"]
    limits = limits_of(torch.device(conditions["device"]).type, conditions["dtype"])
    reasons = [(result["expressions"], disagreement(result, limits)) for result in report["results"]]
    return [
        f"{count} expressions: the masks differ from the published arrangement's: {reason}"
        for count, reason in reasons
        if reason is not None
    ]


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
