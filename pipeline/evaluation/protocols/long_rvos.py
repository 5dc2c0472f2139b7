"""Long-RVOS: J and F over all frames, and how well a track says when its object is there (tIoU, vIoU).

With the frames in which truth or prediction show the object as the union, and those in which both do as the
intersection: tIoU is the share of the intersection in the union, vIoU the sum of J over the intersection divided by the
size of the union. Both are 1 where neither ever shows it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.pictures import PictureError, PictureTree, picture_path
from pipeline.evaluation.predictions import VideoPrediction
from pipeline.evaluation.protocols.common import BenchmarkProtocol, Line, mean, region_and_boundary
from pipeline.evaluation.scoring import BOUNDARY, REGION, BoolArray, Measure, Score, VideoResult, score_expressions
from pipeline.evaluation.sources import PictureSource, PredictionSource, open_predictions
from pipeline.evaluation.truth import ExpressionTruth, VideoTruth, indexed_folder, object_keys, read_meta
from pipeline.storage import scrub

TYPES = ("static", "dynamic", "static+dynamic")
META = ("meta_expressions.json",)


@dataclass(frozen=True, kw_only=True)
class ObjectPictures:
    """Annotations ``<video>/<object>/<frame>.png``; a frame without a picture does not show the object."""

    tree: PictureTree
    video_id: str
    frames: tuple[str, ...]
    keys: tuple[str, ...]

    def objects(self, frame: int) -> dict[str, BoolArray]:
        """Masks ``[H, W]`` of the objects with a picture of this frame. Raises UsageError for a damaged one."""
        found = {}
        for key in self.keys:
            path = picture_path(self.video_id, key, self.frames[frame])
            if not self.tree.has_file(path):
                continue
            try:
                found[key] = self.tree.mask(path)
            except PictureError as error:
                raise UsageError(f"{scrub(self.tree.url)}: annotation {error}") from error
        return found


def read_truth(ground_truth: str) -> list[VideoTruth]:
    """Read ``meta_expressions.json`` and ``Annotations/`` of a split's folder.

    Raises:
        UsageError: A file is missing, or an expression has no object or an unknown type.
    """
    tree = indexed_folder(ground_truth, ("Annotations",))
    truths = []
    for video_id, video in read_meta(ground_truth, META).items():
        expressions = tuple(
            ExpressionTruth(
                expression_id=key,
                text=expression["exp"],
                objects=object_keys(expression, "obj_id", f"expression {key!r} of video {video_id!r}"),
                kind=_kind(expression.get("type"), f"expression {key!r} of video {video_id!r}"),
            )
            for key, expression in video["expressions"].items()
        )
        keys = tuple(dict.fromkeys(key for expression in expressions for key in expression.objects))
        frames = tuple(video["frames"])
        annotations = ObjectPictures(tree=tree, video_id=video_id, frames=frames, keys=keys)
        truths.append(VideoTruth(video_id=video_id, frames=frames, expressions=expressions, annotations=annotations))
    return truths


def _kind(name: object, where: str) -> int:
    if name not in TYPES:
        raise UsageError(f"{where}: its type is {name!r}, expected one of {', '.join(TYPES)}")
    return TYPES.index(str(name))


def _together(truth: BoolArray, prediction: BoolArray, _video: VideoTruth, _frame: int) -> float:
    """1 where both show the object, 0 where one does, not a number where none does."""
    shown = (bool(truth.any()), bool(prediction.any()))
    return float(all(shown)) if any(shown) else float("nan")


def _region_together(truth: BoolArray, prediction: BoolArray, video: VideoTruth, frame: int) -> float:
    together = _together(truth, prediction, video, frame)
    return REGION.of_frame(truth, prediction, video, frame) if together == 1 else together


def _over_shown(values: list[float]) -> float:
    shown = [value for value in values if not np.isnan(value)]
    return float(np.mean(shown)) if shown else 1.0


TEMPORAL = Measure("tIoU", _together, _over_shown)
VOLUME = Measure("vIoU", _region_together, _over_shown)


def score_video(video: VideoTruth, prediction: VideoPrediction) -> VideoResult:
    """J, F, tIoU and vIoU of every expression."""
    return score_expressions(video, prediction, (REGION, BOUNDARY, TEMPORAL, VOLUME))


def summarise(scores: Sequence[Score]) -> list[Line]:
    """Flat means over all expressions, then over those of each type."""
    lines = [Line("all expressions", _means(scores))]
    for kind, name in enumerate(TYPES):
        lines.append(Line(name, _means([score for score in scores if score.kind == kind])))
    return lines


def _means(scores: Sequence[Score]) -> dict[str, float | None]:
    times = {name: mean(score.values[name] for score in scores) for name in ("tIoU", "vIoU")}
    return {**region_and_boundary(scores), **times}


def read_predictions(url: str) -> PredictionSource:
    """Pictures of which those of empty masks may lack, except each expression's first; else as for any benchmark."""
    source = open_predictions(url)
    return PictureSource(tree=source.tree, later_frames_may_lack=True) if isinstance(source, PictureSource) else source


PROTOCOL = BenchmarkProtocol(
    benchmark="long-rvos",
    name="official",
    about="every frame counts; tIoU and vIoU over the frames that truth or prediction show the object in; flat means "
    "over expressions; an expression without a picture of its first frame, which the public scorer drops, scores 0",
    read_truth=read_truth,
    score_video=score_video,
    summarise=summarise,
    read_predictions=read_predictions,
)
