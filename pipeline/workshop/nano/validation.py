"""Held-out results of a nano checkpoint by kind of expression, through the same code as every other model."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from pipeline.evaluation.region_boundary import boundary_accuracy, region_similarity
from pipeline.model.procedure import Procedure
from pipeline.model.sa2va import ExpressionMasks, Sa2VA
from pipeline.schema import Rle

ANSWERABLE = ("appearance", "position", "motion", "motion-hard", "relation", "multiple")


@dataclass(frozen=True)
class Score:
    """One expression's result, 0..1."""

    video_id: str
    expression_id: str
    kind: str
    j: float
    f: float

    @property
    def j_and_f(self) -> float:
        """Mean of J and F."""
        return (self.j + self.f) / 2


class ShapesBenchmark:
    """A tree that :func:`pipeline.workshop.shapes.benchmark.write_benchmark` wrote, with its ground truth."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.videos = _read(directory / "meta_expressions.json")["videos"]
        self.kinds = _read(directory / "kinds.json")
        self.masks = _read(directory / "mask_dict.json")

    def truth(self, video_id: str, expression_id: str) -> npt.NDArray[np.bool_]:
        """Union of the target's masks, bool [T, H, W]."""
        return self._union(video_id, self.videos[video_id]["expressions"][expression_id]["anno_id"])

    def _union(self, video_id: str, numbers: Sequence[int]) -> npt.NDArray[np.bool_]:
        height, width = next(
            rle["size"] for number in self._objects(video_id) for rle in self.masks[str(number)] if rle is not None
        )
        frames = len(self.videos[video_id]["frames"])
        tracks = [decode_track(self.masks[str(n)], frames, height, width) for n in numbers]
        return np.any(tracks, axis=0) if tracks else np.zeros((frames, height, width), bool)

    def _objects(self, video_id: str) -> list[int]:
        return sorted({n for e in self.videos[video_id]["expressions"].values() for n in e["anno_id"]})

    def score(self, model: Sa2VA, procedure: str | Procedure, num_keyframes: int = 5) -> list[Score]:
        """Segment every expression of every video and compare with the truth (first [SEG] only, as published)."""
        scores = []
        for video_id, i, masks in self.answers(model, procedure, num_keyframes):
            truth = self.truth(video_id, i)
            predicted = np.zeros_like(truth)
            if masks.tracks:
                predicted = decode_track(masks.tracks[0].masks, *truth.shape)
            scores.append(self._score(video_id, i, truth, predicted))
        return scores

    def answers(
        self, model: Sa2VA, procedure: str | Procedure = "sa2va-i", num_keyframes: int = 5
    ) -> Iterator[tuple[str, str, ExpressionMasks]]:
        """Segment every expression of every video: video id, expression id, and what the model found."""
        for video_id, video in self.videos.items():
            ids = list(video["expressions"])
            texts = [video["expressions"][i]["exp"] for i in ids]
            folder = self.directory / "JPEGImages" / video_id
            found = model.segment(folder, texts, procedure=procedure, num_keyframes=num_keyframes)
            for i, masks in zip(ids, found, strict=True):
                yield video_id, i, masks

    def chance(self) -> list[Score]:
        """What a random object, perfectly segmented, would get: mean over the objects some expression names."""
        scores = []
        for video_id, video in self.videos.items():
            objects = [self._union(video_id, [number]) for number in self._objects(video_id)]
            for i, expression in video["expressions"].items():
                if expression["anno_id"]:
                    truth = self.truth(video_id, i)
                    guesses = [self._score(video_id, i, truth, guess) for guess in objects]
                    j, f = np.mean([s.j for s in guesses]), np.mean([s.f for s in guesses])
                    scores.append(Score(video_id, i, self.kinds[video_id][i], float(j), float(f)))
        return scores

    def _score(
        self, video_id: str, expression_id: str, truth: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_]
    ) -> Score:
        j, f = region_similarity(truth, predicted).mean(), boundary_accuracy(truth, predicted).mean()
        return Score(video_id, expression_id, self.kinds[video_id][expression_id], float(j), float(f))


@dataclass(frozen=True)
class Mean:
    """Mean in percent with its standard error and count."""

    mean: float
    standard_error: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> "Mean":
        """The statistics of values from 0 to 1."""
        array = 100 * np.array(list(values), np.float64)
        error = float(array.std(ddof=1) / math.sqrt(len(array))) if len(array) > 1 else math.nan
        return cls(float(array.mean()) if len(array) else math.nan, error, len(array))

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.standard_error:.1f} (n={self.count})"


def by_kind(scores: Sequence[Score]) -> dict[str, Mean]:
    """J&F per kind, over appearance and position together, over all answerable kinds, and over everything."""
    groups = {kind: {kind} for kind in dict.fromkeys(s.kind for s in scores)}
    groups |= {"appearance + position": {"appearance", "position"}, "answerable": set(ANSWERABLE)}
    return {
        name: Mean.of(s.j_and_f for s in scores if s.kind in kinds)
        for name, kinds in groups.items()
        if any(s.kind in kinds for s in scores)
    }


def paired_gain(better: Sequence[Score], worse: Sequence[Score], kinds: Sequence[str] = ANSWERABLE) -> Mean:
    """Mean difference of J&F over the same expressions."""
    before: Mapping[tuple[str, str], float] = {(s.video_id, s.expression_id): s.j_and_f for s in worse}
    return Mean.of(s.j_and_f - before[s.video_id, s.expression_id] for s in better if s.kind in kinds)


def decode_track(rles: Sequence[Rle | None], frames: int, height: int, width: int) -> npt.NDArray[np.bool_]:
    """Run lengths per frame to bool [T, H, W]."""
    masks = np.zeros((frames, height, width), bool)
    for index, rle in enumerate(rles):
        if rle is not None:
            masks[index] = coco_mask.decode(rle).astype(bool)
    return masks


def _read(path: Path) -> Any:  # noqa: ANN401
    return json.loads(path.read_text(encoding="utf-8"))
