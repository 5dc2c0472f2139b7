"""The promise on speed: at most 0.3 of a plain whole-frame implementation, with the same numbers."""

from pipeline.workshop.bench.evaluation_benchmark import evaluation_benchmark
from tests.evaluation import whole_frame_oracle as oracle


def test_a_third_of_the_time_of_whole_frames_at_most():
    def plain(truth, prediction):
        return oracle.region_similarity(truth, prediction), oracle.boundary_accuracy(truth, prediction)

    for timings in (
        evaluation_benchmark(frames=12, plain_frames=12, processes=(1,), clips=1),  # against a distance transform
        evaluation_benchmark(frames=12, plain_frames=2, processes=(), plain=plain),  # against dilation by the disk
    ):
        assert timings["largest_difference"] < 1e-12
        assert timings["ratio"] <= 0.3
