"""What datumaro's CVAT reader and the SDKs of tools made of some files, and the tools themselves where installed."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset import MaskDataset
from pipeline.errors import MissingPackageError
from pipeline.export import export
from pipeline.export.brush import brush_mask, brush_runs
from pipeline.export.fiftyone_masks import detection_mask, picture_mask
from pipeline.export.formats.cvat import row_runs
from pipeline.export.formats.label_studio import label_config
from pipeline.masks import decode_mask
from pipeline.schema import Status
from pipeline.versions import diff, make_version
from pipeline.versions.annotations import edits_of
from pipeline.versions.readers import READERS
from tests.versions.test_edits import write_dataset

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


@pytest.fixture
def dataset(tmp_path: Path) -> tuple[str, str]:
    """A dataset and a manifest of it."""
    url = write_dataset(tmp_path / "out")
    rows = [record.row for record in MaskDataset(url) if record.row.status == Status.OK and not record.row.object_id]
    lines = [
        {"video_id": row.video_id, "video": f"{row.video_id}.mp4", "expression_id": row.expression_id,
         "expression": row.expression}
        for row in rows
    ]  # fmt: skip
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    return url, str(manifest)


def test_fiftyone_detections_are_read_as_it_wrote_them() -> None:
    detection = json.loads((DATA / "fiftyone_detection.json").read_text())["detection"]
    expected = np.zeros((24, 32), bool)
    expected[5:11, 6:13] = True  # in a box of 10x8 pixels at (4, 4): rows 1 to 6, columns 2 to 8
    mask = picture_mask(detection["bounding_box"], detection["mask"], 24, 32)
    assert (mask == expected).all()
    assert (picture_mask(*detection_mask(mask).values(), 24, 32) == mask).all()


def test_fiftyone_reads_the_folder_and_gives_it_back(
    dataset: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # samples are read and written without the database, which is where from_dir puts them
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", "mongodb://127.0.0.1:1")
    importers = pytest.importorskip("fiftyone.utils.data.importers", reason="fiftyone is not installed")
    url, manifest = dataset
    folder = tmp_path / "x"
    export(url, manifest, "fiftyone", str(folder), file_names="images/{video_id}/{frame}.jpg")
    assert importers.FiftyOneDatasetImporter(str(folder))._is_legacy_format_data()  # what from_dir asks first
    importer = importers.LegacyFiftyOneDatasetImporter(str(folder))
    importer.setup()
    rows = {(r.row.video_id, r.row.expression_id, r.row.object_id): r.row for r in MaskDataset(url)}
    samples = list(importer)
    found = 0
    for sample in samples:
        for item in sample.objects.detections:
            row = rows[sample.video_id, item.expression_id, item.object_id]
            whole = item.to_segmentation(frame_size=(17, 12), target=255).mask > 0
            assert (whole == decode_mask(row.masks[row.frames.index(sample.frame)])).all()
            assert item.label == row.expression
            found += 1
            if (sample.video_id, item.expression_id, item.object_id) == ("v1", "2", 1):
                item.mask = ~item.mask
    assert found == sum(rle is not None for row in rows.values() for rle in row.masks)
    content = {"samples": [sample.to_dict(include_private=True) for sample in samples]}
    (folder / "samples.json").write_text(json.dumps(content, default=str))
    edits = edits_of(url, READERS["fiftyone"].read(str(folder)), tool="fiftyone")
    make_version(url, edits, str(tmp_path / "new"), tool="fiftyone")
    changes = diff(url, str(tmp_path / "new"))
    assert [item.row for item in changes.changed] == [("v1", "2", 1)]
    assert not changes.added + changes.dropped + changes.renamed


def test_rerun_has_every_mask_on_its_frame(dataset: tuple[str, str], tmp_path: Path) -> None:
    chunks = pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed")
    url, manifest = dataset
    result = export(url, manifest, "rerun", str(tmp_path / "x"))
    assert result.written == len(list((tmp_path / "x").glob("*.rrd"))) == 3
    for row in (record.row for record in MaskDataset(url) if record.row.status == Status.OK):
        entity = f"/video/masks/{row.expression_id}/{row.object_id}"
        shown, cleared = {}, []
        for chunk in chunks.RrdReader(tmp_path / "x" / f"{row.video_id}.rrd").stream():
            batch = chunk.to_record_batch()
            if chunk.entity_path != entity or "frame" not in batch.schema.names:
                continue
            for values in batch.to_pylist():
                buffer = values.get("SegmentationImage:buffer")
                if buffer:
                    shown[values["frame"]] = np.array(buffer[0], np.uint8).reshape(12, 17) == 1
                elif values.get("Clear:is_recursive") is not None:
                    cleared.append(values["frame"])
        assert sorted(shown) == [index for index, rle in enumerate(row.masks) if rle is not None]
        for index, mask in shown.items():
            assert (mask == decode_mask(row.masks[index])).all()
        assert sorted(cleared) == [index + 1 for index in sorted(shown) if index < 3 and index + 1 not in shown]


def test_rerun_without_its_package(dataset: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'sa2va-i-pipeline\[rerun\]'"):
        export(*dataset, "rerun", str(tmp_path / "x"))
    assert not (tmp_path / "x").exists()
