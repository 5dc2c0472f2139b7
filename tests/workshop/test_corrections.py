"""The program that corrects one mask of failing tracks: which it takes, and all of it on two clips."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset import DatasetWriter, MaskDataset, areas_and_bboxes, decode_mask, encode_masks
from pipeline.schema import MaskRow
from pipeline.workshop.corrections import Correction, failing_tracks, table
from pipeline.workshop.nano.validation import ShapesBenchmark
from pipeline.workshop.shapes.benchmark import write_benchmark
from tests.conftest import run_workshop


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> ShapesBenchmark:
    folder = tmp_path_factory.mktemp("clips")
    write_benchmark(folder, num_videos=2, seed=3, num_frames=(4, 4), sizes=((48, 64),))
    return ShapesBenchmark(folder)


def row(benchmark: ShapesBenchmark, key: tuple[str, str], object_id: int = 0, *, moved: int = 0) -> MaskRow:
    masks = encode_masks(np.roll(benchmark.truth(*key), moved, axis=2))
    areas, bboxes = areas_and_bboxes(masks)
    video = benchmark.videos[key[0]]
    return MaskRow(
        video_id=key[0], expression_id=key[1], expression=video["expressions"][key[1]]["exp"], object_id=object_id,
        status="ok", height=48, width=64, frames=video["frames"], masks=masks, areas=areas, bboxes=bboxes,
        scores=[0.5] * 4, score=0.5,
    )  # fmt: skip


def test_tracks_of_one_object_that_miss_it_fail(benchmark: ShapesBenchmark, tmp_path: Path) -> None:
    video_id = next(iter(benchmark.videos))
    expressions = benchmark.videos[video_id]["expressions"]
    single = [(video_id, i) for i, item in expressions.items() if len(item["anno_id"]) == 1]
    missed, found, twice = single[:3]
    rows = [row(benchmark, missed, moved=30), row(benchmark, found), row(benchmark, twice, moved=30)]
    (tmp_path / "masks").mkdir()
    DatasetWriter(str(tmp_path)).commit([*rows, row(benchmark, twice, 1, moved=30)])
    ((key, (failing, j)),) = failing_tracks(benchmark, str(tmp_path), 0.5)
    assert (key, failing.object_id) == (missed, 0)
    truth = benchmark.truth(*missed)
    shifted = np.roll(truth, 30, axis=2)
    expected = (truth & shifted).sum((1, 2)) / (truth | shifted).sum((1, 2))
    assert j == pytest.approx(expected.mean())
    assert not list(failing_tracks(benchmark, str(tmp_path), 0.0))


def test_the_table_ends_with_the_means() -> None:
    names = {"video_id": "v", "expression_id": "0", "expression": "a", "frame": 3}
    found = [
        Correction(**names, before=before, after=after, after_elsewhere=after - 0.1)
        for before, after in ((0.1, 0.9), (0.3, 0.7))
    ]
    assert table(found).splitlines()[-1] == "| mean of 2 | | | 0.200 | 0.800 | 0.700 |"


@pytest.mark.slow
def test_given_masks_are_true_and_j_is_of_the_tracks_written(untrained: Path, ray_address: str, tmp_path: Path) -> None:
    arguments = ["--output", tmp_path, "--model", untrained, "--videos", 2, "--failures", 3, "--below", 1,
                 "--address", ray_address]  # fmt: skip
    done = run_workshop("corrections", *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "corrections.json").read_text())
    assert len(found) == 3
    assert done.stdout.splitlines()[-1].startswith("| mean of 3 |")
    benchmark = ShapesBenchmark(tmp_path / "held-out-2")
    rows = {(r.row.video_id, r.row.expression_id): r.row for r in MaskDataset(str(tmp_path / "after"))}
    for item in found:
        key = (item["video_id"], item["expression_id"])
        truth = benchmark.truth(*key)
        assert truth[item["frame"]].sum() == truth.sum((1, 2)).max()
        assert (decode_mask(rows[key].masks[item["frame"]]) == truth[item["frame"]]).all()
        assert rows[key].source == "person"
        assert item["after"] >= item["after_elsewhere"]
