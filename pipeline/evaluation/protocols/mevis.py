"""MeViS (v1): J and F of the union of an expression's objects, over all frames, flat over all expressions."""

from pipeline.evaluation.protocols.common import BenchmarkProtocol, flat_mean, score_region_and_boundary
from pipeline.evaluation.truth import VideoTruth, mask_dict_truths

META = (
    "meta_expressions.json",
    "meta_expressions_v2.json",
    "meta_expressions_release.json",
    "meta_expressions_v2_release.json",
)


def read_truth(ground_truth: str) -> list[VideoTruth]:
    """Read ``meta_expressions.json`` and ``mask_dict.json`` of the ``train`` or ``valid_u`` folder.

    Raises:
        UsageError: A file is missing, or they do not fit each other.
    """
    return mask_dict_truths(ground_truth, META)


PROTOCOL = BenchmarkProtocol(
    benchmark="mevis",
    name="official",
    about="every frame counts; J and F are averaged over the frames of an expression, then over all expressions alike",
    read_truth=read_truth,
    score_video=score_region_and_boundary,
    summarise=flat_mean,
)
