"""SA-Co/VEval: cgF1, how well the masklets of a noun phrase match those annotated, and whether there are any at all.

Each (video, noun phrase) pair is an item. Masklets with a score of at least 0.5 are kept and matched to the annotated
ones by their track IoU (sum of intersections over sum of unions). cgF1 is the mean of the micro F1 over IoU thresholds
0.5 to 0.95, times Matthews' correlation of "has a masklet" and "has a kept prediction". The small constants are the
public scorer's.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco
from scipy.optimize import linear_sum_assignment

from pipeline.errors import UsageError
from pipeline.evaluation.predictions import MissingPredictionError, RlePrediction, VideoPrediction
from pipeline.evaluation.protocols.common import BenchmarkProtocol, Line
from pipeline.evaluation.scoring import Score, VideoResult
from pipeline.evaluation.sources import PredictionSource
from pipeline.evaluation.truth import ExpressionTruth, RleAnnotations, VideoTruth
from pipeline.manifest.saco import read_saco, saco_tasks
from pipeline.masks import compressed
from pipeline.schema import Rle
from pipeline.storage import join, list_names, read_bytes, scrub

KEEP_FROM = 0.5
THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))

Track = Sequence[Rle | None]


@dataclass(frozen=True, kw_only=True)
class PairSource:
    """A predictions file: a list of masklets."""

    url: str

    def videos(self, truths: Sequence[VideoTruth]) -> Iterator[tuple[VideoTruth, VideoPrediction]]:
        """See PredictionSource; masklets below the score that is kept are left out."""
        try:
            entries = json.loads(read_bytes(self.url))
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{scrub(self.url)}: not a JSON file: {error}") from error
        if not isinstance(entries, list):
            raise UsageError(f"{scrub(self.url)}: expected a list of masklets")
        by_number = {truth.number: truth for truth in truths if isinstance(truth, PairTruth)}
        tracks: dict[int, dict[str, list[list[Rle | None]]]] = {number: {} for number in by_number}
        for index, entry in enumerate(entries):
            where = f"{scrub(self.url)}: entry {index}"
            number, category, track, score = _entry(entry, where)
            truth = by_number.get(number)
            if truth is None or category not in {item.expression_id for item in truth.expressions}:
                raise UsageError(f"{where}: category {category} is not asked of video {number}")
            if len(track) != len(truth.frames):
                raise UsageError(f"{where}: {len(track)} masks for {len(truth.frames)} frames")
            if score >= KEEP_FROM:
                tracks[number].setdefault(category, []).append(track)
        for number, truth in by_number.items():
            nothing: dict[str, list[list[Rle | None]]] = {item.expression_id: [] for item in truth.expressions}
            yield truth, RlePrediction(tracks={**nothing, **tracks[number]}, missing={}, size=truth.size)


def _entry(entry: Any, where: str) -> tuple[int, str, list[Rle | None], float]:  # noqa: ANN401 - of a file
    try:
        track = [None if rle is None else compressed(rle) for rle in entry["segmentations"]]
        return int(entry["video_id"]), str(entry["category_id"]), track, float(entry["score"])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{where}: not a masklet: {error}") from error


@dataclass(frozen=True, kw_only=True)
class PairTruth(VideoTruth):
    """A video and the noun phrases that are asked of it."""

    number: int
    """Its ``video_id`` in the annotation file."""


def read_truth(ground_truth: str) -> list[VideoTruth]:
    """Read an annotation file, or the one ``saco_veval_*.json`` of a folder.

    Raises:
        UsageError: It is no such file, has no annotations, or a masklet does not fit its video.
    """
    location = _annotation_file(ground_truth)
    content = read_saco(location)
    if not content.get("annotations"):
        raise UsageError(f"{scrub(location)}: holds no annotations: it comes without ground truth")
    videos = {video["video_name"]: video for video in content["videos"]}
    masks: dict[tuple[int, str], dict[str, list[Rle | None]]] = {}
    for entry in content["annotations"]:
        where = f"{scrub(location)}: annotation {entry.get('id')}"
        number, category, track, _ = _entry({"score": 1.0, **entry}, where)
        masks.setdefault((number, category), {})[str(entry.get("id"))] = track
    truths: list[VideoTruth] = []
    for task in saco_tasks(content, ""):
        video = videos[task.video_id]
        own = {item.expression_id: masks.get((video["id"], item.expression_id), {}) for item in task.expressions}
        for objects in own.values():
            for key, track in objects.items():
                if len(track) != len(task.frames or ()):
                    raise UsageError(f"{scrub(location)}: annotation {key}: {len(track)} masks for its video's frames")
        truths.append(
            PairTruth(
                number=video["id"],
                video_id=task.video_id,
                frames=task.frames or (),
                expressions=tuple(
                    ExpressionTruth(
                        expression_id=item.expression_id, text=item.text, objects=tuple(own[item.expression_id])
                    )
                    for item in task.expressions
                ),
                annotations=RleAnnotations(masks={k: v for objects in own.values() for k, v in objects.items()}),
                size=(int(video["height"]), int(video["width"])) if "height" in video and "width" in video else None,
            )
        )
    return truths


def _annotation_file(ground_truth: str) -> str:
    if ground_truth.lower().endswith(".json"):
        return ground_truth
    found = [name for name in list_names(ground_truth) if name.startswith("saco_veval_") and name.endswith(".json")]
    found = [name for name in found if not name.endswith("_preds.json")]
    if len(found) != 1:
        raise UsageError(f"{scrub(ground_truth)}: holds {len(found)} files saco_veval_*.json; name the one to score by")
    return join(ground_truth, found[0])


def read_predictions(url: str) -> PredictionSource:
    """Open a predictions file."""
    return PairSource(url=url)


def score_video(video: VideoTruth, prediction: VideoPrediction) -> VideoResult:
    """Per pair: annotated and kept masklets, and how many match at each IoU threshold."""
    annotations = video.annotations
    assert isinstance(annotations, RleAnnotations)
    assert isinstance(prediction, RlePrediction)
    scores, missing = [], {}
    for expression in video.expressions:
        key = expression.expression_id
        try:
            kept = _kept(prediction, key, video)
        except MissingPredictionError as error:
            missing[key] = str(error)
            kept = []
        target = [annotations.masks[name] for name in expression.objects]
        values = {"masklets": float(len(target)), "kept": float(len(kept))}
        matched = _matches(target, kept)
        values |= {f"TP_{threshold:g}": float(np.sum(matched >= threshold)) for threshold in THRESHOLDS}
        scores.append(
            Score(
                video_id=video.video_id,
                expression_id=key,
                text=expression.text,
                values=values,
                missing=missing.get(key),
            )
        )
    return VideoResult(video_id=video.video_id, scores=scores, missing=missing)


def _kept(prediction: RlePrediction, key: str, video: VideoTruth) -> list[Track]:
    if key not in prediction.tracks:
        raise MissingPredictionError(prediction.missing.get(key, "not among the predictions"))
    tracks = [track for track in prediction.tracks[key] if any(track)]
    for track in tracks:
        for rle in track:
            if rle is not None and video.size and tuple(rle["size"]) != video.size:
                raise MissingPredictionError(f"a mask is of size {list(rle['size'])}, the video of {list(video.size)}")
    return list(tracks)


def _matches(target: Sequence[Track], kept: Sequence[Track]) -> np.ndarray:
    """Track IoU of each matched pair."""
    if not target or not kept:
        return np.zeros(0)
    overlaps = np.array([[track_iou(one, other) for other in kept] for one in target])
    return overlaps[linear_sum_assignment(-overlaps)]


def track_iou(one: Track, other: Track) -> float:
    """Sum of intersections over sum of unions of two tracks' masks, frame by frame."""
    intersection = union = 0
    for a, b in zip(one, other, strict=True):
        masks = [_encoded(rle) for rle in (a, b) if rle is not None]
        areas = [int(coco.area(mask)) for mask in masks]
        shared = int(coco.area(coco.merge(masks, intersect=True))) if len(masks) == 2 else 0
        intersection += shared
        union += sum(areas) - shared
    return intersection / union if union else 0.0


def _encoded(rle: Rle) -> dict[str, Any]:
    valid = compressed(rle)
    return {"size": valid["size"], "counts": valid["counts"].encode("ascii")}


def summarise(scores: Sequence[Score]) -> list[Line]:
    """cgF1 and its two factors, over all thresholds and at 0.5 and 0.75."""
    correlation = _matthews(scores)
    values = {threshold: _micro_f1(scores, threshold) for threshold in THRESHOLDS}
    rows = {
        "IoU 0.50 to 0.95": float(np.mean(list(values.values()))),
        "IoU 0.50": values[0.5],
        "IoU 0.75": values[0.75],
    }
    return [
        Line(name, {"cgF1": value * correlation, "positive micro F1": value, "IL MCC": correlation})
        for name, value in rows.items()
    ]


def _micro_f1(scores: Sequence[Score], threshold: float) -> float:
    hits = sum(score.values[f"TP_{threshold:g}"] for score in scores)
    masklets = sum(score.values["masklets"] for score in scores)
    kept = sum(score.values["kept"] for score in scores if score.values["masklets"] and score.values["kept"])
    precision, recall = hits / (kept + 1e-4), hits / (masklets + 1e-4)
    return 2 * precision * recall / (precision + recall + 1e-4)


def _matthews(scores: Sequence[Score]) -> float:
    pairs = [(score.values["masklets"] > 0, score.values["kept"] > 0) for score in scores]
    hits, rejections = pairs.count((True, True)), pairs.count((False, False))
    misses, alarms = pairs.count((True, False)), pairs.count((False, True))
    product = (hits + alarms) * (hits + misses) * (rejections + alarms) * (rejections + misses)
    return (hits * rejections - alarms * misses) / (math.sqrt(product) + 1e-6)


PROTOCOL = BenchmarkProtocol(
    benchmark="saco-veval",
    name="official",
    about="cgF1 = micro F1 of masklets with a score of at least 0.5, mean over IoU 0.50 to 0.95, times the correlation "
    "of being there and being answered; all masklets of a mask dataset are kept; pHOTA is not computed",
    read_truth=read_truth,
    score_video=score_video,
    summarise=summarise,
    objects="all",
    read_predictions=read_predictions,
)
