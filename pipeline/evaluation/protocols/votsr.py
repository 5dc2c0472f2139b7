"""VOTSr: mean IoU of the masks of every prompt, over the frames whose truth is a mask.

Equal to vot-toolkit's ``referral_accuracy`` and ``referral_average_accuracy``, also in what it does silently: a prompt
without results is left out of the mean (here it is named, and a line of its own counts it as 0), a region that is no
mask counts as empty, and so does a mask in the first column of its box alone where it stands in a text file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.pictures import PictureError, PictureTree
from pipeline.evaluation.predictions import MissingPredictionError, VideoPrediction
from pipeline.evaluation.protocols.common import BenchmarkProtocol, Line, mean
from pipeline.evaluation.scoring import Score, VideoResult
from pipeline.evaluation.sources import PredictionSource
from pipeline.evaluation.truth import BoolArray, ExpressionTruth, MaybeMask, VideoTruth
from pipeline.evaluation.vot_regions import Region, RegionError, from_binary, from_text
from pipeline.manifest.votsr import read_sequences, sequences_folder
from pipeline.storage import MissingFileError, exists, join, read_bytes, scrub

_TRUTH_FILES = ("groundtruth.txt", "groundtruth_object1.txt")
_IGNORE_FILE = "groundtruth__ignore.txt"
_OBJECT = "object"


@dataclass(frozen=True, kw_only=True)
class RegionAnnotations:
    """The one object of a sequence, and what is ignored, frame by frame."""

    regions: tuple[Region, ...]
    """Those after the last one are unknown."""
    ignored: tuple[Region, ...]

    def objects(self, frame: int) -> dict[str, BoolArray]:
        """The object's mask from the picture's corner on; empty where the frame's truth is no mask."""
        mask = self.regions[frame].canvas() if frame < len(self.regions) else None
        return {} if mask is None else {_OBJECT: mask}

    def ignore(self, frame: int) -> MaybeMask:
        """What is ignored in a frame."""
        return self.ignored[frame].canvas() if frame < len(self.ignored) else None


@dataclass(frozen=True, kw_only=True)
class RegionPrediction:
    """The result files of one sequence."""

    tree: PictureTree
    root: str
    sequence: str

    def regions(self, prompt: str) -> list[Region]:
        """All regions of a prompt. Raises MissingPredictionError."""
        path = f"{self.root}{self.sequence}/{self.sequence}_{prompt}"
        for suffix, read in ((".txt", from_text), (".bin", from_binary)):
            if self.tree.has_file(path + suffix):
                try:
                    return read(self.tree.read(path + suffix))
                except (PictureError, RegionError) as error:
                    raise MissingPredictionError(f"{path}{suffix}: {error}") from None
        raise MissingPredictionError(f"{path}.bin is missing")

    def mask(self, expression_id: str, frame: int) -> MaybeMask:
        """See VideoPrediction; a frame after the last region is empty."""
        regions = self.regions(expression_id)
        return regions[frame].canvas() if frame < len(regions) else None


@dataclass(frozen=True, kw_only=True)
class RegionSource:
    """Results as the toolkit writes or packs them."""

    tree: PictureTree

    def videos(self, truths: Sequence[VideoTruth]) -> Iterator[tuple[VideoTruth, VideoPrediction]]:
        """See PredictionSource."""
        for root in ("baseline/", ""):
            if any(self.tree.has_folder(root + truth.video_id) for truth in truths):
                break
        else:
            raise UsageError(f"{scrub(self.tree.url)}: no results: no folder of a sequence is here or in baseline/")
        for truth in truths:
            yield truth, RegionPrediction(tree=self.tree, root=root, sequence=truth.video_id)


def read_predictions(url: str) -> PredictionSource:
    """Open the results of one tracker: the folder that holds ``baseline/``, or a zip of ``vot pack``."""
    return RegionSource(tree=PictureTree(url))


def read_truth(ground_truth: str) -> list[VideoTruth]:
    """Read the sequences of a dataset with ground truth.

    Raises:
        UsageError: A sequence has none.
    """
    folder = sequences_folder(ground_truth)
    return [
        VideoTruth(
            video_id=task.video_id,
            frames=task.frames or (),
            expressions=tuple(
                ExpressionTruth(expression_id=item.expression_id, text=item.text, objects=(_OBJECT,))
                for item in task.expressions
            ),
            annotations=_annotations(join(str(folder), task.video_id)),
        )
        for task in read_sequences(ground_truth)
    ]


def _annotations(sequence: str) -> RegionAnnotations:
    name = next((name for name in _TRUTH_FILES if exists(join(sequence, name))), None)
    if name is None:
        raise UsageError(f"{scrub(sequence)}: holds no {' or '.join(_TRUTH_FILES)}: it comes without ground truth")
    return RegionAnnotations(regions=_regions(join(sequence, name)), ignored=_regions(join(sequence, _IGNORE_FILE)))


def _regions(file: str) -> tuple[Region, ...]:
    try:
        return tuple(from_text(read_bytes(file)))
    except MissingFileError:
        return ()
    except RegionError as error:
        raise UsageError(f"{scrub(file)}: {error}") from error


def score_video(video: VideoTruth, prediction: VideoPrediction) -> VideoResult:
    """Mean IoU of each prompt over the frames whose truth is a mask."""
    annotations = video.annotations
    assert isinstance(annotations, RegionAnnotations)
    scores, missing = [], {}
    for expression in video.expressions:
        try:
            values = _overlaps(video, annotations, prediction, expression.expression_id)
        except MissingPredictionError as error:
            missing[expression.expression_id] = str(error)
            values = []
        scores.append(
            Score(
                video_id=video.video_id,
                expression_id=expression.expression_id,
                text=expression.text,
                values={"IoU": float(np.mean(values)) if values else 0.0, "frames": float(len(values))},
                kind=len(video.frames),
                missing=missing.get(expression.expression_id),
            )
        )
    return VideoResult(video_id=video.video_id, scores=scores, missing=missing)


def _overlaps(
    video: VideoTruth, annotations: RegionAnnotations, prediction: VideoPrediction, prompt: str
) -> list[float]:
    regions = prediction.regions(prompt) if isinstance(prediction, RegionPrediction) else None
    values = []
    for frame in range(len(video.frames)):
        target = annotations.objects(frame).get(_OBJECT)
        if target is None:
            continue
        if regions is None:
            predicted = prediction.mask(prompt, frame)
        else:
            predicted = regions[frame].canvas() if frame < len(regions) else None
        values.append(_overlap(target, predicted, annotations.ignore(frame)))
    if regions is None and not values:
        prediction.mask(prompt, 0)  # says whether there is a prediction at all
    return values


def _overlap(target: BoolArray, predicted: MaybeMask, ignored: MaybeMask) -> float:
    masks = [mask if mask is not None else np.zeros((0, 0), bool) for mask in (target, predicted, ignored)]
    size = tuple(max(mask.shape[axis] for mask in masks) for axis in (0, 1))
    target, predicted, ignored = (_extended(mask, size) for mask in masks)
    target, predicted = target & ~ignored, predicted & ~ignored
    union = np.count_nonzero(target | predicted)
    return np.count_nonzero(target & predicted) / union if union else 1.0


def _extended(mask: BoolArray, size: tuple[int, ...]) -> BoolArray:
    extended = np.zeros(size, bool)
    extended[: mask.shape[0], : mask.shape[1]] = mask
    return extended


def summarise(scores: Sequence[Score]) -> list[Line]:
    """Mean over sequences, weighted by their frames and plainly; then with missing prompts as 0; then each sequence."""
    answered = [score for score in scores if score.missing is None]
    lines = [Line("all sequences", _means(answered)), Line("the same, missing prompts count 0", _means(scores))]
    for sequence in dict.fromkeys(score.video_id for score in scores):
        own = [score for score in answered if score.video_id == sequence]
        value = mean(score.values["IoU"] for score in own)
        lines.append(Line(sequence, {"IoU": value, "IoU, plain mean": value}))
    return lines


def _means(scores: Sequence[Score]) -> dict[str, float | None]:
    sequences = []
    for sequence in dict.fromkeys(score.video_id for score in scores):
        own = [score for score in scores if score.video_id == sequence]
        scored = max(score.values["frames"] for score in own)
        if scored:  # every prompt of a sequence is scored on the same frames
            sequences.append((float(np.mean([score.values["IoU"] for score in own])), float(own[0].kind or 0)))
    if not sequences:
        return {"IoU": None, "IoU, plain mean": None}
    weights = [weight for _, weight in sequences]
    values = [value for value, _ in sequences]
    return {"IoU": float(np.average(values, weights=weights)), "IoU, plain mean": float(np.mean(values))}


PROTOCOL = BenchmarkProtocol(
    benchmark="votsr",
    name="official",
    about="mean IoU over prompts and the frames whose truth is a mask, then over sequences weighted by all their "
    "frames; as in vot-toolkit, prompts without a result are left out of the first line",
    read_truth=read_truth,
    score_video=score_video,
    summarise=summarise,
    objects="union",
    read_predictions=read_predictions,
)
