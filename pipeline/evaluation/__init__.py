"""J and F, the benchmarks' protocols, and the readers of ground truth and predictions they need."""

from pipeline.evaluation.metrics import boundary_accuracy, boundary_radius, region_similarity

__all__ = ["boundary_accuracy", "boundary_radius", "region_similarity"]
