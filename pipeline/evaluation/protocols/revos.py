"""ReVOS: J, F, accuracy A and robustness R for referring and for reasoning expressions.

The public scorer compares raw pixel values in A and R, so that 0/255 predictions and targets that overlap spoil them.
Here masks are masks. Its rounding is kept: percent of each expression to two decimals, before averaging.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.predictions import VideoPrediction
from pipeline.evaluation.protocols.common import BenchmarkProtocol, Line, mean, mean_of
from pipeline.evaluation.scoring import BOUNDARY, REGION, BoolArray, Measure, Score, VideoResult, score_expressions
from pipeline.evaluation.truth import VideoTruth, mask_dict_truths, read_mask_dict
from pipeline.masks import compressed, decode_mask
from pipeline.schema import Rle

REFERRING, REASONING = 0, 1
META = ("meta_expressions_valid_.json", "meta_expressions.json", "meta_expressions_train_.json")


def read_truth(ground_truth: str) -> list[VideoTruth]:
    """Read ReVOS's folder: the meta file, ``mask_dict.json`` and ``mask_dict_foreground.json``.

    Raises:
        UsageError: A file is missing, or they do not fit each other.
    """
    truths = mask_dict_truths(ground_truth, META)
    location, foreground = read_mask_dict(ground_truth, ("mask_dict_foreground.json",))
    return [
        replace(
            truth,
            foreground=_foreground(foreground.get(truth.video_id), len(truth.frames), location, truth.video_id),
        )
        for truth in truths
    ]


def _foreground(entry: object, frames: int, location: str, video_id: str) -> list[list[Rle]]:
    masks = entry.get("masks_rle") if isinstance(entry, dict) else None
    if not isinstance(masks, list) or len(masks) != frames:
        raise UsageError(f"{location}: expected {frames} masks_rle for video {video_id!r}")
    return [[rle for rle in (masks_of if isinstance(masks_of, list) else [masks_of]) if rle] for masks_of in masks]


def _accuracy(truth: BoolArray, prediction: BoolArray, _video: VideoTruth, _frame: int) -> float:
    return float(np.mean(truth == prediction))


def _robustness(truth: BoolArray, prediction: BoolArray, video: VideoTruth, frame: int) -> float:
    false_positives = np.count_nonzero(prediction & ~truth)
    if not false_positives:
        return 1.0
    masks = [decode_mask(compressed(rle)) for rle in video.foreground[frame]]
    foreground = np.count_nonzero(np.logical_or.reduce(masks)) if masks else 0
    return max(1 - false_positives / (foreground + 1e-6), 0.0)


ACCURACY = Measure("A", _accuracy)
MEASURES = (REGION, BOUNDARY, ACCURACY, Measure("R", _robustness))


def score_video(video: VideoTruth, prediction: VideoPrediction) -> VideoResult:
    """J, F, A and R of every expression."""
    return score_expressions(video, prediction, MEASURES)


def summarise(scores: Sequence[Score]) -> list[Line]:
    """Overall, referring, reasoning; overall is the plain mean of the two types, whatever their counts."""
    types = {name: rounded_means([s for s in scores if s.kind == kind], _NAMES) for name, kind in _TYPES.items()}
    overall = {name: mean_of(*(values[name] for values in types.values())) for name in ("J&F", "J", "F", "A", "R")}
    return [Line("overall", overall), *(Line(name, values) for name, values in types.items())]


_TYPES = {"referring": REFERRING, "reasoning": REASONING}
_NAMES = ("J", "F", "A", "R")


def rounded_means(scores: Sequence[Score], names: Sequence[str]) -> dict[str, float | None]:
    """Means over expressions, each rounded to two decimals of percent before; and J&F, the mean of J and F."""
    values: dict[str, float | None] = {}
    for name in names:
        rounded = mean(float(np.round(100 * np.float64(score.values[name]), 2)) for score in scores)
        values[name] = None if rounded is None else rounded / 100
    return {"J&F": mean_of(values["J"], values["F"]), **values}


PROTOCOL = BenchmarkProtocol(
    benchmark="revos",
    name="official",
    about="each expression in percent is rounded to two decimals before averaging, as the public scorer does; "
    "overall = mean of referring and reasoning; expressions of other types enter no mean",
    read_truth=read_truth,
    score_video=score_video,
    summarise=summarise,
)
