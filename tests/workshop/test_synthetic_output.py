"""An output made without a model is one that a run would have left: complete, in parts, its manifest with it."""

import pyarrow.parquet as pq

from pipeline.config import RunConfig
from pipeline.dataset import MaskDataset
from pipeline.dataset.layout import part_of, part_of_file
from pipeline.dry_run import plan
from pipeline.status import read_status
from tests.conftest import run_workshop


def test_its_manifest_finds_nothing_to_do(tmp_path):
    out, manifest = str(tmp_path / "out"), str(tmp_path / "m.parquet")
    arguments = ("--videos", 600, "--expressions", 2, "--output", out, "--manifest", manifest)
    made = run_workshop("synthetic_output", *arguments)
    assert made.returncode == 0, made.stderr
    assert "600 videos, 1200 rows, 3 parts" in made.stdout
    status = read_status(out)
    assert status.is_all_well
    assert (status.counts.videos, status.counts.ok, status.missing.videos) == (600, 1200, 0)
    assert "to do: 0 videos" in plan(RunConfig(manifest=manifest, model="nano", output=out))
    for path in (tmp_path / "out" / "masks").iterdir():
        ids = pq.read_table(path, columns=["video_id"])["video_id"].to_pylist()
        assert ids == sorted(ids)
        assert {part_of(video_id, 3) for video_id in ids} == {part_of_file(str(path))[0]}
    (record, _) = MaskDataset(out, video_ids=["video000000007"])
    assert record.decode().any()
