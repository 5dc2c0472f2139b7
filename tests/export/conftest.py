from types import SimpleNamespace

import pytest
from small_benchmark import EXPRESSIONS, truth_rows, write_benchmark, write_dataset


@pytest.fixture
def benchmark_of(tmp_path):
    """Ground truth, manifest and a perfect dataset."""
    truth = write_benchmark(tmp_path / "truth")
    return SimpleNamespace(
        truth=str(truth),
        manifest=str(truth / "meta_expressions.json"),
        dataset=write_dataset(tmp_path / "dataset", [truth_rows(video_id) for video_id in EXPRESSIONS]),
        folder=tmp_path,
    )
