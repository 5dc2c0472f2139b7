"""MeViS (v1): J and F of the union of an expression's objects, over all frames, flat over all expressions."""

from pipeline.evaluation.protocols.common import Protocol, flat_mean, score_region_and_boundary
from pipeline.evaluation.truth import (
    ExpressionTruth,
    VideoTruth,
    annotations_of,
    object_keys,
    read_mask_dict,
    read_meta,
    size_of,
)

META = ("meta_expressions.json", "meta_expressions_release.json")


def read_truth(ground_truth: str) -> list[VideoTruth]:
    """Read ``meta_expressions.json`` and ``mask_dict.json`` of the ``train`` or ``valid_u`` folder.

    Raises:
        UsageError: A file is missing, or they do not fit each other.
    """
    videos = read_meta(ground_truth, META)
    location, mask_dict = read_mask_dict(ground_truth, ("mask_dict.json",))
    truths = []
    for video_id, video in videos.items():
        expressions = tuple(
            ExpressionTruth(
                expression_id=expression_id,
                text=expression["exp"],
                objects=object_keys(expression, "anno_id", f"expression {expression_id!r} of video {video_id!r}"),
            )
            for expression_id, expression in video["expressions"].items()
        )
        keys = dict.fromkeys(key for expression in expressions for key in expression.objects)
        annotations = annotations_of(video_id, keys, video["frames"], mask_dict, location)
        truths.append(
            VideoTruth(
                video_id=video_id,
                frames=tuple(video["frames"]),
                expressions=expressions,
                annotations=annotations,
                size=size_of(annotations),
            )
        )
    return truths


PROTOCOL = Protocol(
    benchmark="mevis",
    name="official",
    about="every frame counts; J and F are averaged over the frames of an expression, then over all expressions alike",
    read_truth=read_truth,
    score_video=score_region_and_boundary,
    summarise=flat_mean,
)
