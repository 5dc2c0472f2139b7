"""Ref-YouTube-VOS where ground truth is at hand (train): one object per expression, over the listed frames."""

from typing import Any

from pipeline.evaluation.pictures import PictureTree
from pipeline.evaluation.protocols.common import BenchmarkProtocol, flat_mean, score_region_and_boundary
from pipeline.evaluation.truth import (
    IndexedAnnotations,
    VideoTruth,
    expressions_of,
    indexed_folder,
    read_meta,
)
from pipeline.storage import absolute


def read_truth(ground_truth: str) -> list[VideoTruth]:
    """Read the ``train`` folder: ``Annotations/`` and the meta file beside it.

    Raises:
        UsageError: A file is missing.
    """
    split = absolute(ground_truth).rsplit("/", 1)[-1]
    videos = read_meta(ground_truth, ("meta_expressions.json", f"../meta_expressions/{split}/meta_expressions.json"))
    return indexed_truths(videos, indexed_folder(ground_truth, ("Annotations",)))


def indexed_truths(videos: dict[str, dict[str, Any]], tree: PictureTree) -> list[VideoTruth]:
    """Ground truth whose objects are the labels of indexed PNGs. Raises UsageError."""
    truths = []
    for video_id, video in videos.items():
        frames = tuple(video["frames"])
        annotations = IndexedAnnotations(tree=tree, video_id=video_id, frames=frames)
        height, width = annotations.labels(0).shape
        truths.append(
            VideoTruth(
                video_id=video_id,
                frames=frames,
                expressions=expressions_of(video_id, video, "obj_id"),
                annotations=annotations,
                size=(height, width),
            )
        )
    return truths


PROTOCOL = BenchmarkProtocol(
    benchmark="ref-youtube-vos",
    name="official",
    about="every listed frame counts; J and F are averaged over the frames of an expression, then over all expressions",
    read_truth=read_truth,
    score_video=score_region_and_boundary,
    summarise=flat_mean,
)
