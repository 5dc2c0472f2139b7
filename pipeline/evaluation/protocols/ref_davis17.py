"""Ref-DAVIS17, every expression alone: binary masks against the annotation, no merging or matching, void is background.

The ground truth of the public scorers is ``mask_dict.pkl``; pickles are not loaded here. The same numbers come from its
JSON form, ``mask_dict.json``, or from the indexed annotations it was made of.
"""

from typing import Any

from pipeline.evaluation.protocols.common import BenchmarkProtocol, flat_mean, score_region_and_boundary
from pipeline.evaluation.protocols.ref_youtube_vos import indexed_truths
from pipeline.evaluation.truth import (
    ExpressionTruth,
    VideoTruth,
    annotations_of,
    indexed_folder,
    read_mask_dict,
    read_meta,
    size_of,
)
from pipeline.storage import absolute, exists, join

MASK_DICTS = ("mask_dict.json", "valid/mask_dict.json")
ANNOTATIONS = (
    "valid/Annotations",
    "DAVIS/Annotations_unsupervised/480p",
    "../DAVIS/Annotations_unsupervised/480p",
    "Annotations_unsupervised/480p",
    "Annotations",
)


def read_davis_meta(ground_truth: str) -> dict[str, dict[str, Any]]:
    """The meta file, from Ref-DAVIS17's own folder or its ``valid`` folder. Raises UsageError."""
    split = absolute(ground_truth).rsplit("/", 1)[-1]
    return read_meta(
        ground_truth,
        (
            "meta_expressions.json",
            "meta_expressions/valid/meta_expressions.json",
            f"../meta_expressions/{split}/meta_expressions.json",
        ),
    )


def read_truth(ground_truth: str) -> list[VideoTruth]:
    """Read the split's masks: ``mask_dict.json`` where there is one, else the indexed annotations.

    Raises:
        UsageError: Neither is there, or they do not fit the meta file.
    """
    videos = read_davis_meta(ground_truth)
    if not any(exists(join(ground_truth, candidate)) for candidate in MASK_DICTS):
        return indexed_truths(videos, indexed_folder(ground_truth, ANNOTATIONS))
    location, mask_dict = read_mask_dict(ground_truth, MASK_DICTS)
    truths, key = {}, 0
    for video_id in sorted(videos):
        video, expressions = videos[video_id], {}
        # The keys of the mask file are a running number over sorted videos and string-sorted expressions.
        for expression_id in sorted(video["expressions"]):
            text = video["expressions"][expression_id]["exp"]
            expressions[expression_id] = ExpressionTruth(expression_id=expression_id, text=text, objects=(str(key),))
            key += 1
        keys = [expression.objects[0] for expression in expressions.values()]
        annotations = annotations_of(video_id, keys, video["frames"], mask_dict, location)
        truths[video_id] = VideoTruth(
            video_id=video_id,
            frames=tuple(video["frames"]),
            expressions=tuple(expressions[expression_id] for expression_id in video["expressions"]),
            annotations=annotations,
            size=size_of(annotations),
        )
    return [truths[video_id] for video_id in videos]


PROTOCOL = BenchmarkProtocol(
    benchmark="ref-davis17",
    name="per-expression",
    about="every expression alone, all frames, void counts as background, flat over expressions (as VISA and Sa2VA); "
    "not comparable with four-annotator numbers",
    read_truth=read_truth,
    score_video=score_region_and_boundary,
    summarise=flat_mean,
)
