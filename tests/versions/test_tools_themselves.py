"""What datumaro's CVAT reader and Label Studio's SDK made of two files, and the tools themselves where installed."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.export.brush import brush_mask, brush_runs
from pipeline.export.formats.cvat import row_runs
from pipeline.export.formats.label_studio import label_config
from pipeline.masks import decode_mask
from pipeline.versions.readers import READERS

DATA = Path(__file__).parent / "data"


def test_cvat_masks_are_read_as_datumaro_reads_them(tmp_path: Path) -> None:
    text = (DATA / "cvat_images.xml").read_text().replace(">the duck</attribute>", ">the duck</attribute>" + IDS)
    (tmp_path / "x.xml").write_text(text)
    video = READERS["cvat"].read(str(tmp_path / "x.xml"))["pond"]
    assert video.frames == {"frame_000000", "frame_000001", "frame_000002"}
    track = video.tracks["0", 0]
    assert track.expression == "the duck"
    for item in json.loads((DATA / "read_by_datumaro.json").read_text())["images.xml"]:
        assert track.masks[item["item"]] == item["mask"]
    inside = np.array([[0, 0, 1, 1], [0, 1, 1, 1], [1, 0, 1, 1]], bool)
    assert row_runs(inside) == [2, 2, 1, 4, 1, 2]


IDS = '<attribute name="expression_id">0</attribute><attribute name="object_id">0</attribute>'


def test_brush_masks_are_those_of_the_sdk() -> None:
    task = json.loads((DATA / "label_studio_task.json").read_text())["task"]
    decoded = decode_mask(json.loads((DATA / "read_by_sdk.json").read_text())["decoded"])
    stream = task["predictions"][0]["result"][0]["value"]["rle"]
    assert (brush_mask(stream, 24, 32) == decoded).all()
    assert brush_runs(decoded) == stream


def test_label_studio_accepts_the_configuration() -> None:
    interface = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    stream = brush_runs(np.eye(4, dtype=bool))
    region = {"id": "a", "type": "brushlabels", "from_name": "masks", "to_name": "image", "original_width": 4,
              "original_height": 4, "value": {"format": "rle", "rle": stream, "brushlabels": ["object 1"]}}  # fmt: skip
    config = interface.LabelInterface(label_config(1))
    assert config.validate_prediction({"model_version": "m", "score": 0.5, "result": [region]})
