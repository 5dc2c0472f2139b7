"""Which model made a dataset can be read from run.json and from each of its files."""

import json

import pyarrow.parquet as pq

from pipeline.dataset.output import OutputDirectory
from pipeline.model.checkpoint.locate import PinnedModel
from pipeline.schema import Expression, VideoTask, failed_rows

MODEL = PinnedModel(kind="hub", source="kumuji/Sa2VA-i-1B", revision="0123456789abcdef0123456789abcdef01234567")


def test_model_is_named_in_run_json_and_in_every_file(tmp_path):
    with OutputDirectory(str(tmp_path / "out")) as output:
        output.begin(identity={"model_fingerprint": "f00d"}, description={"model": MODEL.describe()})
        task = VideoTask(video_id="a", video="a.mp4", expressions=(Expression(expression_id="0", text="dog"),))
        output.writer.commit(failed_rows(task, "VideoError: a.mp4"))
        output.finish({})
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["model"] == {"kind": "hub", "source": "kumuji/Sa2VA-i-1B", "revision": MODEL.revision}
    (file,) = (tmp_path / "out" / "masks").glob("*.parquet")
    made_by = json.loads(pq.read_schema(file).metadata[b"sa2va_i_pipeline.made_by"])
    assert made_by["model"]["revision"] == MODEL.revision
    assert made_by["identity"]["model_fingerprint"] == "f00d"
