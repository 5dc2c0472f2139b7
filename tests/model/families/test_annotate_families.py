"""Every newer family through the whole pipeline on Ray, in both procedures, from a folder and from a URL."""

import pyarrow.parquet as pq
import pytest

from pipeline.model.checkpoint.convert import convert
from pipeline.schema import MASKS_SCHEMA
from tests.conftest import run_job
from tests.golden.variants import make_variant

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("variant", ["qwen3_vl", "qwen2_5_vl", "internvl3"])
def test_two_clips_in_both_procedures(variant, ray_address, tmp_path):
    from pipeline.workshop.shapes.demo import write_demo

    manifest = write_demo(tmp_path / "clips", num_videos=2, num_frames=7, expressions_per_video=2)
    released = make_variant(tmp_path, variant, 0, "sa2va", "fp32", "--sam2-pt", str(tmp_path / "sam2.pt"))
    convert(released, tmp_path / "sam2.pt", tmp_path / "converted")
    models = {"sa2va": str(released), "sa2va-i": f"local://{tmp_path / 'converted'}"}
    rows = {}
    for procedure, model in models.items():
        output = tmp_path / procedure
        arguments = ["--manifest", manifest, "--model", model, "--output", output, "--procedure", procedure]
        cache = str(tmp_path / "cache")
        done = run_job("annotate", *arguments, timeout_s=800, RAY_ADDRESS=ray_address, SA2VA_I_CACHE=cache)
        assert done.returncode == 0, done.stderr
        rows[procedure] = pq.read_table(output / "masks", schema=MASKS_SCHEMA).to_pylist()
        assert len(rows[procedure]) == 4
        assert {row["status"] for row in rows[procedure]} <= {"ok", "no_object"}
        assert any(row["status"] == "ok" for row in rows[procedure])
