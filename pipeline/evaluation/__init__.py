"""J and F, the benchmarks' protocols, and the readers of ground truth and predictions they need."""

from pipeline.evaluation.protocols import BENCHMARKS, PROTOCOLS
from pipeline.evaluation.region_boundary import boundary_accuracy, boundary_radius, region_similarity
from pipeline.evaluation.run import Evaluation, csv_rows, evaluate, missing_summary

__all__ = [
    "BENCHMARKS",
    "PROTOCOLS",
    "Evaluation",
    "boundary_accuracy",
    "boundary_radius",
    "csv_rows",
    "evaluate",
    "missing_summary",
    "region_similarity",
]
