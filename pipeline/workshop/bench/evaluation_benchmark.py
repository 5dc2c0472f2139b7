"""How fast J and F are: ours against a plain whole-frame implementation, on one process and on two."""

import io
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from pipeline.evaluation.parallel import map_tasks
from pipeline.evaluation.pictures import decode_picture
from pipeline.evaluation.region_boundary import (
    BoolArray,
    FloatArray,
    boundary_accuracy,
    boundary_radius,
    region_similarity,
)
from pipeline.evaluation.truth import RleAnnotations
from pipeline.masks import encode_masks

HEIGHT, WIDTH = 480, 854
Measured = tuple[FloatArray, FloatArray]


def plain_scores(ground_truth: BoolArray, prediction: BoolArray) -> Measured:
    """J and F of ``[T, H, W]`` by the definition on whole frames; the disk is dilated by a distance transform.

    That is the fastest plain way without further packages: dilating by the disk itself takes several times as long.
    """
    region = np.zeros(len(ground_truth))
    boundary = np.zeros(len(ground_truth))
    for frame, (truth, predicted) in enumerate(zip(ground_truth, prediction, strict=True)):
        union = (truth | predicted).sum()
        region[frame] = (truth & predicted).sum() / union if union else 1.0
        boundary[frame] = _plain_boundary_accuracy(truth, predicted)
    return region, boundary


def _plain_boundary_accuracy(truth: BoolArray, predicted: BoolArray) -> float:
    radius = boundary_radius(*truth.shape)
    maps = [_plain_boundary_map(mask) for mask in (truth, predicted)]
    counts = [int(boundary.sum()) for boundary in maps]
    if not all(counts):
        return float(counts[0] == counts[1])
    near = [ndimage.distance_transform_edt(~boundary) <= radius for boundary in maps]
    recall, precision = (maps[0] & near[1]).sum() / counts[0], (maps[1] & near[0]).sum() / counts[1]
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _plain_boundary_map(mask: BoolArray) -> BoolArray:
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (mask != padded[1:, 1:])


def evaluation_benchmark(
    *,
    frames: int = 200,
    plain: Callable[[BoolArray, BoolArray], Measured] = plain_scores,
    plain_frames: int = 20,
    processes: tuple[int, ...] = (1, 2),
    clips: int = 40,
    warm_up_s: float = 10.0,
) -> dict[str, Any]:
    """Time J and F of one object at 480x854, predictions from PNG and ground truth from RLE, decoding included.

    Args:
        frames: Frames of the clip.
        plain: The implementation to compare with: J and F ``[T]`` of two masks ``[T, H, W]``.
        plain_frames: Frames the slow one is timed on; its time is scaled up to ``frames``.
        processes: Numbers of processes to time; more than one run as Ray tasks, on a cluster that is started first.
        clips: Clips shared among the processes.
        warm_up_s: How long a cluster works before its clips count.

    Returns:
        CPU seconds for ``frames`` frames: ``ours_s``, ``plain_s``, both with decoding, and ``ratio``; ``decode_s``,
        the part that decoding takes in either; ``by_processes``: processes -> seconds by the clock for ``clips`` clips;
        ``unconnected_s``: the same for the most processes without Ray, which is what the machine's memory allows;
        ``largest_difference`` between the two implementations; what was measured.
    """
    pictures, annotations = _clip(frames)
    _score_clip(pictures[:2], annotations)  # warm-up
    decode_s = _time(lambda: [_decode(pictures, annotations, frame) for frame in range(frames)])
    ours_s = _time(lambda: _score_clip(pictures, annotations))
    part = min(plain_frames, frames)
    masks = [_decode(pictures, annotations, frame) for frame in range(part)]
    truth, prediction = (np.stack(column) for column in zip(*masks, strict=True))
    plain_values: list[Measured] = []
    plain_s = decode_s + _time(lambda: plain_values.append(plain(truth, prediction))) * frames / part
    ours = _score_clip(pictures[:part], annotations)
    by_processes = {count: _time_processes(pictures, annotations, clips, count, warm_up_s) for count in processes}
    most = max(processes, default=1)
    unconnected_s = _time_unconnected(pictures, annotations, clips, most) if most > 1 else None
    return {
        "what": f"{frames} frames of {HEIGHT}x{WIDTH}, one object, PNG against RLE, J and F, decoding included",
        "ours_s": ours_s,
        "plain_s": plain_s,
        "ratio": ours_s / plain_s,
        "decode_s": decode_s,
        "by_processes": by_processes,
        "unconnected_s": unconnected_s,
        "clips": clips,
        "cores": os.cpu_count(),
        "largest_difference": float(max(np.abs(a - b).max() for a, b in zip(ours, plain_values[0], strict=True))),
    }


def _clip(frames: int) -> tuple[list[bytes], RleAnnotations]:
    """A lobed object that drifts, of about a tenth of the picture, and a prediction a few pixels off."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pictures, masks = [], []
    for frame in range(frames):
        truth, predicted = (
            _blob(x - 300 - shift - frame % 200, y - 240, radius) for shift, radius in ((0, 110), (4, 106))
        )
        masks += encode_masks(truth[None])
        data = io.BytesIO()
        Image.fromarray(predicted.astype(np.uint8) * np.uint8(255)).save(data, "PNG")
        pictures.append(data.getvalue())
    return pictures, RleAnnotations(masks={"0": masks})


def _blob(x: np.ndarray, y: np.ndarray, radius: int) -> BoolArray:
    lobes = 1 + 0.15 * np.sin(9 * np.arctan2(y, x))
    return np.asarray(x * x / 1.5 + y * y < (radius * lobes) ** 2)


def _decode(pictures: list[bytes], annotations: RleAnnotations, frame: int) -> tuple[BoolArray, BoolArray]:
    return annotations.objects(frame)["0"], decode_picture(pictures[frame], str(frame)) != 0


def _score_clip(pictures: list[bytes], annotations: RleAnnotations) -> Measured:
    region, boundary = [], []
    for frame in range(len(pictures)):
        truth, predicted = _decode(pictures, annotations, frame)
        region.append(region_similarity(truth[None], predicted[None])[0])
        boundary.append(boundary_accuracy(truth[None], predicted[None])[0])
    return np.array(region), np.array(boundary)


def _time(action: Callable[[], object]) -> float:
    """CPU seconds of this process: what one core needs, whatever else runs on the machine."""
    started = time.process_time()
    action()
    return time.process_time() - started


def _time_processes(
    pictures: list[bytes], annotations: RleAnnotations, clips: int, processes: int, warm_up_s: float
) -> float:
    """Seconds from the first clip's start to the last one's end, once the workers have worked for a while.

    The first clips of every process wait for its imports.
    """
    began = time.perf_counter()
    warm_ups = 0

    def items() -> Iterator[tuple[list[bytes], RleAnnotations]]:
        nonlocal warm_ups
        while processes > 1 and time.perf_counter() - began < warm_up_s:
            warm_ups += 1
            yield pictures, annotations
        for _ in range(clips):
            yield pictures, annotations

    spans = sorted(map_tasks(_span, items(), processes))[warm_ups:]
    return max(ended for _, ended in spans) - spans[0][0]


def _time_unconnected(pictures: list[bytes], annotations: RleAnnotations, clips: int, processes: int) -> float:
    """As :func:`_time_processes`, for processes that only share the machine."""
    warm_ups = 2 * processes
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        started = [pool.submit(_span, pictures, annotations) for _ in range(warm_ups + clips)]
        spans = sorted(task.result() for task in started)[warm_ups:]
    return max(ended for _, ended in spans) - spans[0][0]


def _span(pictures: list[bytes], annotations: RleAnnotations) -> tuple[float, float]:
    """Start and end of scoring one clip, on a clock that all processes of a machine share."""
    began = time.time()
    _score_clip(pictures, annotations)
    return began, time.time()
